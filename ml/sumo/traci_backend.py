"""SUMO behind a TCP connection: one change of processes per tick, all cars read at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from traci import constants as tc

from ml.errors import SimulatorError, SimulatorTimeoutError
from ml.sumo import traci_commands as wire
from ml.sumo import traci_replies as replies
from ml.sumo.fleet import Fleet
from ml.sumo.insertion import insertions
from ml.sumo.names import parse_vehicle_id, vehicle_id
from ml.sumo.options import (
    ADD_AT,
    LANE_CHANGE_NEVER,
    LANE_KEPT_S,
    SPEED_MODE_DEFAULT,
    SPEED_MODE_UNCHECKED,
    SPEED_RELEASED,
    load_options,
)
from ml.sumo.plain_names import plainly_named, require_plain
from ml.sumo.sumo_process import LOOPBACK, SumoProcess
from ml.sumo.tiling import tile_scenario
from ml.sumo.traci_connection import TraciConnection
from ml.vehicle import DT_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ml.sumo.insertion import Insertion
    from ml.sumo.protocol import Placement, TickCommands, TrafficState
    from ml.sumo.scenarios import Scenario

DEFAULT_PORT = 8813
_VIEW_M = 400.0
"""Width of the road that sumo-gui shows."""


class TraciSimulator:
    """`Simulator` on TraCI.

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
        host: str | None = None,
        port: int | None = None,
        gui: bool = False,
        deadline_s: float = 30.0,
    ) -> None:
        if host is None and port is not None:
            raise SimulatorError(
                f"Port {port} was given without a host. Name the host of a running SUMO, or "
                "neither, to start one on a free port.",
            )
        if host is not None and gui:
            raise SimulatorError(
                f"The GUI can only be chosen for a SUMO that is started here, not at {host}.",
            )
        self.road = scenario.road
        self.num_envs = num_envs
        self.num_vehicles = num_vehicles
        self.dt_s = DT_S
        self._scenario = scenario
        self._cache_dir = cache_dir
        self._host, self._port, self._gui = host, port or DEFAULT_PORT, gui
        self._deadline_s = deadline_s
        self._fleet = Fleet(scenario.road, num_envs, num_vehicles)
        self._set_speed = wire.FloatCommands(tc.VAR_SPEED, self._fleet.ids)
        self._set_factor = wire.FloatCommands(tc.VAR_SPEED_FACTOR, self._fleet.ids)
        self._questions = wire.VehicleQuestions(self._fleet.ids)
        self._reader = replies.TickReader(self._fleet.ids)
        self._live_questions = b""
        self._process: SumoProcess | None = None
        self._connection: TraciConnection | None = None
        self._teleports = 0

    def start(self) -> None:
        """Start or reach SUMO and load the roads; does nothing if that is done.

        Raises:
            SimulatorTimeoutError: SUMO did not answer before the deadline.
            SimulatorVersionError: It speaks another version of TraCI.
            SimulatorError: It could not be started or could not load the network.
        """
        if self._connection is not None:
            return
        tiles = tile_scenario(self._scenario, self.num_envs, cache_dir=self._cache_dir)
        if self._host is not None:
            require_plain(tiles)
        self._fleet.clear()
        self._live_questions = b""
        self._teleports = 0
        try:
            if self._host is None:
                with plainly_named(tiles) as named:
                    self._process = SumoProcess(load_options(named), gui=self._gui)
                    self._connection = TraciConnection.open(
                        LOOPBACK,
                        self._process.port,
                        deadline_s=self._deadline_s,
                        alive=self._process.require_alive,
                    )
            else:
                self._connection = TraciConnection.open(
                    self._host,
                    self._port,
                    deadline_s=self._deadline_s,
                )
                self._connection.load(load_options(tiles))
        except BaseException:
            self.close()
            raise

    def place(self, placement: Placement) -> None:
        """Insert convoys; see `Simulator.place`."""
        self._running()
        admission = self._fleet.admit(placement)
        ids, placed = self._fleet.ids, admission.placed
        commands = [
            wire.set_vehicle(tc.REMOVE, ids[index], wire.typed_byte(tc.REMOVE_VAPORIZED))
            for index in admission.removed.tolist()
        ]
        cars = list(insertions(placement, self.road, admission.lane, admission.lane_pos_m))
        for place in admission.sequence.tolist():
            commands += _insert(
                cars[place],
                renewed=bool(admission.renewed[place]),
                was_controlled=bool(admission.was_controlled[place]),
            )
        numbers = bytes(map(wire.number_of, commands))
        body = b"".join((*commands, self._questions.pack(placed)))
        reply, size = self._exchange(body, numbers)
        found = self._reader.read_cars(reply[size:], placed)
        if found is None:
            raise SimulatorError("SUMO does not know cars that it has just inserted.")
        self._fleet.confirm(placed, *found)
        if not admission.only_renews:
            self._live_questions = self._questions.pack(self._fleet.live)
        if self._gui:
            self._follow_first_ego()

    def _follow_first_ego(self) -> None:
        """Let the window follow the first convoy's ego; it would show the whole road otherwise."""
        zoom_percent = 100.0 * self.road.length_m / _VIEW_M
        body = wire.set_gui(tc.VAR_VIEW_ZOOM, wire.typed_float(zoom_percent))
        body += wire.set_gui(tc.VAR_TRACK_VEHICLE, wire.typed_string(vehicle_id(0, 0)))
        self._exchange(body, bytes((tc.CMD_SET_GUI_VARIABLE,)) * 2)

    def step(self, commands: TickCommands) -> TrafficState:
        """Command, simulate and read one tick; see `Simulator.step`."""
        orders = self._fleet.orders(commands)
        ids = self._fleet.ids
        mode = tc.VAR_SPEEDSETMODE
        unchecked = wire.typed_int(SPEED_MODE_UNCHECKED)
        default = wire.typed_int(SPEED_MODE_DEFAULT)
        parts = [wire.set_vehicle(mode, ids[index], unchecked) for index in orders.seized.tolist()]
        count = orders.seized.size + 2 * orders.released.size
        if orders.released.size:
            released = np.full(orders.released.size, SPEED_RELEASED)
            parts.append(self._set_speed.pack(orders.released, released))
            parts += [wire.set_vehicle(mode, ids[i], default) for i in orders.released.tolist()]
        if orders.speed_index.size:
            parts.append(self._set_speed.pack(orders.speed_index, orders.speed_mps))
            count += orders.speed_index.size
        if orders.factor_index.size:
            parts.append(self._set_factor.pack(orders.factor_index, orders.factor))
            count += orders.factor_index.size
        for index, left in zip(orders.changing.tolist(), orders.to_left.tolist(), strict=True):
            lane = wire.typed_byte(self.road.lane_number(left=left))
            change = wire.compound(lane, wire.typed_float(LANE_KEPT_S))
            parts.append(wire.set_vehicle(tc.CMD_CHANGELANE, ids[index], change))
            count += 1
        parts.append(wire.SIMULATION_STEP)
        numbers = bytes((tc.CMD_SET_VEHICLE_VARIABLE,)) * count + bytes((tc.CMD_SIMSTEP,))
        questions = wire.GET_TELEPORTS + self._live_questions
        with self._explained():
            reply = self._running().exchange_two(b"".join(parts), numbers, questions)
        teleports, size = replies.read_teleports(reply)
        self._teleports += teleports
        found = self._reader.read_cars(reply[size:], self._fleet.live)
        if found is None:
            self._drop_arrived()
            reply, _ = self._exchange(self._live_questions, b"")
            found = self._reader.read_cars(reply, self._fleet.live)
            if found is None:
                raise SimulatorError(
                    "SUMO answered questions after our cars with bytes of another form. "
                    "Is it of another release than this client?",
                )
        self._fleet.advance(*found)
        if orders.changing.size:
            self._fleet.confirm_lanes(orders, [self._lane_of(i) for i in orders.changing.tolist()])
        return self._fleet.state()

    def _lane_of(self, index: int) -> str:
        name = self._fleet.ids[index]
        body = wire.get_vehicle(tc.VAR_LANE_ID, name)
        reply, size = self._exchange(body, bytes((tc.CMD_GET_VEHICLE_VARIABLE,)))
        return replies.read_string(reply.tobytes(), size, name)

    def read_collisions(self) -> NDArray[np.bool_]:
        """Return SUMO's own report of the last tick; see `Simulator.read_collisions`."""
        reply, size = self._exchange(wire.GET_COLLIDING, bytes((tc.CMD_GET_SIM_VARIABLE,)))
        colliding = np.zeros((self.num_envs, self.num_vehicles), dtype=np.bool_)
        for name in replies.read_strings(reply.tobytes(), size):
            colliding[parse_vehicle_id(name)] = True
        return colliding

    def teleport_count(self) -> int:
        """Return how many cars SUMO has teleported since the start."""
        return self._teleports

    def close(self) -> None:
        """Hang up, and end SUMO if it was started here; may be called again."""
        connection, self._connection = self._connection, None
        process, self._process = self._process, None
        asked = connection is not None and connection.close()
        if process is not None:
            if asked:
                process.end()
            else:
                process.kill()

    def _running(self) -> TraciConnection:
        if self._connection is None:
            raise SimulatorError("The simulator is not started (or is closed); call start() first.")
        return self._connection

    def _exchange(self, body: bytes, numbers: bytes) -> tuple[NDArray[np.uint8], int]:
        with self._explained():
            return self._running().exchange(body, numbers)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Add to an error what our own SUMO has to say about it."""
        try:
            yield
        except SimulatorTimeoutError:
            raise
        except SimulatorError as error:
            if self._process is None:
                raise
            words = self._process.last_words()
            raise type(error)(f"{error} Its last words: {words}") from error

    def _drop_arrived(self) -> None:
        """Find out which cars have left the road."""
        reply, size = self._exchange(wire.GET_VEHICLES, bytes((tc.CMD_GET_VEHICLE_VARIABLE,)))
        on_road = set(replies.read_strings(reply.tobytes(), size))
        fleet = self._fleet
        gone = [fleet.ids[index] not in on_road for index in fleet.live.tolist()]
        fleet.drop(fleet.live[gone])
        self._live_questions = self._questions.pack(fleet.live)


def _insert(car: Insertion, *, renewed: bool, was_controlled: bool) -> list[bytes]:
    """Pack the commands that put a car on the road."""
    real, kind, name = wire.typed_float, car.vehicle_type, car.name
    text = wire.typed_string
    commands = [
        wire.set_vehicle_type(tc.VAR_TAU, kind, real(car.tau_s)),
        wire.set_vehicle_type(tc.VAR_ACCEL, kind, real(car.accel_mps2)),
        wire.set_vehicle_type(tc.VAR_DECEL, kind, real(car.decel_mps2)),
    ]
    if renewed:
        speed = wire.compound(real(car.speed_mps), real(0.0))
        commands.append(wire.set_vehicle(tc.VAR_TYPE, name, text(kind)))
        commands.append(wire.set_vehicle(tc.VAR_PREV_SPEED, name, speed))
    else:
        added = wire.compound(
            *(text(word) for word in (car.route, kind, *ADD_AT, repr(car.speed_mps))),
            *(text(word) for word in ("current", "max", "current", "", "", "")),
            wire.typed_int(0),
            wire.typed_int(0),
        )
        never = wire.typed_int(LANE_CHANGE_NEVER)
        commands.append(wire.set_vehicle(tc.ADD_FULL, name, added))
        commands.append(wire.set_vehicle(tc.VAR_LANECHANGE_MODE, name, never))
    place = (text(car.lane), real(car.lane_pos_m), wire.typed_int(tc.MOVE_AUTOMATIC))
    commands += [
        wire.set_vehicle(tc.VAR_MINGAP, name, real(car.min_gap_m)),
        wire.set_vehicle(tc.VAR_SPEED_FACTOR, name, real(car.speed_factor)),
        wire.set_vehicle(tc.VAR_MOVE_TO, name, wire.compound(*place)),
    ]
    if car.controlled:
        unchecked = wire.typed_int(SPEED_MODE_UNCHECKED)
        if not was_controlled:
            commands.append(wire.set_vehicle(tc.VAR_SPEEDSETMODE, name, unchecked))
        commands.append(wire.set_vehicle(tc.VAR_SPEED, name, real(car.speed_mps)))
    elif was_controlled:
        default = wire.typed_int(SPEED_MODE_DEFAULT)
        commands.append(wire.set_vehicle(tc.VAR_SPEED, name, real(SPEED_RELEASED)))
        commands.append(wire.set_vehicle(tc.VAR_SPEEDSETMODE, name, default))
    return commands
