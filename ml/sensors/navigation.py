"""What reaches a node's board, and when: its inertial unit at each sample, its fixes late."""

from ml.arrays import Floats
from ml.compiled import inlined
from ml.onboard.fusion import (
    Accuracy,
    Fusion,
    Pose,
    advance,
    correct,
    fused_sd_m,
    held_sd_m,
    hold,
    turn_between,
)
from ml.sensors import layout as at
from ml.sensors.gps import take_fix
from ml.sensors.layout import SensorArrays


@inlined
def navigate(
    env: int,
    car: int,
    now_us: int,
    accel_mps2: float,
    truth: Pose,
    bank: SensorArrays,
    fused: Fusion,
) -> None:
    """Move what a node believes from its last sample to this one.

    Fixes are taken at their own moments, and handed to the board once their delay is over.
    `accel_mps2` is what the accelerometer says in the mean since the last sample, `truth` is
    x, y, speed and heading at this one.
    """
    sizes, memory, times, rings = bank.sizes, bank.memory, bank.times, bank.rings
    step_s = (now_us - times[car, at.SAMPLED]) * 1e-6
    is_fused = sizes[env, at.IS_FUSED] > 0.0
    if is_fused:
        turn_deg = 0.0
        if sizes[env, at.GYRO_SD_DPS] >= 0.0:
            turn_deg = turn_between(memory[car, at.TRUE_HEADING], truth[3])
            turn_deg += memory[car, at.GYRO_BIAS] * step_s
        hold_mps = sizes[env, at.HEADING_HOLD_MPS]
        advance(car, now_us, accel_mps2, turn_deg, hold_mps, fused)

    period_us = int(sizes[env, at.PERIOD_US])
    if period_us == 0:
        times[car, at.NEXT_FIX] = now_us
    while times[car, at.NEXT_FIX] <= now_us:
        fix_us = times[car, at.NEXT_FIX]
        share = (fix_us - times[car, at.SAMPLED]) * 1e-6 / step_s if fix_us < now_us else 1.0
        take_fix(env, car, fix_us, _truth_at(car, share, truth, memory), bank)
        times[car, at.NEXT_FIX] += max(period_us, 1)
    while times[car, at.DELIVERED] < times[car, at.TAKEN]:
        place = times[car, at.DELIVERED] & at.RING_MASK
        fix_us = int(rings[car, place, at.FIX_US])
        if fix_us + sizes[env, at.DELAY_US] > now_us:
            break
        times[car, at.DELIVERED] += 1
        fix = (
            rings[car, place, at.FIX_X],
            rings[car, place, at.FIX_Y],
            rings[car, place, at.FIX_SPEED],
            rings[car, place, at.FIX_HEADING],
            rings[car, place, at.FIX_HAS_HEADING] > 0.0,
        )
        if is_fused:
            correct(car, fix_us, fix, fused)
        else:
            hold(car, fix_us, fix, fused)

    times[car, at.SAMPLED] = now_us
    memory[car, at.TRUE_X], memory[car, at.TRUE_Y] = truth[0], truth[1]
    memory[car, at.TRUE_SPEED], memory[car, at.TRUE_HEADING] = truth[2], truth[3]


@inlined
def believed_sd_m(env: int, car: int, now_us: int, bank: SensorArrays, fused: Fusion) -> float:
    """Return the standard deviation of position that a node can honestly believe; metres."""
    sizes = bank.sizes
    accuracy = Accuracy(
        sizes[env, at.GPS_VARIANCE_M2],
        sizes[env, at.SPEED_SD_MPS],
        sizes[env, at.HEADING_SD_DEG],
        sizes[env, at.HEADING_FULL_MPS],
        sizes[env, at.HEADING_HOLD_MPS],
        sizes[env, at.GYRO_SD_DPS],
        sizes[env, at.ACCEL_SD_MPS2],
        sizes[env, at.BIAS_SD_MPS2],
    )
    age_s = (now_us - fused.fix_us[car]) * 1e-6
    if sizes[env, at.IS_FUSED] == 0.0:
        return held_sd_m(age_s, fused.speed_mps[car], accuracy)
    return fused_sd_m(age_s, fused.speed_mps[car], accuracy)


@inlined
def _truth_at(car: int, share: float, truth: Pose, memory: Floats) -> Pose:
    """Truth a share of a step after its start: the acceleration is even in between."""
    if share == 1.0:
        return truth
    x_m, y_m, speed_mps, heading_deg = truth
    was_mps = memory[car, at.TRUE_SPEED]
    then_mps = was_mps + share * (speed_mps - was_mps)
    way = share
    if was_mps + speed_mps > 0.0:
        way *= (was_mps + then_mps) / (was_mps + speed_mps)
    was_x_m, was_y_m = memory[car, at.TRUE_X], memory[car, at.TRUE_Y]
    was_deg = memory[car, at.TRUE_HEADING]
    return (
        was_x_m + way * (x_m - was_x_m),
        was_y_m + way * (y_m - was_y_m),
        then_mps,
        was_deg + share * turn_between(was_deg, heading_deg),
    )
