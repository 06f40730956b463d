"""The gradient of the Deep Sets policy by the chain rule, written out: a few matrix products.

What `torch.autograd` finds by recording every operation is here a pure function of arrays, for the
networks of `ml.policies.deep_set_policy` as Stable-Baselines3 builds them: φ and its pooling,
then an actor and a critic of layers with tanh. Three things make it cheap. Only rows of `peers`
that were heard are gathered, so that nothing is computed for the others. Actor and critic share
one pass over the features. Numpy's tanh takes an eighth of torch's time.

All weights stand one after the other in one flat array, in the order of `policy.parameters()`, so
that a gradient is one array, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from ml.compiled import compiled
from ml.policies.deep_set_policy import DeepSetExtractor, StudiedExtractor

Floats = NDArray[np.float32]
Weights = Mapping[str, torch.Tensor]

_STUDY = "features_extractor.network."
_HEADS = ("mlp_extractor.policy_net", "action_net"), ("mlp_extractor.value_net", "value_net")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the weights of a policy stand in a flat array, and what its extractor hides.

    It can be pickled and sent to another process.

    Attributes:
        shapes: Of each parameter by SB3's name, in the order of `policy.parameters()`.
        shown_ego: (EGO_F,) float32, factors of 0 or 1.
        shown_peers: (PEER_F,) float32, factors of 0 or 1.
        used: (features_dim,) float32, factors of 0 or 1 for the extractor's features.
    """

    shapes: dict[str, tuple[int, ...]]
    shown_ego: Floats
    shown_peers: Floats
    used: Floats

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(prod(shape) for shape in self.shapes.values())

    @classmethod
    def of(cls, policy: ActorCriticPolicy) -> "Layout | None":
        """Return the layout of a policy; None where its gradient is not written out here."""
        extractor = policy.features_extractor
        study = isinstance(extractor, StudiedExtractor)
        network = extractor.network if isinstance(extractor, StudiedExtractor) else extractor
        heads = (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net)
        known = (
            type(extractor) in (DeepSetExtractor, StudiedExtractor)
            and policy.share_features_extractor
            and type(policy.action_dist) is DiagGaussianDistribution
            and all(
                type(layer) is (nn.Tanh if place % 2 else nn.Linear)
                for head in heads
                for place, layer in enumerate(head)
            )
            and all(p.dtype == torch.float32 and p.requires_grad for p in policy.parameters())
        )
        if not known:
            return None
        ego, peers = (policy.observation_space[name].shape[-1] for name in ("ego", "peers"))
        return cls(
            {name: tuple(weight.shape) for name, weight in policy.named_parameters()},
            extractor.shown_ego.numpy() if study else np.ones(ego, np.float32),
            extractor.shown_peers.numpy() if study else np.ones(peers, np.float32),
            extractor.used.numpy() if study else np.ones(network.features_dim, np.float32),
        )

    def views(self, flat: Floats) -> dict[str, torch.Tensor]:
        """Return the parameters by name, as views of a flat array (size,) float32."""
        views, start = {}, 0
        for name, shape in self.shapes.items():
            count = prod(shape)
            short = name.replace(_STUDY, "features_extractor.")
            views[short] = torch.from_numpy(flat[start : start + count].reshape(shape))
            start += count
        return views


