"""One road as arrays: its lanes in the order of the route, and its centre line.

SUMO's lane position and speed are the same on every copy of a road; x, y and angle are not, since
an offset changes their rounding. So the product reads lane position and speed alone and derives
the rest here, from the one copy of the road that is not offset.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ml.arrays import Floats, Ints
from ml.compiled import compiled
from ml.errors import SimulatorError
from ml.vehicle import CAR_LENGTH_M


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane of the route, as the network file states it.

    Attributes:
        lane_id: SUMO's identifier on the un-offset road.
        length_m: The length that SUMO's lane positions refer to.
        speed_limit_mps: The lane's speed limit.
        internal: True for a lane inside a junction.
        shape_m: (points, 3) float64, x east, y north, z up. Its length may differ from `length_m`.
        left_id: The lane to the left, as long and open to cars as well; empty where there is none.
        left_m: Distance of the two centre lines; 0.0 where there is none.
    """

    lane_id: str
    length_m: float
    speed_limit_mps: float
    internal: bool
    shape_m: Floats
    left_id: str = ""
    left_m: float = 0.0


class Road:
    """The lanes that a convoy passes, internal ones included, and where they lie.

    A position along the route (`route_pos_m`) is that of the front bumper, counted from the start
    of the first lane. All methods take arrays of any shape and return arrays of that shape; all
    raise `SimulatorError` for a position outside [0, length_m] or one that is not a number.

    Attributes:
        lane_ids: Identifiers in the order of the route.
        lane_start_m: (lanes,) float64, the route position of each lane's start.
        lane_length_m: (lanes,) float64.
        lane_internal: (lanes,) bool.
        lane_limit_mps: (lanes,) float64, the speed limits.
        slowest_mps: The lowest of them.
        fastest_mps: The highest. SUMO knows this one alone, on every lane (see `ml.sumo.tiling`),
            so a car's speed factor is its desired speed over this.
        length_m: Length of the whole road.
        left_lane_ids: The lanes to the left, in the order of the route; empty unless there is one
            all along.
        left_m: Largest distance of their centre lines from the convoy's; 0.0 without them.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lane_ids = tuple(lane.lane_id for lane in lanes)
        self.lane_length_m = np.array([lane.length_m for lane in lanes], dtype=np.float64)
        self.lane_start_m = np.concatenate(([0.0], np.cumsum(self.lane_length_m)[:-1]))
        self.lane_internal = np.array([lane.internal for lane in lanes], dtype=np.bool_)
        self.length_m = float(self.lane_start_m[-1] + self.lane_length_m[-1])
        all_along = all(lane.left_id for lane in lanes)
        self.left_lane_ids = tuple(lane.left_id for lane in lanes) if all_along else ()
        self.left_m = max(lane.left_m for lane in lanes) if all_along else 0.0
        numbers = {int(name.rpartition("_")[2]) for name in self.left_lane_ids}
        if len(numbers) > 1:
            self.left_lane_ids, self.left_m = (), 0.0
        self._left_number = max(numbers, default=0)
        self.lane_limit_mps = np.array([lane.speed_limit_mps for lane in lanes], dtype=np.float64)
        self.slowest_mps = float(self.lane_limit_mps.min())
        self.fastest_mps = float(self.lane_limit_mps.max())
        self._knot_m, self._xy_m, self._slope_xy = _centre_line(lanes, self.lane_start_m)

    def lane_number(self, *, left: bool) -> int:
        """Return SUMO's number, from the right, of the left lane or of the convoy's."""
        return self._left_number if left else self._left_number - 1

    def pose(self, route_pos_m: ArrayLike) -> tuple[Floats, Floats, Floats]:
        """Return where a car's front bumper is and which way the car points.

        The heading is that of the chord from the rear to the front bumper, as SUMO draws a car.

        Returns:
            x_m, y_m, heading_deg: float64; the heading in degrees clockwise from north, [0, 360).
        """
        front_m = np.asarray(route_pos_m, dtype=np.float64)
        pose = np.empty((3, *front_m.shape))
        on_road = _draw_cars(
            front_m.ravel(),
            self.length_m,
            self._knot_m,
            self._xy_m,
            self._slope_xy,
            pose.reshape(3, -1),
        )
        if not on_road:
            self._checked(front_m)
        return pose[0], pose[1], pose[2]

    def points(self, route_pos_m: Floats) -> Floats:
        """Return x and y of `pose` alone, (…, 2) float64, which takes a third of the time."""
        xy_m = np.empty((*route_pos_m.shape, 2))
        line = (self._knot_m, self._xy_m, self._slope_xy)
        if not _draw_fronts(route_pos_m.ravel(), self.length_m, *line, xy_m.reshape(-1, 2)):
            self._checked(route_pos_m)
        return xy_m

    def locate(self, route_pos_m: ArrayLike) -> tuple[Ints, Floats]:
        """Return the lane and the position on it, int64 index into `lane_ids` and metres."""
        position_m = self._checked(route_pos_m)
        lane = np.searchsorted(self.lane_start_m, position_m, side="right") - 1
        return lane, position_m - self.lane_start_m[lane]

    def _checked(self, route_pos_m: ArrayLike) -> Floats:
        position_m = np.asarray(route_pos_m, dtype=np.float64)
        inside = (position_m >= 0.0) & (position_m <= self.length_m)
        if not inside.all():
            raise SimulatorError(
                f"Route position {position_m[~inside].flat[0]} m is not on the road, which goes "
                f"from 0 to {self.length_m} m. Values of absent vehicles are 0.0."
            )
        return position_m


def _centre_line(lanes: Sequence[Lane], lane_start_m: Floats) -> tuple[Floats, Floats, Floats]:
    """Return knots (n,), points (n, 2) and slopes (n, 2) of the piecewise linear centre line.

    A lane's shape is stretched to the lane's length, as SUMO does. The last slope is 0: nothing
    lies beyond the last knot.
    """
    knots, points = [], []
    for lane, start_m in zip(lanes, lane_start_m, strict=True):
        pieces_m = np.linalg.norm(np.diff(lane.shape_m, axis=0), axis=1)
        shape_length_m = float(pieces_m.sum())
        along_m = np.concatenate(([0.0], np.cumsum(pieces_m)))
        if shape_length_m > 0.0:
            along_m *= lane.length_m / shape_length_m
        along_m[-1] = lane.length_m
        knots.append(start_m + along_m)
        points.append(lane.shape_m[:, :2])
    knot_m, xy_m = np.concatenate(knots), np.concatenate(points)
    length_m = np.diff(knot_m, append=knot_m[-1])[:, None]
    step_xy_m = np.diff(xy_m, axis=0, append=xy_m[-1:])
    slope_xy = np.divide(step_xy_m, length_m, out=np.zeros_like(xy_m), where=length_m > 0.0)
    return knot_m, np.ascontiguousarray(xy_m), slope_xy


@compiled
def last_begun(start_m: Floats, position_m: float) -> int:
    """Return the last place in ascending `start_m` that is not beyond a position; 0 without one."""
    low, high = 0, start_m.size
    while high - low > 1:
        middle = (low + high) // 2
        if start_m[middle] <= position_m:
            low = middle
        else:
            high = middle
    return low


@compiled
def _draw_cars(
    front_m: Floats,
    road_length_m: float,
    knot_m: Floats,
    xy_m: Floats,
    slope_xy: Floats,
    pose: Floats,
) -> bool:
    """Fill `pose` (3, n) for front bumpers (n,); False at the first that is not on the road."""
    for i in range(front_m.size):
        if not 0.0 <= front_m[i] <= road_length_m:
            return False
        front_x_m, front_y_m = _point(front_m[i], knot_m, xy_m, slope_xy)
        rear_x_m, rear_y_m = _point(front_m[i] - CAR_LENGTH_M, knot_m, xy_m, slope_xy)
        heading_deg = math.degrees(math.atan2(front_x_m - rear_x_m, front_y_m - rear_y_m))
        if heading_deg < 0.0:
            heading_deg += 360.0
        pose[0, i], pose[1, i] = front_x_m, front_y_m
        # A tiny negative angle plus 360 rounds to 360.
        pose[2, i] = heading_deg if heading_deg < 360.0 else 0.0  # noqa: PLR2004
    return True


@compiled
def _draw_fronts(
    front_m: Floats,
    road_length_m: float,
    knot_m: Floats,
    xy_m: Floats,
    slope_xy: Floats,
    found_m: Floats,
) -> bool:
    """Fill `found_m` (n, 2) with the points of front bumpers (n,); see `_draw_cars`."""
    for i in range(front_m.size):
        if not 0.0 <= front_m[i] <= road_length_m:
            return False
        found_m[i, 0], found_m[i, 1] = _point(front_m[i], knot_m, xy_m, slope_xy)
    return True


@compiled
def _point(along_m: float, knot_m: Floats, xy_m: Floats, slope_xy: Floats) -> tuple[float, float]:
    """Return x and y on the centre line; what lies before the road's start goes straight back."""
    low = last_begun(knot_m, along_m)
    beyond_m = along_m - knot_m[low]
    x_m = xy_m[low, 0] + slope_xy[low, 0] * beyond_m
    y_m = xy_m[low, 1] + slope_xy[low, 1] * beyond_m
    return x_m, y_m
