"""What SUMO has to be told to put a car on the road, the same for both backends.

The order matters. Car-following models work out constants when they are made (IDM one of its
acceleration and deceleration, all of them the deceleration that they show to others), and a
vehicle's own setters leave those stale. So first the
shared type gets the car's parameters, then the car is made from it; setting its minimum gap gives
it a type of its own, freshly worked out. ``add`` alone would be refused at a gap that SUMO thinks
unsafe; ``moveTo`` then puts the car on its exact place at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml.sumo.names import tile_lane, tile_prefix, vehicle_id
from ml.sumo.tiling import EGO_TYPE, PEER_TYPE, ROUTE_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml.sumo.protocol import Placement
    from ml.sumo.road import Road


@dataclass(frozen=True, slots=True)
class Insertion:
    """One car to be inserted; the numbers are as in `Placement` and `DriverParameters`."""

    name: str
    route: str
    vehicle_type: str
    lane: str
    lane_pos_m: float
    speed_mps: float
    controlled: bool
    tau_s: float
    accel_mps2: float
    decel_mps2: float
    min_gap_m: float
    speed_factor: float


def insertions(placement: Placement, road: Road) -> Iterator[Insertion]:
    """Yield the cars of a placement, row by row."""
    here, drivers = placement.present, placement.drivers
    rows, slots = here.nonzero()
    lanes, lane_pos_m = road.locate(placement.route_pos_m[here])
    columns = (
        placement.env_indices[rows],
        slots,
        lanes,
        lane_pos_m,
        placement.speed_mps[here],
        placement.controlled[here],
        drivers.tau_s[here],
        drivers.accel_mps2[here],
        drivers.decel_mps2[here],
        drivers.min_gap_m[here],
        drivers.speed_factor[here],
    )
    for env, slot, lane, *numbers in zip(*(column.tolist() for column in columns), strict=True):
        yield Insertion(
            vehicle_id(env, slot),
            tile_prefix(env) + ROUTE_SUFFIX,
            PEER_TYPE if slot else EGO_TYPE,
            tile_lane(env, road.lane_ids[lane]),
            *numbers,
        )