class Network:
    """A policy's forward and backward pass over some rows of observations, at given weights.

    Args:
        layout: Of the policy.
        parameters: (size,) float32; read at every call, so another may change them in between.
    """

    def __init__(self, layout: Layout, parameters: Floats) -> None:
        self._layout = layout
        self._weights = layout.views(parameters)
        self._heads = [
            [
                *(
                    name.removesuffix(".weight")
                    for name in self._weights
                    if name.startswith(net) and name.endswith(".weight")
                ),
                last,
            ]
            for net, last in _HEADS
        ]

    @property
    def log_std(self) -> Floats:
        """Logarithm of the action's standard deviation, (actions,) float32."""
        log_std: Floats = self._weights["log_std"].numpy()
        return log_std

    def forward(
        self, ego: Floats, peers: Floats, mask: Floats, rows: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        """Compute the actions' means and the values of some rows of a rollout.

        Args:
            ego: (n, EGO_F) of the whole rollout.
            peers: (n, max_peers, PEER_F).
            mask: (n, max_peers); above 0.5 for a row of `peers` that was heard. No other is read.
            rows: Which of the n to compute.

        Returns:
            Means (rows, actions) and values (rows,), both float32.
        """
        layout, weights = self._layout, self._weights
        first = np.zeros(len(rows) + 1, np.int64)
        count_heard(mask, rows, first)
        heard = np.empty((first[-1], peers.shape[2]), np.float32)
        features = np.empty((len(rows), len(layout.used)), np.float32)
        gather(ego, peers, mask, rows, layout.shown_ego, layout.shown_peers, heard, features)
        self._heard = torch.from_numpy(heard)
        self._hidden = linear(self._heard, weights, "features_extractor.phi.0").relu_()
        self._embedded = linear(self._hidden, weights, "features_extractor.phi.2").relu_()
        self._first, self._ties = first, np.empty((len(rows), self._embedded.shape[1]), np.float32)
        pool(self._embedded.numpy(), first, layout.used, features, self._ties)
        self._features = torch.from_numpy(features)
        self._activations, outputs = [], []
        for head in self._heads:
            activations = [self._features]
            for name in head[:-1]:
                layer = linear(activations[-1], weights, name)
                np.tanh(layer.numpy(), out=layer.numpy())
                activations.append(layer)
            self._activations.append(activations)
            outputs.append(linear(activations[-1], weights, head[-1]).numpy())
        return outputs[0], outputs[1][:, 0]

    def backward(self, by_mean: Floats, by_value: Floats, gradient: Weights) -> None:
        """Write a loss's gradient with respect to all weights but `log_std`.

        Args:
            by_mean: (rows, actions), the loss's derivatives by the means of the last `forward`.
            by_value: (rows,), those by its values.
            gradient: `Layout.views` of the flat gradient.
        """
        by_features = torch.zeros_like(self._features)
        for head, activations, output in zip(
            self._heads, self._activations, (by_mean, by_value[:, None]), strict=True
        ):
            by_output = torch.from_numpy(output)
            for name, below in zip(head[:0:-1], activations[:0:-1], strict=True):
                transposed_linear(by_output, below, gradient, name)
                by_output = by_output @ self._weights[f"{name}.weight"]
                through_tanh(by_output.numpy(), below.numpy())
            transposed_linear(by_output, self._features, gradient, head[0])
            by_features.addmm_(by_output, self._weights[f"{head[0]}.weight"])
        by_embedded = torch.empty_like(self._embedded)
        unpool(
            by_features.numpy(),
            self._layout.used,
            self._first,
            self._embedded.numpy(),
            self._features.numpy(),
            self._ties,
            by_embedded.numpy(),
        )
        transposed_linear(by_embedded, self._hidden, gradient, "features_extractor.phi.2")
        by_hidden = by_embedded @ self._weights["features_extractor.phi.2.weight"]
        through_relu(by_hidden.numpy(), self._hidden.numpy())
        transposed_linear(by_hidden, self._heard, gradient, "features_extractor.phi.0")


def linear(rows: torch.Tensor, weights: Weights, name: str) -> torch.Tensor:
    """Return `rows @ weight.T + bias` of the layer called `name`."""
    return torch.addmm(weights[f"{name}.bias"], rows, weights[f"{name}.weight"].t())


def transposed_linear(
    by_output: torch.Tensor, rows: torch.Tensor, gradient: Weights, name: str
) -> None:
    """Write the gradient of a layer's weight and bias, given that by its output."""
    # As rows.T @ by_output, the product is up to twice as fast as its transpose.
    gradient[f"{name}.weight"].copy_((rows.t() @ by_output).t())
    torch.sum(by_output, 0, out=gradient[f"{name}.bias"])


@compiled
def count_heard(mask: Floats, rows: NDArray[np.int64], first: NDArray[np.int64]) -> None:
    """Write where each row's heard peers begin when all are packed, (rows + 1,)."""
    for place in range(len(rows)):
        heard = 0
        for peer in range(mask.shape[1]):
            heard += mask[rows[place], peer] > 0.5  # noqa: PLR2004 (0 or 1, as float)
        first[place + 1] = first[place] + heard


@compiled
def gather(
    ego: Floats,
    peers: Floats,
    mask: Floats,
    rows: NDArray[np.int64],
    shown_ego: Floats,
    shown_peers: Floats,
    heard: Floats,
    features: Floats,
) -> None:
    """Pack the peers that were heard into `heard`, and put the ego first in `features`."""
    place = 0
    for row in range(len(rows)):
        source = rows[row]
        for column in range(ego.shape[1]):
            features[row, column] = ego[source, column] * shown_ego[column]
        for peer in range(mask.shape[1]):
            if mask[source, peer] > 0.5:  # noqa: PLR2004
                for column in range(peers.shape[2]):
                    heard[place, column] = peers[source, peer, column] * shown_peers[column]
                place += 1


@compiled
def pool(
    embedded: Floats, first: NDArray[np.int64], used: Floats, features: Floats, ties: Floats
) -> None:
    """Put maximum and mean of each row's embeddings last in `features`, zeros where none is.

    `ties` gets how many embeddings are equal to the maximum, (rows, embedding).
    """
    width = embedded.shape[1]
    largest, mean = features.shape[1] - 2 * width, features.shape[1] - width
    for row in range(len(first) - 1):
        features[row, largest:] = 0.0
        ties[row] = 0.0
        for place in range(first[row], first[row + 1]):
            for column in range(width):
                value = embedded[place, column]
                best = features[row, largest + column]
                # φ ends in a ReLU, so 0 bounds the maximum from below.
                one = np.float32(value == best)
                ties[row, column] = np.float32(1.0) if value > best else ties[row, column] + one
                features[row, largest + column] = max(value, best)
                features[row, mean + column] += value
        share = np.float32(1.0) / np.float32(max(first[row + 1] - first[row], 1))
        for column in range(width):
            features[row, largest + column] *= used[largest + column]
            features[row, mean + column] *= used[mean + column] * share


@compiled
def unpool(
    by_features: Floats,
    used: Floats,
    first: NDArray[np.int64],
    embedded: Floats,
    features: Floats,
    ties: Floats,
    by_embedded: Floats,
) -> None:
    """Write the derivatives by what φ's last ReLU was given, of those by the pooled features.

    The derivative by a maximum is shared by all that are equal to it, as torch's `amax` does.
    """
    width = embedded.shape[1]
    largest, mean = features.shape[1] - 2 * width, features.shape[1] - width
    for row in range(len(first) - 1):
        share = np.float32(1.0) / np.float32(max(first[row + 1] - first[row], 1))
        for column in range(width):
            by_features[row, largest + column] *= used[largest + column] / max(
                ties[row, column], np.float32(1.0)
            )
            by_features[row, mean + column] *= used[mean + column] * share
        for place in range(first[row], first[row + 1]):
            for column in range(width):
                value = embedded[place, column]
                by = by_features[row, mean + column]
                if value == features[row, largest + column]:
                    by += by_features[row, largest + column]
                by_embedded[place, column] = by if value > 0.0 else np.float32(0.0)


@compiled
def through_tanh(by_output: Floats, output: Floats) -> None:
    """Turn derivatives by tanh(x) into those by x, in place."""
    for row in range(output.shape[0]):
        for column in range(output.shape[1]):
            by_output[row, column] *= np.float32(1.0) - output[row, column] * output[row, column]


@compiled
def through_relu(by_output: Floats, output: Floats) -> None:
    """Turn derivatives by max(x, 0) into those by x, in place."""
    for row in range(output.shape[0]):
        for column in range(output.shape[1]):
            if output[row, column] <= 0.0:
                by_output[row, column] = 0.0
