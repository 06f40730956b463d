"""The policy's forward pass as a compiled loop over rows, for rollouts.

A row's result does not depend on the rows beside it, as a matrix product's last bits do: so a
convoy drives the same whatever company it is simulated in. And for a few dozen rows most of torch's
time is its calls, which this has not.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

from ml.compiled import compiled_with_fma
from ml.errors import EnvironmentStateError
from ml.onboard.observation.spec import Observation
from ml.policies import gradient
from ml.policies.gradient import Layout, flat_parameters

Float32s = NDArray[np.float32]

_HEARD = np.float32(0.5)


class Layer(NamedTuple):
    """A linear layer."""

    weight: Float32s
    """(inputs, outputs), the transpose of torch's, so that the inner loop runs along memory."""
    bias: Float32s
    """(outputs,)"""


class Layers(NamedTuple):
    """All linear layers of a Deep Sets actor and critic, in the order of `layers_of`."""

    phi_1: Layer
    phi_2: Layer
    actor_1: Layer
    actor_2: Layer
    action: Layer
    critic_1: Layer
    critic_2: Layer
    value: Layer


class CompiledPolicy:
    """A Deep Sets policy's mean action and value, row by row.

    Args:
        policy: With a `DeepSetExtractor` or a `StudiedExtractor`, and heads as
            `create_deep_set_policy_kwargs` makes them. Its weights are copied.

    Raises:
        EnvironmentStateError: It is another network.

    Attributes:
        layers: The copied weights; what a study hides has weights of 0.
        log_std: Logarithm of the action's standard deviation.
    """

    def __init__(self, policy: ActorCriticPolicy) -> None:
        layout = Layout.of(policy)
        weights = None if layout is None else layout.weights(flat_parameters(policy))
        if layout is None or weights is None or {len(weights.actor), len(weights.critic)} != {3}:
            raise EnvironmentStateError(
                "this policy's network is not that of create_deep_set_policy_kwargs(), which alone "
                "is compiled"
            )
        of = (*weights.phi, *weights.actor, *weights.critic)
        shown = {0: layout.shown_peers, 2: layout.shown, 5: layout.shown}
        self.layers = Layers(*(_copied(layer, shown.get(k)) for k, layer in enumerate(of)))
        self.log_std = float(weights.log_std[0])

    def forward(self, seen: Observation) -> tuple[Float32s, Float32s]:
        """Return mean actions and values, each (n,) float32, of observations with n rows."""
        rows = seen["ego"].shape[0]
        mean, value = np.empty((2, rows), dtype=np.float32)
        _forward(seen["ego"], seen["peers"], seen["peer_mask"], self.layers, mean, value)
        return mean, value

    def act(self, seen: Observation) -> Float32s:
        """Return the mean actions within [−1, 1], (n,) float32: how the policy drives in use."""
        return np.clip(self.forward(seen)[0], -1.0, 1.0)


def _copied(layer: gradient.Layer, factors: Float32s | None) -> Layer:
    """Copy a layer, its inputs multiplied by factors of 0 or 1."""
    weight, bias = layer.weight.numpy(), layer.bias.numpy()
    shown = weight if factors is None else weight * factors
    return Layer(np.array(shown.T, dtype=np.float32, order="C"), bias.copy())


@compiled_with_fma
def _affine(x: Float32s, layer: Layer, out: Float32s) -> None:
    """Out ← x · weight + bias."""
    weight, bias = layer
    for j in range(bias.size):
        out[j] = bias[j]
    for i in range(weight.shape[0]):
        factor = x[i]
        if factor != 0.0:
            for j in range(bias.size):
                out[j] += factor * weight[i, j]


@compiled_with_fma
def _forward(
    ego: Float32s, peers: Float32s, mask: Float32s, layers: Layers, mean: Float32s, value: Float32s
) -> None:
    """Fill mean actions and values (n,); the formulas are those of `DeepSetExtractor`."""
    ego_size, width = ego.shape[1], layers.phi_2.bias.size
    hidden = np.empty(layers.phi_1.bias.size, dtype=np.float32)
    embedded = np.empty(width, dtype=np.float32)
    features = np.empty(ego_size + 2 * width, dtype=np.float32)
    first = np.empty(layers.actor_1.bias.size, dtype=np.float32)
    second = np.empty(layers.actor_2.bias.size, dtype=np.float32)
    answer = np.empty(1, dtype=np.float32)
    for row in range(ego.shape[0]):
        features[:ego_size] = ego[row]
        features[ego_size:] = 0.0
        count = 0
        for slot in range(peers.shape[1]):
            if mask[row, slot] > _HEARD:
                count += 1
                _affine(peers[row, slot], layers.phi_1, hidden)
                np.maximum(hidden, np.float32(0.0), hidden)
                _affine(hidden, layers.phi_2, embedded)
                for k in range(width):
                    positive = max(embedded[k], np.float32(0.0))
                    features[ego_size + k] = max(features[ego_size + k], positive)
                    features[ego_size + width + k] += positive
        if count > 1:
            share = np.float32(1.0) / np.float32(count)
            for k in range(width):
                features[ego_size + width + k] *= share
        for head in range(2):
            if head == 0:
                one, two, last, found = layers.actor_1, layers.actor_2, layers.action, mean
            else:
                one, two, last, found = layers.critic_1, layers.critic_2, layers.value, value
            _affine(features, one, first)
            np.tanh(first, first)
            _affine(first, two, second)
            np.tanh(second, second)
            _affine(second, last, answer)
            found[row] = answer[0]
