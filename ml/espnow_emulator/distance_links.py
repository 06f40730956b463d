"""Two baselines: loss by distance alone, frame by frame or in the bursts of a two-state chain."""

from typing import Annotated, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.compiled import compiled
from ml.errors import EmulatorError
from ml.espnow_emulator.loss_model import (
    Episodes,
    LinkArrays,
    LossModel,
    Movement,
    metres_apart,
)
from ml.espnow_emulator.parameters.loss import GilbertElliottLoss, IndependentLoss
from ml.keyed_random import extend_one, uniform_one


class _Knots(NamedTuple):
    """Loss and mean burst by distance, and the factors on them."""

    distance_m: Annotated[Floats, "KNOTS"]
    probability: Annotated[Floats, "KNOTS"]
    burst_frames: Annotated[Floats, "KNOTS"]
    odds_factor: Annotated[Floats, "E"]
    burst_factor: Annotated[Floats, "E"]


class DistanceLinks(LossModel):
    """Loss by distance: frame by frame (`IndependentLoss`) or in bursts (`GilbertElliottLoss`).

    Bursts come from a two-state chain per directed link, one step per own frame. With loss p and
    mean burst L at the distance, the chain leaves the bad state with probability 1 / L and enters
    it with p / ((1 - p) L); the first frame of an episode draws the state from the stationary
    distribution. So at a constant distance the loss is p and the mean burst L from the first frame
    on, in expectation exactly. What the transmitter relays shares the state.
    """

    def __init__(
        self, parameters: IndependentLoss | GilbertElliottLoss, num_envs: int, num_nodes: int
    ) -> None:
        super().__init__(num_envs, num_nodes)
        self._parameters = parameters
        points = [
            (point.distance_m, point.probability, getattr(point, "mean_burst_frames", 1.0))
            for point in parameters.by_distance
        ]
        self._knots = _Knots(*np.array(points).T.copy(), *np.ones((2, num_envs)))
        self._bad = np.zeros((num_envs, num_nodes, num_nodes), dtype=bool)
        self._node_keys = np.zeros((num_envs, num_nodes), np.int64)

    def reset(self, episodes: Episodes) -> None:
        """Begin episodes; EmulatorError if no chain has these statistics."""
        super().reset(episodes)
        here, values = episodes.env_indices, episodes.values
        self._bad[here] = False
        self._node_keys[here] = episodes.node_keys
        self._knots.odds_factor[here] = odds_factor = values["loss.odds_factor"]
        if not isinstance(self._parameters, GilbertElliottLoss):
            return
        self._knots.burst_factor[here] = burst_factor = values["loss.burst_factor"]
        for odds, burst in set(zip(odds_factor.tolist(), burst_factor.tolist(), strict=True)):
            problem = self._parameters.infeasibility(odds_factor=odds, burst_factor=burst)
            if problem is not None:
                raise EmulatorError(
                    "the overrides of radio.loss.odds_factor and radio.loss.burst_factor cannot "
                    f"be: {problem}; or lower odds_factor or raise burst_factor."
                )

    def admit(self, episodes: Episodes, node: int) -> None:
        """Let another node take part: its first frame will draw its states."""
        super().admit(episodes, node)
        self._node_keys[episodes.env_indices] = episodes.node_keys

    def move(self, movement: Movement) -> None:
        """Fill `arrays.chance`; with bursts, move the chains of all who send by one frame first."""
        if isinstance(self._parameters, GilbertElliottLoss):
            _move_chains(movement, self._knots, self._node_keys, self._bad, self.arrays)
        else:
            _fill_chances(movement, self._knots, self.arrays.chance)


@compiled
def _fill_chances(movement: Movement, knots: _Knots, chance: Floats) -> None:
    """Fill `chance` (E, N, N) of independent loss."""
    present, num_nodes = movement.present, movement.present.shape[1]
    for e in range(present.shape[0]):
        for i in range(num_nodes):
            if not (present[e, i] and movement.listening[i]):
                continue
            for j in range(num_nodes):
                if j == i or not present[e, j]:
                    continue
                at_m = metres_apart(e, movement.node_xy_m, i, movement.node_xy_m, j)
                p = _interpolated(at_m, knots.distance_m, knots.probability)
                if p < 1.0:
                    odds = p / (1.0 - p) * knots.odds_factor[e]
                    p = odds / (1.0 + odds)
                chance[e, i, j] = 1.0 - p


@compiled
def _move_chains(
    movement: Movement,
    knots: _Knots,
    node_keys: Ints,
    bad: Bools,
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
                at_m = metres_apart(e, movement.node_xy_m, i, movement.node_xy_m, j)
                p = _interpolated(at_m, knots.distance_m, knots.probability)
                burst = _interpolated(at_m, knots.distance_m, knots.burst_frames)
                leave = 1.0 / (burst * knots.burst_factor[e])
                frame = extend_one(links.keys[e, j, i], node_keys[e, j])
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
def _interpolated(distance_m: float, knot_m: Floats, values: Floats) -> float:
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
