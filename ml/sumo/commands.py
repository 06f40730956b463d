"""What SUMO is told, in what order, the same over both backends.

The functions here speak to something with the names of libsumo's functions: libsumo's compiled
module itself, or `ml.sumo.traci_bytes.Script`, which packs them for TraCI.

The order matters. Car-following models work out constants when they are made (IDM one of its
acceleration and deceleration, all of them the deceleration that they show to others), and a
vehicle's own setters leave those stale. So first the shared type gets the car's parameters, then
the car is made from it; setting its minimum gap gives it a type of its own, freshly worked out.
``add`` alone would be refused at a gap that SUMO thinks unsafe; ``moveTo`` then puts the car on
its exact place at once.

Making a car costs SUMO more than all the rest, so a car that is on the road already is not removed
and made again but reused: it gets the shared type again, its speed, and its place. What SUMO
remembers of a car beyond that does not bear on how it drives on, which the contract tests prove.
But a lane keeps its cars in the order in which they stand, and ``moveTo`` within a lane does not
sort them. So the cars of a convoy are reused only if they stand and always stood in the order of
their slots, and they are moved such that none passes another on the way; and only if all of them
drive in one lane.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ml.arrays import Floats, Ints
from ml.sumo.fleet import Admission
from ml.sumo.fleet_kernels import Orders
from ml.sumo.names import tile_lane, tile_prefix, vehicle_id
from ml.sumo.protocol import Placement
from ml.sumo.road import Road
from ml.sumo.tiling import EGO_TYPE, PEER_TYPE, ROUTE_SUFFIX

# Bits of SUMO's speed mode: checks of gap, acceleration, deceleration, right of way, red light.
SPEED_MODE_UNCHECKED = 0
_SPEED_MODE_DEFAULT = 31
_SPEED_RELEASED = -1.0  # what setSpeed takes for "drive as you like"
_LANE_CHANGE_NEVER = 0
_LANE_KEPT_S = 1e4  # how long changeLane keeps a car in its new lane, in which we leave it anyway
_ADD_AT = ("now", "first", "base")  # when and where to add a car; it is moved at once


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


def insertions(
    placement: Placement, road: Road, lane: Ints, lane_pos_m: Floats
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


def place(
    tell: Any, ids: Sequence[str], placement: Placement, road: Road, admission: Admission
) -> None:
    """Tell SUMO to take off the road who is in the way, and to put a placement's cars on it."""
    for index in admission.removed.tolist():
        tell.vehicle_remove(ids[index])
    cars = list(insertions(placement, road, admission.lane, admission.lane_pos_m))
    reused, was_controlled = admission.reused, admission.was_controlled
    for at in admission.sequence.tolist():
        car = cars[at]
        name, kind = car.name, car.vehicle_type
        tell.vehicletype_setTau(kind, car.tau_s)
        tell.vehicletype_setAccel(kind, car.accel_mps2)
        tell.vehicletype_setDecel(kind, car.decel_mps2)
        if reused[at]:
            tell.vehicle_setType(name, kind)
            tell.vehicle_setPreviousSpeed(name, car.speed_mps, 0.0)
        else:
            tell.vehicle_add(name, car.route, kind, *_ADD_AT, repr(car.speed_mps))
            tell.vehicle_setLaneChangeMode(name, _LANE_CHANGE_NEVER)
        tell.vehicle_setMinGap(name, car.min_gap_m)
        tell.vehicle_setSpeedFactor(name, car.speed_factor)
        tell.vehicle_moveTo(name, car.lane, car.lane_pos_m)
        if car.controlled:
            if not was_controlled[at]:
                tell.vehicle_setSpeedMode(name, SPEED_MODE_UNCHECKED)
            tell.vehicle_setSpeed(name, car.speed_mps)
        elif was_controlled[at]:
            _release(tell, name)


def hand_over(tell: Any, ids: Sequence[str], orders: Orders) -> None:
    """Tell SUMO which cars are ours from now on, and which are its own again."""
    for index in orders.taken_over.tolist():
        tell.vehicle_setSpeedMode(ids[index], SPEED_MODE_UNCHECKED)
    for index in orders.released.tolist():
        _release(tell, ids[index])


def change_lanes(
    tell: Any, ids: Sequence[str], changes: Sequence[tuple[int, bool]], road: Road
) -> None:
    """Tell SUMO who changes lanes: each car's index, and whether it goes to the left."""
    for index, left in changes:
        tell.vehicle_changeLane(ids[index], road.lane_number(left=left), _LANE_KEPT_S)


def _release(tell: Any, name: str) -> None:
    tell.vehicle_setSpeed(name, _SPEED_RELEASED)
    tell.vehicle_setSpeedMode(name, _SPEED_MODE_DEFAULT)
