"""Cars beside the convoy's lane: how far aside they are, and when they are in the way.

Lateral motion is ours, as UN Regulation No. 157 describes a cut-in: at a constant lateral speed
from the centre of the left lane to the centre of the convoy's (Annex 4, Appendix 3; public code
JRC-FSM). SUMO moves the car along the road, and changes its lane in the tick in which it first
overlaps the ego's width. From that tick on it counts as in front: for the gap, for crashes, and
for whoever SUMO drives behind it. Until then the car in front is the next one in the lane.
"""

import math

import numpy as np

from ml.arrays import Floats, Ints
from ml.compiled import inlined
from ml.envs.episodes.drawn import EpisodePlan
from ml.vehicle import CAR_LENGTH_M, CAR_WIDTH_M, DT_S

WANDERING_M = 0.375
"""How far a car may be from its lane's centre without showing that it changes lanes (ibid.)."""
_FULL_TURN_DEG = 360.0


def lateral_m(plan: EpisodePlan, tick: Ints, num_slots: int, left_m: float) -> Floats:
    """Return how far left of the convoy's lane each car is.

    Args:
        plan: Who cuts in, when, how fast.
        tick: (n,) int64, ticks since reset.
        num_slots: Vehicles per convoy.
        left_m: From the centre of the convoy's lane to that of the left one.

    Returns:
        (n, num_slots) float64, centre to centre; 0 for all but the car that cuts in.
    """
    aside_m = np.zeros((tick.size, num_slots))
    rows = np.flatnonzero(plan.cut_in_slot)
    moved_m = plan.cut_in_mps[rows] * DT_S * np.maximum(tick[rows] - plan.cut_in_tick[rows], 0)
    aside_m[rows, plan.cut_in_slot[rows]] = np.maximum(left_m - moved_m, 0.0)
    return aside_m


@inlined
def car_in_front(route_pos_m: Floats, aside_m: Floats, e: int, own_m: float) -> int:
    """Find the car in front of one in the convoy's lane; cars stand in the order of their slots.

    A car that came into the lane behind is none. Front bumpers and `aside_m` (see `lateral_m`) are
    (E, V) float64; it is asked for convoy `e` and the car whose front bumper is at `own_m`.

    Returns:
        The slot; 0 for nobody.
    """
    for v in range(1, route_pos_m.shape[1]):
        if aside_m[e, v] < CAR_WIDTH_M and route_pos_m[e, v] > own_m - CAR_LENGTH_M:
            return v
    return 0


@inlined
def move_aside(
    x_m: Floats,
    y_m: Floats,
    heading_deg: Floats,
    aside_m: Floats,
    drift_mps: Floats,
    speed_mps: Floats,
) -> None:
    """Move cars from the road's centre line to where they are; the first three are changed.

    All are (E, V) float64.

    Args:
        x_m: East.
        y_m: North.
        heading_deg: Clockwise from north.
        aside_m: See `lateral_m`.
        drift_mps: How fast that grows; a car points where it drives.
        speed_mps: Along the road.
    """
    for e in range(x_m.shape[0]):
        for v in range(x_m.shape[1]):
            if aside_m[e, v] == 0.0 and drift_mps[e, v] == 0.0:
                continue
            along = math.radians(heading_deg[e, v])
            x_m[e, v] -= aside_m[e, v] * math.cos(along)
            y_m[e, v] += aside_m[e, v] * math.sin(along)
            turned = heading_deg[e, v] - math.degrees(math.atan2(drift_mps[e, v], speed_mps[e, v]))
            heading_deg[e, v] = turned % _FULL_TURN_DEG
