"""The compiled forward pass is the network's, and a row's result is the row's own."""

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from support.tiny_convoys import TinyConvoys

from ml.errors import EnvironmentStateError
from ml.onboard.observation.spec import columns_of
from ml.policies.compiled_policy import CompiledPolicy
from ml.policies.deep_set_policy import create_deep_set_policy_kwargs, studied

HIDDEN = ("ego.needed_braking", "peers.needed_braking")
KINDS = {
    "plain": create_deep_set_policy_kwargs(),
    "wide": create_deep_set_policy_kwargs(48),
    "studied": studied(
        create_deep_set_policy_kwargs(),
        hidden_ego=columns_of("ego", HIDDEN),
        hidden_peers=columns_of("peers", HIDDEN),
        pooling="mean",
    ),
}


def policy_of(kind):
    """Make a policy whose action's weights are as large as the others."""
    model = PPO(
        "MultiInputPolicy",
        TinyConvoys(2),
        policy_kwargs=KINDS[kind],
        n_steps=2,
        batch_size=4,
        seed=7,
    )
    with torch.no_grad():
        for weights in model.policy.parameters():
            weights.add_(0.1 * torch.randn(weights.shape))
    return model.policy


def observations(rows, seed=0):
    """Make observations of which some hear nobody; masked rows hold NaN."""
    rng = np.random.default_rng(seed)
    seen = {
        name: rng.normal(size=(rows, *box.shape)).astype(np.float32)
        for name, box in TinyConvoys(1).observation_space.spaces.items()
    }
    heard = rng.random(seen["peer_mask"].shape) < np.linspace(0.0, 1.0, rows)[:, None]
    seen["peer_mask"] = heard.astype(np.float32)
    seen["peers"][~heard] = np.nan
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_what_the_network_does(kind):
    """Means and values within single precision, whoever is heard; masked rows are not read."""
    policy, seen = policy_of(kind), observations(64)
    mean, value = CompiledPolicy(policy).forward(seen)
    tensors = {name: torch.as_tensor(rows) for name, rows in seen.items()}
    with torch.no_grad():
        wanted = policy.get_distribution(tensors).mode()[:, 0].numpy()
        worth = policy.predict_values(tensors)[:, 0].numpy()
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(mean, wanted, atol=3e-6)
    np.testing.assert_allclose(value, worth, atol=3e-6)
    acted = np.clip(wanted, -1.0, 1.0)
    np.testing.assert_allclose(CompiledPolicy(policy).act(seen), acted, atol=3e-6)


def test_a_row_does_not_depend_on_those_beside_it():
    """Bit for bit, alone or in company."""
    policy, seen = CompiledPolicy(policy_of("plain")), observations(33)
    together = np.array(policy.forward(seen))
    for row in range(33):
        alone = policy.forward({name: rows[row : row + 1] for name, rows in seen.items()})
        assert (np.array(alone)[:, 0] == together[:, row]).all()


def test_weights_are_those_of_the_time_it_was_made():
    """The policy may learn on meanwhile."""
    policy = policy_of("plain")
    made, seen = CompiledPolicy(policy), observations(8)
    before = made.forward(seen)[0].copy()
    with torch.no_grad():
        for weights in policy.parameters():
            weights.zero_()
    assert (made.forward(seen)[0] == before).all()


def test_another_network_is_none_of_its():
    """gSDE, or heads of another size, is told of."""
    other = create_deep_set_policy_kwargs() | {"net_arch": [64]}
    for more in ({"policy_kwargs": other}, {"policy_kwargs": KINDS["plain"], "use_sde": True}):
        model = PPO("MultiInputPolicy", TinyConvoys(2), n_steps=2, batch_size=4, **more)
        with pytest.raises(EnvironmentStateError, match="create_deep_set_policy_kwargs"):
            CompiledPolicy(model.policy)
