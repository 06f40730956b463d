"""Two baselines: loss by distance alone, frame by frame or in the bursts of a two-state chain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.compiled import compiled
from ml.errors import EmulatorError
from ml.keyed_random import extend_one, uniform_one

if TYPE_CHECKING:
    from ml.espnow_emulator.loss_model import Episodes, LinkArrays, Movement
    from ml.espnow_emulator.parameters.loss import GilbertElliottLoss, IndependentLoss


class _Knots(NamedTuple):
    """Loss and mean burst by distance, (n,) float64 each, and the factors on them, (E,)."""

    distance_m: NDArray[np.float64]
    probability: NDArray[np.float64]
    burst_frames: NDArray[np.float64]
    odds_factor: NDArray[np.float64]
    burst_factor: NDArray[np.float64]

    @classmethod
    def of(cls, loss: IndependentLoss | GilbertElliottLoss, num_envs: int) -> _Knots:
        """Take the knots of a file; the bursts of independent loss are not used."""
        points = [
            (point.distance_m, point.probability, getattr(point, "mean_burst_frames", 1.0))
            for point in loss.by_distance
        ]
        factors = np.ones((2, num_envs))
        return cls(*np.array(points).T.copy(), *factors)


class IndependentLinks:
    """Every frame is lost on its own with the probability that the distance has.

    Args:
        parameters: Loss over distance, and the factor on its odds.
        num_envs: E.
    """

    def __init__(self, parameters: IndependentLoss, num_envs: int) -> None:
        self._knots = _Knots.of(parameters, num_envs)

    def reset(self, episodes: Episodes) -> None:
        """Begin episodes."""
        self._knots.odds_factor[episodes.env_indices] = episodes.values["loss.odds_factor"]

    def admit(self, episodes: Episodes, node: int) -> None:
        """Do nothing: such a link has no state."""

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Do nothing: such a link has no state."""

    def move(self, movement: Movement, links: LinkArrays) -> None:
        """Fill `links.chance` from the distances."""
        _fill_chances(movement, self._knots, links.chance)


class BurstLinks:
    """A two-state chain per directed link (Gilbert 1960, Elliott 1963), one step per own frame.

    With loss p and mean burst L at the distance, the chain leaves the bad state with probability
    1 / L and enters it with p / ((1 - p) L); the first frame of an episode draws the state from the
    stationary distribution. So at a constant distance the loss is p and the mean burst L from the
    first frame on, in expectation exactly. What the transmitter relays shares the state.

    Args:
        parameters: Loss and burst over distance, and the factors on them.
        num_envs: E.
        num_nodes: N.
    """

    def __init__(self, parameters: GilbertElliottLoss, num_envs: int, num_nodes: int) -> None:
        self._parameters = parameters
        self._knots = _Knots.of(parameters, num_envs)
        self._bad = np.zeros((num_envs, num_nodes, num_nodes), dtype=bool)
        self._node_keys = np.zeros((num_envs, num_nodes), np.int64)

    def reset(self, episodes: Episodes) -> None:
        """Begin episodes.

        Raises:
            EmulatorError: No chain has these statistics.
        """
        here, knots = episodes.env_indices, self._knots
        odds_factor = episodes.values["loss.odds_factor"]
        burst_factor = episodes.values["loss.burst_factor"]
        knots.odds_factor[here], knots.burst_factor[here] = odds_factor, burst_factor
        self._bad[here] = False
        self._node_keys[here] = episodes.node_keys
        for odds, burst in set(zip(odds_factor.tolist(), burst_factor.tolist(), strict=True)):
            problem = self._parameters.infeasibility(odds_factor=odds, burst_factor=burst)
            if problem is not None:
                raise EmulatorError(
                    "the overrides of radio.loss.odds_factor and radio.loss.burst_factor cannot "
                    f"be: {problem}; or lower odds_factor or raise burst_factor."
                )

    def admit(self, episodes: Episodes, node: int) -> None:
        """Let another node take part: its first frame will draw its states."""
        del node
        self._node_keys[episodes.env_indices] = episodes.node_keys

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Do nothing: a chain moves with frames, not with time."""

    def move(self, movement: Movement, links: LinkArrays) -> None:
        """Move the chains of all who send by one frame and fill `links.chance`."""
        _move_chains(movement, self._knots, self._node_keys, self._bad, links)


@compiled
def _distance_m(node_xy_m: NDArray[np.float64], e: int, i: int, j: int) -> float:
    east_m = node_xy_m[e, i, 0] - node_xy_m[e, j, 0]
    north_m = node_xy_m[e, i, 1] - node_xy_m[e, j, 1]
    return math.sqrt(east_m * east_m + north_m * north_m)


@compiled
def _fill_chances(movement: Movement, knots: _Knots, chance: NDArray[np.float64]) -> None:
    """Fill `chance` (E, N, N) of independent loss."""
    present, num_nodes = movement.present, movement.present.shape[1]
    for e in range(present.shape[0]):
        for i in range(num_nodes):
            if not (present[e, i] and movement.listening[i]):
                continue
            for j in range(num_nodes):
                if j == i or not present[e, j]:
                    continue
                at_m = _distance_m(movement.node_xy_m, e, i, j)
                p = _interpolated(at_m, knots.distance_m, knots.probability)
                if p < 1.0:
                    odds = p / (1.0 - p) * knots.odds_factor[e]
                    p = odds / (1.0 + odds)
                chance[e, i, j] = 1.0 - p


@compiled
def _move_chains(
    movement: Movement,
    knots: _Knots,
    node_keys: NDArray[np.int64],
    bad: NDArray[np.bool_],
    links: LinkArrays,
) -> None:
    """Move the chain `bad` (E, N, N) of each link whose transmitter sends; fill its chance."""
    num_nodes = movement.present.shape[1]
    for e in range(movement.present.shape[0]):
        for j in range(num_nodes):
            if not movement.sending[e, j]:
                continue
            sequence = movement.sequence[e, j]
            for i in range(num_nodes):
                if i == j or not (movement.present[e, i] and movement.listening[i]):
                    continue
                at_m = _distance_m(movement.node_xy_m, e, i, j)
                p = _interpolated(at_m, knots.distance_m, knots.probability)
                burst = _interpolated(at_m, knots.distance_m, knots.burst_frames)
                leave = 1.0 / (burst * knots.burst_factor[e])
                frame = extend_one(links.keys[e, i, j], node_keys[e, j])
                draw = uniform_one(extend_one(frame, sequence))
                if p == 1.0:
                    threshold = 1.0
                else:
                    odds = p / (1.0 - p) * knots.odds_factor[e]
                    if sequence == 0:
                        threshold = odds / (1.0 + odds)
                    elif bad[e, i, j] and odds > 0.0:
                        threshold = 1.0 - leave
                    else:
                        threshold = odds * leave
                bad[e, i, j] = draw < threshold
                links.chance[e, i, j] = 0.0 if bad[e, i, j] else 1.0


@compiled
def _interpolated(
    distance_m: float, knot_m: NDArray[np.float64], values: NDArray[np.float64]
) -> float:
    """Linear between knots, constant before the first and after the last."""
    k = 0
    while k < knot_m.size and knot_m[k] <= distance_m:
        k += 1
    if k == 0:
        return float(values[0])
    if k == knot_m.size:
        return float(values[-1])
    slope = (values[k] - values[k - 1]) / (knot_m[k] - knot_m[k - 1])
    return float(slope * (distance_m - knot_m[k - 1]) + values[k - 1])
