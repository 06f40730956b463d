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
from dataclasses import dataclass, replace
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

Indices = NDArray[np.int64]

_PHI = "features_extractor.phi"
_STUDIED_PHI = "features_extractor.network.phi"
_HEADS = ("mlp_extractor.policy_net", "action_net"), ("mlp_extractor.value_net", "value_net")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the weights of a policy stand in a flat array, and what its extractor hides.

    It can be pickled and sent to another process.

    Attributes:
        shapes: Of each parameter by SB3's name, in the order of `policy.parameters()`.
        ego: How many of the features are the ego's, the first.
        shown_peers: (PEER_F,) float32, factors of 0 or 1; None for a policy that hides nothing.
        shown: (features_dim,) float32, those of the extractor's features, or None.
    """

    shapes: dict[str, tuple[int, ...]]
    ego: int
    shown_peers: Floats | None = None
    shown: Floats | None = None

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(prod(shape) for shape in self.shapes.values())

    @classmethod
    def of(cls, policy: ActorCriticPolicy) -> "Layout | None":
        """Return the layout of a policy; None where its gradient is not written out here."""
        extractor = policy.features_extractor
        heads = (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net)
        known = (
            type(extractor) in (DeepSetExtractor, StudiedExtractor)
            and policy.share_features_extractor
            and type(policy.action_dist) is DiagGaussianDistribution
            and all(len(head) > 0 and len(head) % 2 == 0 for head in heads)
            and all(
                type(layer) is (nn.Tanh if place % 2 else nn.Linear)
                for head in heads
                for place, layer in enumerate(head)
            )
            and all(
                weight.dtype == torch.float32 and weight.device.type == "cpu"
                for weight in policy.parameters()
            )
        )
        if not known:
            return None
        ego = policy.observation_space["ego"].shape[0]
        layout = cls({name: tuple(w.shape) for name, w in policy.named_parameters()}, ego)
        if isinstance(extractor, StudiedExtractor):
            shown = torch.cat([extractor.shown_ego, extractor.used[ego:]]).numpy()
            return replace(layout, shown_peers=extractor.shown_peers.numpy().copy(), shown=shown)
        return layout

    def views(self, flat: Floats) -> dict[str, torch.Tensor]:
        """Return the parameters by name, as views of a flat array (size,) float32."""
        views, start = {}, 0
        for name, shape in self.shapes.items():
            count = prod(shape)
            views[name.replace(_STUDIED_PHI, _PHI)] = torch.from_numpy(
                flat[start : start + count].reshape(shape)
            )
            start += count
        return views


def flat_parameters(policy: ActorCriticPolicy) -> Floats:
    """Return a copy of all weights, (size,) float32, in the order of `Layout`."""
    parts = [weight.detach().reshape(-1) for weight in policy.parameters()]
    flat: Floats = torch.cat(parts).numpy()
    return flat


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
        self, ego: Floats, peers: Floats, mask: Floats, rows: Indices
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
        max_peers = mask.shape[1]
        places, first = np.empty(len(rows) * max_peers, np.int64), np.zeros(len(rows) + 1, np.int64)
        find_heard(mask, rows, places, first)
        every_peer = torch.from_numpy(peers.reshape(-1, peers.shape[2]))
        heard = every_peer.index_select(0, torch.from_numpy(places[: first[-1]]))
        if layout.shown_peers is not None:
            heard *= torch.from_numpy(layout.shown_peers)
        hidden = linear(heard, weights, f"{_PHI}.0").relu_()
        embedded = linear(hidden, weights, f"{_PHI}.2").relu_()
        features = torch.empty(len(rows), layout.ego + 2 * embedded.shape[1])
        pool(ego, rows, embedded.numpy(), first, features.numpy())
        if layout.shown is not None:
            features *= torch.from_numpy(layout.shown)
        self._first, self._phi, self._activations = first, (heard, hidden, embedded, features), []
        outputs = []
        for head in self._heads:
            activations = [features]
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
        layout, weights = self._layout, self._weights
        heard, hidden, embedded, features = self._phi
        by_pooled = torch.zeros(len(features), 2 * embedded.shape[1])
        for head, activations, output in zip(
            self._heads, self._activations, (by_mean, by_value[:, None]), strict=True
        ):
            by_output = torch.from_numpy(output)
            for name, below in zip(head[:0:-1], activations[:0:-1], strict=True):
                by_weights(by_output, below, gradient, name)
                by_output = by_output @ weights[f"{name}.weight"]
                through_tanh(by_output.numpy(), below.numpy())
            by_weights(by_output, features, gradient, head[0])
            by_pooled.addmm_(by_output, weights[f"{head[0]}.weight"][:, layout.ego :])
        if layout.shown is not None:
            by_pooled *= torch.from_numpy(layout.shown[layout.ego :])
        by_embedded = torch.empty_like(embedded)
        unpool(by_pooled.numpy(), self._first, embedded.numpy(), by_embedded.numpy())
        by_weights(by_embedded, hidden, gradient, f"{_PHI}.2")
        by_hidden = by_embedded @ weights[f"{_PHI}.2.weight"]
        through_relu(by_hidden.numpy(), hidden.numpy())
        by_weights(by_hidden, heard, gradient, f"{_PHI}.0")


def linear(rows: torch.Tensor, weights: Weights, name: str) -> torch.Tensor:
    """Return `rows @ weight.T + bias` of the layer called `name`."""
    return torch.addmm(weights[f"{name}.bias"], rows, weights[f"{name}.weight"].t())


def by_weights(by_output: torch.Tensor, rows: torch.Tensor, gradient: Weights, name: str) -> None:
    """Write the derivatives by a layer's weight and bias, given those by its output."""
    # This product is up to twice as fast as its transpose, which torch would compute.
    gradient[f"{name}.weight"].copy_((rows.t() @ by_output).t())
    torch.sum(by_output, 0, out=gradient[f"{name}.bias"])


