"""The gradient that is written out is the one that torch finds by recording every operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from torch import nn

from ml.envs.spaces import observation_space
from ml.policies.deep_set_policy import create_deep_set_policy_kwargs, studied
from ml.policies.gradient import Layout, backward, forward

ROWS = 40
PLAIN = create_deep_set_policy_kwargs()
STUDY = studied(PLAIN, hidden_ego=(0,), hidden_peers=(1, 3), pooling="mean")


def _policy(policy_kwargs: dict[str, Any], actions: int = 1) -> MultiInputActorCriticPolicy:
    torch.manual_seed(0)
    box = spaces.Box(-1.0, 1.0, (actions,), np.float32)
    return MultiInputActorCriticPolicy(observation_space(), box, lambda _: 3e-4, **policy_kwargs)


def _seen(share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations in which a share of the peers was heard; two rows of one are the same."""
    draw, rooms = np.random.default_rng(5), observation_space()
    ego, peers, mask = (
        draw.standard_normal((ROWS, *rooms[name].shape)).astype(np.float32)
        for name in ("ego", "peers", "peer_mask")
    )
    mask = (draw.random(mask.shape) < share).astype(np.float32)
    mask[3, :2], peers[3, 1] = 1.0, peers[3, 0]
    peers[mask == 0.0] = 7.0
    return ego, peers, mask


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["nobody", "half", "all"])
@pytest.mark.parametrize(("policy_kwargs", "actions"), [(PLAIN, 1), (PLAIN, 2), (STUDY, 1)])
def test_it_is_torchs(policy_kwargs: dict[str, Any], actions: int, share: float):
    """Means, values and all derivatives, of some rows of a rollout in any order."""
    policy, seen = _policy(policy_kwargs, actions), _seen(share)
    layout = Layout.of(policy)
    assert layout is not None
    rows = np.random.default_rng(1).permutation(ROWS)[:25]
    by_means, by_values = torch.randn(25, actions), torch.randn(25, 1)

    observed = {
        name: torch.from_numpy(array[rows])
        for name, array in zip(("ego", "peers", "peer_mask"), seen, strict=True)
    }
    actor, critic = policy.mlp_extractor(policy.extract_features(observed))
    means, values = policy.action_net(actor), policy.value_net(critic)
    ((means * by_means).sum() + (values * by_values).sum()).backward()
    expected = torch.cat(
        [torch.zeros(actions)]  # log_std is no part of it
        + [weight.grad.reshape(-1) for weight in list(policy.parameters())[1:]]  # type: ignore[union-attr]
    )

    flat = torch.cat([weight.detach().reshape(-1) for weight in policy.parameters()]).numpy()
    gradient = torch.zeros(layout.size).numpy()
    with torch.inference_mode():
        weights = layout.weights(flat)
        done = forward(layout, weights, seen, rows)
        backward(layout, weights, done, (by_means, by_values), layout.weights(gradient))
    torch.testing.assert_close(done.means, means.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(done.values, values.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.from_numpy(gradient), expected, rtol=1e-4, atol=1e-5)
    assert len(done.heard) == int(seen[2][rows].sum())  # nothing is computed for the others


@pytest.mark.parametrize(
    "changed",
    [
        {"share_features_extractor": False},
        {"activation_fn": nn.ReLU},
        {"net_arch": []},
        {"use_sde": True},
        {"features_extractor_class": None},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_network_has_no_layout(changed: dict[str, Any]):
    """Whatever is not as in `create_deep_set_policy_kwargs`, but widths and depths, is refused."""
    kwargs = PLAIN | changed
    if kwargs["features_extractor_class"] is None:
        del kwargs["features_extractor_class"], kwargs["features_extractor_kwargs"]
    assert Layout.of(_policy(kwargs)) is None
    assert Layout.of(_policy(PLAIN | {"net_arch": {"pi": [8], "vf": [8, 4]}})) is not None
