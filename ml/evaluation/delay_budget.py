"""How late the braking may begin: what a radio's silence may cost in a given case."""

import numpy as np
from numpy.typing import NDArray

from ml.compiled import compiled
from ml.envs.truth.reference_driver import BRAKING_JERK_MPS3, roll
from ml.vehicle import DT_S, MAX_BRAKING_MPS2

_STEPS_PER_TICK = 10
_HALVINGS = 14


@compiled
def delay_budget_s(
    lead_travel_m: NDArray[np.float64],
    gap_m: float,
    speed_mps: float,
    onset_tick: int,
    max_braking_mps2: float = MAX_BRAKING_MPS2,
) -> float:
    """Find the longest delay from the onset to the first braking that avoids the crash.

    The car holds its speed until then, and brakes as the reference ego does, to a standstill.

    Args:
        lead_travel_m: (ticks + 1,) float64, what the car in front has driven since the start.
        gap_m: Initial gap.
        speed_mps: Initial speed.
        onset_tick: When the hazard begins.
        max_braking_mps2: Hardest braking.

    Returns:
        Seconds, within 0.01 s; infinite where not even a car that never brakes crashes in the
        record, 0 where one that brakes at once does.
    """
    onset_s = onset_tick * DT_S
    if not _crashes(lead_travel_m, gap_m, speed_mps, np.inf, max_braking_mps2):
        return np.inf
    if _crashes(lead_travel_m, gap_m, speed_mps, onset_s, max_braking_mps2):
        return 0.0
    low, high = 0.0, (lead_travel_m.size - 1) * DT_S - onset_s
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if _crashes(lead_travel_m, gap_m, speed_mps, onset_s + middle, max_braking_mps2):
            high = middle
        else:
            low = middle
    return low


@compiled
def _crashes(
    lead_travel_m: NDArray[np.float64],
    gap_m: float,
    speed_mps: float,
    begin_s: float,
    max_braking_mps2: float,
) -> bool:
    """Whether a car that begins to brake at `begin_s` touches the car in front in the record."""
    step_s = DT_S / _STEPS_PER_TICK
    position_m, speed, accel = 0.0, speed_mps, 0.0
    for i in range((lead_travel_m.size - 1) * _STEPS_PER_TICK):
        if i * step_s >= begin_s:
            accel = max(accel - BRAKING_JERK_MPS3 * step_s, -max_braking_mps2)
        rolled, speed = roll(speed, accel, step_s)
        position_m += rolled
        tick, part = divmod(i + 1, _STEPS_PER_TICK)
        lead_m = lead_travel_m[tick]
        if part:
            lead_m += (lead_travel_m[tick + 1] - lead_m) * part / _STEPS_PER_TICK
        if gap_m + lead_m - position_m <= 0.0:
            return True
        if speed <= 0.0:
            return False
    return False
