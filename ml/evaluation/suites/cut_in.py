"""A car from the lane beside cuts in, slower than the ego; or it does not.

The cut-in of UN Regulation No. 157 (Annex 4, Appendix 3) with the parameters of the public code of
the Joint Research Centre (JRC-FSM, Mattas et al., Accident Analysis & Prevention 174, 2022): lanes
3.5 m and cars 1.9 m wide, lateral speeds below 1.8 m/s, speeds of 10 to 130 km/h, gaps up to 120 m
at the beginning of the lateral motion. Of that range: ego at 60, 90 and 130 km/h; the other car 10,
20 or 40 km/h slower; gap 10, 20 or 40 m; lateral speed 0.5, 1.0 or 1.5 m/s; less the cases in which
an ego that holds its speed would be beside the other car when that enters the lane. Each with the
ego's own leader close, so that the car comes between them, and with a free road. The hazard begins
when the car is 0.375 m from the centre of its lane (the regulation's wandering zone).

In another nine cases (kind `free`) the car stays in its lane, and who brakes for it brakes without
cause: position by GPS does not tell lanes apart, so this is what lane-blind caution costs.
"""

from itertools import product

from ml.envs.episodes.scripted import CutIn, ManoeuvreCase, hold
from ml.envs.truth.lanes import WANDERING_M
from ml.evaluation.suites.suite import KMH, LEAD_IN_TICKS
from ml.vehicle import CAR_LENGTH_M, CAR_WIDTH_M, DT_S

_SPEEDS_KMH, _SLOWER_KMH = (60, 90, 130), (10, 20, 40)
_GAPS_M, _LATERAL_MPS = (10.0, 20.0, 40.0), (0.5, 1.0, 1.5)
_LANE_M = 3.5
_CLOSE_S, _CLOSE_M, _FREE_M = 1.5, 10.0, 200.0
"""The leader: time gap of the ego, but at least so far from the other car; or so far ahead."""
TICKS = 200
_LEAD_IN_S = LEAD_IN_TICKS * DT_S


def cut_in() -> list[ManoeuvreCase]:
    """Build the 132 cut-ins and the nine cars that stay."""
    grid = product(_SPEEDS_KMH, _SLOWER_KMH, _GAPS_M, _LATERAL_MPS, ("close", "far"))
    cases = [
        _case(*values)
        for values in grid
        if values[2] > values[1] * KMH * (_LANE_M - CAR_WIDTH_M) / values[3]
    ]
    staying = product(_SPEEDS_KMH, _SLOWER_KMH, (_GAPS_M[-1],), (0.0,), ("close",))
    return cases + [_case(*values) for values in staying]


def _case(
    speed_kmh: int, slower_kmh: int, gap_m: float, lateral_mps: float, leader: str
) -> ManoeuvreCase:
    ego, other = speed_kmh * KMH, (speed_kmh - slower_kmh) * KMH
    first_m = gap_m + (ego - other) * _LEAD_IN_S
    to_leader_m = max(_CLOSE_S * ego - first_m - CAR_LENGTH_M, _CLOSE_M)
    if leader == "far":
        to_leader_m = _FREE_M
    cuts_in = lateral_mps > 0.0
    shows_s, lasts_s = (WANDERING_M / lateral_mps, _LANE_M / lateral_mps) if cuts_in else (0.0, 0.0)
    return ManoeuvreCase(
        kind="hazard" if cuts_in else "free",
        gaps_m=(first_m, to_leader_m),
        speed_mps=(ego, other, ego),
        script_mps={1: hold(other, TICKS), 2: hold(ego, TICKS)},
        brake_rank=1 if cuts_in else 0,
        onset_tick=LEAD_IN_TICKS + round(shows_s / DT_S),
        release_tick=LEAD_IN_TICKS + round(lasts_s / DT_S) + 1,
        cut_in=CutIn(slot=1, tick=LEAD_IN_TICKS, lateral_mps=lateral_mps),
        labels={
            "speed_kmh": speed_kmh,
            "slower_kmh": slower_kmh,
            "gap_m": gap_m,
            "lateral_mps": lateral_mps,
            "leader": leader,
            "cuts_in": "yes" if cuts_in else "no",
        },
    )
