"""What a backend keeps of every vehicle slot: is it there, where, how fast, who drives it.

Both backends read only lane position and speed. Which lane a car is on follows from continuity:
with ballistic integration a tick moves it by (v_before + v_now) / 2 · dt, so the lane is the one
whose start plus the lane position lies there. That is exact to rounding, except in the tick in
which SUMO's car-following stops a car part of the way; there it is within a few centimetres,
which is less than half of SUMO's shortest lane (0.1 m).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.errors import SimulatorError
from ml.sumo.names import MAX_VEHICLES, vehicle_id
from ml.sumo.protocol import DT_S, TrafficState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.sumo.protocol import Placement, TickCommands
    from ml.sumo.road import Road

SAME_LANE_TOLERANCE_M = 0.05
INCONSISTENCY_M = 0.1
_NOBODY = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Orders:
    """What has to be told to SUMO before a tick; indices are flat, convoy · V + slot.

    Attributes:
        seized: Cars that SUMO must stop checking from now on.
        released: Cars that SUMO's car-following drives from now on.
        speed_index: Cars with a new speed command.
        speed_mps: Their commands.
        factor_index: Cars with a new speed factor.
        factor: Their factors.
    """

    seized: NDArray[np.int64]
    released: NDArray[np.int64]
    speed_index: NDArray[np.int64]
    speed_mps: NDArray[np.float64]
    factor_index: NDArray[np.int64]
    factor: NDArray[np.float64]


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
        self._position_m = np.zeros(count)
        self._speed_mps = np.zeros(count)
        self._lane = np.zeros(count, dtype=np.int64)
        self._lane_start_m = np.zeros(count)

    def clear(self) -> None:
        """Forget every car: SUMO has started anew."""
        self.drop(np.arange(self.present.size))

    def admit(self, placement: Placement) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Check a placement and take it over.

        Returns:
            removed, placed: Flat indices of the cars to take off the road and to put on it. The
            latter are in the order of ``placement.present``'s true entries, row by row.

        Raises:
            SimulatorError: Wrong shapes, a convoy twice or out of range, a value that is not
                finite, a negative speed, or a position off the road or inside a junction.
        """
        self._check(placement)
        num_vehicles = self._shape[1]
        slots = placement.env_indices[:, None] * num_vehicles + np.arange(num_vehicles)
        placed = slots[placement.present]
        removed = slots[self.present[slots]]
        self.present[slots] = placement.present
        self._controlled[slots] = placement.controlled & placement.present
        self._position_m[slots] = 0.0
        self._speed_mps[slots] = 0.0
        position_m = placement.route_pos_m[placement.present]
        lane, _ = self._road.locate(position_m)
        self._position_m[placed] = position_m
        self._speed_mps[placed] = placement.speed_mps[placement.present]
        self._lane[placed] = lane
        self._lane_start_m[placed] = self._road.lane_start_m[lane]
        self.live = np.flatnonzero(self.present)
        return removed, placed

    def orders(self, commands: TickCommands) -> Orders:
        """Turn a tick's commands into what has changed, and remember who drives.

        Raises:
            SimulatorError: A shape is wrong, or a command is negative or infinite (SUMO would take
                a negative speed for "drive as you like").
        """
        for name in ("controlled", "speed_mps", "speed_factor"):
            shape = getattr(commands, name).shape
            if shape != self._shape:
                raise SimulatorError(
                    f"TickCommands.{name} has shape {shape}; this simulator has {self._shape} "
                    "(num_envs, num_vehicles).",
                )
        controlled = commands.controlled.ravel() & self.present
        speed_mps = commands.speed_mps.ravel()
        told = controlled & ~np.isnan(speed_mps)
        seized = released = _NOBODY
        if (controlled != self._controlled).any():
            taken = controlled & ~self._controlled
            seized = np.flatnonzero(taken)
            released = np.flatnonzero(self._controlled & ~controlled)
            silent = taken & ~told
            speed_mps = np.where(silent, self._speed_mps, speed_mps)
            told |= silent
            self._controlled = controlled
        factor = commands.speed_factor.ravel()
        changed = self.present & ~np.isnan(factor)
        orders = Orders(
            seized=seized,
            released=released,
            speed_index=np.flatnonzero(told),
            speed_mps=speed_mps[told],
            factor_index=np.flatnonzero(changed),
            factor=factor[changed],
        )
        self._check_range("speed_mps", orders.speed_index, orders.speed_mps)
        self._check_range("speed_factor", orders.factor_index, orders.factor)
        return orders

    def drop(self, index: NDArray[np.int64]) -> None:
        """Note that cars have left the road."""
        self.present[index] = False
        self._controlled[index] = False
        self._position_m[index] = 0.0
        self._speed_mps[index] = 0.0
        self.live = np.flatnonzero(self.present)

    def advance(self, lane_pos_m: NDArray[np.float64], speed_mps: NDArray[np.float64]) -> None:
        """Take over what SUMO says of the live cars after a tick; arrays in the order of `live`.

        Raises:
            SimulatorError: A car is not where a tick at its speed can have brought it.
        """
        live = self.live
        expected_m = self._position_m[live] + (self._speed_mps[live] + speed_mps) * (0.5 * DT_S)
        position_m = self._lane_start_m[live] + lane_pos_m
        elsewhere = np.flatnonzero(np.abs(position_m - expected_m) > SAME_LANE_TOLERANCE_M)
        if elsewhere.size:
            position_m[elsewhere] = self._change_lane(
                live[elsewhere],
                lane_pos_m[elsewhere],
                expected_m[elsewhere],
            )
        self._position_m[live] = position_m
        self._speed_mps[live] = speed_mps

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
        wrong = (np.abs(off_m) > 1e-9) | (speed_mps != self._speed_mps[placed])  # noqa: PLR2004
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
        return TrafficState(
            present=self.present.reshape(self._shape).copy(),
            route_pos_m=self._position_m.reshape(self._shape).copy(),
            speed_mps=self._speed_mps.reshape(self._shape).copy(),
        )

    def _change_lane(
        self,
        index: NDArray[np.int64],
        lane_pos_m: NDArray[np.float64],
        expected_m: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Find the lanes that cars have got onto; return their route positions."""
        starts_m, lengths_m = self._road.lane_start_m, self._road.lane_length_m
        around = np.searchsorted(starts_m, expected_m, side="right")[:, None] - np.arange(3)
        candidates = np.clip(around, 0, starts_m.size - 1)
        off_m = np.abs(starts_m[candidates] + lane_pos_m[:, None] - expected_m[:, None])
        off_m[lane_pos_m[:, None] > lengths_m[candidates] + SAME_LANE_TOLERANCE_M] = np.inf
        rows = np.arange(index.size)
        best = np.argmin(off_m, axis=1)
        if not (off_m[rows, best] <= INCONSISTENCY_M).all():
            worst = int(np.argmax(off_m[rows, best]))
            raise SimulatorError(
                f"{self.ids[int(index[worst])]} jumped: expected at route position "
                f"{expected_m[worst]:.3f} m, but SUMO reports lane position "
                f"{lane_pos_m[worst]:.3f} m, which fits no lane there (tolerance "
                f"{INCONSISTENCY_M} m). The network may hold lanes that the route does not pass.",
            )
        lane = candidates[rows, best]
        self._lane[index] = lane
        self._lane_start_m[index] = starts_m[lane]
        position_m: NDArray[np.float64] = starts_m[lane] + lane_pos_m
        return position_m

    def _check(self, placement: Placement) -> None:
        num_envs, num_vehicles = self._shape
        env = placement.env_indices
        if np.unique(env).size != env.size or ((env < 0) | (env >= num_envs)).any():
            raise SimulatorError(
                f"Placement.env_indices is {env.tolist()}; it must name distinct convoys in "
                f"0 … {num_envs - 1}.",
            )
        drivers = placement.drivers
        arrays = {
            "present": placement.present,
            "controlled": placement.controlled,
            "route_pos_m": placement.route_pos_m,
            "speed_mps": placement.speed_mps,
            **{f"drivers.{name}": getattr(drivers, name) for name in drivers.__slots__},
        }
        here = placement.present
        for name, array in arrays.items():
            if array.shape != (env.size, num_vehicles):
                raise SimulatorError(
                    f"Placement.{name} has shape {array.shape}; it must be "
                    f"{(env.size, num_vehicles)} (convoys, vehicle slots).",
                )
            if not np.isfinite(array[here]).all() or (array[here] < 0.0).any():
                raise SimulatorError(
                    f"Placement.{name} of a present vehicle is negative or not finite: "
                    f"{array[here][~(array[here] >= 0.0) | ~np.isfinite(array[here])][0]}.",
                )
        inside = ~self._road.placeable(placement.route_pos_m[here])
        if inside.any():
            raise SimulatorError(
                f"Route position {placement.route_pos_m[here][inside][0]} m lies inside a "
                "junction, where SUMO cannot insert a car. Ask Road.placeable first.",
            )

    def _check_range(
        self,
        name: str,
        index: NDArray[np.int64],
        values: NDArray[np.float64],
    ) -> None:
        wrong = ~((values >= 0.0) & (values < np.inf))
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise SimulatorError(
                f"TickCommands.{name} of {self.ids[int(index[first])]} is {values[first]}; it must "
                "be at least 0 and finite, or NaN for no command.",
            )
