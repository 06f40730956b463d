"""Where a car is now, from GPS fixes that come late and an accelerometer that does not.

The one fusion: of the simulated nodes (`ml.sensors`), of recorded logs
(`ml.calibration.self_test`), and of the program that an ESP32 in the car runs. Per tick one step,
and a call with each new fix; all cars of a batch are independent.

A step reckons on from the last one. With the mean acceleration a and the turn w since then, and t
the time of the step, from speed v and heading h:

    v' = max(v + a t, 0)                    a car does not roll backwards
    s  = (v + v') t / 2
    x' = x + s sin(h + w/2),  y' = y + s cos(h + w/2),  h' = h + w

A fix is of a moment that has passed. Let p = (x, y), v, h be what was believed of that moment, and
P, V, H what the fix says of it. Whatever is believed of a later moment, dt after it, becomes

    p' = P + R(H - h) (p_later - p) + (V - v) u(H) dt
    v' = max(v_later + V - v, 0),  h' = h_later + H - h

R turns clockwise and u(H) points along H. So the error of a fix is believed once and not blended
in, and what was reckoned since stays added. The bias of the accelerometer is not estimated here: it
is to be taken off before (ADR 12, ADR 44).

What was believed of a moment is reckoned anew when its fix comes, from the steps and corrections
that are kept: a board does not know before when its receiver takes a fix.
"""

import math
from typing import Annotated, Final, NamedTuple

from ml.arrays import Bools, Floats, Ints, allocate
from ml.compiled import compiled, inlined
from ml.vehicle import TICK_US

CORRECTIONS: Final = 8
"""Corrections that are kept; a power of two. Fewer fixes may be delivered while one is late."""
_FULL_CIRCLE_DEG: Final = 360.0
_HALF_CIRCLE_DEG: Final = 180.0
_SLOWEST_MPS: Final = 0.1
# Of a step: what was believed at its start, and how the car moved in it.
_STEP_X, _STEP_Y, _STEP_SPEED, _STEP_HEADING, _STEP_ACCEL, _STEP_TURN = range(6)
# Of a correction: what was believed, what the fix says, and how that turns and moves what is later.
_THEN_X, _THEN_Y, _FIX_X, _FIX_Y, _SINE, _COSINE = range(6)
_EAST_MPS, _NORTH_MPS, _FASTER_MPS, _TURN_DEG = range(6, 10)

Pose = tuple[float, float, float, float]
"""x east, y north in m, speed in m/s and heading in degrees clockwise from north, of a moment."""
Delivered = tuple[float, float, float, float, bool]
"""The same as a fix says it, and whether it has a heading; without one the last is kept."""


class Fusion(NamedTuple):
    """What the boards of N cars believe of themselves, and what they keep of the last seconds.

    Arrays of float64 and int64, and times in µs of each board's own clock. `steps` and
    `corrections` are rings; the newest is number `num_steps` - 1, of which the place is that number
    modulo the length.

    Attributes:
        x_m: (N,) east.
        y_m: (N,) north.
        speed_mps: (N,), never below 0.
        heading_deg: (N,) clockwise from north, [0, 360).
        now_us: (N,) the moment that these four are of.
        fix_us: (N,) the moment of the newest fix.
        num_steps: (N,) steps since the start; 0 for a board that has just begun.
        num_corrections: (N,) fixes since the start.
        steps_us: (N, S, 2) start and end of each kept step.
        steps: (N, S, 6) what was believed at its start, its acceleration in m/s² and its turn in
            degrees.
        corrections_us: (N, 8, 2) moment of each fix, and the number of the step it came in.
        corrections: (N, 8, 10) see the module's text.
    """

    x_m: Annotated[Floats, "N"]
    y_m: Annotated[Floats, "N"]
    speed_mps: Annotated[Floats, "N"]
    heading_deg: Annotated[Floats, "N"]
    now_us: Annotated[Ints, "N"]
    fix_us: Annotated[Ints, "N"]
    num_steps: Annotated[Ints, "N"]
    num_corrections: Annotated[Ints, "N"]
    steps_us: Annotated[Ints, "N S 2"]
    steps: Annotated[Floats, "N S 6"]
    corrections_us: Annotated[Ints, "N C 2"]
    corrections: Annotated[Floats, "N C 10"]


