"""A replayed world: the egos are moved by formula, all else comes from recorded traffic."""

from collections.abc import Mapping

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words
from ml.compiled import inlined
from ml.envs.config import EnvConfig
from ml.envs.truth.ground_truth import GroundTruth
from ml.envs.worlds.egos import Egos, drive_on
from ml.envs.worlds.recorded import (
    HOPS,
    NO_FRAME,
    RECEIVED_AGO_US,
    SAMPLED_AGO_US,
    SEQUENCE,
    SOURCE,
    Frames,
    RecordedTraffic,
)
from ml.envs.worlds.recovery import SimulatorKeeper
from ml.envs.worlds.stack import Stack
from ml.envs.worlds.world import World, empty_table
from ml.errors import EnvironmentStateError
from ml.espnow_emulator.messages import FrameField
from ml.espnow_emulator.peer_table import TableArrays
from ml.parameters import load_parameters
from ml.sumo.protocol import Placement, TickCommands, TrafficState
from ml.sumo.road import Road
from ml.vehicle import TICK_US

_SEQUENCE, _, _TIMESTAMP_MS, _GENERATED_US, _HOPS = (int(field) for field in FrameField)


def replayed_world(
    traffic: RecordedTraffic, config: EnvConfig, road: Road, *, num_envs: int
) -> World:
    """Build a world for another driver; it needs no SUMO.

    Args:
        traffic: Holds all the cases that will be asked for.
        config: What an episode is like.
        road: The road that it was recorded on.
        num_envs: Convoys in the batch.
    """
    stack = ReplayedStack(traffic, config, road, num_envs=num_envs)
    simulator = ReplayedSimulator(traffic, road, stack, num_vehicles=1 + config.max_convoy_peers)
    return World(SimulatorKeeper(simulator, return_within_s=0.0), stack)


class ReplayedStack(Stack):
    """The egos alone measure, and their peer tables are recorded ones.

    Attributes:
        coming: (num_envs,) int64, the frame of each convoy's next tick.
        frame: (num_envs,) int64, that of its last one.
    """

    def __init__(
        self, traffic: RecordedTraffic, config: EnvConfig, road: Road, *, num_envs: int
    ) -> None:
        parameters = load_parameters(config.radio)
        # What only the table's own estimate of ages needs is not filled.
        table = empty_table(parameters, num_envs, 1 + config.max_convoy_peers)
        super().__init__(config, parameters, road, table, num_cars=1)
        self._traffic = traffic
        self._age_est_ms = np.zeros(table.heard.shape)
        self.coming = np.full(num_envs, NO_FRAME, dtype=np.int64)
        self.frame = self.coming.copy()

    def _reset_radio(
        self, rows: Ints, keys: Words, present: Bools, drawn: Mapping[str, Floats]
    ) -> None:
        """Find the recorded cases.

        Raises:
            EnvironmentStateError: One of them was not recorded.
        """
        del present, drawn
        self.coming[rows] = self._traffic.find(keys)
        self.table.clear(rows)
        self._age_est_ms[rows] = 0.0

    def transmit(
        self,
        tick: Ints,
        before: GroundTruth,
        now: GroundTruth,
        receiver_pos_m: Floats | None = None,
    ) -> None:
        """Measure the egos at the tick's end; all messages were sent in the recorded run."""
        del receiver_pos_m
        self._measure(tick, tick[:, None] * TICK_US, before, now)

    def receive(self, now_us: Ints) -> Floats:
        """Bring each ego's table to `now_us`, (num_envs,), the end of a tick; see `Stack`."""
        _arrive(self.frame, now_us, self._traffic.frames, self.table.arrays, self._age_est_ms)
        return self._age_est_ms


