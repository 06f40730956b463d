"""What the reward charges in real episodes, and that its weights may change while a run learns."""

import numpy as np
import pytest

from ml.envs.config import EnvConfig, EpisodeMix, RewardWeights
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.envs.prices import PRICES
from ml.evaluation.drivers import make_driver
from ml.evaluation.episodes import run_drawn
from ml.evaluation.safety_score import costs_of
from ml.keyed_random import fold

pytestmark = pytest.mark.sumo

CHARGED_SEED = 77
"""Of cases among whose first 16 the reference ego survives some."""


def test_weights_count_from_the_tick_after_they_are_set():
    """The same jerks cost nothing at weight 0 and their full price later; nothing else changes."""
    silent = RewardWeights(comfort=0.0)
    rewards = []
    for later in (silent, silent.model_copy(update={"comfort": 1.0})):
        env = ConvoyVecEnv(4, EnvConfig(reward=silent, radio="ideal"), seed=3)
        env.reset()
        earned = []
        for tick in range(40):
            if tick == 20:
                env.set_reward_weights(later)
            action = np.full((4, 1), 0.2 if tick % 2 else -0.1, np.float32)
            earned.append(env.step(action)[1])
        rewards.append(np.array(earned))
        env.close()
    lost = rewards[0] - rewards[1]
    assert not lost[:20].any()
    assert (lost[20:] >= 0.0).all()
    assert (lost[20:].max(axis=0) > 0.5).all()


def test_the_return_is_the_sum_of_the_rewards_whatever_the_weights_were():
    """Weights change every few ticks: an episode's return, and its terms, are what was paid."""
    env = ConvoyVecEnv(2, EnvConfig(radio="ideal", episode_s=5.0), seed=4)
    env.reset()
    earned, ended = np.zeros(2), {}
    for tick in range(50):
        if tick % 7 == 0:
            weight = 0.1 * (tick % 3)
            env.set_reward_weights(RewardWeights(comfort=weight, false_braking=1.0 - weight))
        action = np.full((2, 1), 0.3 if tick % 2 else -0.4, np.float32)
        _, reward, done, infos = env.step(action)
        earned += reward
        ended |= {row: infos[row]["episode_summary"] for row in np.flatnonzero(done)}
    env.close()
    assert ended.keys() == {0, 1}
    for row, summary in ended.items():
        assert summary["return"] == pytest.approx(earned[row], abs=1e-4)
        terms = sum(value for name, value in summary.items() if name.startswith("reward_"))
        assert terms == pytest.approx(earned[row], abs=1e-4)


def test_a_crash_that_the_reference_driver_has_too_is_not_charged():
    """Everybody else is; what the prediction says at the crash is what the case's end shows."""
    config = EnvConfig(
        radio="shadowed",
        episode_mix=EpisodeMix(hazard=1.0, benign=0.0, free=0.0),
        radio_position="reference",
        stop_at_collision=False,
    )
    charged = {}

    def note(batch):
        for row in np.flatnonzero(batch.status).tolist():
            charged[int(batch.keys[row])] = batch.summary(row)["reward_collision"] < 0.0

    found = run_drawn(
        make_driver("do-nothing"), config, episodes=16, seed=CHARGED_SEED, on_tick=note
    )
    assert all(row.crash for row in found)
    assert {row.avoidable for row in found} == {True, False}
    for row in found:
        (key,) = fold(CHARGED_SEED, row.env_index, 0).tolist()
        assert charged[key] == row.avoidable


def test_a_benign_slowing_is_charged_for_what_is_overdone():
    """Braking as hard as can be costs the whole overreaction, once, and none in a hazard."""
    for kind, cost in (("benign", -PRICES["overreaction"]), ("hazard", 0.0), ("free", 0.0)):
        mix = {**dict.fromkeys(("hazard", "benign", "free"), 0.0), kind: 1.0}
        config = EnvConfig(episode_mix=EpisodeMix(**mix), episode_s=40.0)
        ended = []

        def note(batch, ended=ended):
            for row in np.flatnonzero(batch.status).tolist():
                ended.append(batch.summary(row)["reward_overreaction"])

        run_drawn(_BrakeLate(), config, episodes=4, seed=3, on_tick=note)
        assert ended == pytest.approx([cost] * 4), kind


@pytest.mark.parametrize("seed", [9, 10])
def test_what_is_charged_is_what_the_safety_score_costs(seed: int):
    """Crash, quiet braking and overreaction, case by case, where reward and score have one price.

    Among the cases are benign slowings in which whoever slows brakes harder later on, and whoever
    follows it has to.
    """
    config = EnvConfig(
        radio="bursty",
        episode_mix=EpisodeMix(hazard=0.2, benign=0.8, free=0.0),
        radio_position="reference",
        stop_at_collision=False,
    )
    charged, later = {}, set()

    def note(batch):
        for row in np.flatnonzero(batch.status).tolist():
            charged[int(batch.keys[row])] = batch.summary(row)
        slot, rows = batch.plan.brake_slot, np.arange(batch.num_envs)
        harder = -batch.truth.accel_mps2[rows, slot] > batch.plan.brake_mps2 + 0.05
        begun = (slot > 0) & (batch.tick > batch.plan.onset_tick)
        later.update(batch.keys[begun & harder].tolist())

    driver = make_driver("predictive:0.9")
    rows = run_drawn(driver, config, episodes=64, seed=seed, on_tick=note)
    names = {"crash": "collision", "braking_share": "braking", "overreaction": "overreaction"}
    for row in rows:
        (key,) = fold(seed, row.env_index, 0).tolist()
        assert row.duration_s == pytest.approx(50.0)  # what the price of a tick is made for
        for price, term in names.items():
            paid, cost = charged[key][f"reward_{term}"], costs_of(row)[price]
            assert paid == pytest.approx(-cost, abs=1e-6), (row.case, term)
    assert len(later) >= 3
    assert sum(costs_of(row)["overreaction"] > 0.0 for row in rows) >= 1


class _BrakeLate:
    """Brakes with all it has from the onset of whatever was planned."""

    name, ego_control, needs_observation, config_changes = "late", "policy", False, {}

    def accel(self, batch, observation):
        del observation
        onset = (batch.plan.brake_slot > 0) & (batch.tick > batch.plan.onset_tick)
        return np.where(onset, -8.0, 0.0)
