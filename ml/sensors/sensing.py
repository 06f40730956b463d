"""The loops that turn truth into measurements, over the arrays of a `SensorBank`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ml.compiled import compiled
from ml.keyed_random import extend_one, normal_pair_one

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FULL_CIRCLE_DEG: Final = 360.0
_SLOWEST_MPS: Final = 0.1

# What the draws of a vehicle and tick are for; each gives two normals.
NUM_DRAWS: Final = 4
OWN, WHITE, SPEED_HEADING, ACCELERATION = range(NUM_DRAWS)

# What a vehicle remembers from tick to tick: errors of unit variance, and what lags or is held.
NUM_MEMORIES: Final = 6
OWN_EAST, OWN_NORTH, SPEED_ERROR, ACCEL, HEADING, BIAS = range(NUM_MEMORIES)

# What an episode gives each convoy: the sizes of the errors, and how fast they are renewed.
NUM_SIZES: Final = 12
(
    OWN_SD_M,
    COMMON_SD_M,
    WHITE_SD_M,
    BELIEVED_SD_M,
    SPEED_SD_MPS,
    HEADING_SD_DEG,
    ACCEL_SD_MPS2,
    KEEP_POSITION,
    RENEW_POSITION,
    KEEP_SPEED,
    RENEW_SPEED,
    KEEP_ACCEL,
) = range(NUM_SIZES)


@compiled
def sense_position(
    rows: NDArray[np.int64],
    ticks: NDArray[np.int64],
    x_m: NDArray[np.float64],
    y_m: NDArray[np.float64],
    keys: NDArray[np.uint64],
    common_keys: NDArray[np.uint64],
    sizes: NDArray[np.float64],
    memory: NDArray[np.float64],
    common: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Add errors to the positions of convoys `rows` (K,); see `PositionParameters`.

    Truth is (K, V) and `out` (6, K, V); the rest is the bank's own, of all convoys.
    """
    for k, env in enumerate(rows):
        tick, size = ticks[env], sizes[env]
        # At tick 0 an error is all new, which is its stationary distribution.
        keep = size[KEEP_POSITION] if tick > 0 else 0.0
        renew = size[RENEW_POSITION] if tick > 0 else 1.0
        east, north = normal_pair_one(extend_one(common_keys[env], tick))
        common[env, 0] = keep * common[env, 0] + renew * east
        common[env, 1] = keep * common[env, 1] + renew * north
        common_east_m = size[COMMON_SD_M] * common[env, 0]
        common_north_m = size[COMMON_SD_M] * common[env, 1]
        for v in range(x_m.shape[1]):
            own = memory[env, v]
            east, north = normal_pair_one(extend_one(keys[env, v, OWN], tick))
            own[OWN_EAST] = keep * own[OWN_EAST] + renew * east
            own[OWN_NORTH] = keep * own[OWN_NORTH] + renew * north
            east, north = normal_pair_one(extend_one(keys[env, v, WHITE], tick))
            east_m = size[OWN_SD_M] * own[OWN_EAST] + common_east_m
            north_m = size[OWN_SD_M] * own[OWN_NORTH] + common_north_m
            out[0, k, v] = x_m[k, v] + (east_m + size[WHITE_SD_M] * east)
            out[1, k, v] = y_m[k, v] + (north_m + size[WHITE_SD_M] * north)
            out[5, k, v] = size[BELIEVED_SD_M]


@compiled
def sense_motion(
    rows: NDArray[np.int64],
    ticks: NDArray[np.int64],
    speed_mps: NDArray[np.float64],
    heading_deg: NDArray[np.float64],
    accel_mps2: NDArray[np.float64],
    keys: NDArray[np.uint64],
    sizes: NDArray[np.float64],
    heading_full_mps: float,
    heading_hold_mps: float,
    memory: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Measure speed, heading and acceleration of convoys `rows`; arrays as in `sense_position`."""
    for k, env in enumerate(rows):
        tick, size = ticks[env], sizes[env]
        started = tick > 0
        keep_speed = size[KEEP_SPEED] if started else 0.0
        renew_speed = size[RENEW_SPEED] if started else 1.0
        keep_accel = size[KEEP_ACCEL] if started else 0.0
        for v in range(speed_mps.shape[1]):
            own = memory[env, v]
            speed_draw, turn = normal_pair_one(extend_one(keys[env, v, SPEED_HEADING], tick))
            own[SPEED_ERROR] = keep_speed * own[SPEED_ERROR] + renew_speed * speed_draw
            speed = max(speed_mps[k, v] + size[SPEED_SD_MPS] * own[SPEED_ERROR], 0.0)
            # Below full accuracy as 1 / speed, but no worse than when last valid.
            slow = max(speed, heading_hold_mps, _SLOWEST_MPS)
            growth = max(heading_full_mps / slow, 1.0)
            if speed >= heading_hold_mps or not started:
                turned_deg = heading_deg[k, v] + size[HEADING_SD_DEG] * growth * turn
                own[HEADING] = _full_circle(turned_deg)
            # In this form a lag of 0 gives the truth to the last bit.
            own[ACCEL] = keep_accel * own[ACCEL] + (1.0 - keep_accel) * accel_mps2[k, v]
            shake, _ = normal_pair_one(extend_one(keys[env, v, ACCELERATION], tick))
            out[2, k, v] = speed
            out[3, k, v] = own[HEADING]
            out[4, k, v] = own[ACCEL] + own[BIAS] + size[ACCEL_SD_MPS2] * shake


@compiled
def _full_circle(heading_deg: float) -> float:
    """Bring a heading into [0, 360)."""
    if 0.0 <= heading_deg < _FULL_CIRCLE_DEG:
        return heading_deg
    turned_deg = heading_deg % _FULL_CIRCLE_DEG
    # The remainder of a tiny negative angle rounds to 360.
    return turned_deg if turned_deg < _FULL_CIRCLE_DEG else 0.0
