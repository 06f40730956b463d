"""Emergency electronic brake light: the car that brakes is hidden behind others.

The use case of ETSI TS 101 539-1 and SAE J2945/1: a car two or more ahead brakes hard to a stop,
the cars between follow as people do, and only the radio shows it at once. Ranks 2 to 4, with one
more car in front of the braking one or none, at 50, 80 and 110 km/h and 4, 6 and 8 m/s².
"""

from itertools import product

from ml.envs.episodes.scripted import ManoeuvreCase, brake, braking_ticks, following_gap_m
from ml.evaluation.suites.suite import KMH

_RANKS, _CARS_BEYOND = (2, 3, 4), (0, 1)
_SPEEDS_KMH, _DECELS_MPS2 = (50, 80, 110), (4.0, 6.0, 8.0)
_EGO_TIME_GAP_S = 1.2
_ONSET_TICK, TICKS = 30, 250


def eebl() -> list[ManoeuvreCase]:
    """Build the 54 manoeuvres."""
    grid = product(_RANKS, _CARS_BEYOND, _SPEEDS_KMH, _DECELS_MPS2)
    return [_case(*values) for values in grid]


def _case(rank: int, beyond: int, speed_kmh: int, decel_mps2: float) -> ManoeuvreCase:
    speed, peers = speed_kmh * KMH, rank + beyond
    return ManoeuvreCase(
        kind="hazard",
        gaps_m=(_EGO_TIME_GAP_S * speed, *[following_gap_m(speed)] * (peers - 1)),
        speed_mps=(speed,) * (peers + 1),
        script_mps={rank: brake(speed, decel_mps2, 0.0, onset_tick=_ONSET_TICK, ticks=TICKS)},
        brake_rank=rank,
        onset_tick=_ONSET_TICK,
        release_tick=_ONSET_TICK + braking_ticks(speed, decel_mps2, 0.0),
        labels={"speed_kmh": speed_kmh, "decel_mps2": decel_mps2, "beyond": beyond},
    )
