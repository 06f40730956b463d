"""What a node makes of its fixes: dead reckoning between them, or the last one as it stands."""

import math

from ml.arrays import Floats
from ml.compiled import inlined
from ml.sensors import layout as at
from ml.sensors.gps import full_circle, heading_growth, take_fix, turn_between
from ml.sensors.layout import Pose, SensorArrays


@inlined
def navigate(
    env: int, car: int, now_us: int, accel_mps2: float, truth: Pose, bank: SensorArrays
) -> None:
    """Move what a node believes from its last sample to this one.

    In between, position follows the node's speed, its speed the accelerometer and its heading the
    gyroscope. Fixes are taken at their own moments; from its delivery on a fix replaces what was
    believed of its moment, and what was reckoned since is added with its speed and heading.
    `accel_mps2` is what the accelerometer says in the mean since the last sample, `truth` is
    x, y, speed and heading at this one.
    """
    sizes, memory, times, rings = bank.sizes, bank.memory, bank.times, bank.rings
    step_s = (now_us - times[car, at.SAMPLED]) * 1e-6
    is_fused = sizes[env, at.IS_FUSED] > 0.0
    before = (memory[car, at.X], memory[car, at.Y], memory[car, at.SPEED], memory[car, at.HEADING])
    turn_deg = 0.0
    if is_fused:
        if before[2] >= sizes[env, at.HEADING_HOLD_MPS] and sizes[env, at.GYRO_SD_DPS] >= 0.0:
            turn_deg = turn_between(memory[car, at.TRUE_HEADING], truth[3])
            turn_deg += memory[car, at.GYRO_BIAS] * step_s
        x_m, y_m, speed_mps, heading_deg = _reckon(before, accel_mps2, turn_deg, 1.0, step_s)
        memory[car, at.X], memory[car, at.Y] = x_m, y_m
        memory[car, at.SPEED], memory[car, at.HEADING] = speed_mps, heading_deg

    period_us = int(sizes[env, at.PERIOD_US])
    if period_us == 0:
        times[car, at.NEXT_FIX] = now_us
    while times[car, at.NEXT_FIX] <= now_us:
        fix_us = times[car, at.NEXT_FIX]
        share = (fix_us - times[car, at.SAMPLED]) * 1e-6 / step_s if fix_us < now_us else 1.0
        then = _truth_at(car, share, truth, memory)
        place = take_fix(env, car, fix_us, then, bank)
        if is_fused:
            x_m, y_m, speed_mps, heading_deg = _reckon(before, accel_mps2, turn_deg, share, step_s)
            rings[car, place, at.THEN_X], rings[car, place, at.THEN_Y] = x_m, y_m
            rings[car, place, at.THEN_SPEED] = speed_mps
            rings[car, place, at.THEN_HEADING] = heading_deg
        times[car, at.NEXT_FIX] += max(period_us, 1)
    while times[car, at.DELIVERED] < times[car, at.TAKEN]:
        place = times[car, at.DELIVERED] & at.RING_MASK
        if rings[car, place, at.FIX_US] + sizes[env, at.DELAY_US] > now_us:
            break
        times[car, at.DELIVERED] += 1
        times[car, at.NEWEST_FIX] = int(rings[car, place, at.FIX_US])
        if is_fused:
            _correct(car, place, now_us, bank)
        else:
            _replace(car, place, bank)

    times[car, at.SAMPLED] = now_us
    memory[car, at.TRUE_X], memory[car, at.TRUE_Y] = truth[0], truth[1]
    memory[car, at.TRUE_SPEED], memory[car, at.TRUE_HEADING] = truth[2], truth[3]


@inlined
def believed_sd_m(env: int, car: int, now_us: int, bank: SensorArrays) -> float:
    """Return the standard deviation of position that a node can honestly believe; metres.

    That of its GPS, and what may have come to it since the moment of the newest fix. Fused: along
    the road the errors of speed, of the accelerometer's bias and of its noise, integrated; across
    it those of heading and gyroscope; the larger of the two. Held: the way driven since.
    """
    sizes = bank.sizes
    age_s = (now_us - bank.times[car, at.NEWEST_FIX]) * 1e-6
    speed_mps = bank.memory[car, at.SPEED]
    variance_m2 = sizes[env, at.GPS_VARIANCE_M2]
    if sizes[env, at.IS_FUSED] == 0.0:
        return math.sqrt(variance_m2 + (speed_mps * age_s) ** 2)
    speed_m = sizes[env, at.SPEED_SD_MPS] * age_s
    bias_m = 0.5 * sizes[env, at.BIAS_SD_MPS2] * age_s * age_s
    noise_mps = sizes[env, at.ACCEL_SD_MPS2] * age_s
    # Noise that is new every 0.1 s, integrated twice.
    along_m2 = speed_m * speed_m + bias_m * bias_m + noise_mps * noise_mps * age_s * (0.1 / 3.0)
    hold_mps = sizes[env, at.HEADING_HOLD_MPS]
    growth = heading_growth(speed_mps, sizes[env, at.HEADING_FULL_MPS], hold_mps)
    heading_deg = sizes[env, at.HEADING_SD_DEG] * growth
    turned_deg = 0.5 * max(sizes[env, at.GYRO_SD_DPS], 0.0) * age_s
    across_m = math.radians(1.0) * speed_mps * age_s
    across_m2 = (heading_deg * heading_deg + turned_deg * turned_deg) * across_m * across_m
    return math.sqrt(variance_m2 + max(along_m2, across_m2))


