"""Euro NCAP's car-to-car rear scenarios (AEB Car-to-Car test protocol, 2023 and 2026).

| scenario | ego | car in front |
|---|---|---|
| CCRs | 10 … 50 km/h, step 5 | stands |
| CCRm | 30 … 80 km/h, step 5 | 20 km/h |
| CCRb 2023 | 50 km/h, 12 or 40 m behind | 50 km/h, brakes with 2 or 6 m/s² to 2 km/h |
| CCRb 2026 | 30 … 80 km/h, step 10, headway 1.0 s | the same speed, brakes with 4 m/s² to a stop |

CCRs and CCRm begin 4 s before the collision of an ego that holds its speed.
"""

from ml.envs.episodes.scripted import ManoeuvreCase, brake, braking_ticks, hold
from ml.evaluation.suites.suite import KMH, LEAD_IN_TICKS

TICKS = 200
_TO_COLLISION_S = 4.0
_SLOW_KMH = 20.0
_CREEP_KMH = 2.0


def ncap() -> list[ManoeuvreCase]:
    """Build the 30 manoeuvres."""
    cases = [_approach("CCRs", kmh, 0.0) for kmh in range(10, 51, 5)]
    cases += [_approach("CCRm", kmh, _SLOW_KMH) for kmh in range(30, 81, 5)]
    cases += [
        _braking("CCRb 2023", 50, gap_m, decel, _CREEP_KMH)
        for gap_m in (12.0, 40.0)
        for decel in (2.0, 6.0)
    ]
    cases += [_braking("CCRb 2026", kmh, kmh * KMH, 4.0, 0.0) for kmh in range(30, 81, 10)]
    return cases


def _approach(what: str, ego_kmh: int, ahead_kmh: float) -> ManoeuvreCase:
    ego, ahead = ego_kmh * KMH, ahead_kmh * KMH
    gap_m = (ego - ahead) * _TO_COLLISION_S
    return ManoeuvreCase(
        kind="hazard",
        gaps_m=(gap_m,),
        speed_mps=(ego, ahead),
        script_mps={1: hold(ahead, TICKS)},
        brake_rank=1,
        onset_tick=0,
        release_tick=TICKS,
        labels={"test": what, "speed_kmh": ego_kmh, "ahead_kmh": ahead_kmh, "gap_m": gap_m},
    )


def _braking(
    what: str, speed_kmh: int, gap_m: float, decel_mps2: float, final_kmh: float
) -> ManoeuvreCase:
    speed, final = speed_kmh * KMH, final_kmh * KMH
    return ManoeuvreCase(
        kind="hazard",
        gaps_m=(gap_m,),
        speed_mps=(speed, speed),
        script_mps={1: brake(speed, decel_mps2, final, onset_tick=LEAD_IN_TICKS, ticks=TICKS)},
        brake_rank=1,
        onset_tick=LEAD_IN_TICKS,
        release_tick=LEAD_IN_TICKS + braking_ticks(speed, decel_mps2, final),
        labels={"test": what, "speed_kmh": speed_kmh, "decel_mps2": decel_mps2, "gap_m": gap_m},
    )
