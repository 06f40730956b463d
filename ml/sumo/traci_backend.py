"""SUMO behind a TCP connection: one change of processes per tick, all cars read at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from traci import constants as tc

from ml.arrays import Floats
from ml.errors import SimulatorError, SimulatorTimeoutError
from ml.sumo import commands as telling
from ml.sumo import traci_bytes as wire
from ml.sumo.backend import Backend
from ml.sumo.fleet import Admission
from ml.sumo.fleet_kernels import Orders
from ml.sumo.names import vehicle_id
from ml.sumo.plain_names import plainly_named, require_plain
from ml.sumo.protocol import Placement, SumoAccess
from ml.sumo.scenarios import Scenario
from ml.sumo.sumo_process import LOOPBACK, SumoProcess
from ml.sumo.tiling import load_options, tile_scenario
from ml.sumo.traci_connection import TraciConnection

DEFAULT_PORT = 8813
_VIEW_M = 400.0
"""Width of the road that sumo-gui shows."""
_FIRST_VIEW = "View #0"


class TraciSimulator(Backend):
    """`Simulator` on TraCI."""

    def __init__(
        self,
        scenario: Scenario,
        sumo: SumoAccess,
        *,
        num_envs: int,
        num_vehicles: int,
        cache_dir: Path,
    ) -> None:
        if sumo.host is None and sumo.port is not None:
            raise SimulatorError(
                f"Port {sumo.port} was given without a host. Name the host of a running SUMO, or "
                "neither, to start one on a free port."
            )
        if sumo.host is not None and sumo.gui:
            raise SimulatorError(
                f"The GUI can only be chosen for a SUMO that is started here, not at {sumo.host}."
            )
        super().__init__(
            scenario, num_envs=num_envs, num_vehicles=num_vehicles, cache_dir=cache_dir
        )
        self._access = sumo
        ids = self._fleet.ids
        self._set_speed = wire.set_floats(tc.VAR_SPEED, ids)
        self._set_factor = wire.set_floats(tc.VAR_SPEED_FACTOR, ids)
        self._questions = wire.questions(ids)
        self._answers = wire.answers(ids)
        self._live_questions = b""
        self._process: SumoProcess | None = None
        self._connection: TraciConnection | None = None

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
        self._begin()
        try:
            if self._access.host is None:
                with plainly_named(tiles) as named:
                    self._process = SumoProcess(load_options(named), gui=self._access.gui)
                    self._connection = TraciConnection.open(
                        LOOPBACK,
                        self._process.port,
                        deadline_s=self._access.deadline_s,
                        alive=self._process.require_alive,
                    )
            else:
                require_plain(tiles)
                self._connection = TraciConnection.open(
                    self._access.host,
                    self._access.port or DEFAULT_PORT,
                    deadline_s=self._access.deadline_s,
                )
                self._connection.load(load_options(tiles))
        except BaseException:
            self.close()
            raise

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

    def _runs(self) -> bool:
        return self._connection is not None

    def _note_live(self) -> None:
        self._live_questions = self._questions[self._fleet.live].tobytes()

    def _insert(self, placement: Placement, admission: Admission) -> tuple[Floats, Floats]:
        script, placed = wire.Script(), admission.placed
        telling.place(script, self._fleet.ids, placement, self.road, admission)
        body = script.body + self._questions[placed].tobytes()
        reply, size = self._exchange(body, script.numbers)
        found = self._answers.read(reply[size:], placed)
        if found is None:
            raise SimulatorError("SUMO does not know cars that it has just inserted.")
        if self._access.gui:
            self._follow_first_ego()
        return found[0], found[1]

    def _follow_first_ego(self) -> None:
        """Let the window follow the first convoy's ego; it would show the whole road otherwise."""
        script = wire.Script()
        script.gui_setZoom(_FIRST_VIEW, 100.0 * self.road.length_m / _VIEW_M)
        script.gui_trackVehicle(_FIRST_VIEW, vehicle_id(0, 0))
        self._exchange(script.body, script.numbers)

    def _tick(
        self, orders: Orders, changes: Sequence[tuple[int, bool]]
    ) -> tuple[Floats, Floats, list[str]]:
        script, ids = wire.Script(), self._fleet.ids
        telling.hand_over(script, ids, orders)
        for setter, index, values in (
            (self._set_speed, orders.speed_index, orders.speed_mps),
            (self._set_factor, orders.factor_index, orders.factor),
        ):
            script.add(tc.CMD_SET_VEHICLE_VARIABLE, setter.pack(index, values), index.size)
        telling.change_lanes(script, ids, changes, self.road)
        script.add(tc.CMD_SIMSTEP, wire.SIMULATION_STEP)
        questions = wire.GET_TELEPORTS + self._live_questions
        reply, _ = self._exchange(script.body, script.numbers, questions)
        teleports, size = wire.read_teleports(reply)
        self._teleports += teleports
        found = self._answers.read(reply[size:], self._fleet.live)
        if found is None:
            self._drop_arrived(self._ask(wire.GET_VEHICLES, tc.TYPE_STRINGLIST).readStringList())
            reply, _ = self._exchange(self._live_questions, b"")
            found = self._answers.read(reply, self._fleet.live)
            if found is None:
                raise SimulatorError(
                    "SUMO answered questions after our cars with bytes of another form. "
                    "Is it of another release than this client?"
                )
        vehicle, lane = tc.CMD_GET_VEHICLE_VARIABLE, tc.VAR_LANE_ID
        lanes = [
            str(self._ask(wire.get(vehicle, lane, name), tc.TYPE_STRING, name).readString())
            for name in (ids[index] for index, _ in changes)
        ]
        return found[0], found[1], lanes

    def _colliding(self) -> list[str]:
        return list(self._ask(wire.GET_COLLIDING, tc.TYPE_STRINGLIST).readStringList())

    def _ask(self, question: bytes, wanted: int, name: str = "") -> Any:
        """Send a question (`wire.get`), and return a reader at its answer's value."""
        reply, size = self._exchange(question, question[1:2])
        return wire.read_value(reply.tobytes(), size, wanted, name)

    def _exchange(
        self, body: bytes | bytearray, numbers: bytes | bytearray, next_body: bytes = b""
    ) -> tuple[NDArray[np.uint8], int]:
        self._require_running()
        assert self._connection is not None  # noqa: S101 (for the type checker)
        try:
            return self._connection.exchange(bytes(body), bytes(numbers), next_body)
        except SimulatorTimeoutError:
            raise
        except SimulatorError as error:
            if self._process is None:
                raise
            words = self._process.last_words()
            raise type(error)(f"{error} Its last words: {words}") from error
