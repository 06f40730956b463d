"""The loop that turns truth into measurements, over the arrays of a `SensorBank`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ml.compiled import inlined
from ml.keyed_random import extend_one, normal_pair_one
from ml.sensors import layout as at
from ml.sensors.navigation import believed_sd_m, navigate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@inlined
def sense(
    rows: NDArray[np.int64],
    ticks: NDArray[np.int64],
    sampled_us: NDArray[np.int64],
    x_m: NDArray[np.float64],
    y_m: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    heading_deg: NDArray[np.float64],
    accel_mps2: NDArray[np.float64],
    keys: NDArray[np.uint64],
    common_keys: NDArray[np.uint64],
    sizes: NDArray[np.float64],
    tick_us: int,
    memory: NDArray[np.float64],
    times: NDArray[np.int64],
    rings: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Measure convoys `rows` (K,) once.

    Truth and `sampled_us` are (K, V) and `out` (6, K, V). The rest is the bank's own: `ticks`,
    `common_keys` and `sizes` have a row for each convoy, `keys`, `memory`, `times` and `rings` one
    for each vehicle, (E * V, …). `LAG_KEEP` is for steps of `tick_us`.
    """
    num_cars = x_m.shape[1]
    for k, env in enumerate(rows):
        tick = ticks[env]
        start = tick == 0
        # At tick 0 an error is all new, which is its stationary distribution.
        keep = 0.0 if start else sizes[env, at.KEEP_COMMON]
        renew = 1.0 if start else sizes[env, at.RENEW_COMMON]
        east, north = normal_pair_one(extend_one(common_keys[env], tick))
        sizes[env, at.COMMON_EAST] = keep * sizes[env, at.COMMON_EAST] + renew * east
        sizes[env, at.COMMON_NORTH] = keep * sizes[env, at.COMMON_NORTH] + renew * north
        for v in range(num_cars):
            car, now_us = env * num_cars + v, sampled_us[k, v]
            truth = x_m[k, v], y_m[k, v], speed_mps[k, v], heading_deg[k, v]
            step_us, lag_keep = 0, 0.0
            if start:
                _begin(env, car, now_us, truth, sizes, memory, times)
            else:
                step_us = now_us - times[car, at.SAMPLED]
                lag_keep = sizes[env, at.LAG_KEEP]
                if step_us != tick_us:
                    lag_keep = math.exp(-1e-6 * step_us / sizes[env, at.LAG_S])
            was = memory[car, at.LAGGED_ACCEL]
            # In this form a lag of 0 gives the truth to the last bit.
            lagged = lag_keep * was + (1.0 - lag_keep) * accel_mps2[k, v]
            memory[car, at.LAGGED_ACCEL] = lagged
            gain, bias = memory[car, at.ACCEL_GAIN], memory[car, at.ACCEL_BIAS]
            shake, _ = normal_pair_one(extend_one(keys[car, at.ACCELERATION], tick))
            noise = sizes[env, at.ACCEL_SD_MPS2] * shake
            # What the node integrates since its last sample; before the start, its bias alone.
            mean = bias
            if step_us > 0:
                gained_mps = truth[2] - memory[car, at.TRUE_SPEED]
                gained_mps -= sizes[env, at.LAG_S] * (lagged - was)
                mean = gain * (1e6 * gained_mps / step_us) + bias + noise
            navigate(
                env,
                car,
                now_us,
                mean,
                truth,
                keys,
                sizes,
                memory,
                times,
                rings,
            )
            out[at.OUT_X, k, v] = memory[car, at.X]
            out[at.OUT_Y, k, v] = memory[car, at.Y]
            out[at.OUT_SPEED, k, v] = memory[car, at.SPEED]
            out[at.OUT_HEADING, k, v] = memory[car, at.HEADING]
            out[at.OUT_ACCEL, k, v] = gain * lagged + bias + noise
            out[at.OUT_SD, k, v] = believed_sd_m(env, car, now_us, sizes, memory, times)


@inlined
def _begin(
    env: int,
    car: int,
    now_us: int,
    truth: tuple[float, float, float, float],
    sizes: NDArray[np.float64],
    memory: NDArray[np.float64],
    times: NDArray[np.int64],
) -> None:
    """Put a node back to the last fix that it has received by now.

    Before an episode the car drove straight at its first speed, so that an episode has no warm-up.
    `times[NEXT_FIX]` holds the phase of the fixes, in [0, period).
    """
    x_m, y_m, speed_mps, heading_deg = truth
    fix_us = now_us + times[car, at.NEXT_FIX]
    while fix_us + sizes[env, at.DELAY_US] > now_us and sizes[env, at.PERIOD_US] > 0.0:
        fix_us -= int(sizes[env, at.PERIOD_US])
    way_m = speed_mps * (now_us - fix_us) * 1e-6
    direction = math.radians(heading_deg)
    memory[car, at.X] = memory[car, at.TRUE_X] = x_m - way_m * math.sin(direction)
    memory[car, at.Y] = memory[car, at.TRUE_Y] = y_m - way_m * math.cos(direction)
    memory[car, at.SPEED] = memory[car, at.TRUE_SPEED] = speed_mps
    memory[car, at.HEADING] = memory[car, at.TRUE_HEADING] = heading_deg
    times[car, at.SAMPLED] = times[car, at.NEXT_FIX] = fix_us
