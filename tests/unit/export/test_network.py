"""What of a model goes to a board, and what is refused, with the remedy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.untrained import untrained_model
from torch import nn

from ml.envs.policy_interface import PolicyInterface
from ml.errors import CheckpointError
from ml.export.network import LAYERS, network_of
from ml.export.weights import weights_header
from ml.onboard.observation.spec import EGO_INDEX, MAX_PEERS, PEER_INDEX
from ml.parameters import load_parameters
from ml.policies.deep_set_policy import StudiedExtractor


def test_the_arrays_are_the_policys_network():
    """Computed by hand with numpy, as a board does, they give the actions of `predict`."""
    model = untrained_model(3, peer_embed_dim=16, swing=40.0)
    network = network_of(model)
    rng = np.random.default_rng(1)
    ego = rng.normal(size=len(EGO_INDEX)).astype(np.float32)
    peers = rng.normal(size=(MAX_PEERS, len(PEER_INDEX))).astype(np.float32)
    mask = (np.arange(MAX_PEERS) < 3).astype(np.float32)
    seen = {"ego": ego, "peers": peers, "peer_mask": mask}
    embedded = peers[:3]
    for layer in network.phi:
        embedded = np.maximum(embedded @ layer.weight.T + layer.bias, 0.0)
    features = np.concatenate([ego, embedded.max(axis=0), embedded.mean(axis=0)])
    for layer in network.head:
        features = np.tanh(layer.weight @ features + layer.bias)
    mean = np.clip(network.action.weight @ features + network.action.bias, -1.0, 1.0)
    action, _ = model.predict(seen, deterministic=True)
    assert mean == pytest.approx(action, abs=1e-5)
    assert 0.01 < abs(mean[0]) < 1.0


def _ablated(model):
    model.policy.features_extractor = StudiedExtractor(model.observation_space, hidden_ego=[0])


def _other_activation(model):
    model.policy.mlp_extractor.policy_net[1] = nn.ReLU()


def _diverged(model):
    with torch.no_grad():
        model.policy.action_net.bias.fill_(float("nan"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_ablated, "StudiedExtractor.*ablation hides inputs"),
        (_other_activation, "made of Linear, ReLU, Linear, Tanh.*create_deep_set_policy_kwargs"),
        (_diverged, "not a number.*earlier checkpoint"),
    ],
)
def test_a_network_that_a_board_does_not_compute_is_refused(change, says):
    """What it is, and what to export in its place."""
    model = untrained_model(0)
    change(model)
    with pytest.raises(CheckpointError, match=says):
        network_of(model)


def test_a_network_too_wide_for_a_stack_is_refused():
    """With the largest width."""
    with pytest.raises(CheckpointError, match=r"128 outputs, at most 64.*peer_embed_dim ≤ 64"):
        network_of(untrained_model(0, peer_embed_dim=128))


def test_the_header_holds_every_weight_to_the_bit():
    """Decimal, and read back as float32."""
    model = untrained_model(5, peer_embed_dim=8)
    network = network_of(model)
    text = weights_header(network, PolicyInterface(), load_parameters("clean"), "a model")
    for name, layer in zip(LAYERS, network.layers(), strict=True):
        for part, values in (("WEIGHT", layer.weight), ("BIAS", layer.bias)):
            body = text.split(f"{name}_{part}[")[1].split("{")[1].split("}")[0]
            written = [literal.strip() for literal in body.split(",") if literal.strip()]
            assert all(literal.endswith("f") for literal in written)
            read = np.array([np.float32(literal[:-1]) for literal in written])
            assert (read == values.ravel()).all()
