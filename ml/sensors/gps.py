"""What a GPS receiver says of one moment, with its errors and faults, in a compiled loop."""

import numpy as np

from ml.compiled import inlined
from ml.keyed_random import extend_one, normal_pair_one, uniform_one
from ml.onboard.fusion import Pose, full_circle, heading_growth
from ml.sensors import layout as at
from ml.sensors.layout import SensorArrays


@inlined
def take_fix(env: int, car: int, fix_us: int, truth: Pose, bank: SensorArrays) -> None:
    """Put what a car's receiver will say of a moment into its ring.

    `truth` is x, y, speed and heading at that moment.
    """
    sizes, memory, keys, rings = bank.sizes, bank.memory, bank.keys, bank.rings
    number = bank.times[car, at.TAKEN]
    bank.times[car, at.TAKEN] = number + 1
    # The first error of an episode is all new, which is its stationary distribution.
    first = number == 0
    keep_own = 0.0 if first else sizes[env, at.KEEP_OWN]
    renew_own = 1.0 if first else sizes[env, at.RENEW_OWN]
    keep_speed = 0.0 if first else sizes[env, at.KEEP_SPEED]
    renew_speed = 1.0 if first else sizes[env, at.RENEW_SPEED]

    east, north = normal_pair_one(extend_one(keys[car, at.OWN], number))
    own_east = keep_own * memory[car, at.OWN_EAST] + renew_own * east
    own_north = keep_own * memory[car, at.OWN_NORTH] + renew_own * north
    memory[car, at.OWN_EAST], memory[car, at.OWN_NORTH] = own_east, own_north
    east, north = normal_pair_one(extend_one(keys[car, at.WHITE], number))
    own_m, common_m = sizes[env, at.OWN_SD_M], sizes[env, at.COMMON_SD_M]
    white_m = sizes[env, at.WHITE_SD_M]
    east_m = own_m * own_east + common_m * sizes[env, at.COMMON_EAST] + white_m * east
    north_m = own_m * own_north + common_m * sizes[env, at.COMMON_NORTH] + white_m * north
    if sizes[env, at.JUMP_PROBABILITY] > 0.0:
        jump_east_m, jump_north_m = _jump_m(env, car, fix_us, bank)
        east_m += jump_east_m
        north_m += jump_north_m

    x_m, y_m, speed_mps, heading_deg = truth
    speed_draw, turn = normal_pair_one(extend_one(keys[car, at.SPEED_HEADING], number))
    speed_error = keep_speed * memory[car, at.SPEED_ERROR] + renew_speed * speed_draw
    memory[car, at.SPEED_ERROR] = speed_error
    speed = max(speed_mps + sizes[env, at.SPEED_SD_MPS] * speed_error, 0.0)
    hold_mps = sizes[env, at.HEADING_HOLD_MPS]
    growth = heading_growth(speed, sizes[env, at.HEADING_FULL_MPS], hold_mps)

    place = int(number & at.RING_MASK)
    rings[car, place, at.FIX_US] = fix_us
    if _is_frozen(env, car, fix_us, number, bank):
        last = (number - 1) & at.RING_MASK
        for field in range(at.FIX_X, at.FIX_HAS_HEADING + 1):
            rings[car, place, field] = rings[car, last, field]
        return
    rings[car, place, at.FIX_X] = x_m + east_m
    rings[car, place, at.FIX_Y] = y_m + north_m
    rings[car, place, at.FIX_SPEED] = speed
    turned_deg = heading_deg + sizes[env, at.HEADING_SD_DEG] * growth * turn
    rings[car, place, at.FIX_HEADING] = full_circle(turned_deg)
    rings[car, place, at.FIX_HAS_HEADING] = speed >= hold_mps or first


@inlined
def _jump_m(env: int, car: int, fix_us: int, bank: SensorArrays) -> tuple[float, float]:
    """How far east and north a fix lies beside the truth; a jump may begin with it."""
    sizes, memory, times = bank.sizes, bank.memory, bank.times
    if fix_us >= times[car, at.JUMPED_UNTIL]:
        key = extend_one(bank.keys[car, at.JUMP], times[car, at.TAKEN])
        if uniform_one(key) >= sizes[env, at.JUMP_PROBABILITY]:
            return 0.0, 0.0
        east, north = normal_pair_one(extend_one(key, 1))
        sd_m = sizes[env, at.JUMP_SD_M]
        memory[car, at.JUMP_EAST], memory[car, at.JUMP_NORTH] = sd_m * east, sd_m * north
        times[car, at.JUMPED_UNTIL] = fix_us + np.int64(sizes[env, at.JUMP_US])
    return memory[car, at.JUMP_EAST], memory[car, at.JUMP_NORTH]


@inlined
def _is_frozen(env: int, car: int, fix_us: int, number: int, bank: SensorArrays) -> bool:
    """Whether a fix repeats the last one; a freeze may begin with it."""
    sizes, times = bank.sizes, bank.times
    if sizes[env, at.FREEZE_PROBABILITY] == 0.0 or number == 0:
        return False
    if fix_us >= times[car, at.FROZEN_UNTIL]:
        if (
            uniform_one(extend_one(bank.keys[car, at.FREEZE], number))
            >= sizes[env, at.FREEZE_PROBABILITY]
        ):
            return False
        times[car, at.FROZEN_UNTIL] = fix_us + np.int64(sizes[env, at.FREEZE_US])
    return True
