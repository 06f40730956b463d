"""The loops of a tick over all vehicle slots, compiled.

N = E · V slots, flat. Every array is C-contiguous and of one dtype, so each kernel has a single
signature. A kernel cannot say in words what is wrong; it returns which car it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.vehicle import DT_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAME_LANE_TOLERANCE_M = 0.05
INCONSISTENCY_M = 0.1
NO_FAULT = -1
SEIZED, RELEASED, SPEED, FACTOR = range(4)  # rows of what `sort_commands` finds
_CANDIDATES = 3  # lanes looked at around the expected position


@compiled
def sort_commands(
    controlled: NDArray[np.bool_],
    speed_mps: NDArray[np.float64],
    factor: NDArray[np.float64],
    present: NDArray[np.bool_],
    was_controlled: NDArray[np.bool_],
    now_mps: NDArray[np.float64],
    index: NDArray[np.int64],
    value: NDArray[np.float64],
    count: NDArray[np.int64],
) -> int:
    """List what a tick's commands change, and note who is controlled.

    A car that is seized without a command is told to hold its speed.

    Args:
        controlled: (N,) bool, as asked for.
        speed_mps: (N,) float64, NaN for no command.
        factor: (N,) float64, NaN for no command.
        present: (N,) bool.
        was_controlled: (N,) bool; becomes who is controlled from now on.
        now_mps: (N,) float64, the cars' speeds.
        index: (4, N) int64, filled: cars that are seized, released, have a speed, have a factor.
        value: (4, N) float64, filled: the speeds and the factors, in the rows of their cars.
        count: (4,) int64, filled: how many of each.

    Returns:
        NO_FAULT; or slot · 2 of a bad speed, or slot · 2 + 1 of a bad factor: negative or
        infinite. Nothing is noted then.
    """
    size = present.size
    for car in range(size):
        if present[car]:
            # A comparison with NaN is false, and NaN is no command.
            if controlled[car] and (speed_mps[car] < 0.0 or speed_mps[car] == np.inf):
                return 2 * car
            if factor[car] < 0.0 or factor[car] == np.inf:
                return 2 * car + 1
    count[:] = 0
    for car in range(size):
        ours = controlled[car] and present[car]
        seized = ours and not was_controlled[car]
        if seized:
            index[SEIZED, count[SEIZED]] = car
            count[SEIZED] += 1
        elif was_controlled[car] and not ours:
            index[RELEASED, count[RELEASED]] = car
            count[RELEASED] += 1
        was_controlled[car] = ours
        told = not np.isnan(speed_mps[car])
        if ours and (told or seized):
            index[SPEED, count[SPEED]] = car
            value[SPEED, count[SPEED]] = speed_mps[car] if told else now_mps[car]
            count[SPEED] += 1
        if present[car] and not np.isnan(factor[car]):
            index[FACTOR, count[FACTOR]] = car
            value[FACTOR, count[FACTOR]] = factor[car]
            count[FACTOR] += 1
    return NO_FAULT


@compiled
def _note_passing(
    position_m: NDArray[np.float64],
    present: NDArray[np.bool_],
    muddled: NDArray[np.bool_],
) -> None:
    """Set `muddled`, (E,) bool, where a car is not behind all of higher slots; others (N,)."""
    slots = present.size // muddled.size
    for env in range(muddled.size):
        reached_m = -np.inf
        for car in range(env * slots, (env + 1) * slots):
            if present[car]:
                muddled[env] |= position_m[car] <= reached_m
                reached_m = max(reached_m, position_m[car])


@compiled
def follow_cars(
    cars: NDArray[np.int64],
    lane_pos_m: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    lane_start_m: NDArray[np.float64],
    lane_length_m: NDArray[np.float64],
    position_m: NDArray[np.float64],
    now_mps: NDArray[np.float64],
    car_lane_start_m: NDArray[np.float64],
    present: NDArray[np.bool_],
    muddled: NDArray[np.bool_],
) -> int:
    """Move cars to where SUMO says they are, onto the next lane where need be.

    Args:
        cars: (n,) int64, the slots that were read.
        lane_pos_m: (n,) float64, what SUMO says.
        speed_mps: (n,) float64, what SUMO says.
        lane_start_m: (lanes,) float64 of the road.
        lane_length_m: (lanes,) float64 of the road.
        position_m: (N,) float64, along the route; updated.
        now_mps: (N,) float64; updated.
        car_lane_start_m: (N,) float64, the start of the lane that each car is on; updated.
        present: (N,) bool.
        muddled: (E,) bool; set for convoys in which a car has passed one of a higher slot.

    Returns:
        NO_FAULT, or the place in `cars` of the first that is on no lane near where it must be;
        that one and those behind it are not updated.
    """
    for row in range(cars.size):
        car = cars[row]
        expected_m = position_m[car] + (now_mps[car] + speed_mps[row]) * (0.5 * DT_S)
        start_m = car_lane_start_m[car]
        if not abs(start_m + lane_pos_m[row] - expected_m) <= SAME_LANE_TOLERANCE_M:
            last = 0
            while last < lane_start_m.size and lane_start_m[last] <= expected_m:
                last += 1
            least_m = np.inf
            for back in range(_CANDIDATES):
                lane = min(max(last - back, 0), lane_start_m.size - 1)
                if lane_pos_m[row] > lane_length_m[lane] + SAME_LANE_TOLERANCE_M:
                    continue
                off_m = abs(lane_start_m[lane] + lane_pos_m[row] - expected_m)
                if off_m < least_m:
                    least_m, start_m = off_m, lane_start_m[lane]
            if not least_m <= INCONSISTENCY_M:
                return row
            car_lane_start_m[car] = start_m
        position_m[car] = start_m + lane_pos_m[row]
        now_mps[car] = speed_mps[row]
    _note_passing(position_m, present, muddled)
    return NO_FAULT
