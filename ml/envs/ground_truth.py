"""What really happens between the cars; reward, termination and metrics read this, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.envs.actuation import DT_S
from ml.sumo.road import CAR_LENGTH_M

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.sumo.protocol import TrafficState

TTC_HORIZON_S = 60.0
"""A longer time to collision is reported as this: the cars are not on a collision course."""


@dataclass(slots=True)
class GroundTruth:
    """The batch after a tick.

    Attributes:
        present: (num_envs, num_slots) bool.
        route_pos_m: (num_envs, num_slots) float64, front bumper.
        speed_mps: (num_envs, num_slots) float64.
        accel_mps2: (num_envs, num_slots) float64, realised over the last tick.
        gap_m: (num_envs,) float64, bumper to bumper, ego to the car in front.
        peer_gap_m: (num_envs,) float64, the smallest gap between two peers; infinite with one.
        ttc_s: (num_envs,) float64, time to collision at constant speeds, at most `TTC_HORIZON_S`.
        drac_mps2: (num_envs,) float64, deceleration rate to avoid a crash, closing² / (2 gap)
            (Cooper and Ferguson, 1976); 0 when not closing.
        jerk_mps3: (num_envs,) float64, of the ego over the last two ticks.
    """

    present: NDArray[np.bool_]
    route_pos_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    accel_mps2: NDArray[np.float64]
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
    ) -> GroundTruth:
        """Describe cars that have just been placed and do not accelerate yet."""
        zero = np.zeros_like(speed_mps)
        return cls._derive(present, route_pos_m, speed_mps, zero, np.zeros(zero.shape[0]))

    def advance(self, state: TrafficState) -> GroundTruth:
        """Describe the tick that led from here to `state`."""
        accel = np.where(state.present, (state.speed_mps - self.speed_mps) / DT_S, 0.0)
        jerk = (accel[:, 0] - self.accel_mps2[:, 0]) / DT_S
        return self._derive(state.present, state.route_pos_m, state.speed_mps, accel, jerk)

    def write(self, rows: NDArray[np.int64], other: GroundTruth) -> None:
        """Replace the given convoys by another description's rows."""
        for name in self.__slots__:
            getattr(self, name)[rows] = getattr(other, name)

    @classmethod
    def _derive(
        cls,
        present: NDArray[np.bool_],
        route_pos_m: NDArray[np.float64],
        speed_mps: NDArray[np.float64],
        accel_mps2: NDArray[np.float64],
        jerk_mps3: NDArray[np.float64],
    ) -> GroundTruth:
        gaps = route_pos_m[:, 1:] - route_pos_m[:, :-1] - CAR_LENGTH_M
        both = present[:, 1:] & present[:, :-1]
        gaps = np.where(both, gaps, np.inf)
        gap = gaps[:, 0]
        peer_gap = gaps[:, 1:].min(axis=1, initial=np.inf)
        closing = np.maximum(speed_mps[:, 0] - speed_mps[:, 1], 0.0)
        room = np.maximum(gap, 1e-3)
        return cls(
            present=present.copy(),
            route_pos_m=route_pos_m.copy(),
            speed_mps=speed_mps.copy(),
            accel_mps2=accel_mps2,
            gap_m=gap.copy(),
            peer_gap_m=peer_gap,
            ttc_s=np.minimum(room / np.maximum(closing, 1e-6), TTC_HORIZON_S),
            drac_mps2=closing**2 / (2.0 * room),
            jerk_mps3=jerk_mps3,
        )
