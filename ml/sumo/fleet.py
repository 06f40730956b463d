"""What a backend keeps of every vehicle slot: is it there, where, how fast, who drives it.

Both backends read only lane position and speed, the embedded one mostly speed alone (`predict`).
Which lane a car is on follows from continuity: with ballistic integration a tick moves it by
(v_before + v_now) / 2 · dt, so the lane is the one whose start plus the lane position lies there.
That is exact to rounding, except in the tick in which SUMO's car-following stops a car part of the
way; there it is within a few centimetres, which is less than half of SUMO's shortest lane (0.1 m).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Bools, Floats, Ints
from ml.errors import SimulatorError
from ml.sumo import fleet_kernels as kernels
from ml.sumo.fleet_kernels import Cars, Orders
from ml.sumo.names import MAX_VEHICLES, tile_lane, vehicle_id
from ml.sumo.protocol import Placement, TickCommands, TrafficState
from ml.sumo.road import Road
from ml.vehicle import DT_S

_EXACT_M = 1e-9
_INDEX, _REAL = np.dtype(np.int64), np.dtype(np.float64)
_ORDERS: tuple[Any, ...] = (_INDEX, _INDEX, _INDEX, _REAL, _INDEX, _REAL)
_DRIVER = ("tau_s", "accel_mps2", "decel_mps2", "min_gap_m", "speed_factor")


class Admission(NamedTuple):
    """What a placement makes of the cars on the road; indices are flat, convoy · V + slot.

    Attributes:
        removed: int64, cars to take off the road first.
        placed: int64, cars to put on it, row by row of the placement.
        lane: int64, the lane of each of `placed`.
        lane_pos_m: float64, where on it.
        reused: bool, which of `placed` are on the road already and start anew.
        was_controlled: bool, which of `placed` are reused and obeyed our speed command until now.
        sequence: int64, the order in which to place them, as places in `placed`.
    """

    removed: Ints
    placed: Ints
    lane: Ints
    lane_pos_m: Floats
    reused: Bools
    was_controlled: Bools
    sequence: Ints

    @property
    def only_reuses(self) -> bool:
        """Whether the same cars are on the road before and after."""
        return self.removed.size == 0 and bool(self.reused.all())


class Fleet:
    """State of all vehicle slots, flat arrays of N = E · V entries.

    Attributes:
        ids: SUMO's identifiers.
        live: int64, indices of the cars that are present.
    """

    def __init__(self, road: Road, num_envs: int, num_vehicles: int) -> None:
        if not 1 <= num_vehicles <= MAX_VEHICLES:
            raise SimulatorError(
                f"num_vehicles is {num_vehicles}; a convoy has 1 to {MAX_VEHICLES} slots."
            )
        self._road = road
        self._shape = (num_envs, num_vehicles)
        count = num_envs * num_vehicles
        self.ids = [
            vehicle_id(env, slot) for env in range(num_envs) for slot in range(num_vehicles)
        ]
        self.live = np.zeros(0, dtype=np.int64)
        self._moving = np.zeros((2, count))  # one block, so that one copy takes both
        self._cars = Cars(
            present=np.zeros(count, dtype=np.bool_),
            controlled=np.zeros(count, dtype=np.bool_),
            position_m=self._moving[0],
            speed_mps=self._moving[1],
            lane_start_m=np.zeros(count),
            lane_length_m=np.zeros(count),
            lane_pos_m=np.zeros(count),
            out_of_order=np.zeros(num_envs, dtype=np.bool_),
        )
        self._left = np.zeros(count, dtype=np.bool_)
        self._unsure = np.zeros(count, dtype=np.int64)
        self._orders = Orders(*(np.zeros(count, kind) for kind in _ORDERS))

    def clear(self) -> None:
        """Forget every car: SUMO has started anew."""
        self.drop(np.arange(len(self.ids)))

    def drop(self, index: Ints) -> None:
        """Note that cars have left the road."""
        self._cars.present[index] = self._cars.controlled[index] = self._left[index] = False
        self._moving[:, index] = 0.0
        self.live = np.flatnonzero(self._cars.present)

    def admit(self, placement: Placement) -> Admission:
        """Check a placement and take it over.

        Raises:
            SimulatorError: Wrong shapes, a convoy twice or out of range, a value that is not
                finite, a negative speed, or a position off the road or inside a junction.
        """
        self._check(placement)
        env, here, cars = placement.env_indices, placement.present, self._cars
        there_m = placement.route_pos_m
        lane, lane_pos_m = self._road.locate(there_m[here])
        inside = self._road.lane_internal[lane]
        if inside.any():
            raise SimulatorError(
                f"Route position {there_m[here][inside][0]} m lies inside a junction, where SUMO "
                "cannot insert a car. Start it on a lane that is not Road.lane_internal."
            )
        left = self._left.reshape(self._shape)
        left[env] = False if placement.left is None else placement.left & here
        # Who does not drive in one lane is made anew, now and the next time: SUMO sorts in cars
        # that are new to a lane.
        beside = left[env].any(axis=1)
        furthest_m = np.maximum.accumulate(np.where(here, there_m, -np.inf), axis=1)
        ordered = (~here[:, 1:] | (there_m[:, 1:] > furthest_m[:, :-1])).all(axis=1)
        keeps = ordered & ~cars.out_of_order[env] & ~beside
        cars.out_of_order[env] = ~ordered | beside
        num_slots = self._shape[1]
        slot = np.arange(num_slots)
        car = env[:, None] * num_slots + slot
        was = cars.present[car]
        stays = was & here & keeps[:, None]
        # Those that move forwards go first, the one in front leading; then those that move back,
        # the last one leading; then new ones, which SUMO sorts in.
        forwards = there_m > cars.position_m[car]
        turn = np.where(stays, np.where(forwards, -slot, slot + num_slots), 2 * num_slots)
        admission = Admission(
            removed=car[was & ~stays],
            placed=car[here],
            lane=lane,
            lane_pos_m=lane_pos_m,
            reused=stays[here],
            was_controlled=(stays & cars.controlled[car])[here],
            sequence=np.argsort(turn[here], kind="stable"),
        )
        cars.present[car] = here
        cars.controlled[car] = placement.controlled & here
        cars.position_m[car] = np.where(here, there_m, 0.0)
        cars.speed_mps[car] = np.where(here, placement.speed_mps, 0.0)
        cars.lane_start_m[car[here]] = self._road.lane_start_m[lane]
        cars.lane_length_m[car[here]] = self._road.lane_length_m[lane]
        if not admission.only_reuses:
            self.live = np.flatnonzero(cars.present)
        return admission

    def orders(self, commands: TickCommands) -> Orders:
        """Turn a tick's commands into what has changed, and remember who drives.

        Raises:
            SimulatorError: A shape is wrong, or a command is negative or infinite (SUMO would take
                a negative speed for "drive as you like").
        """
        controlled = self._flat(commands.controlled, "controlled", np.bool_)
        speed_mps = self._flat(commands.speed_mps, "speed_mps", np.float64)
        factor = self._flat(commands.speed_factor, "speed_factor", np.float64)
        found = self._orders
        fault, *sizes = kernels.sort_commands(controlled, speed_mps, factor, self._cars, found)
        if fault != kernels.FINE:
            car, is_factor = divmod(fault, 2)
            name, values = ("speed_factor", factor) if is_factor else ("speed_mps", speed_mps)
            raise SimulatorError(
                f"TickCommands.{name} of {self.ids[car]} is {values[car]}; it must be at least 0 "
                "and finite, or NaN for no command."
            )
        taken_over, released, speeds, factors = sizes
        return Orders(
            found.taken_over[:taken_over],
            found.released[:released],
            found.speed_index[:speeds],
            found.speed_mps[:speeds],
            found.factor_index[:factors],
            found.factor[:factors],
        )

    def change_lanes(self, commands: TickCommands) -> list[tuple[int, bool]]:
        """Note who changes lanes in a tick; return their indices and whether it is to the left.

        Raises:
            SimulatorError: The shape is wrong, or the road has no left lane.
        """
        left, present = commands.left, self._cars.present
        if left is None:
            return []
        self._check_left(left, present.reshape(self._shape), "TickCommands.left")
        changing = np.flatnonzero((left.reshape(-1) != self._left) & present)
        self._left[changing] ^= True
        return list(zip(changing.tolist(), self._left[changing].tolist(), strict=True))

    def predict(self, speed_mps: Floats, lane_pos_m: Floats) -> Ints:
        """Work out where all live cars are after a tick, to the bit as SUMO does.

        Args:
            speed_mps: (live,) float64, what SUMO says.
            lane_pos_m: (live,) float64, filled.

        Returns:
            int64, the places in `live` of those for which SUMO must be asked; a view that the next
            call overwrites.
        """
        count = kernels.predict_cars(
            self.live, speed_mps, self._left, self._cars, lane_pos_m, self._unsure
        )
        return self._unsure[:count]

    def advance(self, lane_pos_m: Floats, speed_mps: Floats) -> None:
        """Take over what SUMO says of all live cars after a tick; float64, one for each car.

        Raises:
            SimulatorError: A car is not where a tick at its speed can have brought it.
        """
        cars = self._cars
        fault = kernels.follow_cars(
            self.live,
            lane_pos_m,
            speed_mps,
            self._road.lane_start_m,
            self._road.lane_length_m,
            cars,
        )
        if fault != kernels.FINE:
            car = int(self.live[fault])
            mean_mps = 0.5 * (cars.speed_mps[car] + speed_mps[fault])
            raise SimulatorError(
                f"{self.ids[car]} jumped: expected at route position "
                f"{cars.position_m[car] + mean_mps * DT_S:.3f} m, but SUMO reports lane position "
                f"{lane_pos_m[fault]:.3f} m, which fits no lane there (tolerance "
                f"{kernels.INCONSISTENCY_M} m). The network may hold lanes that the route does "
                "not pass."
            )

    def confirm(self, placed: Ints, lane_pos_m: Floats, speed_mps: Floats) -> None:
        """Check that SUMO put cars exactly where they were asked for.

        Raises:
            SimulatorError: It did not.
        """
        cars = self._cars
        cars.lane_pos_m[placed] = lane_pos_m
        off_m = cars.lane_start_m[placed] + lane_pos_m - cars.position_m[placed]
        wrong = ~(np.abs(off_m) <= _EXACT_M) | (speed_mps != cars.speed_mps[placed])
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            index = int(placed[first])
            raise SimulatorError(
                f"SUMO did not insert {self.ids[index]} as asked: wanted route position "
                f"{cars.position_m[index]} m at {cars.speed_mps[index]} m/s, it is "
                f"{off_m[first]} m off at {speed_mps[first]} m/s."
            )

    def confirm_lane(self, index: int, lane: str, *, left: bool) -> None:
        """Check that a car which was told to change lanes is in one of the lanes on that side.

        Raises:
            SimulatorError: It is not.
        """
        lane_ids = self._road.left_lane_ids if left else self._road.lane_ids
        env = index // self._shape[1]
        if lane not in {tile_lane(env, name) for name in lane_ids}:
            raise SimulatorError(
                f"{self.ids[index]} was told to change lanes at route position "
                f"{self._cars.position_m[index]:.1f} m and is in {lane}. Does the network let a "
                "car change there (changeLeft, changeRight)?"
            )

    def state(self) -> TrafficState:
        """Return a copy of the state, shaped (E, V)."""
        route_pos_m, speed_mps = self._moving.copy().reshape(2, *self._shape)
        present = self._cars.present.copy().reshape(self._shape)
        return TrafficState(present, route_pos_m, speed_mps)

    def _flat(self, array: NDArray[Any], name: str, dtype: type[np.generic]) -> NDArray[Any]:
        """Return a command's array as the kernel wants it."""
        if array.shape != self._shape:
            raise SimulatorError(
                f"TickCommands.{name} has shape {array.shape}; this simulator has {self._shape} "
                "(num_envs, num_vehicles)."
            )
        return np.ascontiguousarray(array, dtype).reshape(-1)

    def _check_left(self, left: Bools, here: Bools, name: str) -> None:
        """Refuse lanes that are not there."""
        if left.shape != here.shape:
            raise SimulatorError(f"{name} has shape {left.shape}; it must be {here.shape}.")
        if not self._road.left_lane_ids and (left & here).any():
            raise SimulatorError(
                f"{name} asks for a lane to the left of the convoy's, which this road does not "
                'have all along. Use a scenario with two lanes, such as "two-lanes".'
            )

    def _check(self, placement: Placement) -> None:
        """Refuse a placement that cannot be."""
        env, here, drivers = placement.env_indices, placement.present, placement.drivers
        numbers = {"route_pos_m": placement.route_pos_m, "speed_mps": placement.speed_mps}
        numbers |= {f"drivers.{name}": getattr(drivers, name) for name in _DRIVER}
        shape = (env.size, self._shape[1])
        flags = {"present": here, "controlled": placement.controlled}
        for name, array in (flags | numbers).items():
            if array.shape != shape:
                raise SimulatorError(
                    f"Placement.{name} has shape {array.shape}; it must be "
                    f"{shape} (convoys, vehicle slots)."
                )
        if placement.left is not None:
            self._check_left(placement.left, here, "Placement.left")
        named = env.tolist()
        if len(set(named)) != len(named) or not all(0 <= one < self._shape[0] for one in named):
            raise SimulatorError(
                f"Placement.env_indices is {named}; it must name distinct convoys in "
                f"0 … {self._shape[0] - 1}."
            )
        values = np.stack(list(numbers.values()))[:, here]
        wrong = ~((values >= 0.0) & (values < np.inf))
        if wrong.any():
            which, car = np.argwhere(wrong)[0]
            raise SimulatorError(
                f"Placement.{list(numbers)[which]} of a present vehicle is negative or not "
                f"finite: {values[which, car]}."
            )
