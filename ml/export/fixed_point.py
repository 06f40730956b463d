"""The network in whole numbers: int16 weights and activations, for a core without FPU.

A value v of n fraction bits is the int16 round(v · 2ⁿ). Each row of a layer has fraction bits of
its own for its weights, as many as fit; a layer's outputs have theirs in common. Where an output
has bounds of its own (inputs are clipped by the observation, tanh is flat beyond ±8, an action ends
at ±1) those say how many; elsewhere, behind a ReLU, it is twice the largest value of a calibration
set, and what is larger saturates at the largest int16. All scales are powers of two, so that going
from one to another is a shift, and equal on all machines.

What is here is the twin of `firmware/brain/brain.c` under `BRAIN_INT16`, to the bit.
"""

import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Bools, Floats, Ints
from ml.errors import CheckpointError
from ml.export.network import Layer, Network
from ml.onboard.actuation import accel_from_action
from ml.onboard.observation.spec import EGO_LIMITS, PEER_LIMITS

TANH_BITS: Final = 16
"""Fraction bits of what a tanh is taken of."""
STEP_BITS: Final = 6
"""The table of tanh has so many fraction bits: steps of 1/64."""
UNIT_BITS: Final = 15
"""Fraction bits of what is within ±1: a tanh, and an action."""
_TANH_END: Final = 8
_LARGEST: Final = 2**15 - 1
_GUARD: Final = 2.0
_MOST_WEIGHT_BITS: Final = 24
_BIAS_END: Final = 2.0**52

TANH: Final[Ints] = np.minimum(
    np.rint(np.tanh(np.arange((_TANH_END << STEP_BITS) + 1) / (1 << STEP_BITS)) * 2**UNIT_BITS),
    _LARGEST,
).astype(np.int64)
"""tanh from 0 to 8 in steps of 1/64, of `UNIT_BITS`; (513,) int64."""


class Predicts(Protocol):
    """A policy: an observation in, actions (n, 1) out, as Stable-Baselines3's models."""

    def predict(self, observation: Any, *, deterministic: bool = False) -> tuple[NDArray[Any], Any]:
        """Return the actions, and what is not used here."""
        ...


class FixedLayer(NamedTuple):
    """out = (weight in + bias) >> shift, which rounds: the bias holds half of what is shifted out.

    Attributes:
        weight: (outputs, inputs) int64, each an int16.
        bias: (outputs,) int64, below 2⁵² in size.
        shift: (outputs,) int64, 0 or more.
    """

    weight: Ints
    bias: Ints
    shift: Ints

    def sums(self, values: Ints) -> Ints:
        """Return the outputs (..., outputs) of inputs (..., inputs), before any bound."""
        return (values @ self.weight.T + self.bias) >> self.shift


class Outcome(NamedTuple):
    """What a network made of observations.

    Attributes:
        action: (n,) float32, within ±1.
        saturated: How many values behind a ReLU did not fit.
        computed: How many there were.
    """

    action: NDArray[np.float32]
    saturated: int
    computed: int