class Fix(NamedTuple):
    """What the receivers of N cars have delivered since the last tick, (N,) each.

    Attributes:
        is_new: bool; where False nothing was delivered and no other value has a meaning.
        age_us: int64, how long ago the moment was that the fix is of.
        x_m: East.
        y_m: North.
        speed_mps: Over ground.
        heading_deg: Over ground, clockwise from north.
        has_heading: bool; a receiver that hardly moves has none, and the last one is kept.
    """

    is_new: Bools
    age_us: Ints
    x_m: Floats
    y_m: Floats
    speed_mps: Floats
    heading_deg: Floats
    has_heading: Bools


class Accuracy(NamedTuple):
    """How wrong a board takes its sensors to be; standard deviations.

    Attributes:
        gps_m2: Variance of a fix's position per axis, m².
        speed_mps: Of a fix's speed.
        heading_deg: Of a fix's heading at full accuracy.
        heading_full_mps: Speed from which on the heading is as accurate.
        heading_hold_mps: Speed below which the last heading is kept.
        gyro_dps: Of the gyroscope's rate, degrees per second; negative without one.
        accel_mps2: Of the accelerometer's noise, new at each tick.
        bias_mps2: Of the accelerometer's bias.
    """

    gps_m2: float
    speed_mps: float
    heading_deg: float
    heading_full_mps: float
    heading_hold_mps: float
    gyro_dps: float
    accel_mps2: float
    bias_mps2: float


def blank(num_cars: int, delay_ticks: int) -> Fusion:
    """Allocate what N boards keep; `start` begins each of them.

    Args:
        num_cars: N.
        delay_ticks: How many ticks a fix may be late; an older one is refused.
    """
    # One step more that the moment may lie in, one that two clocks may be apart.
    kept = 1 << (delay_ticks + 1).bit_length()
    return allocate(Fusion, {"N": num_cars, "S": kept, "C": CORRECTIONS})


@compiled
def fuse(
    now_us: Ints, accel_mps2: Floats, turn_deg: Floats, hold_mps: float, fix: Fix, fused: Fusion
) -> None:
    """Move what N boards believe on by a tick, and take in the fixes that came in it.

    A board's first fix with a heading starts it; until then nothing is believed (`fused.num_steps`
    is 0). To believe any heading would put every peer somewhere else, and keep a car that stands
    from moving. A fix that is older than the steps that are kept starts nothing either: one sample
    says nothing of so long a time.

    Args:
        now_us: (N,) int64, of each board's clock, not before its last tick.
        accel_mps2: (N,) float64, mean forward acceleration since the last tick, without bias.
        turn_deg: (N,) float64, turn since the last tick by the gyroscope; 0 without one.
        hold_mps: A car that is slower does not turn, whatever the gyroscope says.
        fix: What the receivers have delivered.
        fused: Is changed.
    """
    for car in range(now_us.size):
        pose = (fix.x_m[car], fix.y_m[car], fix.speed_mps[car], fix.heading_deg[car])
        fix_us = now_us[car] - fix.age_us[car]
        if fused.num_steps[car] == 0:
            is_late = fix.age_us[car] > fused.steps.shape[1] * TICK_US
            if not (fix.is_new[car] and fix.has_heading[car]) or is_late:
                continue
            start(car, fix_us, pose, fused)
        advance(car, now_us[car], accel_mps2[car], turn_deg[car], hold_mps, fused)
        if fix.is_new[car]:
            correct(car, fix_us, (*pose, fix.has_heading[car]), fused)


def newest_step(car: int, fused: Fusion) -> tuple[float, float] | None:
    """Return the acceleration, m/s², and the turn, degrees, of a board's newest step, if any."""
    if not fused.num_steps[car]:
        return None
    place = (fused.num_steps[car] - 1) & (fused.steps.shape[1] - 1)
    step = fused.steps[car, place]
    return float(step[_STEP_ACCEL]), float(step[_STEP_TURN])


@inlined
def start(car: int, now_us: int, pose: Pose, fused: Fusion) -> None:
    """Begin anew with what is known of a moment."""
    fused.x_m[car], fused.y_m[car], fused.speed_mps[car], fused.heading_deg[car] = pose
    fused.now_us[car] = fused.fix_us[car] = now_us
    fused.num_steps[car] = fused.num_corrections[car] = 0


