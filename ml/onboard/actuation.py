"""From a wish to a speed command within the vehicle's limits; what a policy's action stands for.

SUMO's own checks are off for the ego, so the limits are enforced here. The command is the speed
at the end of the next tick; with ballistic integration the realised acceleration is the commanded
one until standstill.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ml.compiled import compiled
from ml.errors import EnvironmentStateError
from ml.vehicle import DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2, MAX_SPEED_MPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDING = 1e-6
"""How far an action may lie beyond ±1, and counts as ±1: what float32 makes of a rescaled one."""


class Bounds(NamedTuple):
    """What a safety layer lets pass; (num_envs,) float64 each, m/s².

    Attributes:
        soft: Largest acceleration that may be wished, before the low-pass.
        hard: Largest acceleration that may be commanded, behind it.
        floor: Least acceleration that may be wished.
    """

    soft: NDArray[np.float64]
    hard: NDArray[np.float64]
    floor: NDArray[np.float64]


@compiled
def _accel_of(action: float) -> float:
    action = min(max(action, -1.0), 1.0)
    return action * (MAX_BRAKING_MPS2 if action < 0.0 else MAX_ACCEL_MPS2)


@compiled
def _accel_rows(actions: NDArray[np.float64], accel_mps2: NDArray[np.float64]) -> int:
    """Fill the accelerations (n,); return the first action out of range, −1 if there is none."""
    for i in range(actions.size):
        if not abs(float(actions[i])) <= 1.0 + ROUNDING:  # so that NaN is caught, too
            return i
        accel_mps2[i] = _accel_of(actions[i])
    return -1


@compiled
def _command_rows(
    wished_mps2: NDArray[np.float64],
    share: float,
    soft_mps2: NDArray[np.float64],
    hard_mps2: NDArray[np.float64],
    floor_mps2: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    command_mps: NDArray[np.float64],
    commands: NDArray[np.float64],
    withheld_mps2: NDArray[np.float64],
) -> None:
    """Fill column 0 of `command_mps`, `commands` and `withheld_mps2`; see `command_egos`."""
    for e in range(wished_mps2.size):
        speed, wish_mps2 = speed_mps[e, 0], wished_mps2[e]
        withheld_mps2[e] = max(wish_mps2 - min(soft_mps2[e], hard_mps2[e]), 0.0)
        wish_mps2 = min(max(wish_mps2, floor_mps2[e]), soft_mps2[e])
        if share < 1.0:
            wish_mps2 = commands[e, 0] + share * (wish_mps2 - commands[e, 0])
        wish_mps2 = min(wish_mps2, hard_mps2[e])
        command = min(max(speed + wish_mps2 * DT_S, 0.0), MAX_SPEED_MPS)
        command_mps[e, 0] = command
        # At standstill and at top speed less is commanded than was wished.
        accel = min(max((command - speed) / DT_S, -MAX_BRAKING_MPS2), MAX_ACCEL_MPS2)
        commands[e, 1] = commands[e, 0]
        commands[e, 0] = accel


def accel_from_action(action: NDArray[np.floating]) -> NDArray[np.float64]:
    """Map actions to accelerations: −1 → −8 m/s², 0 → 0, +1 → +2.6 m/s², linear on either side.

    Args:
        action: (num_envs,) in [−1, 1], up to `ROUNDING` beyond.

    Returns:
        (num_envs,) float64, m/s².

    Raises:
        EnvironmentStateError: An action is not a number or lies outside [−1, 1].
    """
    accel_mps2 = np.empty(action.size)
    bad = _accel_rows(action.astype(np.float64), accel_mps2)
    if bad >= 0:
        raise EnvironmentStateError(
            f"action[{bad}] = {action[bad]} lies outside [-1, 1]. "
            "Clip the policy's output to the action space before stepping."
        )
    return accel_mps2


def command_egos(
    wish_mps2: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    command_mps: NDArray[np.float64],
    commands: NDArray[np.float64],
    *,
    lag_s: float = 0.0,
    bounds_mps2: Bounds | None = None,
) -> NDArray[np.float64]:
    """Command each ego the speed that it shall have at the end of the tick.

    Never backwards, never above the vehicle's top speed.

    Args:
        wish_mps2: (num_envs,) accelerations, within the vehicle's limits.
        speed_mps: (num_envs, num_slots), true speeds; the ego is slot 0.
        command_mps: (num_envs, num_slots), column 0 is written.
        commands: (num_envs, 2), the last two accelerations that were commanded within the
            vehicle's limits, the newest first; moved on.
        lag_s: Time constant of a low-pass between the wish and the command, s. It goes on from
            what was commanded last, bounds included.
        bounds_mps2: What a safety layer lets pass; None without one.

    Returns:
        (num_envs,) float64, by how much each wish was above the lower of its bounds, m/s².
    """
    share = 1.0 if lag_s == 0.0 else 1.0 - math.exp(-DT_S / lag_s)
    if bounds_mps2 is None:
        unbounded = np.full(wish_mps2.size, np.inf)
        bounds_mps2 = Bounds(unbounded, unbounded, -unbounded)
    withheld_mps2 = np.zeros(wish_mps2.size)
    _command_rows(wish_mps2, share, *bounds_mps2, speed_mps, command_mps, commands, withheld_mps2)
    return withheld_mps2


def action_from_accel(accel_mps2: NDArray[np.float64]) -> NDArray[np.float32]:
    """Invert `accel_from_action` for accelerations that the vehicle can do; others saturate."""
    action = accel_mps2 / np.where(accel_mps2 < 0.0, MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)
    return np.clip(action, -1.0, 1.0).astype(np.float32)
