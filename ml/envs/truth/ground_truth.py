"""What really happens between the cars; reward, termination and metrics read this, nothing else."""

from typing import NamedTuple, Self

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.compiled import compiled, inlined
from ml.envs.truth.lanes import car_in_front
from ml.sumo.protocol import TrafficState
from ml.vehicle import CAR_LENGTH_M, CAR_WIDTH_M, DT_S

TTC_HORIZON_S = 60.0
"""A longer time to collision is given as this: the cars are not on a collision course."""
_CONTACT_M = 1e-3


@compiled
def time_to_collision_s(gap_m: float, closing_mps: float) -> float:
    """Time to collision, gap / closing (Hayward, 1972): 0 in contact, at most `TTC_HORIZON_S`."""
    if closing_mps <= 0.0:
        return TTC_HORIZON_S
    return min(max(gap_m, 0.0) / closing_mps, TTC_HORIZON_S)


@compiled
def needed_braking_mps2(gap_m: float, closing_mps: float) -> float:
    """Deceleration rate to avoid a crash (DRAC), closing² / (2 gap) (Cooper and Ferguson, 1976).

    0 where the cars do not close. From contact on, the gap counts as 1 mm.
    """
    closing = max(closing_mps, 0.0)
    return closing * closing / (2.0 * max(gap_m, _CONTACT_M))


class GroundTruth(NamedTuple):
    """The batch after a tick.

    Attributes:
        present: (num_envs, num_slots) bool.
        route_pos_m: (num_envs, num_slots) float64, front bumper.
        speed_mps: (num_envs, num_slots) float64.
        accel_mps2: (num_envs, num_slots) float64, realised over the last tick.
        lateral_m: (num_envs, num_slots) float64, left of the convoy's lane; see `lanes`.
        lead_slot: (num_envs,) int64, the car in front of the ego, in its lane; 0 for nobody.
        gap_m: (num_envs,) float64, bumper to bumper, ego to the car in front; infinite with none.
        peer_gap_m: (num_envs,) float64, the smallest gap between two peers of a lane; infinite
            with one.
        ttc_s: (num_envs,) float64, see `time_to_collision_s`.
        drac_mps2: (num_envs,) float64, see `needed_braking_mps2`.
        jerk_mps3: (num_envs,) float64, of the ego over the last two ticks.
    """

    present: Bools
    route_pos_m: Floats
    speed_mps: Floats
    accel_mps2: Floats
    lateral_m: Floats
    lead_slot: Ints
    gap_m: Floats
    peer_gap_m: Floats
    ttc_s: Floats
    drac_mps2: Floats
    jerk_mps3: Floats

    @classmethod
    def start(
        cls, present: Bools, route_pos_m: Floats, speed_mps: Floats, lateral_m: Floats | None = None
    ) -> Self:
        """Describe cars that have just been placed and do not accelerate yet; None: in one lane."""
        truth, still = cls._empty(speed_mps.shape), np.zeros(speed_mps.shape)
        aside_m = still if lateral_m is None else lateral_m
        _describe(present, route_pos_m, speed_mps, aside_m, speed_mps, still, truth)
        return truth

    def advance(self, state: TrafficState, lateral_m: Floats | None = None) -> Self:
        """Describe the tick that led from here to `state`; None: nobody has moved aside."""
        truth = self._empty(self.speed_mps.shape)
        _describe(
            state.present,
            state.route_pos_m,
            state.speed_mps,
            self.lateral_m if lateral_m is None else lateral_m,
            self.speed_mps,
            self.accel_mps2,
            truth,
        )
        return truth

    def write(self, rows: Ints, other: Self) -> None:
        """Replace the given convoys by another description's rows."""
        for mine, theirs in zip(self, other, strict=True):
            mine[rows] = theirs

    @classmethod
    def _empty(cls, shape: tuple[int, ...]) -> Self:
        moving, lead_slot = np.empty((4, *shape)), np.empty(shape[0], dtype=np.int64)
        return cls._make(
            (np.empty(shape, dtype=bool), *moving, lead_slot, *np.empty((5, shape[0])))
        )


@inlined
def _describe(
    present: Bools,
    route_pos_m: Floats,
    speed_mps: Floats,
    lateral_m: Floats,
    before_mps: Floats,
    before_mps2: Floats,
    truth: GroundTruth,
) -> None:
    """Fill a `GroundTruth` from the traffic now, and speeds and accelerations a tick before."""
    num_envs, num_slots = speed_mps.shape
    for e in range(num_envs):
        gap = peer_gap = np.inf
        for v in range(num_slots):
            here = present[e, v]
            truth.present[e, v] = here
            truth.route_pos_m[e, v] = route_pos_m[e, v]
            truth.speed_mps[e, v] = speed_mps[e, v]
            truth.accel_mps2[e, v] = (speed_mps[e, v] - before_mps[e, v]) / DT_S if here else 0.0
            truth.lateral_m[e, v] = lateral_m[e, v]
            before = v - 1
            while before > 0 and abs(lateral_m[e, v] - lateral_m[e, before]) >= CAR_WIDTH_M:
                before -= 1
            if before > 0 and here and present[e, before]:
                between = route_pos_m[e, v] - route_pos_m[e, before] - CAR_LENGTH_M
                peer_gap = min(peer_gap, between)
        lead = car_in_front(route_pos_m, lateral_m, e, route_pos_m[e, 0])
        if lead > 0 and present[e, lead] and present[e, 0]:
            gap = route_pos_m[e, lead] - route_pos_m[e, 0] - CAR_LENGTH_M
        truth.lead_slot[e], truth.gap_m[e], truth.peer_gap_m[e] = lead, gap, peer_gap
        closing = speed_mps[e, 0] - speed_mps[e, lead]
        truth.ttc_s[e] = time_to_collision_s(gap, closing)
        truth.drac_mps2[e] = needed_braking_mps2(gap, closing)
        truth.jerk_mps3[e] = (truth.accel_mps2[e, 0] - before_mps2[e, 0]) / DT_S
