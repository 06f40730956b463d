"""What PPO learns from replayed critical cases, weighted by how often they happen by nature."""

from types import SimpleNamespace

import numpy as np
import pytest

from ml.errors import ConfigError
from ml.training.callbacks import NaturalWeightsCallback, episode_figures
from ml.training.command_line import parse_command_line
from ml.training.deployment import read_deployment

CASES = ("--cases", "clean", "--cases-share", "0.3")


def test_advantages_are_weighted_within_bounds():
    """Less their mean, by the natural weight of the episode that a step belongs to."""
    buffer = SimpleNamespace(
        advantages=np.array([[1.0, 3.0], [5.0, 7.0]], dtype=np.float32),
        natural_weights=np.array([[1.5, 0.5], [0.01, 0.5]]),
    )
    callback = NaturalWeightsCallback()
    callback.locals = {"rollout_buffer": buffer}
    callback.on_rollout_end()
    expected = np.array([[-3.0 * 1.5, -1.0 * 0.5], [1.0 * 0.1, 3.0 * 0.5]])
    np.testing.assert_allclose(buffer.advantages, expected, rtol=1e-6)


def test_weights_without_cases_are_refused():
    """There is nothing to weigh: an error that names the missing options."""
    with pytest.raises(ConfigError, match="give --cases and"):
        parse_command_line(["--cases-weights", "natural"], read_deployment({}))
    parsed = parse_command_line([*CASES, "--cases-weights", "natural"], read_deployment({}))
    assert parsed.config.env.cases_share == 0.3


def test_the_seed_of_the_search_is_no_seed_of_a_run():
    """Half of its cases are held out from training."""
    with pytest.raises(ConfigError, match="held out"):
        parse_command_line(["--seed", "4000037"], read_deployment({}))


def test_curves_are_of_the_episodes_that_were_drawn_by_nature():
    """Replayed cases, where crashes are common, have a collision rate of their own."""
    made = {"kind": "hazard", "invalid": False, "return": 1.0, "duration_s": 50.0}
    natural = [made | {"collision": False, "replayed": False}] * 3
    replayed = made | {"collision": True, "replayed": True, "return": -9.0}
    figures = episode_figures([*natural, replayed])
    assert figures["episodes/collision_rate"] == 0.0
    assert figures["episodes/collision_rate_replayed"] == 1.0
    assert figures["rollout/ep_rew_mean"] == 1.0
    assert episode_figures([replayed]) == {"episodes/collision_rate_replayed": 1.0}
