"""A metric is one number, whoever says it: the reward's flags, the tracker, the evaluation."""

import numpy as np
import pytest

from ml.envs import EnvConfig
from ml.envs.scoring.metrics import METRICS
from ml.evaluation.drivers import make_driver
from ml.evaluation.episodes import run_drawn

pytestmark = pytest.mark.sumo

CONFIG = EnvConfig(num_peers=(1, 4), episode_s=30.0, stop_at_collision=False, radio="bursty")
CASES = 24
SHARED = {metric.summary: metric.name for metric in METRICS if metric.summary}


class Nervous:
    """Brakes hard for half a second every five, softly after that, and catches up."""

    name, ego_control, needs_observation = "nervous", "policy", False
    config_changes = {"action_lag_s": 0.0, "safety_layer": False}  # noqa: RUF012

    def accel(self, batch, observation):
        """Whatever the others do."""
        del observation
        phase = batch.tick % 50
        return np.where(phase < 5, -3.0, np.where(phase < 25, -0.5, 1.3))


class Watch:
    """Keeps each tick, and what the environment says of each episode."""

    def __init__(self):
        self.ticks, self.summaries = [], {}

    def __call__(self, batch):
        """Note a tick."""
        truth = batch.truth
        self.ticks.append(
            np.array((batch.needless, truth.accel_mps2[:, 0], truth.gap_m, truth.speed_mps[:, 0]))
        )
        for convoy in np.flatnonzero(batch.status).tolist():
            self.summaries[convoy] = batch.summary(convoy)

    def by_hand(self, case):
        """False brakes, braking share and hardest braking up to the crash, from the ticks."""
        needless, accel, gap, _ = np.array(self.ticks)[:, :, case].T
        driven = np.logical_and.accumulate(gap > 0.0)
        flags = np.concatenate(([0.0], needless[driven]))
        return {
            "false_brakes": int((np.diff(flags) > 0.0).sum()),
            "braking_share": np.mean(accel[driven] < -0.2),
            "max_decel_mps2": max(-accel[driven].min(), 0.0),
        }


@pytest.mark.parametrize("name", ["nervous", "do-nothing", "predictive:0.5"])
def test_reward_tracker_and_evaluation_give_the_same_numbers(name):
    """In every episode, crashes among them: false brakes, braking share and all that is shared."""
    driver = Nervous() if name == "nervous" else make_driver(name)
    watch = Watch()
    rows = run_drawn(driver, CONFIG, episodes=CASES, seed=3, on_tick=watch)
    for case, row in enumerate(rows):
        said = watch.summaries[case]
        for summary, column in SHARED.items():
            expected = pytest.approx(getattr(row, column), rel=1e-9, nan_ok=True)
            assert said[summary] == expected, (case, summary)
        for column, value in watch.by_hand(case).items():
            assert getattr(row, column) == pytest.approx(value, rel=1e-12), (case, column)
    if name == "nervous":
        assert sum(row.false_brakes for row in rows) > CASES
    if name != "predictive:0.5":
        assert sum(row.crash for row in rows) > 4
    braking = np.array([row.braking_share for row in rows])
    hard = np.array([np.mean(np.array(watch.ticks)[:, 1, case] < -2.0) for case in range(CASES)])
    assert name == "do-nothing" or np.sum(braking > hard + 0.01) > CASES / 2
