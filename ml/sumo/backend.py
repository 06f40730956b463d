"""What both backends do alike."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ml.arrays import Bools, Floats
from ml.errors import SimulatorError
from ml.sumo.fleet import Admission, Fleet
from ml.sumo.fleet_kernels import Orders
from ml.sumo.names import parse_vehicle_id
from ml.sumo.protocol import Placement, TickCommands, TrafficState
from ml.sumo.scenarios import Scenario


class Backend(ABC):
    """A `Simulator` but for how SUMO is spoken to."""

    def __init__(
        self, scenario: Scenario, *, num_envs: int, num_vehicles: int, cache_dir: Path
    ) -> None:
        self.road = scenario.road
        self.num_envs = num_envs
        self.num_vehicles = num_vehicles
        self._scenario = scenario
        self._cache_dir = cache_dir
        self._fleet = Fleet(scenario.road, num_envs, num_vehicles)
        self._teleports = 0

    def place(self, placement: Placement) -> None:
        """Insert convoys; see `Simulator.place`."""
        self._require_running()
        admission = self._fleet.admit(placement)
        self._fleet.confirm(admission.placed, *self._insert(placement, admission))
        if not admission.only_reuses:
            self._note_live()

    def step(self, commands: TickCommands) -> TrafficState:
        """Command, simulate and read one tick; see `Simulator.step`."""
        self._require_running()
        orders = self._fleet.orders(commands)
        changes = self._fleet.change_lanes(commands)
        lane_pos_m, speed_mps, lanes = self._tick(orders, changes)
        self._fleet.advance(lane_pos_m, speed_mps)
        for (index, left), lane in zip(changes, lanes, strict=True):
            self._fleet.confirm_lane(index, lane, left=left)
        return self._fleet.state()

    def read_collisions(self) -> Bools:
        """Return SUMO's own report of the last tick; see `Simulator.read_collisions`."""
        self._require_running()
        colliding = np.zeros((self.num_envs, self.num_vehicles), dtype=np.bool_)
        for name in self._colliding():
            colliding[parse_vehicle_id(name)] = True
        return colliding

    def teleport_count(self) -> int:
        """Return how many cars SUMO has teleported since the start."""
        return self._teleports

    def _require_running(self) -> None:
        if not self._runs():
            raise SimulatorError("The simulator is not started (or is closed); call start() first.")

    def _begin(self) -> None:
        """Forget what was: SUMO has started, or is about to."""
        self._fleet.clear()
        self._note_live()
        self._teleports = 0

    def _drop_arrived(self, on_road: Iterable[str]) -> None:
        """Find out which cars have left the road, given the names of those that are on it."""
        fleet, known = self._fleet, set(on_road)
        gone = [fleet.ids[index] not in known for index in fleet.live.tolist()]
        fleet.drop(fleet.live[gone])
        self._note_live()

    @abstractmethod
    def _runs(self) -> bool:
        """Tell whether SUMO runs."""

    @abstractmethod
    def _note_live(self) -> None:
        """Prepare for reading the cars that are on the road now, tick by tick."""

    @abstractmethod
    def _insert(self, placement: Placement, admission: Admission) -> tuple[Floats, Floats]:
        """Have SUMO insert cars; return lane positions and speeds of `admission.placed`."""

    @abstractmethod
    def _tick(
        self, orders: Orders, changes: Sequence[tuple[int, bool]]
    ) -> tuple[Floats, Floats, list[str]]:
        """Simulate a tick; return lane positions and speeds of live cars, lanes of `changes`."""

    @abstractmethod
    def _colliding(self) -> Iterable[str]:
        """Return the names of the cars that SUMO reports as colliding."""
