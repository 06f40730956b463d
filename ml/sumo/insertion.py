"""What SUMO has to be told to put a car on the road, the same for both backends.

The order matters. Car-following models work out constants when they are made (IDM one of its
acceleration and deceleration, all of them the deceleration that they show to others), and a
vehicle's own setters leave those stale. So first the shared type gets the car's parameters, then
the car is made from it; setting its minimum gap gives it a type of its own, freshly worked out.
``add`` alone would be refused at a gap that SUMO thinks unsafe; ``moveTo`` then puts the car on
its exact place at once.

Making a car costs SUMO more than all the rest, so a car that is on the road already is not removed
and made again but renewed: it gets the shared type again, its speed, and its place. What SUMO
remembers of a car beyond that does not bear on how it drives on, which the contract tests prove.
But a lane keeps its cars in the order in which they stand, and ``moveTo`` within a lane does not
sort them. So a convoy is renewed only if its cars stand and always stood in the order of their
slots, and they are moved such that none passes another on the way; and only if all of them drive
in one lane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ml.sumo.names import tile_lane, tile_prefix, vehicle_id
from ml.sumo.tiling import EGO_TYPE, PEER_TYPE, ROUTE_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ml.sumo.protocol import Placement
    from ml.sumo.road import Road


class Insertion(NamedTuple):
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


class Admission(NamedTuple):
    """What a placement makes of the cars on the road; flat indices, convoy · V + slot.

    Attributes:
        removed: int64, cars to take off the road first.
        placed: int64, cars to put on it, row by row of the placement.
        lane: int64, the lane of each of `placed`.
        lane_pos_m: float64, where on it.
        renewed: bool, which of `placed` are on the road already and start anew.
        was_controlled: bool, which of `placed` are renewed and obeyed our speed command until now.
        sequence: int64, the order in which to place them, as places in `placed`.
    """

    removed: NDArray[np.int64]
    placed: NDArray[np.int64]
    lane: NDArray[np.int64]
    lane_pos_m: NDArray[np.float64]
    renewed: NDArray[np.bool_]
    was_controlled: NDArray[np.bool_]
    sequence: NDArray[np.int64]

    @property
    def only_renews(self) -> bool:
        """Whether the same cars are on the road before and after."""
        return self.removed.size == 0 and bool(self.renewed.all())


def insertions(
    placement: Placement, road: Road, lane: NDArray[np.int64], lane_pos_m: NDArray[np.float64]
) -> Iterator[Insertion]:
    """Yield the cars of a placement, row by row; `lane` and `lane_pos_m` say where each stands."""
    here, drivers = placement.present, placement.drivers
    rows, slots = here.nonzero()
    left = np.zeros_like(here) if placement.left is None else placement.left
    columns = (
        placement.env_indices[rows],
        slots,
        lane,
        left[here],
        lane_pos_m,
        placement.speed_mps[here],
        placement.controlled[here],
        drivers.tau_s[here],
        drivers.accel_mps2[here],
        drivers.decel_mps2[here],
        drivers.min_gap_m[here],
        drivers.speed_factor[here],
    )
    listed = zip(*(column.tolist() for column in columns), strict=True)
    for env, slot, on_lane, is_left, *numbers in listed:
        lane_ids = road.left_lane_ids if is_left else road.lane_ids
        yield Insertion(
            vehicle_id(env, slot),
            tile_prefix(env) + ROUTE_SUFFIX,
            PEER_TYPE if slot else EGO_TYPE,
            tile_lane(env, lane_ids[on_lane]),
            *numbers,
        )
