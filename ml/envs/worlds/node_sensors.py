"""The nodes' sensors on a road: where the cars truly are in, what their boards believe out."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ml.compiled import inlined
from ml.envs.truth.ground_truth import GroundTruth
from ml.envs.truth.lanes import move_aside
from ml.sensors import Measurement, RangingSensor, SensorBank, SensorParameters, Truth
from ml.sumo.road import Road
from ml.vehicle import DT_S, TICK_US


class NodeSensors:
    """Sensors of the first V cars of each convoy, from the ego on, and the egos' ranging sensors.

    What a car measures depends on its slot and its own way alone, so that the egos by themselves
    (V = 1) measure what they would in the company of their peers.

    Args:
        parameters: Of the sensors.
        road: Turns positions along the road into coordinates.
        num_envs: E.
        num_cars: V.

    Attributes:
        sensors: Of all these cars.
        ranging: Of the egos.
        measured: What the nodes believed of themselves at their last sample, (E, V).
    """

    def __init__(
        self, parameters: SensorParameters, road: Road, *, num_envs: int, num_cars: int
    ) -> None:
        self._road = road
        self._num_cars = num_cars
        self._everyone = np.arange(num_envs)
        self.sensors = SensorBank(parameters, num_envs=num_envs, num_vehicles=num_cars)
        self.ranging = RangingSensor(parameters.ranging, num_envs=num_envs)
        self.measured = Measurement(*np.zeros((6, num_envs, num_cars)))

    def reset(
        self,
        rows: NDArray[np.int64],
        keys: NDArray[np.uint64],
        truth: GroundTruth,
        overrides: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """Begin episodes in some convoys.

        Args:
            rows: (n,) convoys.
            keys: (n,) uint64 episode keys.
            truth: Rows (n, …) of where the cars were placed.
            overrides: Parameters of these episodes; see `SensorBank.reset`.
        """
        self.sensors.reset(rows, keys, overrides=overrides)
        self.ranging.reset(rows, keys)
        self.ranging.measure(rows, np.zeros(rows.size, dtype=np.int64), truth.gap_m)
        speed_mps, aside_m = self._own(truth.speed_mps), self._own(truth.lateral_m)
        x_m, y_m, heading_deg = self._road.pose(self._own(truth.route_pos_m))
        move_aside(x_m, y_m, heading_deg, aside_m, np.zeros_like(aside_m), speed_mps)
        accel_mps2 = self._own(truth.accel_mps2)
        measured = self.sensors.measure_start(
            rows, Truth(x_m, y_m, speed_mps, heading_deg, accel_mps2)
        )
        for name in Measurement.__slots__:
            getattr(self.measured, name)[rows] = getattr(measured, name)

    def sample(
        self,
        tick: NDArray[np.int64],
        sampled_us: NDArray[np.int64],
        before: GroundTruth,
        now: GroundTruth,
    ) -> Measurement:
        """Measure every car once in the tick that has just been simulated.

        Args:
            tick: (E,) int64, the tick's number since reset, from 1.
            sampled_us: (E, V) int64, when in the tick each car measures, true time since reset.
            before: Ground truth of the tick before.
            now: Ground truth of this tick.

        Returns:
            (E, V); it is `measured` from now on.
        """
        route_pos_m, speed_mps, accel_mps2 = state = np.empty((3, *sampled_us.shape))
        _interpolate(tick, sampled_us, before, now, state)
        x_m, y_m, heading_deg = self._road.pose(route_pos_m)
        if np.count_nonzero(before.lateral_m):
            aside_before_m = self._own(before.lateral_m)
            drift_mps = (self._own(now.lateral_m) - aside_before_m) / DT_S
            since_s = (sampled_us - (tick[:, None] - 1) * TICK_US) / 1e6
            aside_m = aside_before_m + drift_mps * since_s
            move_aside(x_m, y_m, heading_deg, aside_m, drift_mps, speed_mps)
        seen = Truth(x_m, y_m, speed_mps, heading_deg, accel_mps2)
        self.measured = self.sensors.measure(tick, seen, sampled_us=sampled_us)
        self.ranging.measure(self._everyone, tick, now.gap_m)
        return self.measured

    def _own(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take the columns of these cars, contiguous as the loops want them."""
        return np.ascontiguousarray(values[:, : self._num_cars])


@inlined
def _interpolate(
    tick: NDArray[np.int64],
    sampled_us: NDArray[np.int64],
    before: GroundTruth,
    now: GroundTruth,
    state: NDArray[np.float64],
) -> None:
    """Fill `state` (3, E, V) with each car's position, speed and acceleration.

    They are those at `sampled_us` (E, V), between the tick before and this one, (E,). Traffic has
    the columns of these cars, and perhaps more.
    """
    for e in range(state.shape[1]):
        for v in range(state.shape[2]):
            share = 1.0 - (tick[e] * TICK_US - sampled_us[e, v]) / TICK_US
            pos_m, speed_mps = before.route_pos_m[e, v], before.speed_mps[e, v]
            accel_mps2 = before.accel_mps2[e, v]
            state[0, e, v] = pos_m + share * (now.route_pos_m[e, v] - pos_m)
            state[1, e, v] = speed_mps + share * (now.speed_mps[e, v] - speed_mps)
            state[2, e, v] = accel_mps2 + share * (now.accel_mps2[e, v] - accel_mps2)
