"""The loops of a tick over all vehicle slots, compiled.

E convoys of V vehicle slots, N = E · V of them, flat. Every array is C-contiguous and of one
dtype, so each kernel has a single signature. A kernel cannot say in words what is wrong; it
returns where.
"""

from typing import NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.compiled import compiled
from ml.vehicle import DT_S

SAME_LANE_TOLERANCE_M = 0.05
INCONSISTENCY_M = 0.1
FINE = -1
_CANDIDATES = 3  # lanes looked at around the expected position


class Cars(NamedTuple):
    """What is known of every vehicle slot.

    Attributes:
        present: (N,) bool, whether the car is on the road.
        controlled: (N,) bool, whether it obeys our speed command.
        position_m: (N,) float64, along the route.
        speed_mps: (N,) float64.
        lane_start_m: (N,) float64, where the lane begins that it is on.
        lane_length_m: (N,) float64, of that lane.
        lane_pos_m: (N,) float64, where on it.
        out_of_order: (E,) bool, whether a car of the convoy has passed one of a higher slot.
    """

    present: Bools
    controlled: Bools
    position_m: Floats
    speed_mps: Floats
    lane_start_m: Floats
    lane_length_m: Floats
    lane_pos_m: Floats
    out_of_order: Bools


class Orders(NamedTuple):
    """What has to be told to SUMO before a tick; indices are flat, convoy · V + slot.

    The arrays are views that the next tick's orders overwrite.

    Attributes:
        taken_over: int64, cars that SUMO must stop checking from now on.
        released: int64, cars that SUMO's car-following drives from now on.
        speed_index: int64, cars with a new speed command.
        speed_mps: float64, their commands.
        factor_index: int64, cars with a new speed factor.
        factor: float64, their factors.
    """

    taken_over: Ints
    released: Ints
    speed_index: Ints
    speed_mps: Floats
    factor_index: Ints
    factor: Floats


@compiled
def sort_commands(
    controlled: Bools, speed_mps: Floats, factor: Floats, cars: Cars, found: Orders
) -> tuple[int, int, int, int, int]:
    """List what a tick's commands change, and note in `cars` who is controlled.

    A car that is taken over without a command is told to hold its speed.

    Args:
        controlled: (N,) bool, as asked for.
        speed_mps: (N,) float64, NaN for no command.
        factor: (N,) float64, NaN for no command.
        cars: Every vehicle slot.
        found: Arrays (N,), filled from their starts.

    Returns:
        FINE; or slot · 2 of a bad speed, or slot · 2 + 1 of a bad factor: negative or infinite,
        and nothing is noted then. And how many cars are taken over, released, have a speed, have
        a factor.
    """
    size = cars.present.size
    for car in range(size):
        if cars.present[car]:
            # A comparison with NaN is false, and NaN is no command.
            if controlled[car] and (speed_mps[car] < 0.0 or speed_mps[car] == np.inf):
                return 2 * car, 0, 0, 0, 0
            if factor[car] < 0.0 or factor[car] == np.inf:
                return 2 * car + 1, 0, 0, 0, 0
    taken_over = released = speeds = factors = 0
    for car in range(size):
        ours = controlled[car] and cars.present[car]
        new = ours and not cars.controlled[car]
        if new:
            found.taken_over[taken_over] = car
            taken_over += 1
        elif cars.controlled[car] and not ours:
            found.released[released] = car
            released += 1
        cars.controlled[car] = ours
        told = not np.isnan(speed_mps[car])
        if ours and (told or new):
            found.speed_index[speeds] = car
            found.speed_mps[speeds] = speed_mps[car] if told else cars.speed_mps[car]
            speeds += 1
        if cars.present[car] and not np.isnan(factor[car]):
            found.factor_index[factors], found.factor[factors] = car, factor[car]
            factors += 1
    return FINE, taken_over, released, speeds, factors


