"""The sensors of every vehicle of the batch: truth in, what each node believes out."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ml.arrays import Floats, Ints, Words, allocate
from ml.compiled import inlined
from ml.errors import EnvironmentStateError
from ml.keyed_random import Stream, extend_one, fold, normal, normal_pair_one, uniform
from ml.onboard.fusion import Fusion, Pose, blank, newest_step, start
from ml.onboard.views import Measurement
from ml.section import EpisodeNumbers
from ml.sensors import layout as at
from ml.sensors.episode_sizes import episode_sizes, faulty_accelerometers
from ml.sensors.layout import SensorArrays, Truth
from ml.sensors.navigation import believed_sd_m, navigate
from ml.sensors.parameters import SensorParameters
from ml.vehicle import DT_S, TICK_US

_NOT_STARTED = -2
# Of the draws, in the order of the layout; then the bias, the gyroscope's and the fixes' phase.
_STREAMS, _PARTS = np.array(
    [
        (Stream.GPS, 0),
        (Stream.GPS, 1),
        (Stream.SPEED_SENSOR, 0),
        (Stream.ACCELEROMETER, 0),
        (Stream.SENSOR_FAULTS, 0),
        (Stream.SENSOR_FAULTS, 1),
        (Stream.ACCELEROMETER, 1),
        (Stream.GYROSCOPE, 0),
        (Stream.GPS, 2),
    ]
).T


class Fix(NamedTuple):
    """What a receiver said of a moment."""

    fix_us: int
    """The moment, true time since reset."""
    x_m: float
    y_m: float
    speed_mps: float
    heading_deg: float
    has_heading: bool


class Handed(NamedTuple):
    """What reached a node's board with its last measurement, before the board made anything of it.

    Attributes:
        moved: What its accelerometer said in the mean since the measurement before, m/s², and how
            far it turned by its gyroscope, degrees clockwise, 0 without one; None for a node that
            holds its fixes and reckons with neither.
        fixes: That were delivered since, oldest first.
        num_fixes: That were delivered since reset.
    """

    moved: tuple[float, float] | None
    fixes: tuple[Fix, ...]
    num_fixes: int


class SensorBank:
    """Sensors of all vehicles in arrays, one step per tick of 0.1 s.

    Call `reset`, then `measure_start` for tick 0 of the convoys that were reset, then `measure`
    once per tick for all. Draws are keyed by episode, vehicle slot and tick or number of the fix.
    With all noise and lag at zero a measurement in mode continuous is the truth, bit for bit, and
    in mode fused within a millimetre on a straight road.

    Args:
        parameters: Of the sensors.
        num_envs: E.
        num_vehicles: V.
    """

    def __init__(self, parameters: SensorParameters, *, num_envs: int, num_vehicles: int) -> None:
        self._parameters = parameters
        self._numbers = EpisodeNumbers(parameters, "sensors.", EnvironmentStateError)
        # Worked out once: most resets draw nothing, and this takes longer than all else in them.
        self._usual_sizes = episode_sizes(parameters, self._numbers.draw(1, None))
        self._everyone = np.arange(num_envs)
        self._tick = np.full(num_envs, _NOT_STARTED, dtype=np.int64)
        self._arrays = bank = allocate(
            SensorArrays, vars(at) | {"E": num_envs, "CARS": num_envs * num_vehicles}
        )
        position = parameters.position
        late_s = 0.0 if position.mode == "continuous" else position.hold_delay_s
        self._fused = blank(num_envs * num_vehicles, math.ceil(late_s / DT_S))
        # The loops see a row per car; here the same memory has one for each car of a convoy.
        shape = (num_envs, num_vehicles, -1)
        self._keys = bank.keys.reshape(shape)
        self._memory = bank.memory.reshape(shape)
        self._times = bank.times.reshape(shape)

    def reset(
        self,
        env_indices: Ints,
        episode_keys: Words,
        *,
        overrides: Mapping[str, Floats] | None = None,
    ) -> None:
        """Begin an episode in the given convoys; the others are not touched.

        Args:
            env_indices: (K,) which convoys.
            episode_keys: (K,) uint64, `fold(seed, env_index, episode)`.
            overrides: Randomisable parameters of this episode; see `EpisodeNumbers.draw`.

        Raises:
            EnvironmentStateError: An override that the sensors do not know.
        """
        sizes = self._usual_sizes
        if any(name.startswith("sensors.") for name in overrides or {}):
            values = self._numbers.draw(len(env_indices), overrides)
            sizes = episode_sizes(self._parameters, values)
        episode, slot = episode_keys[:, None], np.arange(self._keys.shape[1])
        keys = fold(episode[:, :, None], _STREAMS, slot[:, None], _PARTS)
        self._keys[env_indices] = keys[:, :, : at.NUM_DRAWS]
        self._arrays.common_keys[env_indices] = fold(episode_keys, Stream.GPS_COMMON)
        bias_draw, gyro_draw = np.moveaxis(normal(keys[:, :, at.NUM_DRAWS : -1]), -1, 0)
        gain, extra_mps2 = faulty_accelerometers(
            self._parameters.faults.accelerometer, episode, slot
        )
        self._memory[env_indices] = 0.0
        self._memory[env_indices, :, at.ACCEL_GAIN] = gain
        bias_mps2 = sizes[:, at.BIAS_SD_MPS2, None] * bias_draw + extra_mps2
        self._memory[env_indices, :, at.ACCEL_BIAS] = bias_mps2
        gyro_sd_dps = self._parameters.heading.gyro_bias_sd_dps or 0.0
        self._memory[env_indices, :, at.GYRO_BIAS] = gyro_sd_dps * gyro_draw
        phase = uniform(keys[:, :, -1])
        self._times[env_indices] = 0
        self._times[env_indices, :, at.NEXT_FIX] = phase * sizes[:, at.PERIOD_US, None]
        self._arrays.sizes[env_indices] = sizes
        self._tick[env_indices] = _NOT_STARTED

    def measure_start(self, env_indices: Ints, truth: Truth) -> Measurement:
        """Measure at tick 0 the convoys that have just been reset.

        Every error starts in its stationary distribution, so an episode has no warm-up.

        Args:
            env_indices: (K,) which convoys.
            truth: (K, V).

        Returns:
            Arrays (K, V).
        """
        self._tick[env_indices] = 0
        return self._measure(env_indices, np.zeros(truth.x_m.shape, dtype=np.int64), truth)

    def measure(
        self,
        tick: Ints,
        truth: Truth,
        *,
        sampled_us: Ints | None = None,
    ) -> Measurement:
        """Measure every convoy at its next tick.

        Args:
            tick: (E,) int64, one more than at the last call.
            truth: (E, V).
            sampled_us: (E, V) int64, the true time since reset that each vehicle's truth belongs
                to, not before its last; default: the end of the tick.

        Returns:
            Arrays (E, V).

        Raises:
            EnvironmentStateError: A tick was left out or repeated, a convoy was reset and not
                started, or a vehicle was sampled before its last sample.
        """
        due = self._tick + 1
        if np.count_nonzero(tick != due):
            env = int(np.argmax(tick != due))
            raise EnvironmentStateError(
                f"the sensors of convoy {env} were asked for tick {tick[env]} after "
                f"{'reset' if due[env] <= 0 else f'tick {self._tick[env]}'}, allowed is the next "
                "tick: call measure_start after reset, then measure once per tick."
            )
        self._tick = due
        if sampled_us is None:
            sampled_us = np.repeat(tick[:, None] * TICK_US, truth.x_m.shape[1], axis=1)
        backward = sampled_us < self._times[:, :, at.SAMPLED]
        if np.count_nonzero(backward):
            env, car = (int(i[0]) for i in np.nonzero(backward))
            raise EnvironmentStateError(
                f"vehicle {car} of convoy {env} was to be sampled at {sampled_us[env, car]} µs, "
                f"allowed is {self._times[env, car, at.SAMPLED]} µs or later: samples follow time."
            )
        return self._measure(self._everyone, sampled_us, truth)

    def handed(self, env: int, car: int, before: int) -> Handed:
        """Say what reached a node's board with its last measurement.

        Args:
            env: Convoy.
            car: Vehicle slot.
            before: Fixes that had been delivered by the measurement before, 0 at the first; the
                newest eight are kept.
        """
        row = env * self._keys.shape[1] + car
        delivered = int(self._arrays.times[row, at.DELIVERED])
        fixes = []
        for number in range(max(before, delivered - at.RING), delivered):
            kept = self._arrays.rings[row, number & at.RING_MASK].tolist()
            fix_us, x_m, y_m, speed_mps, heading_deg, has_heading = kept
            fixes.append(Fix(int(fix_us), x_m, y_m, speed_mps, heading_deg, has_heading > 0.0))
        return Handed(newest_step(row, self._fused), tuple(fixes), delivered)

    def _measure(self, rows: Ints, sampled_us: Ints, truth: Truth) -> Measurement:
        out = np.empty((at.NUM_MEASURED, *truth.x_m.shape))
        _sense(rows, self._tick, sampled_us, truth, self._arrays, self._fused, out)
        return Measurement(*out)


@inlined
def _sense(
    rows: Ints,
    ticks: Ints,
    sampled_us: Ints,
    truth: Truth,
    bank: SensorArrays,
    fused: Fusion,
    out: Floats,
) -> None:
    """Measure convoys `rows` (K,) once and fill `out` (6, K, V), by the rows of `layout`.

    `truth` and `sampled_us`, the true time that it is of, are (K, V); `ticks` is (E,).
    """
    sizes, memory, times = bank.sizes, bank.memory, bank.times
    num_cars = truth.x_m.shape[1]
    for k, env in enumerate(rows):
        tick = ticks[env]
        is_first = tick == 0
        # At tick 0 an error is all new, which is its stationary distribution.
        keep = 0.0 if is_first else sizes[env, at.KEEP_COMMON]
        renew = 1.0 if is_first else sizes[env, at.RENEW_COMMON]
        east, north = normal_pair_one(extend_one(bank.common_keys[env], tick))
        sizes[env, at.COMMON_EAST] = keep * sizes[env, at.COMMON_EAST] + renew * east
        sizes[env, at.COMMON_NORTH] = keep * sizes[env, at.COMMON_NORTH] + renew * north
        for v in range(num_cars):
            car, now_us = env * num_cars + v, sampled_us[k, v]
            pose = (
                truth.x_m[k, v],
                truth.y_m[k, v],
                truth.speed_mps[k, v],
                truth.heading_deg[k, v],
            )
            step_us, lag_keep = 0, 0.0
            if is_first:
                _begin(env, car, now_us, pose, bank, fused)
            else:
                step_us = now_us - times[car, at.SAMPLED]
                lag_keep = sizes[env, at.LAG_KEEP]
                if step_us != TICK_US:
                    lag_keep = math.exp(-1e-6 * step_us / sizes[env, at.LAG_S])
            was = memory[car, at.LAGGED_ACCEL]
            # In this form a lag of 0 gives the truth to the last bit.
            lagged = lag_keep * was + (1.0 - lag_keep) * truth.accel_mps2[k, v]
            memory[car, at.LAGGED_ACCEL] = lagged
            gain, bias = memory[car, at.ACCEL_GAIN], memory[car, at.ACCEL_BIAS]
            shake, _ = normal_pair_one(extend_one(bank.keys[car, at.ACCELERATION], tick))
            noise = sizes[env, at.ACCEL_SD_MPS2] * shake
            # What the node integrates since its last sample; before the start, its bias alone.
            mean = bias
            if step_us > 0:
                gained_mps = pose[2] - memory[car, at.TRUE_SPEED]
                gained_mps -= sizes[env, at.LAG_S] * (lagged - was)
                mean = gain * (1e6 * gained_mps / step_us) + bias + noise
            navigate(env, car, now_us, mean, pose, bank, fused)
            out[at.OUT_X, k, v] = fused.x_m[car]
            out[at.OUT_Y, k, v] = fused.y_m[car]
            out[at.OUT_SPEED, k, v] = fused.speed_mps[car]
            out[at.OUT_HEADING, k, v] = fused.heading_deg[car]
            out[at.OUT_ACCEL, k, v] = gain * lagged + bias + noise
            out[at.OUT_SD, k, v] = believed_sd_m(env, car, now_us, bank, fused)


@inlined
def _begin(env: int, car: int, now_us: int, pose: Pose, bank: SensorArrays, fused: Fusion) -> None:
    """Put a node back to the last fix that it has received by now.

    Before an episode the car drove straight at its first speed, so that an episode has no warm-up.
    `times[NEXT_FIX]` holds the phase of the fixes, in [0, period).
    """
    sizes, memory, times = bank.sizes, bank.memory, bank.times
    x_m, y_m, speed_mps, heading_deg = pose
    fix_us = now_us + times[car, at.NEXT_FIX]
    while fix_us + sizes[env, at.DELAY_US] > now_us and sizes[env, at.PERIOD_US] > 0.0:
        fix_us -= int(sizes[env, at.PERIOD_US])
    way_m = speed_mps * (now_us - fix_us) * 1e-6
    direction = math.radians(heading_deg)
    was_x_m = x_m - way_m * math.sin(direction)
    was_y_m = y_m - way_m * math.cos(direction)
    start(car, fix_us, (was_x_m, was_y_m, speed_mps, heading_deg), fused)
    memory[car, at.TRUE_X], memory[car, at.TRUE_Y] = was_x_m, was_y_m
    memory[car, at.TRUE_SPEED], memory[car, at.TRUE_HEADING] = speed_mps, heading_deg
    times[car, at.SAMPLED] = times[car, at.NEXT_FIX] = fix_us
