"""The car-following grid of the Joint Research Centre for UN Regulation No. 157 (lane keeping).

1,121 cases: both cars at 12 to 128 km/h in steps of 2, the car in front brakes with 0.05 to 0.95 g
in steps of 0.05 for 35 s or until it stands (Mattas et al., Accident Analysis & Prevention 174,
2022, and its public code JRC-FSM). The gap is bumper to bumper, so that the length of the cars
(theirs 4.3 m, ours 4.5 m) does not matter. At a time gap of 2.0 s the grid tells nobody apart, so
1.0 s is the default. A second of steady driving is put in front, so that the peer is heard.
"""

from ml.envs.episodes.scripted import ManoeuvreCase, brake, braking_ticks
from ml.evaluation.suites.suite import G_MPS2, KMH, LEAD_IN_TICKS, Suite, scripted_suite
from ml.vehicle import DT_S

SPEEDS_KMH = tuple(range(12, 129, 2))
DECELS_G = tuple(round(0.05 * step, 2) for step in range(1, 20))
_BRAKING_S = 35.0
TIME_GAP_S = 1.0


def r157(name: str, time_gap_s: float = TIME_GAP_S) -> Suite:
    """Build the grid for an initial gap over speed, s; `name` is its specification."""
    ticks = LEAD_IN_TICKS + round(_BRAKING_S / DT_S)
    cases = [_case(kmh, g, time_gap_s, ticks) for kmh in SPEEDS_KMH for g in DECELS_G]
    return scripted_suite(name, cases, ticks=ticks, reference_gap="own")


def _case(speed_kmh: int, decel_g: float, time_gap_s: float, ticks: int) -> ManoeuvreCase:
    speed, decel = speed_kmh * KMH, decel_g * G_MPS2
    lasts = min(braking_ticks(speed, decel, 0.0), ticks - LEAD_IN_TICKS)
    return ManoeuvreCase(
        kind="hazard",
        gaps_m=(time_gap_s * speed,),
        speed_mps=(speed, speed),
        script_mps={1: brake(speed, decel, 0.0, onset_tick=LEAD_IN_TICKS, ticks=ticks)},
        brake_rank=1,
        onset_tick=LEAD_IN_TICKS,
        release_tick=LEAD_IN_TICKS + lasts,
        labels={"speed_kmh": speed_kmh, "decel_g": decel_g, "time_gap_s": time_gap_s},
    )
