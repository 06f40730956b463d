"""Could the reference ego still get away? What decides whether a crash is charged for in training.

Whether an episode is avoidable is known when it is over: the reference ego did not crash. A
training episode ends with the ego's crash, so what comes after is predicted.
"""

from ml.compiled import compiled
from ml.envs.truth.reference_driver import build_up, roll
from ml.vehicle import DT_S, MAX_BRAKING_MPS2

_HORIZON_TICKS = 200


@compiled
def would_escape(
    gap_m: float, speed_mps: float, accel_mps2: float, lead: tuple[float, float, float]
) -> bool:
    """Whether a full braking from now on keeps the reference ego off the car in front.

    It builds up as the reference ego's does. One that has not been told of the danger yet is
    given the benefit of the doubt, so that a crash is let off only where it was lost already.

    Args:
        gap_m: To the car in front.
        speed_mps: Of the reference ego.
        accel_mps2: The same.
        lead: The car in front: its speed in m/s, its acceleration in m/s², which it keeps, and the
            speed in m/s down to which it brakes.
    """
    lead_mps, lead_mps2, lead_end_mps = lead
    for _ in range(_HORIZON_TICKS):
        if gap_m <= 0.0:
            return False
        if speed_mps <= 0.0:
            return True
        accel_mps2 = build_up(accel_mps2, -MAX_BRAKING_MPS2, DT_S)
        rolled_m, speed_mps = roll(speed_mps, accel_mps2, DT_S)
        after_mps = lead_mps
        if lead_mps2 < 0.0:
            after_mps = max(lead_mps + lead_mps2 * DT_S, min(lead_mps, lead_end_mps))
        gap_m += 0.5 * (lead_mps + after_mps) * DT_S - rolled_m
        lead_mps = after_mps
    return True
