"""The sensors of every vehicle of the batch: truth in, what each node believes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.errors import EnvironmentStateError
from ml.keyed_random import Stream, extend, fold, normal, normal_pair, uniform
from ml.sensors.position_hold import PositionHold
from ml.sensors.sensor_parameters import TICK_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ml.sensors.sensor_parameters import SensorParameters

PREFIX = "sensors."
_NOT_STARTED = -2
_FULL_CIRCLE_DEG = 360.0
_SLOWEST_MPS = 0.1
_SHORTEST_LAG_S = 1e-9
# What the draws of a vehicle and tick are for; each gives two normals.
_OWN, _WHITE, _SPEED_HEADING, _ACCELERATION = range(4)
_STREAMS = (
    (Stream.GPS, 0),
    (Stream.GPS, 1),
    (Stream.SPEED_SENSOR, 0),
    (Stream.ACCELEROMETER, 0),
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the nodes believe of themselves; float64 arrays (E, V).

    Attributes:
        x_m: East.
        y_m: North.
        speed_mps: A magnitude, so never below 0.
        heading_deg: Clockwise from north, [0, 360).
        accel_mps2: Along the vehicle.
        position_sd_m: Standard deviation per axis that the node believes its position has: that
            of its parameters, not the error it has, which no node knows.
    """

    x_m: NDArray[np.float64]
    y_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    heading_deg: NDArray[np.float64]
    accel_mps2: NDArray[np.float64]
    position_sd_m: NDArray[np.float64]