@compiled
def _note_order(cars: Cars) -> None:
    """Set `out_of_order` where a car is not behind all of higher slots."""
    slots = cars.present.size // cars.out_of_order.size
    for env in range(cars.out_of_order.size):
        reached_m = -np.inf
        for car in range(env * slots, (env + 1) * slots):
            if cars.present[car]:
                cars.out_of_order[env] |= cars.position_m[car] <= reached_m
                reached_m = max(reached_m, cars.position_m[car])


@compiled
def predict_cars(
    read: Ints, speed_mps: Floats, left: Bools, cars: Cars, lane_pos_m: Floats, unsure: Ints
) -> int:
    """Work out where cars are after a tick, as SUMO does.

    A tick moves a car by (v + 0.5 a dt) dt, a being (v' - v) / dt, in this order of operations
    (`MSVehicle::getDeltaPos`, ballistic update). Where it stops part of the way, where it leaves
    its lane or is not on the convoy's, only SUMO knows.

    Args:
        read: (n,) int64, slots.
        speed_mps: (n,) float64, after the tick.
        left: (N,) bool, whether a car is on the left lane.
        cars: Every vehicle slot, as before the tick.
        lane_pos_m: (n,) float64, filled.
        unsure: (n,) int64, filled from its start: places in `read` that SUMO must be asked for.

    Returns:
        How many those are.
    """
    count = 0
    for row in range(read.size):
        car = read[row]
        before_mps, after_mps = cars.speed_mps[car], speed_mps[row]
        accel_mps2 = (after_mps - before_mps) / DT_S
        moved_m = (before_mps + 0.5 * (accel_mps2 * DT_S)) * DT_S
        lane_pos_m[row] = cars.lane_pos_m[car] + moved_m
        stops = after_mps == 0.0 and before_mps > 0.0
        if stops or left[car] or lane_pos_m[row] > cars.lane_length_m[car]:
            unsure[count] = row
            count += 1
    return count


@compiled
def follow_cars(
    read: Ints,
    lane_pos_m: Floats,
    speed_mps: Floats,
    lane_start_m: Floats,
    lane_length_m: Floats,
    cars: Cars,
) -> int:
    """Move cars to where SUMO says they are, onto the next lane where need be.

    Args:
        read: (n,) int64, the slots that were read.
        lane_pos_m: (n,) float64, what SUMO says.
        speed_mps: (n,) float64, what SUMO says.
        lane_start_m: (lanes,) float64, where each begins along the route.
        lane_length_m: (lanes,) float64.
        cars: Every vehicle slot; updated.

    Returns:
        FINE, or the place in `read` of the first car that is on no lane near where it must be;
        that one and those behind it are not updated.
    """
    for row in range(read.size):
        car = read[row]
        expected_m = cars.position_m[car] + (cars.speed_mps[car] + speed_mps[row]) * (0.5 * DT_S)
        start_m = cars.lane_start_m[car]
        if not abs(start_m + lane_pos_m[row] - expected_m) <= SAME_LANE_TOLERANCE_M:
            last = 0
            while last < lane_start_m.size and lane_start_m[last] <= expected_m:
                last += 1
            least_m, length_m = np.inf, 0.0
            for back in range(_CANDIDATES):
                lane = min(max(last - back, 0), lane_start_m.size - 1)
                if lane_pos_m[row] > lane_length_m[lane] + SAME_LANE_TOLERANCE_M:
                    continue
                off_m = abs(lane_start_m[lane] + lane_pos_m[row] - expected_m)
                if off_m < least_m:
                    least_m, start_m, length_m = off_m, lane_start_m[lane], lane_length_m[lane]
            if not least_m <= INCONSISTENCY_M:
                return row
            cars.lane_start_m[car], cars.lane_length_m[car] = start_m, length_m
        cars.lane_pos_m[car] = lane_pos_m[row]
        cars.position_m[car] = start_m + lane_pos_m[row]
        cars.speed_mps[car] = speed_mps[row]
    _note_order(cars)
    return FINE