@inlined
def advance(
    car: int, now_us: int, accel_mps2: float, turn_deg: float, hold_mps: float, fused: Fusion
) -> None:
    """Reckon on from the last step to this one; see `fuse`."""
    before = _pose(car, fused)
    if before[2] < hold_mps:
        turn_deg = 0.0
    place = fused.num_steps[car] & (fused.steps.shape[1] - 1)
    fused.num_steps[car] += 1
    begin_us = fused.now_us[car]
    fused.steps_us[car, place, 0], fused.steps_us[car, place, 1] = begin_us, now_us
    step = fused.steps[car, place]
    step[_STEP_X], step[_STEP_Y], step[_STEP_SPEED], step[_STEP_HEADING] = before
    step[_STEP_ACCEL], step[_STEP_TURN] = accel_mps2, turn_deg
    step_s = (now_us - begin_us) * 1e-6
    _believe(car, _reckon(before, accel_mps2, turn_deg, 1.0, step_s), fused)
    fused.now_us[car] = now_us


@inlined
def correct(car: int, fix_us: int, fix: Delivered, fused: Fusion) -> bool:
    """Believe a fix of its moment, and add what was reckoned since, turned and with its speed.

    Returns:
        Whether it was taken; False if its moment is before that of the newest fix, too long ago
        for what is kept, or has not come yet.
    """
    number = fused.num_steps[car] - 1
    oldest = max(number + 1 - fused.steps.shape[1], 0)
    mask = fused.steps.shape[1] - 1
    while number > oldest and fused.steps_us[car, number & mask, 0] >= fix_us:
        number -= 1
    begin_us = fused.steps_us[car, number & mask, 0]
    if fix_us < max(begin_us, fused.fix_us[car]) or fix_us > fused.now_us[car]:
        return False
    made = fused.num_corrections[car]
    first = max(made - CORRECTIONS, 0)
    # Of corrections that are no longer kept, none may have come since the fix's moment.
    if first > 0 and fused.corrections_us[car, first & (CORRECTIONS - 1), 1] >= number:
        return False

    then = _then(car, number & mask, fix_us, fused)
    for k in range(first, made):
        if fused.corrections_us[car, k & (CORRECTIONS - 1), 1] >= number:
            then = _corrected(car, k & (CORRECTIONS - 1), fix_us, then, fused)

    x_m, y_m, speed_mps, heading_deg, has_heading = fix
    turn_deg = turn_between(then[3], heading_deg) if has_heading else 0.0
    turn, direction = math.radians(turn_deg), math.radians(then[3] + turn_deg)
    faster_mps = speed_mps - then[2]
    place = made & (CORRECTIONS - 1)
    fused.num_corrections[car] = made + 1
    fused.corrections_us[car, place, 0] = fix_us
    fused.corrections_us[car, place, 1] = fused.num_steps[car] - 1
    one = fused.corrections[car, place]
    one[_THEN_X], one[_THEN_Y], one[_FIX_X], one[_FIX_Y] = then[0], then[1], x_m, y_m
    one[_SINE], one[_COSINE] = math.sin(turn), math.cos(turn)
    one[_EAST_MPS] = faster_mps * math.sin(direction)
    one[_NORTH_MPS] = faster_mps * math.cos(direction)
    one[_FASTER_MPS], one[_TURN_DEG] = faster_mps, turn_deg
    _believe(car, _corrected(car, place, fused.now_us[car], _pose(car, fused), fused), fused)
    fused.fix_us[car] = fix_us
    return True


@inlined
def hold(car: int, fix_us: int, fix: Delivered, fused: Fusion) -> None:
    """Believe a fix as it stands, as a board does that has nothing but its receiver."""
    x_m, y_m, speed_mps, heading_deg, has_heading = fix
    if not has_heading:
        heading_deg = fused.heading_deg[car]
    _believe(car, (x_m, y_m, speed_mps, heading_deg), fused)
    fused.fix_us[car] = fix_us