class SensorBank:
    """Sensors of all vehicles in arrays, one step per tick of 0.1 s.

    Call `reset`, then `measure_start` for tick 0 of the convoys that were reset, then `measure`
    once per tick for all. Draws are keyed by episode, vehicle slot and tick. With all noise and
    lag at zero a measurement is the truth, bit for bit.

    Args:
        parameters: Of the sensors.
        num_envs: E.
        num_vehicles: V.
    """

    def __init__(self, parameters: SensorParameters, *, num_envs: int, num_vehicles: int) -> None:
        shape = (num_envs, num_vehicles)
        position, heading = parameters.position, parameters.heading
        self._defaults: dict[str, float] = {
            "position.sd_m": position.sd_m,
            "position.tau_s": position.tau_s,
            "position.common_share": position.common_share,
            "position.white_sd_m": position.white_sd_m,
            "speed.sd_mps": parameters.speed.sd_mps,
            "speed.tau_s": parameters.speed.tau_s,
            "heading.sd_deg": heading.sd_deg,
            "accelerometer.bias_sd_mps2": parameters.accelerometer.bias_sd_mps2,
            "accelerometer.white_sd_mps2": parameters.accelerometer.white_sd_mps2,
            "accelerometer.lag_s": parameters.accelerometer.lag_s,
        }
        self._heading_full_mps = heading.full_accuracy_mps
        self._heading_hold_mps = heading.hold_below_mps
        self._hold = (
            PositionHold(position, num_envs, num_vehicles) if position.mode == "hold" else None
        )
        self._num_vehicles = num_vehicles
        self._tick = np.full(num_envs, _NOT_STARTED, dtype=np.int64)
        self._keys = np.zeros((len(_STREAMS), *shape), dtype=np.uint64)
        self._common_key = np.zeros((num_envs, 1), dtype=np.uint64)
        # Unit-variance states and the factors that give them their size; (E, 1) per convoy.
        self._own, self._common = np.zeros((2, *shape)), np.zeros((2, num_envs, 1))
        self._speed_error = np.zeros(shape)
        self._bias_mps2, self._accel_mps2 = np.zeros(shape), np.zeros(shape)
        self._heading_deg = np.zeros(shape)
        column = (num_envs, 1)
        self._own_sd_m, self._common_sd_m = np.zeros(column), np.zeros(column)
        self._white_sd_m, self._believed_sd_m = np.zeros(column), np.zeros(column)
        self._speed_sd_mps, self._heading_sd_deg = np.zeros(column), np.zeros(column)
        self._accel_sd_mps2 = np.zeros(column)
        self._keep_position, self._renew_position = np.zeros(column), np.zeros(column)
        self._keep_speed, self._renew_speed = np.zeros(column), np.zeros(column)
        self._keep_accel = np.zeros(column)

    def reset(
        self,
        env_indices: NDArray[np.int64],
        episode_keys: NDArray[np.uint64],
        *,
        overrides: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        """Begin an episode in the given convoys; the others are not touched.

        Args:
            env_indices: (K,) which convoys.
            episode_keys: (K,) uint64, `fold(seed, env_index, episode)`.
            overrides: Dotted names of randomisable parameters, each with its (K,) values for
                this episode; names outside `sensors.` are for others. What is not named has the
                value of the file.

        Raises:
            EnvironmentStateError: An override that the sensors do not know.
        """
        values = self._episode_values(len(env_indices), overrides or {})
        sd_m, share = values["position.sd_m"], values["position.common_share"]
        self._common_sd_m[env_indices] = np.sqrt(share) * sd_m
        self._own_sd_m[env_indices] = np.sqrt(1.0 - share) * sd_m
        self._white_sd_m[env_indices] = values["position.white_sd_m"]
        self._believed_sd_m[env_indices] = np.hypot(sd_m, values["position.white_sd_m"])
        self._speed_sd_mps[env_indices] = values["speed.sd_mps"]
        self._heading_sd_deg[env_indices] = values["heading.sd_deg"]
        self._accel_sd_mps2[env_indices] = values["accelerometer.white_sd_mps2"]
        lag_s = np.maximum(values["accelerometer.lag_s"], _SHORTEST_LAG_S)
        self._keep_accel[env_indices] = np.exp(-TICK_S / lag_s)
        for tau_s, keep, renew in (
            (values["position.tau_s"], self._keep_position, self._renew_position),
            (values["speed.tau_s"], self._keep_speed, self._renew_speed),
        ):
            keep[env_indices] = np.exp(-TICK_S / tau_s)
            renew[env_indices] = np.sqrt(-np.expm1(-2.0 * TICK_S / tau_s))

        episode = episode_keys[:, None]
        slot = np.arange(self._num_vehicles)
        for row, (stream, part) in enumerate(_STREAMS):
            self._keys[row, env_indices] = fold(episode, stream, slot, part)
        self._common_key[env_indices] = fold(episode, Stream.GPS_COMMON)
        bias_draw = normal(fold(episode, Stream.ACCELEROMETER, slot, 1))
        self._bias_mps2[env_indices] = values["accelerometer.bias_sd_mps2"] * bias_draw
        if self._hold is not None:
            self._hold.reset(env_indices, uniform(fold(episode, Stream.GPS, slot, 2)))
        self._tick[env_indices] = _NOT_STARTED

    def measure_start(
        self,
        env_indices: NDArray[np.int64],
        *,
        x_m: NDArray[np.float64],
        y_m: NDArray[np.float64],
        speed_mps: NDArray[np.float64],
        heading_deg: NDArray[np.float64],
        accel_mps2: NDArray[np.float64],
    ) -> Measurement:
        """Measure at tick 0 the convoys that have just been reset.

        Every error starts in its stationary distribution, so an episode has no warm-up.

        Args:
            env_indices: (K,) which convoys.
            x_m: Truth, (K, V), as all that follow.
            y_m: North.
            speed_mps: Along the vehicle.
            heading_deg: Clockwise from north, [0, 360).
            accel_mps2: Along the vehicle.

        Returns:
            Arrays (K, V).
        """
        start = np.zeros((len(env_indices), 1), dtype=np.int64)
        first, second = normal_pair(extend(self._keys[:, env_indices], start))
        common = normal_pair(extend(self._common_key[env_indices], start))
        self._own[:, env_indices] = first[_OWN], second[_OWN]
        self._common[:, env_indices] = common
        self._speed_error[env_indices] = first[_SPEED_HEADING]
        self._accel_mps2[env_indices] = accel_mps2
        position_m = self._position(env_indices, x_m, y_m, first, second)
        if self._hold is not None:
            self._hold.start(env_indices, position_m)
        self._tick[env_indices] = 0
        return self._measurement(
            env_indices, position_m, speed_mps, heading_deg, first, second, start=True
        )

    def measure(
        self,
        tick: NDArray[np.int64],
        *,
        x_m: NDArray[np.float64],
        y_m: NDArray[np.float64],
        speed_mps: NDArray[np.float64],
        heading_deg: NDArray[np.float64],
        accel_mps2: NDArray[np.float64],
    ) -> Measurement:
        """Measure every convoy at its next tick.

        Args:
            tick: (E,) int64, one more than at the last call.
            x_m: Truth, (E, V), as all that follow.
            y_m: North.
            speed_mps: Along the vehicle.
            heading_deg: Clockwise from north, [0, 360).
            accel_mps2: Along the vehicle.

        Returns:
            Arrays (E, V).

        Raises:
            EnvironmentStateError: A tick was left out or repeated, or a convoy was reset and not
                started.
        """
        due = self._tick + 1
        if not np.array_equal(tick, due):
            env = int(np.argmax(tick != due))
            raise EnvironmentStateError(
                f"the sensors of convoy {env} were asked for tick {tick[env]} after "
                f"{'reset' if due[env] <= 0 else f'tick {self._tick[env]}'}, allowed is the next "
                "tick: call measure_start after reset, then measure once per tick."
            )
        self._tick = due
        column = tick[:, None]
        first, second = normal_pair(extend(self._keys, column))
        common = normal_pair(extend(self._common_key, column))
        self._own *= self._keep_position
        self._own[0] += self._renew_position * first[_OWN]
        self._own[1] += self._renew_position * second[_OWN]
        self._common *= self._keep_position
        self._common[0] += self._renew_position * common[0]
        self._common[1] += self._renew_position * common[1]
        self._speed_error *= self._keep_speed
        self._speed_error += self._renew_speed * first[_SPEED_HEADING]
        # In this form a lag of 0 gives the truth to the last bit.
        self._accel_mps2 *= self._keep_accel
        self._accel_mps2 += (1.0 - self._keep_accel) * accel_mps2
        position_m = self._position(slice(None), x_m, y_m, first, second)
        if self._hold is not None:
            position_m = self._hold.update(tick, position_m)
        return self._measurement(
            slice(None), position_m, speed_mps, heading_deg, first, second, start=False
        )

    def _position(
        self,
        rows: NDArray[np.int64] | slice,
        x_m: NDArray[np.float64],
        y_m: NDArray[np.float64],
        first: NDArray[np.float64],
        second: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        error_m = self._own_sd_m[rows] * self._own[:, rows]
        error_m += self._common_sd_m[rows] * self._common[:, rows]
        error_m[0] += self._white_sd_m[rows] * first[_WHITE]
        error_m[1] += self._white_sd_m[rows] * second[_WHITE]
        error_m[0] += x_m
        error_m[1] += y_m
        return error_m

    def _measurement(
        self,
        rows: NDArray[np.int64] | slice,
        position_m: NDArray[np.float64],
        speed_mps: NDArray[np.float64],
        heading_deg: NDArray[np.float64],
        first: NDArray[np.float64],
        second: NDArray[np.float64],
        *,
        start: bool,
    ) -> Measurement:
        speed = speed_mps + self._speed_sd_mps[rows] * self._speed_error[rows]
        np.maximum(speed, 0.0, out=speed)
        # No better below full accuracy than 1 / speed allows, and no worse than when last valid.
        slow = np.maximum(speed, max(self._heading_hold_mps, _SLOWEST_MPS))
        growth = np.maximum(self._heading_full_mps / slow, 1.0)
        heading = heading_deg + self._heading_sd_deg[rows] * growth * second[_SPEED_HEADING]
        heading %= _FULL_CIRCLE_DEG
        heading[heading == _FULL_CIRCLE_DEG] = 0.0  # -1e-20 % 360.0 is 360.0
        if not start:
            heading = np.where(speed < self._heading_hold_mps, self._heading_deg[rows], heading)
        self._heading_deg[rows] = heading
        accel = self._accel_mps2[rows] + self._bias_mps2[rows]
        accel += self._accel_sd_mps2[rows] * first[_ACCELERATION]
        return Measurement(
            x_m=position_m[0],
            y_m=position_m[1],
            speed_mps=speed,
            heading_deg=heading,
            accel_mps2=accel,
            position_sd_m=np.broadcast_to(self._believed_sd_m[rows], speed.shape),
        )

    def _episode_values(
        self, count: int, overrides: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, NDArray[np.float64]]:
        values = {name: np.full((count, 1), value) for name, value in self._defaults.items()}
        for name, drawn in overrides.items():
            if not name.startswith(PREFIX):
                continue
            known = name.removeprefix(PREFIX)
            if known not in values or np.shape(drawn) != (count,) or not np.isfinite(drawn).all():
                raise EnvironmentStateError(
                    f"override {name!r} with shape {np.shape(drawn)}: allowed are ({count},) "
                    f"finite values of one of {', '.join(PREFIX + n for n in values)}."
                )
            values[known] = np.asarray(drawn, dtype=np.float64)[:, None]
        return values
