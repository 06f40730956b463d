"""The network of a model, as arrays that a board can hold."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from ml.errors import CheckpointError
from ml.onboard.observation.spec import EGO_FEATURES, PEER_FEATURES
from ml.policies.deep_set_policy import DeepSetExtractor

WIDEST = 64
"""Of a layer: a board's stack holds two of them, and its flash their weights."""


class Layer(NamedTuple):
    """out = weight in + bias; float32."""

    weight: NDArray[np.float32]  # (outputs, inputs)
    bias: NDArray[np.float32]  # (outputs,)


class Network(NamedTuple):
    """From an observation to the mean of the action; see `ml.policies.deep_set_policy`.

    Attributes:
        phi: Two layers with a ReLU behind each, per peer.
        head: Two layers with a tanh behind each, of the ego's features, and the maximum and the
            mean of the peers' embeddings.
        action: The last layer, one output.
    """

    phi: tuple[Layer, Layer]
    head: tuple[Layer, Layer]
    action: Layer

    def layers(self) -> tuple[Layer, ...]:
        """Return the layers in the order of `LAYERS`."""
        return (*self.phi, *self.head, self.action)


LAYERS: Final = ("PHI_0", "PHI_1", "HEAD_0", "HEAD_1", "ACTION")
"""What `weights.h` calls them."""


def network_of(model: BaseAlgorithm) -> Network:
    """Take the actor's network out of a model.

    Raises:
        CheckpointError: It is not the one that the board's code computes.
    """
    policy: Any = model.policy  # whose parts torch types as anything
    extractor: Any = getattr(policy, "features_extractor", None)
    if type(extractor) is not DeepSetExtractor:
        raise CheckpointError(
            f"the model's features come from {type(extractor).__name__}, and a board computes "
            "those of DeepSetExtractor alone. Export a model of `roadsense train`; one of an "
            "ablation hides inputs, and is for comparison only."
        )
    actor = policy.mlp_extractor.policy_net
    parts = {"φ": (extractor.phi, nn.ReLU), "the actor's head": (actor, nn.Tanh)}
    for name, (part, activation) in parts.items():
        kinds = [type(module) for module in part]
        if kinds != [nn.Linear, activation] * 2:
            found = ", ".join(kind.__name__ for kind in kinds) or "nothing"
            raise CheckpointError(
                f"{name} is made of {found}; a board computes two Linear layers with a "
                f"{activation.__name__} behind each. Train with "
                "`create_deep_set_policy_kwargs()` as it is."
            )
    phi, head = (tuple(_layer(part[k]) for k in (0, 2)) for part in (extractor.phi, actor))
    network = Network((phi[0], phi[1]), (head[0], head[1]), _layer(policy.action_net))
    _check(network)
    return network


def _layer(module: Any) -> Layer:
    weight, bias = (value.detach().cpu().numpy() for value in (module.weight, module.bias))
    return Layer(weight.astype(np.float32), bias.astype(np.float32))


def _check(network: Network) -> None:
    layers = network.layers()
    if not all(np.isfinite(values).all() for layer in layers for values in layer):
        raise CheckpointError(
            "a weight of the model is not a number: its training has diverged. Export an earlier "
            "checkpoint (`checkpoints/`, or best.zip)."
        )
    widest = max(layer.bias.size for layer in layers)
    if widest > WIDEST:
        raise CheckpointError(
            f"a layer of the model has {widest} outputs, at most {WIDEST} fit a board's stack. "
            f"Train one with peer_embed_dim ≤ {WIDEST}."
        )
    embedded = network.phi[1].bias.size
    sizes = [layer.weight.shape[1] for layer in layers]
    hidden, first, second = (part.bias.size for part in (network.phi[0], *network.head))
    features = len(EGO_FEATURES) + 2 * embedded
    expected = [len(PEER_FEATURES), hidden, features, first, second]
    if sizes != expected or network.action.bias.size != 1:
        raise CheckpointError(
            f"the model's layers take {sizes} values and give {network.action.bias.size} actions; "
            f"expected {expected} and 1. Export a model of `roadsense train`."
        )
