"""The loops of a placement, compiled: can it be, and what does it make of the cars on the road.

E convoys of V vehicle slots, N = E · V of them, flat; K convoys in a placement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

REMOVED, PLACED, LANE, SEQUENCE = range(4)  # rows of what `place_cars` finds


@compiled
def lane_at(lane_start_m: NDArray[np.float64], position_m: float) -> int:
    """Return the last lane that does not start beyond a route position."""
    low, high = 0, lane_start_m.size
    while high - low > 1:
        middle = (low + high) // 2
        if lane_start_m[middle] <= position_m:
            low = middle
        else:
            high = middle
    return low


@compiled
def can_be_placed(
    env: NDArray[np.int64],
    here: NDArray[np.bool_],
    numbers: tuple[NDArray[np.float64], ...],
    num_envs: int,
    lane_start_m: NDArray[np.float64],
    lane_internal: NDArray[np.bool_],
    road_length_m: float,
) -> bool:
    """Tell whether convoys are distinct and their cars' numbers are in range.

    Args:
        env: (K,) int64.
        here: (K, V) bool, which cars count.
        numbers: (K, V) float64 each, to be finite and not below 0; the first is the route
            position, to be on the road and not inside a junction.
        num_envs: E.
        lane_start_m: (lanes,) float64 of the road.
        lane_internal: (lanes,) bool of the road.
        road_length_m: Of the road.
    """
    for row in range(env.size):
        if not 0 <= env[row] < num_envs:
            return False
        for other in range(row):
            if env[other] == env[row]:
                return False
        for slot in range(here.shape[1]):
            if not here[row, slot]:
                continue
            for values in numbers:
                if not 0.0 <= values[row, slot] < np.inf:
                    return False
            position_m = numbers[0][row, slot]
            if position_m > road_length_m or lane_internal[lane_at(lane_start_m, position_m)]:
                return False
    return True


@compiled
def place_cars(
    env: NDArray[np.int64],
    here: NDArray[np.bool_],
    asked: NDArray[np.bool_],
    route_pos_m: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    lane_start_m: NDArray[np.float64],
    present: NDArray[np.bool_],
    controlled: NDArray[np.bool_],
    position_m: NDArray[np.float64],
    now_mps: NDArray[np.float64],
    car_lane_start_m: NDArray[np.float64],
    muddled: NDArray[np.bool_],
    cars: NDArray[np.int64],
    lane_pos_m: NDArray[np.float64],
    flags: NDArray[np.bool_],
) -> tuple[int, int]:
    """Take convoys over and decide which of their cars are renewed.

    Args:
        env: (K,) int64, the convoys.
        here: (K, V) bool, who shall be on the road.
        asked: (K, V) bool, who shall obey our speed command.
        route_pos_m: (K, V) float64, where they shall be.
        speed_mps: (K, V) float64.
        lane_start_m: (lanes,) float64 of the road.
        present: (N,) bool; updated, as all that follow.
        controlled: (N,) bool.
        position_m: (N,) float64.
        now_mps: (N,) float64.
        car_lane_start_m: (N,) float64.
        muddled: (E,) bool, where cars do not stand in the order of their slots.
        cars: (4, K · V) int64, filled: cars to remove; cars to place, their lanes, and the
            sequence of placing, as places in the second row.
        lane_pos_m: (K · V,) float64, filled: where on their lanes.
        flags: (2, K · V) bool, filled: which are renewed, which of those were controlled.

    Returns:
        How many cars are removed and placed.
    """
    num_slots = here.shape[1]
    turn = np.empty(here.size, dtype=np.int64)
    gone = placed = 0
    for row in range(env.size):
        ordered, reached_m = True, -np.inf
        for slot in range(num_slots):
            if here[row, slot]:
                ordered &= route_pos_m[row, slot] > reached_m
                reached_m = max(reached_m, route_pos_m[row, slot])
        keeps = ordered and not muddled[env[row]]
        muddled[env[row]] = not ordered
        for slot in range(num_slots):
            car = env[row] * num_slots + slot
            there_m = route_pos_m[row, slot]
            stays = present[car] and here[row, slot] and keeps
            if present[car] and not stays:
                cars[REMOVED, gone] = car
                gone += 1
            if here[row, slot]:
                # Those that move forwards go first, the one in front leading; then those that
                # move back, the last one leading; then new ones, which SUMO sorts in.
                turn[placed] = 2 * num_slots
                if stays:
                    turn[placed] = -slot if there_m > position_m[car] else slot + num_slots
                lane = lane_at(lane_start_m, there_m)
                cars[PLACED, placed], cars[LANE, placed] = car, lane
                lane_pos_m[placed] = there_m - lane_start_m[lane]
                flags[0, placed], flags[1, placed] = stays, stays and controlled[car]
                placed += 1
                car_lane_start_m[car] = lane_start_m[lane]
            present[car] = here[row, slot]
            controlled[car] = asked[row, slot] and here[row, slot]
            position_m[car] = there_m if here[row, slot] else 0.0
            now_mps[car] = speed_mps[row, slot] if here[row, slot] else 0.0
    _line_up(turn[:placed], num_slots, cars[SEQUENCE])
    return gone, placed


@compiled
def _line_up(turn: NDArray[np.int64], num_slots: int, sequence: NDArray[np.int64]) -> None:
    """Fill in the places of cars in the order of their turns, equal ones as they come."""
    done = 0
    for due in range(1 - num_slots, 2 * num_slots + 1):
        for place in range(turn.size):
            if turn[place] == due:
                sequence[done] = place
                done += 1
