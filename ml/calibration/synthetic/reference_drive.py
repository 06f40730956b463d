"""A drive like the recorded one, made up: where three cars are during 582 s.

The recording gave losses, speeds and distances as statistics only. This drive has the same length,
number of cars, mean speed (10.6 m/s) and longest stop (42 s), and follows at the distances at
which most frames were recorded. What it is not: a recording.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ml.vehicle import DT_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_CARS: Final = 3
DURATION_S: Final = 582.0
# Of each leg: cruising speed in m/s, seconds from its beginning to the next, and of these the
# seconds before the next leg in which the leader brakes and stands.
_LEGS: Final = (
    (12.8, 100.0, 14.0),
    (9.7, 80.0, 6.0),
    (14.1, 140.0, 50.0),
    (11.2, 90.0, 10.0),
    (12.9, 172.0, 0.0),
)
_SPEED_SWAY, _SPEED_SWAY_S = 0.12, 37.0
_ACCELERATES_MPS2, _BRAKES_MPS2 = 1.3, 2.0
_STANDING_M = 8.5  # from antenna to antenna: a car of 4.5 m and a gap of 4 m
_HEADWAY_S, _HEADWAY_SWAY_S = 1.1, 0.2
_SWAYS_S = (53.0, 61.0)  # so that the two distances wander apart


def leader_speed_mps() -> NDArray[np.float64]:
    """Return the first car's speed at the end of each tick, (5821,), at rest to begin with."""
    time_s = np.arange(round(DURATION_S / DT_S) + 1) * DT_S
    wanted_mps = np.zeros_like(time_s)
    begin_s = 0.0
    for cruise_mps, leg_s, standing_s in _LEGS:
        driving = (time_s >= begin_s) & (time_s < begin_s + leg_s - standing_s)
        wanted_mps[driving] = cruise_mps
        begin_s += leg_s
    wanted_mps *= 1.0 + _SPEED_SWAY * np.sin(2.0 * np.pi * time_s / _SPEED_SWAY_S)
    speed_mps = np.zeros_like(time_s)
    for k in range(1, time_s.size):
        change = np.clip(
            wanted_mps[k] - speed_mps[k - 1], -_BRAKES_MPS2 * DT_S, _ACCELERATES_MPS2 * DT_S
        )
        speed_mps[k] = speed_mps[k - 1] + change
    return speed_mps


def reference_drive(num_envs: int) -> NDArray[np.float64]:
    """Return where the cars are, the same in each convoy.

    Args:
        num_envs: E.

    Returns:
        (5821, E, 3) float64, metres along a straight road; car 2 leads, car 0 is the last. A car
        follows its leader at 8.5 m and 1.1 s, more or less, and never rolls back.
    """
    speed_mps = leader_speed_mps()
    time_s = np.arange(speed_mps.size) * DT_S
    position_m = [np.cumsum(speed_mps) * DT_S]
    for k, sway_s in enumerate(_SWAYS_S):
        headway_s = _HEADWAY_S + _HEADWAY_SWAY_S * np.sin(2.0 * np.pi * time_s / sway_s + 2.0 * k)
        behind_m = position_m[-1] - _STANDING_M - headway_s * speed_mps
        position_m.append(np.maximum.accumulate(behind_m))
    drive = np.stack(position_m[::-1], axis=-1)
    return np.repeat(drive[:, None], num_envs, axis=1)
