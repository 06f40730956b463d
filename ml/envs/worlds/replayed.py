"""A replayed world: SUMO holds the egos alone, all else comes from recorded traffic."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words
from ml.envs.config import EnvConfig
from ml.envs.truth.ground_truth import GroundTruth
from ml.envs.worlds.recorded import Reception, Recordable, RecordedTraffic
from ml.envs.worlds.recovery import SimulatorKeeper
from ml.envs.worlds.stack import Stack
from ml.envs.worlds.world import World, empty_table
from ml.errors import EnvironmentStateError
from ml.parameters import load_parameters
from ml.sumo.protocol import Placement, Simulator, TickCommands, TrafficState
from ml.sumo.road import Road
from ml.vehicle import TICK_US


def replayed_world(traffic: RecordedTraffic, recorded: Recordable) -> World:
    """Build a world for another driver on the SUMO of the batch whose run was recorded.

    One of the two drives at a time: whoever resets all its convoys has SUMO. The batch that was
    recorded still owns it and ends it.

    Args:
        traffic: Holds all the cases that will be asked for.
        recorded: Whose run it is of; SUMO runs.
    """
    config, road = recorded.config, recorded.simulator.road
    stack = ReplayedStack(traffic, config, road, num_envs=recorded.num_envs)
    simulator = ReplayedSimulator(traffic, recorded.simulator, stack.place)
    return World(SimulatorKeeper(simulator, return_within_s=0.0), stack)


class ReplayedSimulator:
    """`Simulator`: a running one moves the egos, the recording the peers.

    Args:
        traffic: The peers.
        simulator: Moves the egos; not ours to end.
        place: (E,) int64, which recorded case each convoy plays; others keep it up to date.
    """

    def __init__(self, traffic: RecordedTraffic, simulator: Simulator, place: Ints) -> None:
        self._traffic = traffic
        self._simulator = simulator
        self._place = place
        self._tick = np.zeros(simulator.num_envs, dtype=np.int64)
        self.road = simulator.road
        self.num_envs = simulator.num_envs
        self.num_vehicles = simulator.num_vehicles

    def start(self) -> None:
        """Do nothing if the simulator runs, as it does after a recording."""
        self._simulator.start()

    def place(self, placement: Placement) -> None:
        """Insert the egos; see `Simulator.place`."""
        egos = placement.present.copy()
        egos[:, 1:] = False
        self._simulator.place(replace(placement, present=egos, left=None))
        self._tick[placement.env_indices] = 0

    def step(self, commands: TickCommands) -> TrafficState:
        """Simulate a tick of the egos, and replay one of their peers; see `Simulator.step`.

        Raises:
            EnvironmentStateError: An episode goes on where its recording ended.
        """
        state = self._simulator.step(replace(commands, left=None))
        self._tick += 1
        beyond = self._tick > self._traffic.length[self._place]
        if beyond.any():
            env = int(np.flatnonzero(beyond)[0])
            raise EnvironmentStateError(
                f"the recording of convoy {env} ends after {self._tick[env] - 1} ticks, but its "
                "episode goes on: what ends an episode must not depend on who drives"
            )
        motion, at = self._traffic.motion, (self._tick, self._place)
        state.present[:, 1:] = motion.present[at]
        state.route_pos_m[:, 1:] = motion.route_pos_m[at]
        state.speed_mps[:, 1:] = motion.speed_mps[at]
        return state

    def read_collisions(self) -> Bools:
        """Return SUMO's own report; it sees no peers, so none of crashes with them."""
        return self._simulator.read_collisions()

    def teleport_count(self) -> int:
        """Return how many cars SUMO has teleported since the start."""
        return self._simulator.teleport_count()

    def close(self) -> None:
        """Leave SUMO to the batch that owns it."""


class ReplayedStack(Stack):
    """The egos alone measure, and their peer tables are recorded ones.

    Attributes:
        place: (num_envs,) int64, which recorded case each convoy plays.
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
        self.place = np.zeros(num_envs, dtype=np.int64)

    def _reset_radio(
        self, rows: Ints, keys: Words, present: Bools, drawn: Mapping[str, Floats]
    ) -> None:
        """Find the recorded cases.

        Raises:
            EnvironmentStateError: One of them was not recorded.
        """
        del present, drawn
        self.place[rows] = self._traffic.find(keys)
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
        """Fill each ego's table as it was at `now_us`, (num_envs,), the end of a tick."""
        # A table forgets nothing in an episode, and where nobody is heard its values are zeros.
        at = (now_us // TICK_US, self.place)
        received = Reception.of(self.table, self._age_est_ms)
        for mine, kept in zip(received, self._traffic.reception, strict=True):
            mine[:] = kept[at]
        return self._age_est_ms.copy()
