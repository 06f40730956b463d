"""SUMO inside this process.

libsumo holds one simulation per process, and starting another silently destroys the first. So one
backend owns it at a time, and a second one is refused.
"""

from __future__ import annotations

import importlib
import os
import weakref
from struct import Struct
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import SimulatorError, SimulatorInUseError
from ml.sumo.fleet import Fleet
from ml.sumo.insertion import insertions
from ml.sumo.names import parse_vehicle_id
from ml.sumo.netconvert import MISSING_LIBRARIES_HINT
from ml.sumo.options import (
    ADD_AT,
    LANE_CHANGE_NEVER,
    LANE_KEPT_S,
    SPEED_MODE_DEFAULT,
    SPEED_MODE_UNCHECKED,
    SPEED_RELEASED,
    load_options,
)
from ml.sumo.plain_names import plainly_named
from ml.sumo.tiling import tile_scenario
from ml.vehicle import DT_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from ml.sumo.protocol import Placement, TickCommands, TrafficState
    from ml.sumo.scenarios import Scenario

_owner: weakref.ref[LibsumoSimulator] | None = None
_started_in: int | None = None
"""The process in which the owner was started; a fork copies a running SUMO as well."""

_IN_USE = (
    "An embedded SUMO runs in this process already, and libsumo holds one only. Ways out: close "
    "the other environment first; many convoys on one SUMO, ConvoyVecEnv(num_envs=4); "
    "a process for each, make_vec_env(..., vec_env_cls=SubprocVecEnv) in Stable-Baselines3 or "
    'gymnasium.make_vec(..., vectorization_mode="async", vector_kwargs={"context": "spawn"}); '
    'or a SUMO outside, backend="traci".'
)
_FORKED = (
    "This process is a fork of one in which an embedded SUMO was running, and the copy of it is "
    "in the way. Start the process afresh instead of by fork: Gymnasium's AsyncVectorEnv(..., "
    'context="spawn"), Stable-Baselines3\'s SubprocVecEnv(..., start_method="spawn"), '
    'multiprocessing.get_context("spawn"). Or fork before the first reset.'
)


def _import_libsumo() -> tuple[Any, Any]:
    """Return libsumo and the compiled module under it."""
    try:
        return importlib.import_module("libsumo"), importlib.import_module("libsumo._libsumo")
    except ImportError as error:
        raise SimulatorError(
            f"libsumo cannot be loaded: {error}. {MISSING_LIBRARIES_HINT}",
        ) from error


