"""The sensors of every vehicle of the batch: truth in, what each node believes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.errors import EnvironmentStateError
from ml.keyed_random import Stream, fold, normal, uniform
from ml.sensors import sensing
from ml.sensors.position_hold import PositionHold
from ml.sensors.sensor_parameters import TICK_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ml.sensors.sensor_parameters import SensorParameters

PREFIX = "sensors."
_NOT_STARTED = -2
_SHORTEST_LAG_S = 1e-9
# Of the draws, in their order.
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
        self._everyone = np.arange(num_envs)
        self._tick = np.full(num_envs, _NOT_STARTED, dtype=np.int64)
        self._keys = np.zeros((*shape, sensing.NUM_DRAWS), dtype=np.uint64)
        self._common_key = np.zeros(num_envs, dtype=np.uint64)
        self._sizes = np.zeros((num_envs, sensing.NUM_SIZES))
        self._memory = np.zeros((*shape, sensing.NUM_MEMORIES))
        self._common = np.zeros((num_envs, 2))

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
        lag_s = np.maximum(values["accelerometer.lag_s"], _SHORTEST_LAG_S)
        position_tau_s, speed_tau_s = values["position.tau_s"], values["speed.tau_s"]
        for column, value in (
            (sensing.OWN_SD_M, np.sqrt(1.0 - share) * sd_m),
            (sensing.COMMON_SD_M, np.sqrt(share) * sd_m),
            (sensing.WHITE_SD_M, values["position.white_sd_m"]),
            (sensing.BELIEVED_SD_M, np.hypot(sd_m, values["position.white_sd_m"])),
            (sensing.SPEED_SD_MPS, values["speed.sd_mps"]),
            (sensing.HEADING_SD_DEG, values["heading.sd_deg"]),
            (sensing.ACCEL_SD_MPS2, values["accelerometer.white_sd_mps2"]),
            (sensing.KEEP_POSITION, np.exp(-TICK_S / position_tau_s)),
            (sensing.RENEW_POSITION, np.sqrt(-np.expm1(-2.0 * TICK_S / position_tau_s))),
            (sensing.KEEP_SPEED, np.exp(-TICK_S / speed_tau_s)),
            (sensing.RENEW_SPEED, np.sqrt(-np.expm1(-2.0 * TICK_S / speed_tau_s))),
            (sensing.KEEP_ACCEL, np.exp(-TICK_S / lag_s)),
        ):
            self._sizes[env_indices, column] = value

        episode = episode_keys[:, None]
        slot = np.arange(self._keys.shape[1])
        for draw, (stream, part) in enumerate(_STREAMS):
            self._keys[env_indices, :, draw] = fold(episode, stream, slot, part)
        self._common_key[env_indices] = fold(episode_keys, Stream.GPS_COMMON)
        bias_draw = normal(fold(episode, Stream.ACCELEROMETER, slot, 1))
        bias_sd_mps2 = values["accelerometer.bias_sd_mps2"][:, None]
        self._memory[env_indices] = 0.0
        self._common[env_indices] = 0.0
        self._memory[env_indices, :, sensing.BIAS] = bias_sd_mps2 * bias_draw
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
        self._tick[env_indices] = 0
        out = self._measure(env_indices, x_m, y_m, speed_mps, heading_deg, accel_mps2)
        if self._hold is not None:
            self._hold.start(env_indices, out[:2])
        return Measurement(*out)

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
        if (tick != due).any():
            env = int(np.argmax(tick != due))
            raise EnvironmentStateError(
                f"the sensors of convoy {env} were asked for tick {tick[env]} after "
                f"{'reset' if due[env] <= 0 else f'tick {self._tick[env]}'}, allowed is the next "
                "tick: call measure_start after reset, then measure once per tick."
            )
        self._tick = due
        out = self._measure(self._everyone, x_m, y_m, speed_mps, heading_deg, accel_mps2)
        if self._hold is not None:
            out[:2] = self._hold.update(tick, out[:2])
        return Measurement(*out)

    def _measure(
        self,
        rows: NDArray[np.int64],
        x_m: NDArray[np.float64],
        y_m: NDArray[np.float64],
        speed_mps: NDArray[np.float64],
        heading_deg: NDArray[np.float64],
        accel_mps2: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """(6, K, V) float64 in the order of `Measurement`."""
        out = np.empty((6, *x_m.shape))
        sensing.sense_position(
            rows,
            self._tick,
            x_m,
            y_m,
            self._keys,
            self._common_key,
            self._sizes,
            self._memory,
            self._common,
            out,
        )
        sensing.sense_motion(
            rows,
            self._tick,
            speed_mps,
            heading_deg,
            accel_mps2,
            self._keys,
            self._sizes,
            self._heading_full_mps,
            self._heading_hold_mps,
            self._memory,
            out,
        )
        return out

    def _episode_values(
        self, count: int, overrides: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, NDArray[np.float64]]:
        values = {name: np.full(count, value) for name, value in self._defaults.items()}
        for name, drawn in overrides.items():
            if not name.startswith(PREFIX):
                continue
            known = name.removeprefix(PREFIX)
            if known not in values or np.shape(drawn) != (count,) or not np.isfinite(drawn).all():
                raise EnvironmentStateError(
                    f"override {name!r} with shape {np.shape(drawn)}: allowed are ({count},) "
                    f"finite values of one of {', '.join(PREFIX + n for n in values)}."
                )
            values[known] = np.asarray(drawn, dtype=np.float64)
        return values
