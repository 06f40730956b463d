"""The network in whole numbers: how near it is to float, what saturates, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.untrained import untrained_model

from ml.errors import CheckpointError
from ml.export.fixed_point import TANH_BITS, UNIT_BITS, _tanh, in_whole_numbers, rounding
from ml.export.network import network_of
from ml.onboard.observation.spec import EGO_LIMITS, MAX_PEERS, PEER_LIMITS


def observations(count, seed=0):
    """Anything within the observation's limits, of 0 to 8 peers."""
    rng = np.random.default_rng(seed)
    ego = rng.uniform(*EGO_LIMITS[1:], (count, EGO_LIMITS.shape[1]))
    peers = rng.uniform(*PEER_LIMITS[1:], (count, MAX_PEERS, PEER_LIMITS.shape[1]))
    mask = np.arange(MAX_PEERS) < rng.integers(0, MAX_PEERS + 1, count)[:, None]
    seen = {"ego": ego, "peers": peers, "peer_mask": mask}
    return {name: values.astype(np.float32) for name, values in seen.items()}


@pytest.mark.parametrize("embed_dim", [16, 64])
def test_it_acts_as_the_policy_does(embed_dim):
    """Within what 16 bits can tell apart, wherever the observation may be."""
    model = untrained_model(3, peer_embed_dim=embed_dim, swing=40.0)
    calibration = observations(500)["peers"].reshape(-1, PEER_LIMITS.shape[1])
    fixed = in_whole_numbers(network_of(model), calibration)
    seen = observations(500, seed=1)
    action, _ = model.predict(seen, deterministic=True)
    found, _ = fixed.predict(seen)
    assert found.shape == action.shape
    assert found.dtype == np.float32
    assert np.abs(found - action).max() < 0.01
    assert 0.1 < np.abs(action).mean() < 0.9
    cost = rounding(fixed, model, [seen])
    assert 0.0 < cost.mean_mps2 < cost.p99_mps2 < cost.max_mps2 < 0.08
    assert (cost.saturated, cost.computed) == (0, int(seen["peer_mask"].sum()) * (32 + embed_dim))


def test_what_is_larger_than_calibrated_saturates_and_is_counted():
    """It stays the largest: nothing wraps."""
    model = untrained_model(3, peer_embed_dim=16, swing=40.0)
    network = network_of(model)
    quiet = np.zeros((1, PEER_LIMITS.shape[1]), dtype=np.float32)
    fixed = in_whole_numbers(network, quiet)
    assert rounding(fixed, model, [observations(50)]).saturated > 100
    assert all(layer.shift.min() >= 0 for layer in fixed.layers())
    assert all(np.abs(layer.weight).max() < 2**15 for layer in fixed.layers())


def test_tanh_is_less_than_two_steps_off():
    """Of its 15 fraction bits, from -8 to 8 and beyond."""
    values = np.arange(-10 << TANH_BITS, 10 << TANH_BITS, 7)
    exact = np.tanh(values / 2.0**TANH_BITS) * 2.0**UNIT_BITS
    found = _tanh(values)
    assert np.abs(found - exact).max() < 2.0
    assert (np.diff(found) >= 0).all()
    assert (found == -_tanh(-values)).all()


def test_weights_that_do_not_fit_are_refused():
    """With the remedy."""
    model = untrained_model(0)
    with torch.no_grad():
        model.policy.mlp_extractor.policy_net[0].weight.mul_(1e6)
    rows = observations(10)["peers"].reshape(-1, PEER_LIMITS.shape[1])
    with pytest.raises(CheckpointError, match=r"too large for a network in 16 bits.*--net float"):
        in_whole_numbers(network_of(model), rows)
