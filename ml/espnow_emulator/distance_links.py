"""Two baselines: loss by distance alone, frame by frame or in the bursts of a two-state chain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.errors import EmulatorError
from ml.keyed_random import extend_one, uniform_one

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ml.espnow_emulator.links import LinkArrays, Movement
    from ml.espnow_emulator.parameters.loss import GilbertElliottLoss, IndependentLoss

_TOLERANCE = 1e-9


class IndependentLinks:
    """Every frame is lost on its own with the probability that the distance has.

    Args:
        parameters: Loss over distance, and the factor on its odds.
        num_envs: E.
        num_nodes: N.
        listening: (N,) bool, receivers that matter.
    """

    def __init__(
        self,
        parameters: IndependentLoss,
        num_envs: int,
        num_nodes: int,
        listening: NDArray[np.bool_],
    ) -> None:
        del num_nodes
        points = parameters.by_distance
        self._distance_m = np.array([point.distance_m for point in points])
        self._probability = np.array([point.probability for point in points])
        self._odds_factor = np.full(num_envs, parameters.odds_factor)
        self._listening = listening

    def reset(
        self,
        env_indices: NDArray[np.int64],
        episode_keys: NDArray[np.uint64],
        node_keys: NDArray[np.int64],
        values: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """Begin an episode; see `links.LossModel`."""
        del episode_keys, node_keys
        self._odds_factor[env_indices] = values["odds_factor"]

    def admit(self, env: int, node: int, episode_key: NDArray[np.uint64], node_key: int) -> None:
        """Do nothing: such a link has no state."""

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Do nothing: such a link has no state."""

    def move(self, movement: Movement, links: LinkArrays) -> None:
        """Fill `links.chance` from the distances."""
        _fill_chances(
            movement.present,
            movement.node_xy_m,
            self._listening,
            self._distance_m,
            self._probability,
            self._odds_factor,
            links.chance,
        )


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
        listening: (N,) bool, receivers that matter.
    """

    def __init__(
        self,
        parameters: GilbertElliottLoss,
        num_envs: int,
        num_nodes: int,
        listening: NDArray[np.bool_],
    ) -> None:
        knots = parameters.by_distance
        self._distance_m = np.array([knot.distance_m for knot in knots])
        self._probability = np.array([knot.probability for knot in knots])
        self._burst = np.array([knot.mean_burst_frames for knot in knots])
        self._all_lost = bool((self._probability == 1.0).all())
        self._bad = np.zeros((num_envs, num_nodes, num_nodes), dtype=bool)
        self._factors = np.ones((num_envs, 2))
        self._node_keys = np.zeros((num_envs, num_nodes), np.int64)
        self._listening = listening

    def reset(
        self,
        env_indices: NDArray[np.int64],
        episode_keys: NDArray[np.uint64],
        node_keys: NDArray[np.int64],
        values: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """Begin an episode; see `links.LossModel`.

        Raises:
            EmulatorError: No chain has these statistics.
        """
        del episode_keys
        odds_factor, burst_factor = values["odds_factor"], values["burst_factor"]
        self._bad[env_indices] = False
        self._factors[env_indices] = np.stack([odds_factor, burst_factor], axis=1)
        self._node_keys[env_indices] = node_keys
        if self._all_lost:
            return
        burst = self._burst * burst_factor[:, None]
        entering = self._probability / (1.0 - self._probability) * odds_factor[:, None] / burst
        if (entering > 1.0 + _TOLERANCE).any() or (burst < 1.0 - _TOLERANCE).any():
            raise EmulatorError(
                "the overrides of radio.loss.odds_factor and radio.loss.burst_factor ask for "
                f"bursts of {burst.min():.4g} frames or more that begin with a probability of up "
                f"to {entering.max():.4g}, allowed are bursts of 1 or more and probabilities up "
                "to 1: lower odds_factor or raise burst_factor."
            )

    def admit(self, env: int, node: int, episode_key: NDArray[np.uint64], node_key: int) -> None:
        """Let another node take part: its first frame will draw its states."""
        del episode_key
        self._node_keys[env, node] = node_key

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Do nothing: a chain moves with frames, not with time."""

    def move(self, movement: Movement, links: LinkArrays) -> None:
        """Move the chains of all who send by one frame and fill `links.chance`."""
        _move_chains(
            movement.sending,
            movement.sequence,
            movement.present,
            movement.node_xy_m,
            self._listening,
            (self._distance_m, self._probability, self._burst),
            self._factors,
            self._node_keys,
            links.keys,
            self._bad,
            links.chance,
        )


@compiled
def _distance_m(node_xy_m: NDArray[np.float64], e: int, i: int, j: int) -> float:
    east_m = node_xy_m[e, i, 0] - node_xy_m[e, j, 0]
    north_m = node_xy_m[e, i, 1] - node_xy_m[e, j, 1]
    return math.sqrt(east_m * east_m + north_m * north_m)


@compiled
def _fill_chances(
    present: NDArray[np.bool_],
    node_xy_m: NDArray[np.float64],
    listening: NDArray[np.bool_],
    point_m: NDArray[np.float64],
    probability: NDArray[np.float64],
    odds_factor: NDArray[np.float64],
    chance: NDArray[np.float64],
) -> None:
    """Fill `chance` (E, N, N) of independent loss; points are (n,), the factor (E,)."""
    num_nodes = present.shape[1]
    for e in range(present.shape[0]):
        for i in range(num_nodes):
            if not (present[e, i] and listening[i]):
                continue
            for j in range(num_nodes):
                if j == i or not present[e, j]:
                    continue
                p = _interpolated(_distance_m(node_xy_m, e, i, j), point_m, probability)
                if p < 1.0:
                    odds = p / (1.0 - p) * odds_factor[e]
                    p = odds / (1.0 + odds)
                chance[e, i, j] = 1.0 - p


@compiled
def _move_chains(
    sending: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    present: NDArray[np.bool_],
    node_xy_m: NDArray[np.float64],
    listening: NDArray[np.bool_],
    knots: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    factors: NDArray[np.float64],
    node_keys: NDArray[np.int64],
    keys: NDArray[np.uint64],
    bad: NDArray[np.bool_],
    chance: NDArray[np.float64],
) -> None:
    """Move the chain `bad` (E, N, N) of each link whose transmitter sends; fill `chance`.

    The knots are (distance, probability, mean burst), (n,) each, the factors (E, 2).
    """
    num_nodes = present.shape[1]
    for e in range(present.shape[0]):
        for j in range(num_nodes):
            if not sending[e, j]:
                continue
            for i in range(num_nodes):
                if i == j or not (present[e, i] and listening[i]):
                    continue
                at_m = _distance_m(node_xy_m, e, i, j)
                p = _interpolated(at_m, knots[0], knots[1])
                leave = 1.0 / (_interpolated(at_m, knots[0], knots[2]) * factors[e, 1])
                frame = extend_one(keys[e, i, j], node_keys[e, j])
                draw = uniform_one(extend_one(frame, sequence[e, j]))
                if p == 1.0:
                    threshold = 1.0
                else:
                    odds = p / (1.0 - p) * factors[e, 0]
                    if sequence[e, j] == 0:
                        threshold = odds / (1.0 + odds)
                    elif bad[e, i, j] and odds > 0.0:
                        threshold = 1.0 - leave
                    else:
                        threshold = odds * leave
                bad[e, i, j] = draw < threshold
                chance[e, i, j] = 0.0 if bad[e, i, j] else 1.0


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
