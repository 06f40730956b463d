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
slots, and they are moved such that none passes another on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Admission:
    """What a placement makes of the cars on the road; flat indices, convoy · V + slot.

    Attributes:
        removed: int64, cars to take off the road first.
        placed: int64, cars to put on it, in the order of `insertions`.
        renewed: bool, which of `placed` are on the road already and start anew.
        was_controlled: bool, which of `placed` are renewed and obeyed our speed command until now.
        sequence: int64, the order in which to place them, as places in `placed`.
    """

    removed: NDArray[np.int64]
    placed: NDArray[np.int64]
    renewed: NDArray[np.bool_]
    was_controlled: NDArray[np.bool_]
    sequence: NDArray[np.int64]

    @property
    def only_renews(self) -> bool:
        """Whether the same cars are on the road before and after."""
        return self.removed.size == 0 and bool(self.renewed.all())

    @classmethod
    def decide(
        cls,
        slots: NDArray[np.int64],
        present: NDArray[np.bool_],
        position_m: NDArray[np.float64],
        controlled: NDArray[np.bool_],
        ordered: NDArray[np.bool_],
        placement: Placement,
    ) -> Admission:
        """Decide which cars are renewed.

        Args:
            slots: (K, V) int64, flat indices of the placement's convoys.
            present: (K, V) bool, who is on the road now.
            position_m: (K, V) float64, where they are.
            controlled: (K, V) bool, who obeys our speed command.
            ordered: (K,) bool, where cars stood, stand and will stand in the order of their slots.
            placement: What is asked for.
        """
        here, there_m = placement.present, placement.route_pos_m
        stay = present & here & ordered[:, None]
        # Those that move forwards go first, the one in front leading; then those that move back,
        # the last one leading; then new ones, which SUMO sorts in.
        slot = np.arange(slots.shape[1])
        forwards = there_m > position_m
        turn = np.where(forwards, -slot, slot + slot.size)
        turn = np.where(stay, turn, 2 * slot.size)
        return cls(
            removed=slots[present & ~stay],
            placed=slots[here],
            renewed=stay[here],
            was_controlled=(stay & controlled)[here],
            sequence=np.argsort(turn[here], kind="stable"),
        )


def in_order(position_m: NDArray[np.float64], cars: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell in which convoys each of the cars is ahead of all that have a lower slot, (K,) bool."""
    reached_m = np.maximum.accumulate(np.where(cars, position_m, -np.inf), axis=1)
    ahead = position_m[:, 1:] > reached_m[:, :-1]
    kept: NDArray[np.bool_] = np.all(ahead | ~cars[:, 1:], axis=1)
    return kept
