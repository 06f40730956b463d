"""From a wish to a speed command within the vehicle's limits; what an action stands for.

SUMO's own checks are off for the ego, so the limits are enforced here. The command is the speed
at the end of the next tick; with ballistic integration the realised acceleration is the commanded
one until standstill.
"""

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Floats
from ml.compiled import compiled, inlined
from ml.errors import EnvironmentStateError
from ml.onboard.safety_layer import Bounds
from ml.vehicle import DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2, MAX_SPEED_MPS

ROUNDING = 1e-6
"""How far an action may lie beyond ±1, and counts as ±1: what float32 makes of a rescaled one."""


def accel_from_action(action: NDArray[np.floating]) -> Floats:
    """Map actions to accelerations: −1 → −8 m/s², 0 → 0, +1 → +2.6 m/s², linear on either side.

    Args:
        action: (num_envs,) in [−1, 1], up to `ROUNDING` beyond.

    Returns:
        (num_envs,) float64, m/s².

    Raises:
        EnvironmentStateError: An action is not a number or lies outside [−1, 1].
    """
    exact = action.astype(np.float64)
    accel_mps2 = np.empty(exact.shape)
    bad = _fill_accels(exact, accel_mps2)
    if bad >= 0:
        raise EnvironmentStateError(
            f"action[{bad}] = {action[bad]} lies outside [-1, 1]. "
            "Clip the policy's output to the action space before stepping."
        )
    return accel_mps2


@compiled
def _fill_accels(action: Floats, accel_mps2: Floats) -> int:
    """Map actions to accelerations, (E,) both; the place of the first that is none, else −1."""
    for e in range(action.size):
        if not abs(action[e]) <= 1.0 + ROUNDING:  # so that NaN is caught, too
            return e
        held = max(min(action[e], 1.0), -1.0)
        accel_mps2[e] = held * (MAX_BRAKING_MPS2 if held < 0.0 else MAX_ACCEL_MPS2)
    return -1


def action_from_accel(accel_mps2: Floats) -> NDArray[np.float32]:
    """Invert `accel_from_action` for accelerations that the vehicle can do; others saturate."""
    action = accel_mps2 / np.where(accel_mps2 < 0.0, MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)
    return np.clip(action, -1.0, 1.0).astype(np.float32)


@inlined
def command_egos(
    wish_mps2: Floats,
    share: float,
    bounds: Bounds,
    speed_mps: Floats,
    commands_mps2: Floats,
    command_mps: Floats,
    withheld_mps2: Floats,
) -> None:
    """Command each ego the speed that it shall have at the end of the tick.

    Never backwards, never above the vehicle's top speed.

    Args:
        wish_mps2: (E,), accelerations within the vehicle's limits.
        share: Of the way from the last command to the wish that a low-pass goes in a tick. It goes
            on from what was commanded last, bounds included.
        bounds: What the safety layer lets pass.
        speed_mps: (E, V), true speeds; the ego is slot 0.
        commands_mps2: (E, 2), the last two accelerations that were commanded within the vehicle's
            limits, the newest first; moved on.
        command_mps: (E, V), column 0 is filled.
        withheld_mps2: (E,), filled: by how much each wish was above the lower of its bounds.
    """
    for e in range(wish_mps2.size):
        speed, wish = speed_mps[e, 0], wish_mps2[e]
        withheld_mps2[e] = max(wish - min(bounds.soft[e], bounds.hard[e]), 0.0)
        wish = min(max(wish, bounds.floor[e]), bounds.soft[e])
        if share < 1.0:
            wish = commands_mps2[e, 0] + share * (wish - commands_mps2[e, 0])
        wish = min(wish, bounds.hard[e])
        command = min(max(speed + wish * DT_S, 0.0), MAX_SPEED_MPS)
        command_mps[e, 0] = command
        # At standstill and at top speed less is commanded than was wished.
        accel = min(max((command - speed) / DT_S, -MAX_BRAKING_MPS2), MAX_ACCEL_MPS2)
        commands_mps2[e, 1] = commands_mps2[e, 0]
        commands_mps2[e, 0] = accel
