"""A trained policy at the wheel."""

from types import SimpleNamespace

import numpy as np
import pytest
from support.untrained import untrained_model

from ml.envs.spaces import observation_space
from ml.evaluation.drivers import PolicyDriver


@pytest.fixture
def driver():
    """Return a driver with an untrained network whose actions are not all alike."""
    model = untrained_model(0, swing=30.0)
    return PolicyDriver(model)


@pytest.mark.parametrize("num_envs", [1, 2, 3, 5, 17, 50, 63, 64, 65, 150])
def test_a_convoys_action_is_the_same_alone_and_in_any_batch(driver, num_envs):
    """Bit for bit, though a matrix product's last bits depend on its size."""
    draw = np.random.default_rng(0)
    spaces_by_name = observation_space().spaces.items()
    many = {
        name: draw.uniform(-1, 1, (200, *space.shape)).astype(np.float32)
        for name, space in spaces_by_name
    }
    many["peer_mask"] = (many["peer_mask"] > 0).astype(np.float32)
    whole = driver.accel(SimpleNamespace(num_envs=200), many)
    assert len(set(whole.tolist())) > 100
    last = {name: values[-num_envs:] for name, values in many.items()}
    part = driver.accel(SimpleNamespace(num_envs=num_envs), last)
    assert part.tolist() == whole[-num_envs:].tolist()
