"""How SUMO moves an ego that obeys our speed commands, to the last bit and without SUMO.

A vehicle in speed mode 0 with a live command does what it is told (ml.onboard.actuation), and
nobody else moves it. So its motion is a formula: that of `MSVehicle::updateState` and
`getDeltaPos` of SUMO 1.28, with ballistic integration, in the order of their operations. A position
on a lane is what SUMO keeps; it loses each lane's length as the car drives onto the next.
"""

import numpy as np

from ml.arrays import Floats, Ints
from ml.compiled import compiled
from ml.sumo.road import Road
from ml.vehicle import DT_S


class Egos:
    """The egos of a batch on their copies of a road, which must not end before their episodes do.

    Args:
        road: The road.
        num_envs: E.

    Attributes:
        route_pos_m: (E,) float64, front bumpers.
        speed_mps: (E,) float64.
    """

    def __init__(self, road: Road, num_envs: int) -> None:
        self._road = road
        self._lane = np.zeros(num_envs, dtype=np.int64)
        self._lane_pos_m = np.zeros(num_envs)
        self.route_pos_m = np.zeros(num_envs)
        self.speed_mps = np.zeros(num_envs)

    def place(self, rows: Ints, route_pos_m: Floats, speed_mps: Floats) -> None:
        """Put some egos on the road, (n,) each.

        Raises:
            SimulatorError: A position is off the road.
        """
        self._lane[rows], self._lane_pos_m[rows] = self._road.locate(route_pos_m)
        self.route_pos_m[rows], self.speed_mps[rows] = route_pos_m, speed_mps

    def drive(self, command_mps: Floats) -> None:
        """Move all on by a tick, at whose end they have the speeds that they are told, (E,)."""
        road = self._road
        _drive(
            command_mps,
            road.lane_start_m,
            road.lane_length_m,
            self._lane,
            self._lane_pos_m,
            self.route_pos_m,
            self.speed_mps,
        )


@compiled
def _drive(
    command_mps: Floats,
    lane_start_m: Floats,
    lane_length_m: Floats,
    lane: Ints,
    lane_pos_m: Floats,
    route_pos_m: Floats,
    speed_mps: Floats,
) -> None:
    """Change the last four, (E,); see `Egos`."""
    for e in range(speed_mps.size):
        before, after = speed_mps[e], command_mps[e]
        # Not simplified: SUMO rounds after each of these.
        accel = (after - before) / DT_S
        lane_pos_m[e] += (before + 0.5 * (accel * DT_S)) * DT_S
        while lane_pos_m[e] > lane_length_m[lane[e]] and lane[e] + 1 < lane_length_m.size:
            lane_pos_m[e] -= lane_length_m[lane[e]]
            lane[e] += 1
        speed_mps[e] = after
        route_pos_m[e] = lane_start_m[lane[e]] + lane_pos_m[e]
