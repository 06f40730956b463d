"""What stands between the traffic and the egos' boards: sensors and radio, live or replayed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words
from ml.compiled import inlined
from ml.envs.config import EnvConfig
from ml.envs.truth.ground_truth import GroundTruth
from ml.envs.truth.lanes import move_aside
from ml.espnow_emulator.peer_table import PeerTable
from ml.parameters import Parameters, draw_episode_parameters
from ml.sensors import Measurement, RangingSensor, SensorBank, Truth
from ml.sumo.road import Road
from ml.vehicle import DT_S, TICK_US


class Stack(ABC):
    """Sensors and radio of a batch of convoys.

    What a car measures depends on its slot and its own way alone, so that the egos by themselves
    (V = 1) measure what they would in the company of their peers.

    Args:
        config: What an episode is like.
        parameters: Radio and sensors.
        road: Turns positions along the road into coordinates.
        table: The egos' peer table, (E, 1, num_peers), which the radio fills.
        num_cars: V, how many of each convoy's cars measure, from the ego on.

    Attributes:
        road: The same.
        sensors: Of all these cars.
        ranging: The egos' ranging sensors.
        measured: What the nodes believed of themselves at their last sample, (E, V).
        table: The egos' peer table, as of the last delivery.
    """

    def __init__(
        self,
        config: EnvConfig,
        parameters: Parameters,
        road: Road,
        table: PeerTable,
        *,
        num_cars: int,
    ) -> None:
        self._parameters = parameters
        self._randomise = config.domain_randomisation
        self.road = road
        self._num_cars = num_cars
        num_envs = table.heard.shape[0]
        self._everyone = np.arange(num_envs)
        sensors = parameters.sensors
        self.sensors = SensorBank(sensors, num_envs=num_envs, num_vehicles=num_cars)
        self.ranging = RangingSensor(sensors.ranging, num_envs=num_envs)
        self.measured = Measurement(*np.zeros((6, num_envs, num_cars)))
        self.table = table

    def reset(self, rows: Ints, keys: Words, present: Bools, truth: GroundTruth) -> None:
        """Begin episodes in some convoys, with new sensors, clocks, phases and links.

        Args:
            rows: (n,) convoys.
            keys: (n,) uint64 episode keys.
            present: (n, num_slots) bool.
            truth: Rows (n, …) of where the cars were placed.
        """
        drawn = draw_episode_parameters(self._parameters, keys, randomise=self._randomise)
        self._reset_radio(rows, keys, present, drawn)
        self.sensors.reset(rows, keys, overrides=drawn)
        self.ranging.reset(rows, keys)
        self.ranging.measure(rows, np.zeros(rows.size, dtype=np.int64), truth.gap_m)
        speed_mps, aside_m = self._own(truth.speed_mps), self._own(truth.lateral_m)
        x_m, y_m, heading_deg = self.road.pose(self._own(truth.route_pos_m))
        move_aside(x_m, y_m, heading_deg, aside_m, np.zeros_like(aside_m), speed_mps)
        accel_mps2 = self._own(truth.accel_mps2)
        measured = self.sensors.measure_start(
            rows, Truth(x_m, y_m, speed_mps, heading_deg, accel_mps2)
        )
        for name in Measurement.__slots__:
            getattr(self.measured, name)[rows] = getattr(measured, name)

    def _measure(self, tick: Ints, sampled_us: Ints, before: GroundTruth, now: GroundTruth) -> None:
        """Measure every car once in the tick that has just been simulated; see `transmit`.

        `sampled_us`, (E, V) int64, is when in the tick each car measures, true time since reset.
        """
        route_pos_m, speed_mps, accel_mps2 = state = np.empty((3, *sampled_us.shape))
        _interpolate(tick, sampled_us, _moving(before), _moving(now), state)
        x_m, y_m, heading_deg = self.road.pose(route_pos_m)
        if np.count_nonzero(before.lateral_m):
            aside_before_m = self._own(before.lateral_m)
            drift_mps = (self._own(now.lateral_m) - aside_before_m) / DT_S
            since_s = (sampled_us - (tick[:, None] - 1) * TICK_US) / 1e6
            aside_m = aside_before_m + drift_mps * since_s
            move_aside(x_m, y_m, heading_deg, aside_m, drift_mps, speed_mps)
        seen = Truth(x_m, y_m, speed_mps, heading_deg, accel_mps2)
        self.measured = self.sensors.measure(tick, seen, sampled_us=sampled_us)
        self.ranging.measure(self._everyone, tick, now.gap_m)

    def _own(self, values: Floats) -> Floats:
        """Take the columns of the cars that measure, contiguous as the loops want them."""
        return np.ascontiguousarray(values[:, : self._num_cars])

    @abstractmethod
    def _reset_radio(
        self, rows: Ints, keys: Words, present: Bools, drawn: Mapping[str, Floats]
    ) -> None:
        """Begin episodes in some convoys; `drawn` are parameters that were drawn for them."""

    @abstractmethod
    def transmit(
        self,
        tick: Ints,
        before: GroundTruth,
        now: GroundTruth,
        receiver_pos_m: Floats | None = None,
    ) -> None:
        """Measure, and send every car's beacon of the tick that has just been simulated.

        Args:
            tick: (num_envs,) int64, the tick's number since reset, from 1.
            before: Ground truth of the tick before.
            now: Ground truth of this tick.
            receiver_pos_m: (num_envs,) float64, where along the road the radio takes the ego to
                be, as a receiver and as a relay; None for where it is and believes to be.
        """

    @abstractmethod
    def receive(self, now_us: Ints) -> Floats:
        """Poll: deliver what has arrived by `now_us`, (num_envs,), into `table`.

        Returns:
            (num_envs, 1, num_peers) float64, ms, the ages of each peer's newest message as the
            egos' boards estimate them; see `PeerTable.age_est_ms`.
        """

    def drain(self) -> dict[str, float]:
        """Return what the radio did since the last call; nothing where it does nothing."""
        return {}


def _moving(truth: GroundTruth) -> tuple[Floats, Floats, Floats]:
    return truth.route_pos_m, truth.speed_mps, truth.accel_mps2


@inlined
def _interpolate(
    tick: Ints,
    sampled_us: Ints,
    before: tuple[Floats, Floats, Floats],
    now: tuple[Floats, Floats, Floats],
    state: Floats,
) -> None:
    """Fill `state` (3, E, V) with each car's position, speed and acceleration.

    They are those at `sampled_us` (E, V), between the tick before and this one, (E,). Traffic has
    the columns of these cars, and perhaps more.
    """
    for e in range(state.shape[1]):
        for v in range(state.shape[2]):
            share = 1.0 - (tick[e] * TICK_US - sampled_us[e, v]) / TICK_US
            for row in range(3):
                was = before[row][e, v]
                state[row, e, v] = was + share * (now[row][e, v] - was)
