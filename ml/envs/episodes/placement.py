"""How far apart cars are that are inserted behind one another, and where one can be."""

import numpy as np

from ml.arrays import Floats
from ml.sumo.protocol import DriverParameters
from ml.sumo.road import Road

_KRAUSS = {"tau_s": 1.0, "accel_mps2": 2.6, "decel_mps2": 4.5, "min_gap_m": 2.5}
"""Defaults of SUMO's Krauss model."""


def relaxed_gap_m(
    min_gap_m: Floats | float, tau_s: Floats | float, speed_mps: Floats | float
) -> Floats:
    """The IDM's equilibrium gap at 80 % of the desired speed."""
    return np.asarray((min_gap_m + tau_s * speed_mps) / np.sqrt(1.0 - 0.8**4))


def leave_junctions(road: Road, route_pos_m: Floats) -> None:
    """Move a car that would be inserted inside a junction, and all ahead of it, beyond."""
    for slot in range(route_pos_m.shape[1]):
        here = np.minimum(route_pos_m[:, slot], road.length_m)
        lane, _ = road.locate(here)
        beyond = here.copy()
        while (inside := road.lane_internal[lane]).any():
            lane[inside] += 1
            beyond[inside] = road.lane_start_m[lane[inside]]
        route_pos_m[:, slot:] += (beyond - here)[:, None]


def give_ego_defaults(drivers: DriverParameters) -> None:
    """Give slot 0 SUMO's own driver; it counts only where SUMO drives the ego."""
    for name, value in _KRAUSS.items():
        getattr(drivers, name)[:, 0] = value
