"""A trained policy at the wheel."""

from types import SimpleNamespace

import numpy as np
import pytest
from sb3_contrib import RecurrentPPO
from support.untrained import untrained_model

from ml.envs.spaces import observation_space
from ml.evaluation.drivers import PolicyDriver


@pytest.fixture
def driver():
    """Return a driver with an untrained network whose actions are not all alike."""
    model = untrained_model(0, swing=30.0)
    return PolicyDriver(model)


def observations(num_envs, seed=0):
    """Draw observations, in which about half of the peers are heard."""
    draw = np.random.default_rng(seed)
    many = {
        name: draw.uniform(-1, 1, (num_envs, *space.shape)).astype(np.float32)
        for name, space in observation_space().spaces.items()
    }
    many["peer_mask"] = (many["peer_mask"] > 0).astype(np.float32)
    return many


def at_tick(tick):
    """What a driver reads of a batch."""
    return SimpleNamespace(num_envs=len(tick), tick=tick)


@pytest.mark.parametrize("num_envs", [1, 2, 3, 5, 17, 50, 63, 64, 65, 150])
def test_a_convoys_action_is_the_same_alone_and_in_any_batch(driver, num_envs):
    """Bit for bit, though a matrix product's last bits depend on its size."""
    many = observations(200)
    whole = driver.accel(at_tick(np.ones(200)), many)
    assert len(set(whole.tolist())) > 100
    last = {name: values[-num_envs:] for name, values in many.items()}
    part = driver.accel(at_tick(np.ones(num_envs)), last)
    assert part.tolist() == whole[-num_envs:].tolist()


def test_a_policy_with_a_memory_has_one_for_each_convoy_and_episode():
    """It drives by what it saw before, and an episode's first tick begins with nothing."""
    driver = PolicyDriver(untrained_model(0, swing=30.0, algorithm=RecurrentPPO))
    first, second = observations(70), observations(70, seed=1)
    begun = np.zeros(70)
    at_first = driver.accel(at_tick(begun), first)
    remembering = driver.accel(at_tick(begun + 1), second)
    forgetful = driver.accel(at_tick(begun), second)
    assert (remembering != forgetful).all()
    assert driver.accel(at_tick(begun), first).tolist() == at_first.tolist()
    tick = begun + 1
    tick[[3, 68]] = 0
    mixed = driver.accel(at_tick(tick), second)
    assert (mixed == np.where(tick == 0, forgetful, remembering)).all()
