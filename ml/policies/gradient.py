"""The gradient of the Deep Sets policy by the chain rule, written out: a few matrix products.

What `torch.autograd` finds by recording every operation is here a pure function of arrays, for the
networks of `ml.policies.deep_set_policy` as Stable-Baselines3 builds them: φ and its pooling,
then an actor and a critic of layers with tanh. Three things make it cheap. Only rows of `peers`
that were heard are gathered, so that nothing is computed for the others. Actor and critic share
one pass over the features. Numpy's tanh takes an eighth of torch's time.

All weights stand one after the other in one flat array, in the order of `policy.parameters()`, so
that a gradient is one array, too.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from ml.compiled import compiled
from ml.policies.deep_set_policy import DeepSetExtractor, StudiedExtractor

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

_BLOCK = 8
"""Numbers in a vector of the processor."""


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
        ego = prod(policy.observation_space["ego"].shape)  # type: ignore[index]
        layout = cls({name: tuple(w.shape) for name, w in policy.named_parameters()}, ego)
        if isinstance(extractor, StudiedExtractor):
            shown = torch.cat([extractor.shown_ego, extractor.used[ego:]]).numpy()
            return replace(layout, shown_peers=extractor.shown_peers.numpy().copy(), shown=shown)
        return layout

    def weights(self, flat: Floats) -> "Weights":
        """Return views of a flat array (size,) float32, by what they are in the network."""
        named, start = {}, 0
        for name, shape in self.shapes.items():
            count = prod(shape)
            named[name] = torch.from_numpy(flat[start : start + count].reshape(shape))
            start += count

        def layers(*prefixes: str) -> list[Layer]:
            """Those whose names begin so, in order; a layer's weight stands before its bias."""
            found = [
                weight
                for prefix in prefixes
                for name, weight in named.items()
                if name.startswith(prefix)
            ]
            return [Layer(*pair) for pair in zip(found[::2], found[1::2], strict=True)]

        return Weights(
            named["log_std"],
            layers("features_extractor."),
            layers("mlp_extractor.policy_net.", "action_net."),
            layers("mlp_extractor.value_net.", "value_net."),
        )


def flat_parameters(policy: ActorCriticPolicy) -> Floats:
    """Return a copy of all weights, (size,) float32, in the order of `Layout`."""
    parts = [weight.detach().reshape(-1) for weight in policy.parameters()]
    flat: Floats = torch.cat(parts).numpy()
    return flat


class Layer(NamedTuple):
    """Weight (outputs, inputs) and bias (outputs,) of a linear layer, or derivatives by them."""

    weight: torch.Tensor
    bias: torch.Tensor


class Weights(NamedTuple):
    """All weights of a policy, or derivatives by them.

    Attributes:
        log_std: (actions,), logarithm of the action's standard deviation.
        phi: The two layers of φ.
        actor: From the features to the actions' means.
        critic: From the features to the value.
    """

    log_std: torch.Tensor
    phi: list[Layer]
    actor: list[Layer]
    critic: list[Layer]


class Pass(NamedTuple):
    """What a forward pass has computed, for the way back.

    Attributes:
        means: (rows, actions), of the actions.
        values: (rows, 1).
        heard: (heard, PEER_F), the peers that were heard, one row's after the other's.
        first: (rows + 1,), where in `heard` each row's begin.
        hidden: (heard, …), of φ.
        embedded: (heard, width), of φ.
        actor: Inputs (rows, …) of the actor's layers, the first the features.
        critic: Inputs of the critic's.
    """

    means: torch.Tensor
    values: torch.Tensor
    heard: torch.Tensor
    first: Indices
    hidden: torch.Tensor
    embedded: torch.Tensor
    actor: list[torch.Tensor]
    critic: list[torch.Tensor]


