"""The safety layer on real SUMO: planted policies that would crash, and a policy that must not."""

import numpy as np
import pytest

from ml.envs.config import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.envs.policy_interface import PolicyInterface
from ml.evaluation.closing import compare, figures_of
from ml.evaluation.drivers import PolicyDriver, make_driver
from ml.evaluation.episodes import run_suite
from ml.evaluation.seeds import VALIDATION_SEED
from ml.evaluation.suites.registry import make_suite
from ml.onboard.observation.spec import EGO

pytestmark = pytest.mark.sumo


class Constant:
    """A model that always does the same; a policy as far as `PolicyDriver` cares."""

    def __init__(self, action):
        self.action = action

    def predict(self, observation, *_memory, deterministic):
        """Answer as SB3's models do."""
        assert deterministic
        return np.full((len(observation["ego"]), 1), self.action, dtype=np.float32), None


def driven(action, *, radio="ideal", **interface):
    """Hazards that a constant action is driven through; those that could be avoided."""
    driver = PolicyDriver(Constant(action), interface=PolicyInterface(**interface))
    rows = run_suite(driver, make_suite("convoy:200"), radio=radio, cases=range(100))
    return [row for row in rows if row.kind == "hazard" and row.avoidable and not row.invalid]


@pytest.mark.slow
def test_a_policy_that_never_brakes_crashes_without_the_layer_and_not_behind_it():
    """With a perfect radio the layer alone stops the ego, whatever the policy does."""
    bare = driven(0.0)
    assert np.mean([row.crash for row in bare]) > 0.95
    held, rushing = driven(0.0, safety_layer=True), driven(1.0, safety_layer=True)
    assert len(held) == len(rushing) == len(bare)
    assert not any(row.crash for row in held)
    assert not any(row.crash for row in rushing)


@pytest.mark.slow
def test_the_layer_is_as_good_as_what_it_hears():
    """On a shadowed radio the layer alone prevents most crashes, not all."""
    bare = driven(0.0, radio="shadowed")
    held = driven(0.0, radio="shadowed", safety_layer=True)
    assert sum(row.crash for row in held) < 0.5 * sum(row.crash for row in bare)


def test_no_controller_drives_behind_the_layer():
    """What a configuration says of policies is not done to others: doing nothing crashes."""
    config = EnvConfig(radio="ideal", safety_layer=True, action_lag_s=0.3)
    found = compare([make_driver("do-nothing")], config, episodes=32, seed=5)
    figures = figures_of("do-nothing", found["do-nothing"])
    assert figures.hazard_crashes.trials > 10
    assert figures.hazard_crashes.share > 0.9


def test_the_driver_sets_the_time_gap_and_the_policy_is_shown_it():
    """Drawn once per episode from the range, the same for the same seed, shown in the ego's row."""
    seen = []
    for _ in range(2):
        env = ConvoyVecEnv(8, EnvConfig(time_gap_s=(0.5, 1.5), episode_s=10.0), seed=3)
        try:
            first = env.reset()["ego"][:, 14] * 2.0
            env.step(np.zeros((8, 1), dtype=np.float32))
            seen.append((first, env.batch.wanted_time_gap_s.copy()))
        finally:
            env.close()
    (first, wanted), (_, again) = seen
    np.testing.assert_allclose(first, wanted, rtol=1e-6)
    np.testing.assert_array_equal(wanted, again)
    assert wanted.min() >= 0.5
    assert wanted.max() <= 1.5
    assert np.ptp(wanted) > 0.3


def test_the_board_takes_the_share_of_the_configuration_for_common():
    """Two nodes alike: the distance's error is 1/√2 of that of independent ones at half."""
    seen = []
    for share in (0.0, 0.5):
        env = ConvoyVecEnv(8, EnvConfig(position_common_share=share, episode_s=10.0), seed=3)
        try:
            env.reset()
            for _ in range(10):
                after, *_ = env.step(np.zeros((8, 1), dtype=np.float32))
            seen.append(after["ego"][:, EGO.nearest_sd])
        finally:
            env.close()
    independent, half = seen
    assert independent.min() > 0.2
    np.testing.assert_allclose(half, independent * np.sqrt(0.5), rtol=0.01)


def rushing_in(case):
    """One episode of who always wishes to speed up: bursty, validation seed, traced there."""
    interface = PolicyInterface(safety_layer=True, action_lag_s=0.3, time_gap_s=0.88)
    driver, suite = PolicyDriver(Constant(1.0), interface=interface), make_suite("convoy:40000")
    (row,) = run_suite(driver, suite, radio="bursty", seed=VALIDATION_SEED, cases=[case])
    assert row.avoidable or row.kind != "hazard"
    return row


def test_a_car_that_was_never_heard_is_not_driven_into():
    """The nearest three are silent at first; whoever rushes towards the fourth hits the first."""
    assert not rushing_in(5018).crash


def test_a_car_that_brakes_on_harder_unheard_is_not_driven_into():
    """It said 2.4 m/s², fell silent for nine seconds, and stood 30 m before it was expected to."""
    assert not rushing_in(613).crash