class LibsumoSimulator:
    """`Simulator` on libsumo.

    Attributes:
        road: The road that is not offset.
        num_envs: E.
        num_vehicles: V.
        dt_s: Length of a tick.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        num_envs: int,
        num_vehicles: int,
        cache_dir: Path,
    ) -> None:
        self.road = scenario.road
        self.num_envs = num_envs
        self.num_vehicles = num_vehicles
        self.dt_s = DT_S
        self._scenario = scenario
        self._cache_dir = cache_dir
        self._fleet = Fleet(scenario.road, num_envs, num_vehicles)
        self._sumo: Any = None
        self._native: Any = None
        self._failures: tuple[type[Exception], ...] = ()
        self._teleports = 0
        self._live_ids: list[str] = []
        self._found = np.zeros((2, 0))
        self._pack = Struct("")

    def start(self) -> None:
        """Start the embedded SUMO; does nothing if this simulator runs already.

        Raises:
            SimulatorInUseError: Another embedded simulation lives in this process.
            SimulatorError: libsumo cannot be loaded, or SUMO refuses the network.
        """
        global _owner, _started_in
        if self._sumo is not None:
            return
        libsumo, native = _import_libsumo()
        if _owner is not None and _owner() in {None, self} and libsumo.isLoaded():
            libsumo.close()  # its owner was dropped without close(), or its start was broken off
        if libsumo.isLoaded():
            forked = _owner is not None and _started_in != os.getpid()
            raise SimulatorInUseError(_FORKED if forked else _IN_USE)
        tiles = tile_scenario(self._scenario, self.num_envs, cache_dir=self._cache_dir)
        _owner, _started_in = weakref.ref(self), os.getpid()
        try:
            with plainly_named(tiles) as named:
                libsumo.start(["sumo", *load_options(named)])
        except (libsumo.TraCIException, libsumo.FatalTraCIError) as error:
            raise SimulatorError(
                f"The embedded SUMO could not load {tiles.net_file}: {error}. SUMO has said why "
                f"above. If the file is damaged, delete {tiles.net_file.parent} and try again.",
            ) from error
        self._fleet.clear()
        self._note_live()
        self._teleports = 0
        self._sumo = libsumo
        # libsumo.vehicle wraps its functions in Python ones, at half their own cost again; they
        # are called for every car in every tick.
        self._native = native
        self._failures = (libsumo.TraCIException, libsumo.FatalTraCIError)

    def place(self, placement: Placement) -> None:
        """Insert convoys; see `Simulator.place`."""
        native, ids = self._running(), self._fleet.ids
        admission = self._fleet.admit(placement)
        try:
            for index in admission.removed.tolist():
                native.vehicle_remove(ids[index])
            cars = list(insertions(placement, self.road, admission.lane, admission.lane_pos_m))
            renewed, was_controlled = admission.renewed, admission.was_controlled
            for place in admission.sequence.tolist():
                car = cars[place]
                name, kind = car.name, car.vehicle_type
                native.vehicletype_setTau(kind, car.tau_s)
                native.vehicletype_setAccel(kind, car.accel_mps2)
                native.vehicletype_setDecel(kind, car.decel_mps2)
                if renewed[place]:
                    native.vehicle_setType(name, kind)
                    native.vehicle_setPreviousSpeed(name, car.speed_mps, 0.0)
                else:
                    speed = repr(car.speed_mps)
                    native.vehicle_add(name, car.route, kind, *ADD_AT, speed)
                    native.vehicle_setLaneChangeMode(name, LANE_CHANGE_NEVER)
                native.vehicle_setMinGap(name, car.min_gap_m)
                native.vehicle_setSpeedFactor(name, car.speed_factor)
                native.vehicle_moveTo(name, car.lane, car.lane_pos_m)
                if car.controlled:
                    if not was_controlled[place]:
                        native.vehicle_setSpeedMode(name, SPEED_MODE_UNCHECKED)
                    native.vehicle_setSpeed(name, car.speed_mps)
                elif was_controlled[place]:
                    native.vehicle_setSpeed(name, SPEED_RELEASED)
                    native.vehicle_setSpeedMode(name, SPEED_MODE_DEFAULT)
            names = [ids[index] for index in admission.placed.tolist()]
            found_m = _read(native.vehicle_getLanePosition, names)
            found_mps = _read(native.vehicle_getSpeed, names)
        except self._failures as error:
            raise SimulatorError(f"SUMO refused to insert a convoy: {error}.") from error
        self._fleet.confirm(admission.placed, found_m, found_mps)
        if not admission.only_renews:
            self._note_live()

    def step(self, commands: TickCommands) -> TrafficState:
        """Command, simulate and read one tick; see `Simulator.step`."""
        native, fleet = self._running(), self._fleet
        ids = fleet.ids
        orders = fleet.orders(commands)
        try:
            for index in orders.seized.tolist():
                native.vehicle_setSpeedMode(ids[index], SPEED_MODE_UNCHECKED)
            for index in orders.released.tolist():
                native.vehicle_setSpeed(ids[index], SPEED_RELEASED)
                native.vehicle_setSpeedMode(ids[index], SPEED_MODE_DEFAULT)
            for tell, cars, values in (
                (native.vehicle_setSpeed, orders.speed_index, orders.speed_mps),
                (native.vehicle_setSpeedFactor, orders.factor_index, orders.factor),
            ):
                for index, value in zip(cars.tolist(), values.tolist(), strict=True):
                    tell(ids[index], value)
            for index, left in zip(orders.changing.tolist(), orders.to_left.tolist(), strict=True):
                native.vehicle_changeLane(ids[index], self.road.lane_number(left=left), LANE_KEPT_S)
            native.simulation_step()
            self._teleports += native.simulation_getStartingTeleportNumber()
            if native.simulation_getArrivedNumber():
                self._drop_arrived()
            names = self._live_ids
            self._pack.pack_into(
                self._found.data,
                0,
                *map(native.vehicle_getLanePosition, names),
                *map(native.vehicle_getSpeed, names),
            )
            lanes = [native.vehicle_getLaneID(ids[index]) for index in orders.changing.tolist()]
        except self._failures as error:
            raise SimulatorError(f"The embedded SUMO failed in a tick: {error}.") from error
        fleet.advance(*self._found)
        fleet.confirm_lanes(orders, lanes)
        return fleet.state()

    def read_collisions(self) -> NDArray[np.bool_]:
        """Return SUMO's own report of the last tick; see `Simulator.read_collisions`."""
        colliding = np.zeros((self.num_envs, self.num_vehicles), dtype=np.bool_)
        native = self._running()
        try:
            names = native.simulation_getCollidingVehiclesIDList()
        except self._failures as error:
            raise SimulatorError(f"The embedded SUMO failed: {error}.") from error
        for name in names:
            colliding[parse_vehicle_id(name)] = True
        return colliding

    def teleport_count(self) -> int:
        """Return how many cars SUMO has teleported since the start."""
        return self._teleports

    def close(self) -> None:
        """End the embedded simulation; may be called again."""
        global _owner  # noqa: PLW0603 - see start
        if self._sumo is None:
            return
        libsumo, self._sumo = self._sumo, None
        libsumo.close()
        _owner = None

    def _running(self) -> Any:
        if self._sumo is None:
            raise SimulatorError("The simulator is not started (or is closed); call start() first.")
        return self._native

    def _drop_arrived(self) -> None:
        on_road = set(self._native.vehicle_getIDList())
        live = self._fleet.live
        gone = [name not in on_road for name in self._live_ids]
        self._fleet.drop(live[gone])
        self._note_live()

    def _note_live(self) -> None:
        """List the cars that are read in every tick, and make room for what they say."""
        self._live_ids = [self._fleet.ids[index] for index in self._fleet.live.tolist()]
        self._found = np.zeros((2, len(self._live_ids)))
        self._pack = Struct(f"{self._found.size}d")


def _read(getter: Callable[[str], float], names: list[str]) -> NDArray[np.float64]:
    return np.fromiter(map(getter, names), np.float64, len(names))