def forward(
    layout: Layout, weights: Weights, seen: tuple[Floats, Floats, Floats], rows: Indices
) -> Pass:
    """Compute the actions' means and the values of some rows of a rollout.

    Args:
        layout: Of the policy.
        weights: Its own.
        seen: The whole rollout's ego (n, EGO_F), peers (n, max_peers, PEER_F) and peer_mask (n,
            max_peers), above 0.5 for a row of peers that was heard. No other is read.
        rows: Which of the n to compute.
    """
    ego, peers, mask = seen
    places = np.empty(len(rows) * mask.shape[1] + 1, np.int64)
    first = np.zeros(len(rows) + 1, np.int64)
    find_heard(mask, rows, places, first)
    every_peer = torch.from_numpy(peers.reshape(-1, peers.shape[2]))
    heard = every_peer.index_select(0, torch.from_numpy(places[: first[-1]]))
    if layout.shown_peers is not None:
        heard *= torch.from_numpy(layout.shown_peers)
    hidden = linear(heard, weights.phi[0]).relu_()
    embedded = linear(hidden, weights.phi[1]).relu_()
    features = torch.empty(len(rows), layout.ego + 2 * embedded.shape[1])
    pool(ego, rows, embedded.numpy(), first, features.numpy())
    if layout.shown is not None:
        features *= torch.from_numpy(layout.shown)
    actor, means = through_head(features, weights.actor)
    critic, values = through_head(features, weights.critic)
    return Pass(means, values, heard, first, hidden, embedded, actor, critic)


def backward(
    layout: Layout,
    weights: Weights,
    done: Pass,
    by_outputs: tuple[torch.Tensor, torch.Tensor],
    gradient: Weights,
) -> None:
    """Write a loss's derivatives by all weights but `log_std`.

    Args:
        layout: Of the policy.
        weights: Its own.
        done: The forward pass.
        by_outputs: The loss's derivatives by its means and values.
        gradient: Gets the derivatives.
    """
    features = done.actor[0]
    by_pooled = torch.zeros(len(features), 2 * done.embedded.shape[1])
    for by_output, head, inputs, by_head in zip(
        by_outputs,
        (weights.actor, weights.critic),
        (done.actor, done.critic),
        (gradient.actor, gradient.critic),
        strict=True,
    ):
        for place in range(len(head) - 1, 0, -1):
            by_layer(by_output, inputs[place], by_head[place])
            by_output = by_output @ head[place].weight  # noqa: PLW2901 (one layer nearer)
            through_tanh(by_output.numpy(), inputs[place].numpy())
        by_layer(by_output, features, by_head[0])
        by_pooled.addmm_(by_output, head[0].weight[:, layout.ego :])
    if layout.shown is not None:
        by_pooled *= torch.from_numpy(layout.shown[layout.ego :])
    by_embedded = torch.empty_like(done.embedded)
    unpool(by_pooled.numpy(), done.first, done.embedded.numpy(), by_embedded.numpy())
    by_layer(by_embedded, done.hidden, gradient.phi[1])
    by_hidden = by_embedded @ weights.phi[1].weight
    through_relu(by_hidden.numpy(), done.hidden.numpy())
    by_layer(by_hidden, done.heard, gradient.phi[0])


def through_head(
    features: torch.Tensor, head: list[Layer]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return the inputs of a head's layers, and the output of the last."""
    inputs = [features]
    for layer in head[:-1]:
        output = linear(inputs[-1], layer)
        array = output.numpy()
        np.tanh(array, out=array)  # in an eighth of torch's time
        inputs.append(output)
    return inputs, linear(inputs[-1], head[-1])


def linear(rows: torch.Tensor, layer: Layer) -> torch.Tensor:
    """Return `rows @ weight.T + bias`."""
    return torch.addmm(layer.bias, rows, layer.weight.t())


def by_layer(by_output: torch.Tensor, rows: torch.Tensor, gradient: Layer) -> None:
    """Write the derivatives by a layer's weight and bias, given those by its output."""
    if rows.shape[1] % _BLOCK:
        # Where a row is no multiple of a vector, the transposed product takes half the time.
        gradient.weight.copy_((rows.t() @ by_output).t())
    else:
        torch.mm(by_output.t(), rows, out=gradient.weight)
    torch.sum(by_output, 0, out=gradient.bias)


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
            # Without a branch, which nobody could predict: the next heard peer writes over it.
            places[count] = rows[row] * width + peer
            count += 1 if mask[rows[row], peer] > 0.5 else 0  # noqa: PLR2004 (0 or 1, as float)
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
    for row in range(len(rows)):  # in a loop of its own, which waits less for the memory
        for column in range(egos):
            features[row, column] = ego[rows[row], column]
    for row in range(len(rows)):
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
