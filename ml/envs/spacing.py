"""How far apart cars are that drive behind one another, and where a car can be inserted."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ml.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.sumo.road import Road


Number = TypeVar("Number", float, "NDArray[np.float64]")

WANTED_STANDSTILL_M = 10.0
"""Gap that the ego shall keep at standstill: between four and five standard deviations of the
difference of two GPS positions (2.1 m each, half of it common), which hardly changes in an
episode."""
_ORDER = 8


@compiled
def wanted_gap_m(speed_mps: Number, time_gap_s: Number | float) -> Number:
    """Gap that the ego shall keep: the driver's time gap, and never less than at standstill.

    A maximum with its corner rounded (the norm of order 8), so that the gap's wish has a slope
    everywhere. A sum of the two, as controllers have it, is too much where it is slow and too
    little where it is fast: what a silence at the onset of a braking takes is a time.
    """
    gap: Number = (WANTED_STANDSTILL_M**_ORDER + (time_gap_s * speed_mps) ** _ORDER) ** (1 / _ORDER)
    return gap


def relaxed_gap_m(
    min_gap_m: NDArray[np.float64] | float,
    tau_s: NDArray[np.float64] | float,
    speed_mps: NDArray[np.float64] | float,
) -> NDArray[np.float64]:
    """The IDM's equilibrium gap at 80 % of the desired speed."""
    return np.asarray((min_gap_m + tau_s * speed_mps) / np.sqrt(1.0 - 0.8**4))


def leave_junctions(road: Road, route_pos_m: NDArray[np.float64]) -> None:
    """Move a car that would be inserted inside a junction, and all ahead of it, beyond."""
    for slot in range(route_pos_m.shape[1]):
        here = np.minimum(route_pos_m[:, slot], road.length_m)
        route_pos_m[:, slot:] += (_beyond_junction(road, here) - here)[:, None]


def _beyond_junction(road: Road, route_pos_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move positions inside a junction to the start of the next lane that leads on."""
    lane, _ = road.locate(route_pos_m)
    moved = route_pos_m.copy()
    inside = road.lane_internal[lane]
    while inside.any():
        lane[inside] += 1
        moved[inside] = road.lane_start_m[lane[inside]]
        inside = road.lane_internal[lane]
    return moved
