"""Where a peer is by now, from its newest message: what observation and controllers share."""

import math

from ml.compiled import compiled

BRAKING_MPS2 = 1.0
"""A peer that reports a harder deceleration brakes on purpose: it is beyond the error of an
accelerometer (bias 0.3, noise 0.15 m/s²) and beyond easing off the throttle."""

HORIZON_S = 1.0
"""How long an acceleration that is no braking is taken to last after the message."""
_TURN_LIMIT = 2.0
_NEARLY_STRAIGHT = 1e-9


@compiled
def travel(speed: float, accel: float, age: float) -> tuple[float, float, float]:
    """Distance since the message, and speed and acceleration now; never backwards.

    A peer that reported braking (`BRAKING_MPS2`) is taken to brake on until it stands; any other
    acceleration is taken to last for a second after the message.
    """
    lasting = age if accel < -BRAKING_MPS2 else min(age, HORIZON_S)
    now = speed + accel * lasting
    if now <= 0.0 and accel < 0.0:
        return speed * speed / (-2.0 * accel), 0.0, 0.0
    return 0.5 * (speed + now) * lasting + now * (age - lasting), now, accel


@compiled
def turned(heading: float, own_heading: float) -> float:
    """Heading less the own, in [−π, π); radians."""
    turn = heading - own_heading
    return turn - 2.0 * math.pi * math.floor((turn + math.pi) / (2.0 * math.pi))


@compiled
def along(east: float, north: float, heading: float, turn: float) -> float:
    """Distance ahead, on the arc between two headings; angles in radians."""
    # The chord of an arc points along the mean of the two headings.
    mean = heading + 0.5 * turn
    ahead = east * math.sin(mean) + north * math.cos(mean)
    half = min(max(0.5 * turn, -0.5 * _TURN_LIMIT), 0.5 * _TURN_LIMIT)
    if abs(half) > _NEARLY_STRAIGHT:
        ahead *= half / math.sin(half)
    return ahead