class FixedNetwork(NamedTuple):
    """A `Network` in whole numbers.

    Attributes:
        phi: Per peer, a ReLU behind each.
        head: A tanh behind each.
        action: The last layer.
        peer_bits: Fraction bits of a peer's features.
        feature_bits: Fraction bits of the ego's features, and of the embeddings.
    """

    phi: tuple[FixedLayer, FixedLayer]
    head: tuple[FixedLayer, FixedLayer]
    action: FixedLayer
    peer_bits: int
    feature_bits: int

    def layers(self) -> tuple[FixedLayer, ...]:
        """Return the layers in the order of `ml.export.network.LAYERS`."""
        return (*self.phi, *self.head, self.action)

    def outcome(self, ego: Floats, peers: Floats, heard: Bools) -> Outcome:
        """Compute actions.

        Args:
            ego: (n, EGO_F), within the observation's limits.
            peers: (n, max_peers, PEER_F), as well.
            heard: (n, max_peers).
        """
        values = _whole(peers, self.peer_bits)
        saturated = 0
        for layer in self.phi:
            sums = np.maximum(layer.sums(values), 0)
            saturated += int((sums > _LARGEST)[heard].sum())
            values = np.minimum(sums, _LARGEST)
        values = np.where(heard[..., None], values, 0)
        count = np.maximum(heard.sum(axis=1), 1)[:, None]
        mean = (values.sum(axis=1) + count // 2) // count
        features = [_whole(ego, self.feature_bits), values.max(axis=1), mean]
        values = np.concatenate(features, axis=1)
        for layer in self.head:
            values = _tanh(layer.sums(values))
        mean = np.clip(self.action.sums(values)[:, 0], -_LARGEST - 1, _LARGEST)
        computed = int(heard.sum()) * sum(layer.bias.size for layer in self.phi)
        return Outcome((mean / 2.0**UNIT_BITS).astype(np.float32), saturated, computed)

    def predict(
        self, observation: dict[str, Floats], *, deterministic: bool = True
    ) -> tuple[NDArray[np.float32], None]:
        """Return actions (n, 1) float32, as a model of Stable-Baselines3 does."""
        del deterministic  # there is no chance in it
        heard = observation["peer_mask"] > 0.0
        ran = self.outcome(observation["ego"], observation["peers"], heard)
        return ran.action[:, None], None


class Rounding(NamedTuple):
    """What whole numbers cost, on the same observations.

    Attributes:
        mean_mps2: Of |Δ wish| to the model's float.
        p99_mps2: So much in 99 of 100.
        max_mps2: The most.
        saturated: Values behind a ReLU that did not fit an int16.
        computed: Of so many.
    """

    mean_mps2: float
    p99_mps2: float
    max_mps2: float
    saturated: int
    computed: int


def in_whole_numbers(network: Network, peer_rows: Floats) -> FixedNetwork:
    """Choose the scales of a network.

    Args:
        network: In float.
        peer_rows: The calibration set: rows of peers, (n, PEER_F).

    Raises:
        CheckpointError: A weight or a value is too large for an int16.
    """
    hidden = np.maximum(peer_rows @ network.phi[0].weight.T + network.phi[0].bias, 0.0)
    embedded = np.maximum(hidden @ network.phi[1].weight.T + network.phi[1].bias, 0.0)
    peer_bits = _bits(PEER_LIMITS[1:])
    feature_bits = min(_bits(EGO_LIMITS[1:]), _bits(_GUARD * embedded))
    hidden_bits = _bits(_GUARD * hidden)
    chain = (
        (network.phi[0], peer_bits, hidden_bits),
        (network.phi[1], hidden_bits, feature_bits),
        (network.head[0], feature_bits, TANH_BITS),
        (network.head[1], UNIT_BITS, TANH_BITS),
        (network.action, UNIT_BITS, UNIT_BITS),
    )
    phi_0, phi_1, head_0, head_1, action = (_fixed(*link) for link in chain)
    return FixedNetwork((phi_0, phi_1), (head_0, head_1), action, peer_bits, feature_bits)


def rounding(
    fixed: FixedNetwork, model: Predicts, observations: Iterable[dict[str, Floats]]
) -> Rounding:
    """Compare a network in whole numbers with its model in float.

    Args:
        fixed: The one.
        model: The other.
        observations: Batches of them; at least one.
    """
    apart: list[Floats] = []
    saturated = computed = 0
    for seen in observations:
        ran = fixed.outcome(seen["ego"], seen["peers"], seen["peer_mask"] > 0.0)
        action, _ = model.predict(seen, deterministic=True)
        both = (accel_from_action(values) for values in (ran.action, action[:, 0]))
        apart.append(np.abs(np.subtract(*both)))
        saturated, computed = saturated + ran.saturated, computed + ran.computed
    every = np.concatenate(apart)
    mean, p99, most = float(every.mean()), float(np.quantile(every, 0.99)), float(every.max())
    return Rounding(mean, p99, most, saturated, computed)


def _fixed(layer: Layer, bits_in: int, bits_out: int) -> FixedLayer:
    weight = layer.weight.astype(np.float64)
    weight_bits = np.array([min(_bits(row), _MOST_WEIGHT_BITS) for row in weight])
    shift = weight_bits + bits_in - bits_out
    bias = np.rint(layer.bias * 2.0 ** (weight_bits + bits_in))
    if shift.min() < 0 or np.abs(bias).max() >= _BIAS_END:
        raise CheckpointError(
            f"the model has a weight of {np.abs(weight).max():.3g} and a bias of "
            f"{np.abs(layer.bias).max():.3g} in one layer: too large for a network in 16 bits. "
            "Export it with --net float."
        )
    half = np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
    whole = np.rint(weight * 2.0 ** weight_bits[:, None]).astype(np.int64)
    return FixedLayer(whole, bias.astype(np.int64) + half, shift)


def _bits(values: Floats) -> int:
    """Return how many fraction bits values may have in an int16; below 0 where they are large."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        return _MOST_WEIGHT_BITS
    return math.floor(math.log2(_LARGEST / largest))


def _whole(values: Floats, bits: int) -> Ints:
    """Round as C does, in float32: the next whole number below v · 2ⁿ + 1/2."""
    scaled = values.astype(np.float32) * np.float32(2.0**bits) + np.float32(0.5)
    whole: Ints = np.floor(scaled).astype(np.int64)
    return whole


def _tanh(values: Ints) -> Ints:
    """Return tanh of values of `TANH_BITS`, in `UNIT_BITS`: linear between those of the table."""
    fine_bits = TANH_BITS - STEP_BITS
    size = np.minimum(np.abs(values), (_TANH_END << TANH_BITS) - 1)
    at, rest = size >> fine_bits, size & ((1 << fine_bits) - 1)
    slope = TANH[at + 1] - TANH[at]
    found: Ints = TANH[at] + ((slope * rest + (1 << (fine_bits - 1))) >> fine_bits)
    return np.where(values < 0, -found, found)
