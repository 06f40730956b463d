"""SUMO inside this process.

libsumo holds one simulation per process, and starting another silently destroys the first. So one
backend owns it at a time, and a second one is refused.
"""

from __future__ import annotations

import importlib
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import SimulatorError, SimulatorInUseError
from ml.sumo.fleet import Fleet
from ml.sumo.insertion import insertions
from ml.sumo.names import parse_vehicle_id
from ml.sumo.netconvert import MISSING_LIBRARIES_HINT
from ml.sumo.options import (
    LANE_CHANGE_NEVER,
    SPEED_MODE_DEFAULT,
    SPEED_MODE_UNCHECKED,
    SPEED_RELEASED,
    load_options,
)
from ml.sumo.protocol import DT_S
from ml.sumo.tiling import tile_scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from ml.sumo.protocol import Placement, TickCommands, TrafficState
    from ml.sumo.scenarios import Scenario

_owner: weakref.ref[LibsumoSimulator] | None = None


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
        self._set_speed: Any = None
        self._get_speed: Any = None
        self._get_lane_pos: Any = None
        self._teleports = 0
        self._live_ids: list[str] = []

    def start(self) -> None:
        """Start the embedded SUMO; does nothing if this simulator runs already.

        Raises:
            SimulatorInUseError: Another embedded simulation lives in this process.
            SimulatorError: libsumo cannot be loaded, or SUMO refuses the network.
        """
        global _owner  # noqa: PLW0603 - libsumo's state is the process's, so is its owner
        if self._sumo is not None:
            return
        libsumo, native = _import_libsumo()
        if _owner is not None and _owner() is None and libsumo.isLoaded():
            libsumo.close()  # its owner was dropped without close()
        if libsumo.isLoaded():
            raise SimulatorInUseError(
                "An embedded SUMO runs in this process already, and libsumo holds one only. Close "
                "the other environment first, put both into one batch (num_envs), run one of them "
                'in a process of its own, or use backend="traci".',
            )
        tiles = tile_scenario(self._scenario, self.num_envs, cache_dir=self._cache_dir)
        try:
            libsumo.start(["sumo", *load_options(tiles)])
        except libsumo.TraCIException as error:
            raise SimulatorError(
                f"The embedded SUMO could not load {tiles.net_file}: {error}. SUMO has said why "
                f"above. If the file is damaged, delete {tiles.net_file.parent} and try again.",
            ) from error
        self._fleet.clear()
        self._live_ids = []
        self._teleports = 0
        _owner = weakref.ref(self)
        self._sumo = libsumo
        # libsumo.vehicle wraps these in Python functions, at half their own cost again; they are
        # called for every car in every tick.
        self._set_speed = native.vehicle_setSpeed
        self._get_speed = native.vehicle_getSpeed
        self._get_lane_pos = native.vehicle_getLanePosition

    def place(self, placement: Placement) -> None:
        """Insert convoys; see `Simulator.place`."""
        sumo = self._running()
        vehicle, vehicle_type, ids = sumo.vehicle, sumo.vehicletype, self._fleet.ids
        removed, placed = self._fleet.admit(placement)
        try:
            for index in removed.tolist():
                vehicle.remove(ids[index])
            for car in insertions(placement, self.road):
                vehicle_type.setTau(car.vehicle_type, car.tau_s)
                vehicle_type.setAccel(car.vehicle_type, car.accel_mps2)
                vehicle_type.setDecel(car.vehicle_type, car.decel_mps2)
                vehicle.add(
                    car.name,
                    car.route,
                    car.vehicle_type,
                    departSpeed=repr(car.speed_mps),
                )
                vehicle.setMinGap(car.name, car.min_gap_m)
                vehicle.setSpeedFactor(car.name, car.speed_factor)
                vehicle.setLaneChangeMode(car.name, LANE_CHANGE_NEVER)
                vehicle.moveTo(car.name, car.lane, car.lane_pos_m)
                if car.controlled:
                    vehicle.setSpeedMode(car.name, SPEED_MODE_UNCHECKED)
                    vehicle.setSpeed(car.name, car.speed_mps)
            names = [ids[index] for index in placed.tolist()]
            found_m = self._read(self._get_lane_pos, names)
            found_mps = self._read(self._get_speed, names)
        except sumo.TraCIException as error:
            raise SimulatorError(f"SUMO refused to insert a convoy: {error}.") from error
        self._fleet.confirm(placed, found_m, found_mps)
        self._live_ids = [ids[index] for index in self._fleet.live.tolist()]

    def step(self, commands: TickCommands) -> TrafficState:
        """Command, simulate and read one tick; see `Simulator.step`."""
        sumo = self._running()
        vehicle, ids = sumo.vehicle, self._fleet.ids
        orders = self._fleet.orders(commands)
        try:
            for index in orders.seized.tolist():
                vehicle.setSpeedMode(ids[index], SPEED_MODE_UNCHECKED)
            for index in orders.released.tolist():
                vehicle.setSpeed(ids[index], SPEED_RELEASED)
                vehicle.setSpeedMode(ids[index], SPEED_MODE_DEFAULT)
            set_speed = self._set_speed
            for index, value in zip(
                orders.speed_index.tolist(),
                orders.speed_mps.tolist(),
                strict=True,
            ):
                set_speed(ids[index], value)
            for index, value in zip(
                orders.factor_index.tolist(),
                orders.factor.tolist(),
                strict=True,
            ):
                vehicle.setSpeedFactor(ids[index], value)
            sumo.simulationStep()
            self._teleports += sumo.simulation.getStartingTeleportNumber()
            if sumo.simulation.getArrivedNumber():
                self._drop_arrived()
            lane_pos_m = self._read(self._get_lane_pos, self._live_ids)
            speed_mps = self._read(self._get_speed, self._live_ids)
        except (sumo.TraCIException, sumo.FatalTraCIError) as error:
            raise SimulatorError(f"The embedded SUMO failed in a tick: {error}.") from error
        self._fleet.advance(lane_pos_m, speed_mps)
        return self._fleet.state()

    def read_collisions(self) -> NDArray[np.bool_]:
        """Return SUMO's own report of the last tick; see `Simulator.read_collisions`."""
        colliding = np.zeros((self.num_envs, self.num_vehicles), dtype=np.bool_)
        for name in self._running().simulation.getCollidingVehiclesIDList():
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
        self._sumo.close()
        self._sumo = None
        _owner = None

    def _running(self) -> Any:
        if self._sumo is None:
            raise SimulatorError("The simulator is not started (or is closed); call start() first.")
        return self._sumo

    @staticmethod
    def _read(getter: Callable[[str], float], names: list[str]) -> NDArray[np.float64]:
        return np.fromiter(map(getter, names), np.float64, len(names))

    def _drop_arrived(self) -> None:
        on_road = set(self._sumo.vehicle.getIDList())
        live = self._fleet.live
        gone = [name not in on_road for name in self._live_ids]
        self._fleet.drop(live[gone])
        self._live_ids = [self._fleet.ids[index] for index in self._fleet.live.tolist()]