@compiled
def find_heard(mask: Floats, rows: Indices, places: Indices, first: Indices) -> None:
    """Find the peers that were heard, of some rows, among all peers of all rows.

    Args:
        mask: (n, max_peers).
        rows: (rows,).
        places: (rows · max_peers,), gets them one after the other.
        first: (rows + 1,) zeros, gets where in `places` those of each row begin.
    """
    count, width = 0, mask.shape[1]
    for row in range(len(rows)):
        for peer in range(width):
            if mask[rows[row], peer] > 0.5:  # noqa: PLR2004 (0 or 1, as float)
                places[count] = rows[row] * width + peer
                count += 1
        first[row + 1] = count


@compiled
def pool(ego: Floats, rows: Indices, embedded: Floats, first: Indices, features: Floats) -> None:
    """Write the features: the ego's, maximum and mean of its peers' embeddings or zeros.

    Args:
        ego: (n, EGO_F).
        rows: (rows,).
        embedded: (heard, width), by `find_heard`'s order.
        first: (rows + 1,), its.
        features: (rows, EGO_F + 2 · width).
    """
    width, egos = embedded.shape[1], ego.shape[1]
    # The compiler makes short vectors only of sums that stand alone.
    largest, total = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(len(rows)):
        for column in range(egos):
            features[row, column] = ego[rows[row], column]
        for column in range(width):
            # φ ends in a ReLU, so 0 bounds the maximum from below.
            largest[column] = total[column] = 0.0
        for place in range(first[row], first[row + 1]):
            for column in range(width):
                value = embedded[place, column]
                largest[column] = max(largest[column], value)
                total[column] += value
        share = np.float32(1.0) / np.float32(max(first[row + 1] - first[row], 1))
        for column in range(width):
            features[row, egos + column] = largest[column]
            features[row, egos + width + column] = total[column] * share


@compiled
def unpool(by_pooled: Floats, first: Indices, embedded: Floats, by_embedded: Floats) -> None:
    """Write the derivatives by what φ's last ReLU was given, of those by maximum and mean.

    That by a maximum is shared by all that are equal to it, as torch's `amax` does.

    Args:
        by_pooled: (rows, 2 · width).
        first: (rows + 1,), of `find_heard`.
        embedded: (heard, width).
        by_embedded: (heard, width).
    """
    width, none = embedded.shape[1], np.float32(0.0)
    largest, equal = np.empty(width, np.float32), np.empty(width, np.float32)
    by_largest, by_each = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(len(first) - 1):
        begin, end = first[row], first[row + 1]
        for column in range(width):
            largest[column] = equal[column] = 0.0
        for place in range(begin, end):
            for column in range(width):
                value, best = embedded[place, column], largest[column]
                more = equal[column] + (np.float32(1.0) if value == best else none)
                equal[column] = np.float32(1.0) if value > best else more
                largest[column] = max(best, value)
        share = np.float32(1.0) / np.float32(max(end - begin, 1))
        for column in range(width):
            by_largest[column] = by_pooled[row, column] / equal[column]
            by_each[column] = by_pooled[row, width + column] * share
        for place in range(begin, end):
            for column in range(width):
                value = embedded[place, column]
                by = by_each[column] + (by_largest[column] if value == largest[column] else none)
                by_embedded[place, column] = by if value > none else none


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
