"""What a backend keeps of every vehicle slot: is it there, where, how fast, who drives it.

Both backends read only lane position and speed. Which lane a car is on follows from continuity:
with ballistic integration a tick moves it by (v_before + v_now) / 2 · dt, so the lane is the one
whose start plus the lane position lies there. That is exact to rounding, except in the tick in
which SUMO's car-following stops a car part of the way; there it is within a few centimetres,
which is less than half of SUMO's shortest lane (0.1 m).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ml.errors import SimulatorError
from ml.sumo import fleet_kernels as kernels
from ml.sumo import placement_kernels as placing
from ml.sumo.insertion import Admission
from ml.sumo.names import MAX_VEHICLES, tile_lane, vehicle_id
from ml.sumo.protocol import TrafficState
from ml.vehicle import DT_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.sumo.protocol import Placement, TickCommands
    from ml.sumo.road import Road

_EXACT_M = 1e-9
_NOBODY = np.zeros(0, dtype=np.int64)


class Orders(NamedTuple):
    """What has to be told to SUMO before a tick; indices are flat, convoy · V + slot.

    The arrays are views that the next tick's orders overwrite.

    Attributes:
        seized: Cars that SUMO must stop checking from now on.
        released: Cars that SUMO's car-following drives from now on.
        speed_index: Cars with a new speed command.
        speed_mps: Their commands.
        factor_index: Cars with a new speed factor.
        factor: Their factors.
        changing: Cars that change lanes.
        to_left: bool, whether each of them changes to the left lane.
    """

    seized: NDArray[np.int64]
    released: NDArray[np.int64]
    speed_index: NDArray[np.int64]
    speed_mps: NDArray[np.float64]
    factor_index: NDArray[np.int64]
    factor: NDArray[np.float64]
    changing: NDArray[np.int64]
    to_left: NDArray[np.bool_]


class Fleet:
    """State of all vehicle slots, flat arrays of E · V entries.

    Attributes:
        ids: SUMO's identifiers.
        present: bool, whether the car is on the road.
        live: int64, indices of the cars that are present.
    """

    def __init__(self, road: Road, num_envs: int, num_vehicles: int) -> None:
        if not 1 <= num_vehicles <= MAX_VEHICLES:
            raise SimulatorError(
                f"num_vehicles is {num_vehicles}; a convoy has 1 to {MAX_VEHICLES} slots.",
            )
        self._road = road
        self._shape = (num_envs, num_vehicles)
        count = num_envs * num_vehicles
        self.ids = [
            vehicle_id(env, slot) for env in range(num_envs) for slot in range(num_vehicles)
        ]
        self.present = np.zeros(count, dtype=np.bool_)
        self.live = np.zeros(0, dtype=np.int64)
        self._controlled = np.zeros(count, dtype=np.bool_)
        # One block, so that one copy takes both.
        self._moving = np.zeros((2, count))
        self._position_m, self._speed_mps = self._moving
        self._lane_start_m = np.zeros(count)
        self._muddled = np.zeros(num_envs, dtype=np.bool_)
        self._left = np.zeros(count, dtype=np.bool_)
        self._order_index = np.zeros((4, count), dtype=np.int64)
        self._order_value = np.zeros((4, count))
        self._order_count = np.zeros(4, dtype=np.int64)

    def clear(self) -> None:
        """Forget every car: SUMO has started anew."""
        self.drop(np.arange(self.present.size))

    def admit(self, placement: Placement) -> Admission:
        """Check a placement and take it over.

        Raises:
            SimulatorError: Wrong shapes, a convoy twice or out of range, a value that is not
                finite, a negative speed, or a position off the road or inside a junction.
        """
        asked = self._asked(placement)
        numbers = tuple(asked.values())
        road = self._road
        env, here, controlled = placement.env_indices, placement.present, placement.controlled
        self._check_left(placement.left, here, "Placement.left")
        if not placing.can_be_placed(
            env,
            here,
            numbers,
            self._muddled.size,
            road.lane_start_m,
            road.lane_internal,
            road.length_m,
        ):
            raise self._refusal(placement, asked)
        beside = self._start_left(placement)
        cars, lane_pos_m, flags = (
            np.empty((4, here.size), dtype=np.int64),
            np.empty(here.size),
            np.empty((2, here.size), dtype=np.bool_),
        )
        gone, placed = placing.place_cars(
            env,
            here,
            controlled,
            placement.route_pos_m,
            placement.speed_mps,
            road.lane_start_m,
            self.present,
            self._controlled,
            self._position_m,
            self._speed_mps,
            self._lane_start_m,
            self._muddled,
            cars,
            lane_pos_m,
            flags,
        )
        self._muddled[beside] = True
        admission = Admission(
            removed=cars[placing.REMOVED, :gone],
            placed=cars[placing.PLACED, :placed],
            lane=cars[placing.LANE, :placed],
            lane_pos_m=lane_pos_m[:placed],
            renewed=flags[0, :placed],
            was_controlled=flags[1, :placed],
            sequence=cars[placing.SEQUENCE, :placed],
        )
        if not admission.only_renews:
            self.live = np.flatnonzero(self.present)
        return admission

    def orders(self, commands: TickCommands) -> Orders:
        """Turn a tick's commands into what has changed, and remember who drives.

        Raises:
            SimulatorError: A shape is wrong, or a command is negative or infinite (SUMO would take
                a negative speed for "drive as you like").
        """
        controlled = self._flat(commands.controlled, "controlled", np.bool_)
        self._check_left(commands.left, self.present.reshape(self._shape), "TickCommands.left")
        speed_mps = self._flat(commands.speed_mps, "speed_mps", np.float64)
        factor = self._flat(commands.speed_factor, "speed_factor", np.float64)
        index, value = self._order_index, self._order_value
        fault = kernels.sort_commands(
            controlled,
            speed_mps,
            factor,
            self.present,
            self._controlled,
            self._speed_mps,
            index,
            value,
            self._order_count,
        )
        if fault != kernels.NO_FAULT:
            car, is_factor = divmod(fault, 2)
            name, values = ("speed_factor", factor) if is_factor else ("speed_mps", speed_mps)
            raise SimulatorError(
                f"TickCommands.{name} of {self.ids[car]} is {values[car]}; it must be at least 0 "
                "and finite, or NaN for no command.",
            )
        changing = self._change_lanes(commands.left)
        seized, released, told, changed = self._order_count.tolist()
        return Orders(
            seized=index[kernels.SEIZED, :seized],
            released=index[kernels.RELEASED, :released],
            speed_index=index[kernels.SPEED, :told],
            speed_mps=value[kernels.SPEED, :told],
            factor_index=index[kernels.FACTOR, :changed],
            factor=value[kernels.FACTOR, :changed],
            changing=changing,
            to_left=self._left[changing],
        )

    def confirm_lanes(self, orders: Orders, found: list[str]) -> None:
        """Check that SUMO changed lanes as it was told.

        Args:
            orders: Of the tick that has just been simulated.
            found: Names of the lanes that `changing` are in, in their order.

        Raises:
            SimulatorError: It did not.
        """
        changes = zip(orders.changing.tolist(), orders.to_left.tolist(), found, strict=True)
        for index, to_left, lane in changes:
            lane_ids = self._road.left_lane_ids if to_left else self._road.lane_ids
            env = index // self._shape[1]
            if lane in {tile_lane(env, name) for name in lane_ids}:
                continue
            raise SimulatorError(
                f"{self.ids[index]} was told to change lanes at route position "
                f"{self._position_m[index]:.1f} m and is in {lane}. Does the network let a car "
                "change there (changeLeft, changeRight)?"
            )

    def _check_left(
        self, left: NDArray[np.bool_] | None, here: NDArray[np.bool_], name: str
    ) -> None:
        """Refuse lanes that are not there.

        Raises:
            SimulatorError: The shape is wrong, or the road has no left lane.
        """
        if left is None:
            return
        if left.shape != here.shape:
            raise SimulatorError(f"{name} has shape {left.shape}; it must be {here.shape}.")
        if not self._road.left_lane_ids and (left & here).any():
            raise SimulatorError(
                f"{name} asks for a lane to the left of the convoy's, which this road does not "
                'have all along. Use a scenario with two lanes, such as "two-lanes".'
            )

    def _start_left(self, placement: Placement) -> NDArray[np.int64]:
        """Note who starts in which lane; return the convoys that do not drive in one lane.

        These are made anew, now and the next time: SUMO sorts in cars that are new to a lane.
        """
        env, left = placement.env_indices, self._left.reshape(self._shape)
        left[env] = False
        if placement.left is None:
            return env[:0]
        left[env] = placement.left & placement.present
        beside = env[left[env].any(axis=1)]
        self._muddled[beside] = True
        return beside

    def _change_lanes(self, left: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Note who changes lanes in a tick, and return them."""
        if left is None:
            return _NOBODY
        changing = np.flatnonzero((left.reshape(-1) != self._left) & self.present)
        self._left[changing] ^= True
        return changing

    def drop(self, index: NDArray[np.int64]) -> None:
        """Note that cars have left the road."""
        self.present[index] = False
        self._controlled[index] = False
        self._left[index] = False
        self._position_m[index] = 0.0
        self._speed_mps[index] = 0.0
        self.live = np.flatnonzero(self.present)

    def advance(
        self,
        lane_pos_m: NDArray[np.float64],
        speed_mps: NDArray[np.float64],
        cars: NDArray[np.int64] | None = None,
    ) -> None:
        """Take over what SUMO says of all live cars after a tick.

        Args:
            lane_pos_m: float64, one for each car.
            speed_mps: float64, one for each car.
            cars: int64, whose they are; None for those of `live`.

        Raises:
            SimulatorError: A car is not where a tick at its speed can have brought it.
        """
        if cars is None:
            cars = self.live
        fault = kernels.follow_cars(
            cars,
            lane_pos_m,
            speed_mps,
            self._road.lane_start_m,
            self._road.lane_length_m,
            self._position_m,
            self._speed_mps,
            self._lane_start_m,
            self.present,
            self._muddled,
        )
        if fault != kernels.NO_FAULT:
            car = int(cars[fault])
            mean_mps = 0.5 * (self._speed_mps[car] + speed_mps[fault])
            raise SimulatorError(
                f"{self.ids[car]} jumped: expected at route position "
                f"{self._position_m[car] + mean_mps * DT_S:.3f} m, but SUMO reports lane position "
                f"{lane_pos_m[fault]:.3f} m, which fits no lane there (tolerance "
                f"{kernels.INCONSISTENCY_M} m). The network may hold lanes that the route does "
                "not pass.",
            )

    def confirm(
        self,
        placed: NDArray[np.int64],
        lane_pos_m: NDArray[np.float64],
        speed_mps: NDArray[np.float64],
    ) -> None:
        """Check that SUMO put cars exactly where they were asked for.

        Raises:
            SimulatorError: It did not.
        """
        off_m = self._lane_start_m[placed] + lane_pos_m - self._position_m[placed]
        wrong = ~(np.abs(off_m) <= _EXACT_M) | (speed_mps != self._speed_mps[placed])
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            index = int(placed[first])
            raise SimulatorError(
                f"SUMO did not insert {self.ids[index]} as asked: wanted route position "
                f"{self._position_m[index]} m at {self._speed_mps[index]} m/s, it is "
                f"{off_m[first]} m off at {speed_mps[first]} m/s.",
            )

    def state(self) -> TrafficState:
        """Return a copy of the state, shaped (E, V)."""
        route_pos_m, speed_mps = self._moving.copy().reshape(2, *self._shape)
        present = self.present.copy().reshape(self._shape)
        return TrafficState(present, route_pos_m, speed_mps)

    def _flat(self, array: NDArray[Any], name: str, dtype: type[np.generic]) -> NDArray[Any]:
        """Return a command's array as the kernel wants it."""
        if array.shape != self._shape:
            raise SimulatorError(
                f"TickCommands.{name} has shape {array.shape}; this simulator has {self._shape} "
                "(num_envs, num_vehicles).",
            )
        return np.ascontiguousarray(array, dtype).reshape(-1)

    def _asked(self, placement: Placement) -> dict[str, NDArray[np.float64]]:
        """Return a placement's numbers by name, after a look at the shapes."""
        drivers = placement.drivers
        numbers = {
            "route_pos_m": placement.route_pos_m,
            "speed_mps": placement.speed_mps,
            "drivers.tau_s": drivers.tau_s,
            "drivers.accel_mps2": drivers.accel_mps2,
            "drivers.decel_mps2": drivers.decel_mps2,
            "drivers.min_gap_m": drivers.min_gap_m,
            "drivers.speed_factor": drivers.speed_factor,
        }
        shape = (placement.env_indices.size, self._shape[1])
        flags = {"present": placement.present, "controlled": placement.controlled}
        for name, array in (flags | numbers).items():
            if array.shape != shape:
                raise SimulatorError(
                    f"Placement.{name} has shape {array.shape}; it must be "
                    f"{shape} (convoys, vehicle slots).",
                )
        return numbers

    def _refusal(
        self, placement: Placement, asked: dict[str, NDArray[np.float64]]
    ) -> SimulatorError:
        """Say what is wrong with a placement that cannot be."""
        num_envs = self._shape[0]
        named = placement.env_indices.tolist()
        if len(set(named)) != len(named) or not 0 <= min(named) <= max(named) < num_envs:
            return SimulatorError(
                f"Placement.env_indices is {named}; it must name distinct convoys in "
                f"0 … {num_envs - 1}.",
            )
        here = placement.present
        for name, array in asked.items():
            values = array[here]
            wrong = ~((values >= 0.0) & (values < np.inf))
            if wrong.any():
                return SimulatorError(
                    f"Placement.{name} of a present vehicle is negative or not finite: "
                    f"{values[wrong][0]}.",
                )
        position_m = placement.route_pos_m[here]
        inside = ~self._road.placeable(position_m)  # raises beyond the road's end
        return SimulatorError(
            f"Route position {position_m[inside][0]} m lies inside a junction, where SUMO "
            "cannot insert a car. Ask Road.placeable first.",
        )
