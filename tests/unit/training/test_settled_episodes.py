"""Rates of a training begin when they mean something: crashes end first, and alone."""

import numpy as np

from ml.training.callbacks import SettledEpisodes, _sentence, episode_figures

LONG, SHORT = 50, 10


def collision_rates(crash_rate, num_envs, ticks, *, seed=0):
    """The share of crashes that is told after every tick; None where nothing is."""
    draw = np.random.default_rng(seed)
    episodes = SettledEpisodes(num_envs)
    crashes = draw.random(num_envs) < crash_rate
    left = np.where(crashes, SHORT, LONG)
    told = []
    for tick in range(1, ticks + 1):
        left -= 1
        for row in np.flatnonzero(left == 0).tolist():
            episodes.add(row, tick, {"collision": bool(crashes[row]), "invalid": False,
                                     "kind": "free", "return": 0.0, "duration_s": 1.0})  # fmt: skip
            crashes[row] = draw.random() < crash_rate
            left[row] = SHORT if crashes[row] else LONG
        told.append(episode_figures(episodes.latest()).get("episodes/collision_rate"))
    return told


def test_nothing_is_told_before_every_convoy_has_ended_an_episode():
    """For as long as only crashed episodes have ended, there is no rate."""
    told = collision_rates(0.5, 64, 3 * LONG)
    assert told[: LONG - 1] == [None] * (LONG - 1)
    assert None not in told[LONG:]


def test_the_rate_is_that_of_the_episodes_not_of_those_that_end_early():
    """From the first on it is near the truth, and on the average it is the truth."""
    told = collision_rates(0.5, 64, 40 * LONG)[LONG:]
    assert abs(told[0] - 0.5) < 0.2
    assert abs(np.mean(told) - 0.5) < 0.02


def test_all_that_crash_are_told_of_as_soon_as_all_have():
    """Nobody who is still driving could change it."""
    assert collision_rates(1.0, 64, SHORT + 1)[-2:] == [1.0, 1.0]


def test_old_episodes_are_forgotten_in_whole_cohorts():
    """Of 60 convoys that end together, two cohorts make a hundred; a third one drops the first."""
    episodes = SettledEpisodes(60)
    for cohort in range(1, 5):
        for row in range(60):
            episodes.add(row, cohort * 10, {"cohort": cohort})
        kept = {episode["cohort"] for episode in episodes.latest()}
        assert kept == set(range(max(cohort - 1, 1), cohort + 1))


def test_the_console_says_a_dash_before_there_is_a_rate():
    """No number stands for none."""
    said = _sentence({"time/steps_per_second": 1234.0} | episode_figures([]))
    assert said == "return –, collisions –, 1,234/s"