class ReplayedSimulator:
    """`Simulator`: the egos do as they are told, the peers as recorded.

    Args:
        traffic: The peers.
        road: The road.
        stack: Knows which frame comes for each convoy, and is told which came.
        num_vehicles: Slots of a convoy.
    """

    def __init__(
        self, traffic: RecordedTraffic, road: Road, stack: ReplayedStack, *, num_vehicles: int
    ) -> None:
        self._traffic = traffic
        self._stack = stack
        self.road = road
        self.num_envs = stack.coming.size
        self.num_vehicles = num_vehicles
        self._egos = Egos.on(road, self.num_envs)

    def start(self) -> None:
        """Do nothing: there is no SUMO."""

    def place(self, placement: Placement) -> None:
        """Place the egos; see `Simulator.place`."""
        rows = placement.env_indices
        self._egos.place(self.road, rows, placement.route_pos_m[:, 0], placement.speed_mps[:, 0])

    def step(self, commands: TickCommands) -> TrafficState:
        """Move the egos for a tick, and replay one of their peers; see `Simulator.step`.

        Raises:
            EnvironmentStateError: An episode goes on where its recording ended.
        """
        shape = (self.num_envs, self.num_vehicles)
        state = TrafficState(np.zeros(shape, dtype=np.bool_), *np.zeros((2, *shape)))
        over = _move(
            commands.speed_mps,
            self._egos,
            self._traffic.frames,
            self._stack.coming,
            self._stack.frame,
            (state.present, state.route_pos_m, state.speed_mps),
        )
        if over >= 0:
            raise EnvironmentStateError(
                f"the recording of convoy {over} has ended, but its episode goes on: what ends an "
                "episode must not depend on who drives"
            )
        return state

    def read_collisions(self) -> Bools:
        """Return none: there is no SUMO to see any."""
        return np.zeros((self.num_envs, self.num_vehicles), dtype=np.bool_)

    def teleport_count(self) -> int:
        """Return 0."""
        return 0

    def close(self) -> None:
        """Do nothing."""


@inlined
def _move(
    command_mps: Floats,
    egos: Egos,
    frames: Frames,
    coming: Ints,
    frame: Ints,
    state: tuple[Bools, Floats, Floats],
) -> int:
    """Move all cars on by a tick.

    Args:
        command_mps: (E, V), what the egos, slot 0, are told.
        egos: Changed.
        frames: Of the peers.
        coming: (E,), the frames of the tick; those after them.
        frame: (E,), filled with those of the tick.
        state: Who is on the road, where and how fast, (E, V) zeros; filled.

    Returns:
        A convoy that has no frame; −1 for none.
    """
    present, route_pos_m, speed_mps = state
    for e in range(coming.size):
        if coming[e] < 0:
            return e
        frame[e] = coming[e]
        present[e, 0], speed_mps[e, 0] = True, command_mps[e, 0]
        route_pos_m[e, 0] = drive_on(egos, e, command_mps[e, 0])
        first = frames.first_car[frame[e]]
        for s in range(frames.first_car[frame[e] + 1] - first):
            present[e, s + 1] = (frames.here[frame[e]] >> s) & 1
            route_pos_m[e, s + 1] = frames.moving[first + s, 0]
            speed_mps[e, s + 1] = frames.moving[first + s, 1]
        coming[e] = frames.following[frame[e]]
    return -1


@inlined
def _arrive(frame: Ints, now_us: Ints, frames: Frames, table: TableArrays, age_ms: Floats) -> None:
    """Bring the egos' tables and ages (E, 1, S) to the end of the tick of these frames, (E,)."""
    for e in range(frame.size):
        first = frames.first_car[frame[e]]
        for s in range(frames.first_car[frame[e] + 1] - first):
            age_ms[e, 0, s] = frames.age_ms[first + s]
        for m in range(frames.first_message[frame[e]], frames.first_message[frame[e] + 1]):
            s = frames.numbers[m, SOURCE]
            table.heard[e, 0, s] = True
            table.received_us[e, 0, s] = now_us[e] - frames.numbers[m, RECEIVED_AGO_US]
            table.numbers[_SEQUENCE, e, 0, s] = frames.numbers[m, SEQUENCE]
            table.numbers[_TIMESTAMP_MS, e, 0, s] = frames.timestamp_ms[m]
            table.numbers[_GENERATED_US, e, 0, s] = now_us[e] - frames.numbers[m, SAMPLED_AGO_US]
            table.numbers[_HOPS, e, 0, s] = frames.numbers[m, HOPS]
            for field in range(table.payload.shape[3]):
                table.payload[e, 0, s, field] = frames.payload[m, field]
