"""What really happens between the cars; reward, termination and metrics read this, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.compiled import compiled
from ml.envs.truth.conflict import needed_braking_mps2, time_to_collision_s
from ml.envs.truth.lanes import car_in_front
from ml.vehicle import CAR_LENGTH_M, CAR_WIDTH_M, DT_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.sumo.protocol import TrafficState


@dataclass(slots=True)
class GroundTruth:
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
        ttc_s: (num_envs,) float64, see `conflict.time_to_collision_s`.
        drac_mps2: (num_envs,) float64, see `conflict.needed_braking_mps2`.
        jerk_mps3: (num_envs,) float64, of the ego over the last two ticks.
    """

    present: NDArray[np.bool_]
    route_pos_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    accel_mps2: NDArray[np.float64]
    lateral_m: NDArray[np.float64]
    lead_slot: NDArray[np.int64]
    gap_m: NDArray[np.float64]
    peer_gap_m: NDArray[np.float64]
    ttc_s: NDArray[np.float64]
    drac_mps2: NDArray[np.float64]
    jerk_mps3: NDArray[np.float64]

    @classmethod
    def start(
        cls,
        present: NDArray[np.bool_],
        route_pos_m: NDArray[np.float64],
        speed_mps: NDArray[np.float64],
        lateral_m: NDArray[np.float64] | None = None,
    ) -> GroundTruth:
        """Describe cars that have just been placed and do not accelerate yet; None: in one lane."""
        truth = cls._empty(speed_mps.shape)
        still = np.zeros(speed_mps.shape)
        aside_m = still if lateral_m is None else lateral_m
        _describe(present, route_pos_m, speed_mps, aside_m, speed_mps, still, *truth.arrays())
        return truth

    def advance(
        self, state: TrafficState, lateral_m: NDArray[np.float64] | None = None
    ) -> GroundTruth:
        """Describe the tick that led from here to `state`; None: nobody has moved aside."""
        truth = self._empty(self.speed_mps.shape)
        _describe(
            state.present,
            state.route_pos_m,
            state.speed_mps,
            self.lateral_m if lateral_m is None else lateral_m,
            self.speed_mps,
            self.accel_mps2,
            *truth.arrays(),
        )
        return truth

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All arrays, in the order of the attributes."""
        return (
            self.present,
            self.route_pos_m,
            self.speed_mps,
            self.accel_mps2,
            self.lateral_m,
            self.lead_slot,
            self.gap_m,
            self.peer_gap_m,
            self.ttc_s,
            self.drac_mps2,
            self.jerk_mps3,
        )

    def write(self, rows: NDArray[np.int64], other: GroundTruth) -> None:
        """Replace the given convoys by another description's rows."""
        for name in self.__slots__:
            getattr(self, name)[rows] = getattr(other, name)

    @classmethod
    def _empty(cls, shape: tuple[int, ...]) -> GroundTruth:
        lead_slot = np.empty(shape[0], dtype=np.int64)
        route_pos_m, speed_mps, accel_mps2, aside_m = np.empty((4, *shape))
        moving = (route_pos_m, speed_mps, accel_mps2, aside_m)
        return cls(np.empty(shape, dtype=bool), *moving, lead_slot, *np.empty((5, shape[0])))


@compiled
def _describe(
    now_present: NDArray[np.bool_],
    now_route_pos_m: NDArray[np.float64],
    now_speed_mps: NDArray[np.float64],
    now_lateral_m: NDArray[np.float64],
    before_speed_mps: NDArray[np.float64],
    before_accel_mps2: NDArray[np.float64],
    present: NDArray[np.bool_],
    route_pos_m: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    accel_mps2: NDArray[np.float64],
    lateral_m: NDArray[np.float64],
    lead_slot: NDArray[np.int64],
    gap_m: NDArray[np.float64],
    peer_gap_m: NDArray[np.float64],
    ttc_s: NDArray[np.float64],
    drac_mps2: NDArray[np.float64],
    jerk_mps3: NDArray[np.float64],
) -> None:
    """Fill a `GroundTruth` (from `present` on) from the traffic now and a tick before."""
    num_envs, num_slots = now_speed_mps.shape
    for e in range(num_envs):
        gap_m[e] = peer_gap_m[e] = np.inf
        for v in range(num_slots):
            here = now_present[e, v]
            present[e, v] = here
            route_pos_m[e, v] = now_route_pos_m[e, v]
            speed_mps[e, v] = now_speed_mps[e, v]
            change = now_speed_mps[e, v] - before_speed_mps[e, v]
            accel_mps2[e, v] = change / DT_S if here else 0.0
            lateral_m[e, v] = now_lateral_m[e, v]
            before = v - 1
            while before > 0 and abs(lateral_m[e, v] - lateral_m[e, before]) >= CAR_WIDTH_M:
                before -= 1
            if before > 0 and here and present[e, before]:
                gap = route_pos_m[e, v] - route_pos_m[e, before] - CAR_LENGTH_M
                peer_gap_m[e] = min(peer_gap_m[e], gap)
        lead_slot[e] = lead = car_in_front(route_pos_m, lateral_m, e, route_pos_m[e, 0])
        if lead > 0 and present[e, lead] and present[e, 0]:
            gap_m[e] = route_pos_m[e, lead] - route_pos_m[e, 0] - CAR_LENGTH_M
        closing = speed_mps[e, 0] - speed_mps[e, lead]
        ttc_s[e] = time_to_collision_s(gap_m[e], closing)
        drac_mps2[e] = needed_braking_mps2(gap_m[e], closing)
        jerk_mps3[e] = (accel_mps2[e, 0] - before_accel_mps2[e, 0]) / DT_S