@inlined
def _reckon(before: Pose, accel_mps2: float, turn_deg: float, share: float, step_s: float) -> Pose:
    """Reckon x, y, speed and heading a share of a step after `before`."""
    x_m, y_m, speed_mps, heading_deg = before
    since_s = share * step_s
    # A car does not roll backwards, whatever the bias says.
    speed_now_mps = max(speed_mps + accel_mps2 * since_s, 0.0)
    way_m = 0.5 * (speed_mps + speed_now_mps) * since_s
    direction = math.radians(heading_deg + 0.5 * share * turn_deg)
    return (
        x_m + way_m * math.sin(direction),
        y_m + way_m * math.cos(direction),
        speed_now_mps,
        full_circle(heading_deg + share * turn_deg),
    )


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


@inlined
def _replace(car: int, place: int, bank: SensorArrays) -> None:
    """Believe a fix as it stands."""
    memory, rings = bank.memory, bank.rings
    memory[car, at.X], memory[car, at.Y] = rings[car, place, at.FIX_X], rings[car, place, at.FIX_Y]
    memory[car, at.SPEED] = rings[car, place, at.FIX_SPEED]
    if rings[car, place, at.FIX_HAS_HEADING] > 0.0:
        memory[car, at.HEADING] = rings[car, place, at.FIX_HEADING]


@inlined
def _correct(car: int, place: int, now_us: int, bank: SensorArrays) -> None:
    """Believe a fix of its moment, and add what was reckoned since, turned and with its speed."""
    memory, times, rings = bank.memory, bank.times, bank.rings
    fix_us, then_deg = rings[car, place, at.FIX_US], rings[car, place, at.THEN_HEADING]
    then_x_m, then_y_m = rings[car, place, at.THEN_X], rings[car, place, at.THEN_Y]
    fix_x_m, fix_y_m = rings[car, place, at.FIX_X], rings[car, place, at.FIX_Y]
    faster_mps = rings[car, place, at.FIX_SPEED] - rings[car, place, at.THEN_SPEED]
    turn_deg = 0.0
    if rings[car, place, at.FIX_HAS_HEADING] > 0.0:
        turn_deg = turn_between(then_deg, rings[car, place, at.FIX_HEADING])
    turn, direction = math.radians(turn_deg), math.radians(then_deg + turn_deg)
    sine, cosine = math.sin(turn), math.cos(turn)
    east_mps, north_mps = faster_mps * math.sin(direction), faster_mps * math.cos(direction)

    since_s = (now_us - fix_us) * 1e-6
    east_m, north_m = memory[car, at.X] - then_x_m, memory[car, at.Y] - then_y_m
    memory[car, at.X] = fix_x_m + (east_m * cosine + north_m * sine) + east_mps * since_s
    memory[car, at.Y] = fix_y_m + (north_m * cosine - east_m * sine) + north_mps * since_s
    memory[car, at.SPEED] = max(memory[car, at.SPEED] + faster_mps, 0.0)
    memory[car, at.HEADING] = full_circle(memory[car, at.HEADING] + turn_deg)
    # Fixes that are still under way will be compared with what is believed from now on.
    for number in range(times[car, at.DELIVERED], times[car, at.TAKEN]):
        later = number & at.RING_MASK
        since_s = (rings[car, later, at.FIX_US] - fix_us) * 1e-6
        east_m = rings[car, later, at.THEN_X] - then_x_m
        north_m = rings[car, later, at.THEN_Y] - then_y_m
        east_m, north_m = east_m * cosine + north_m * sine, north_m * cosine - east_m * sine
        rings[car, later, at.THEN_X] = fix_x_m + east_m + east_mps * since_s
        rings[car, later, at.THEN_Y] = fix_y_m + north_m + north_mps * since_s
        then_mps = rings[car, later, at.THEN_SPEED] + faster_mps
        rings[car, later, at.THEN_SPEED] = max(then_mps, 0.0)
        later_deg = rings[car, later, at.THEN_HEADING] + turn_deg
        rings[car, later, at.THEN_HEADING] = full_circle(later_deg)
