"""How SUMO moves an ego that obeys our speed commands, to the last bit and without SUMO.

A vehicle in speed mode 0 with a live command does what it is told (ml.onboard.actuation), and
nobody else moves it. So its motion is a formula: that of `MSVehicle::updateState` and
`getDeltaPos` of SUMO 1.28, with ballistic integration, in the order of their operations. A position
on a lane is what SUMO keeps; it loses each lane's length as the car drives onto the next.
"""

from typing import NamedTuple, Self

import numpy as np

from ml.arrays import Floats, Ints
from ml.compiled import inlined
from ml.sumo.road import Road
from ml.vehicle import DT_S


class Egos(NamedTuple):
    """The egos of a batch on their copies of a road, which must not end before their episodes do.

    Attributes:
        lane_start_m: (lanes,) float64, where each lane begins along the route.
        lane_length_m: (lanes,) float64.
        lane: (E,) int64, the lane that each ego is on.
        lane_pos_m: (E,) float64, how far on it its front bumper is.
        speed_mps: (E,) float64.
    """

    lane_start_m: Floats
    lane_length_m: Floats
    lane: Ints
    lane_pos_m: Floats
    speed_mps: Floats

    @classmethod
    def on(cls, road: Road, num_envs: int) -> Self:
        """Make E egos for a road, to be placed."""
        lane = np.zeros(num_envs, dtype=np.int64)
        return cls(road.lane_start_m, road.lane_length_m, lane, *np.zeros((2, num_envs)))

    def place(self, road: Road, rows: Ints, route_pos_m: Floats, speed_mps: Floats) -> None:
        """Put some egos on that road, (n,) each.

        Raises:
            SimulatorError: A position is off the road.
        """
        self.lane[rows], self.lane_pos_m[rows] = road.locate(route_pos_m)
        self.speed_mps[rows] = speed_mps


@inlined
def drive_on(egos: Egos, e: int, command_mps: float) -> float:
    """Drive an ego for a tick, at whose end it has the speed that it is told.

    Returns:
        Where its front bumper is then, m along the route.
    """
    # Not simplified: SUMO rounds after each of these.
    accel = (command_mps - egos.speed_mps[e]) / DT_S
    lane, pos_m = egos.lane[e], egos.lane_pos_m[e]
    pos_m += (egos.speed_mps[e] + 0.5 * (accel * DT_S)) * DT_S
    while pos_m > egos.lane_length_m[lane] and lane + 1 < egos.lane_length_m.size:
        pos_m -= egos.lane_length_m[lane]
        lane += 1
    egos.lane[e], egos.lane_pos_m[e], egos.speed_mps[e] = lane, pos_m, command_mps
    return float(egos.lane_start_m[lane] + pos_m)
