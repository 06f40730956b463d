"""From the normalised action to a speed command within the vehicle's limits.

SUMO's own checks are off for the ego, so the limits are enforced here. The command is the speed
at the end of the next tick; with ballistic integration the realised acceleration is the commanded
one until standstill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.errors import EnvironmentStateError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BRAKING_MPS2 = 8.0
MAX_ACCEL_MPS2 = 2.6
MAX_SPEED_MPS = 55.0
DT_S = 0.1


def accel_from_action(action: NDArray[np.floating]) -> NDArray[np.float64]:
    """Map actions to accelerations: −1 → −8 m/s², 0 → 0, +1 → +2.6 m/s², linear on either side.

    Args:
        action: (num_envs,) in [−1, 1].

    Returns:
        (num_envs,) float64, m/s².

    Raises:
        EnvironmentStateError: An action is not a number or lies outside [−1, 1].
    """
    values = action.astype(np.float64)
    bad = ~(np.abs(values) <= 1.0)
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        raise EnvironmentStateError(
            f"action[{where}] = {values[where]} lies outside [-1, 1]. "
            "Clip the policy's output to the action space before stepping."
        )
    return values * np.where(values < 0.0, MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)


def action_from_accel(accel_mps2: NDArray[np.float64]) -> NDArray[np.float32]:
    """Invert `accel_from_action` for accelerations that the vehicle can do; others saturate."""
    action = accel_mps2 / np.where(accel_mps2 < 0.0, MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)
    return np.clip(action, -1.0, 1.0).astype(np.float32)


def speed_command(
    speed_mps: NDArray[np.float64], accel_mps2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Speed at the end of the tick; never backwards, never above the vehicle's top speed."""
    return np.clip(speed_mps + accel_mps2 * DT_S, 0.0, MAX_SPEED_MPS)