@inlined
def fused_sd_m(age_s: float, speed_mps: float, accuracy: Accuracy) -> float:
    """Return the standard deviation per axis that a fused position has, by all a board can know; m.

    That of a fix, and what may have come to it in the age of the newest one: along the road the
    errors of speed, of the accelerometer's bias and of its noise, integrated; across it those of
    heading and gyroscope; the larger of the two.
    """
    speed_m = accuracy.speed_mps * age_s
    bias_m = 0.5 * accuracy.bias_mps2 * age_s * age_s
    noise_mps = accuracy.accel_mps2 * age_s
    # Noise that is new every 0.1 s, integrated twice.
    along_m2 = speed_m * speed_m + bias_m * bias_m + noise_mps * noise_mps * age_s * (0.1 / 3.0)
    growth = heading_growth(speed_mps, accuracy.heading_full_mps, accuracy.heading_hold_mps)
    heading_deg = accuracy.heading_deg * growth
    turned_deg = 0.5 * max(accuracy.gyro_dps, 0.0) * age_s
    across_m = math.radians(1.0) * speed_mps * age_s
    across_m2 = (heading_deg * heading_deg + turned_deg * turned_deg) * across_m * across_m
    return math.sqrt(accuracy.gps_m2 + max(along_m2, across_m2))


@inlined
def held_sd_m(age_s: float, speed_mps: float, accuracy: Accuracy) -> float:
    """Return the standard deviation per axis of a held position: it lacks the way driven since."""
    return math.sqrt(accuracy.gps_m2 + (speed_mps * age_s) ** 2)


@inlined
def heading_growth(speed_mps: float, full_mps: float, hold_mps: float) -> float:
    """By how much a heading is worse at a speed than at full accuracy.

    Below full accuracy it grows as 1 / speed, but is no worse than when last valid.
    """
    return max(full_mps / max(speed_mps, hold_mps, _SLOWEST_MPS), 1.0)


@compiled
def full_circle(heading_deg: float) -> float:
    """Bring a heading into [0, 360)."""
    if 0.0 <= heading_deg < _FULL_CIRCLE_DEG:
        return heading_deg
    turned_deg = heading_deg % _FULL_CIRCLE_DEG
    # The remainder of a tiny negative angle rounds to 360.
    return turned_deg if turned_deg < _FULL_CIRCLE_DEG else 0.0


@compiled
def turn_between(from_deg: float, to_deg: float) -> float:
    """Return the shorter turn from one heading to another, in [−180, 180)."""
    turn_deg = to_deg - from_deg
    if -_HALF_CIRCLE_DEG <= turn_deg < _HALF_CIRCLE_DEG:
        return turn_deg
    return (
        turn_deg - math.floor((turn_deg + _HALF_CIRCLE_DEG) / _FULL_CIRCLE_DEG) * _FULL_CIRCLE_DEG
    )


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
def _then(car: int, place: int, fix_us: int, fused: Fusion) -> Pose:
    """What was believed of a moment in a kept step when that step was made."""
    begin_us, end_us = fused.steps_us[car, place, 0], fused.steps_us[car, place, 1]
    step = fused.steps[car, place]
    step_s = (end_us - begin_us) * 1e-6
    share = (fix_us - begin_us) * 1e-6 / step_s if fix_us < end_us else 1.0
    before = (step[_STEP_X], step[_STEP_Y], step[_STEP_SPEED], step[_STEP_HEADING])
    return _reckon(before, step[_STEP_ACCEL], step[_STEP_TURN], share, step_s)


@inlined
def _corrected(car: int, place: int, at_us: int, pose: Pose, fused: Fusion) -> Pose:
    """What a kept correction makes of what was believed of a moment."""
    one = fused.corrections[car, place]
    since_s = (at_us - fused.corrections_us[car, place, 0]) * 1e-6
    east_m, north_m = pose[0] - one[_THEN_X], pose[1] - one[_THEN_Y]
    cosine, sine = one[_COSINE], one[_SINE]
    return (
        one[_FIX_X] + (east_m * cosine + north_m * sine) + one[_EAST_MPS] * since_s,
        one[_FIX_Y] + (north_m * cosine - east_m * sine) + one[_NORTH_MPS] * since_s,
        max(pose[2] + one[_FASTER_MPS], 0.0),
        full_circle(pose[3] + one[_TURN_DEG]),
    )


@inlined
def _pose(car: int, fused: Fusion) -> Pose:
    return fused.x_m[car], fused.y_m[car], fused.speed_mps[car], fused.heading_deg[car]


@inlined
def _believe(car: int, pose: Pose, fused: Fusion) -> None:
    fused.x_m[car], fused.y_m[car], fused.speed_mps[car], fused.heading_deg[car] = pose
