"""A standing queue behind a bend of the rural road.

The end of a traffic jam that a bend hides from the driver, one of the hazard warnings of ETSI
TR 102 638 ("traffic condition warning"). One, three or six cars stand just behind each of five
bends, which turn by 31° to 95° over the last 150 m; none, one or two cars drive towards them in
front of the ego, as people do; the first of the moving cars starts 150 m before the queue at 90 %
of the speed limit there.
"""

from itertools import product

from ml.envs.episodes.scripted import ManoeuvreCase, following_gap_m, hold
from ml.vehicle import CAR_LENGTH_M

BENDS = ((1120.0, 20.0), (1720.0, 12.5), (1945.0, 12.5), (2395.0, 17.5), (4120.0, 20.0))
"""Of each bend: where the queue's last car stands, m along the road, and 90 % of the limit."""
_STANDING, _MOVING = (1, 3, 6), (0, 1, 2)
_SIGHT_M = 150.0
_STANDING_GAP_M = 2.0
_EGO_TIME_GAP_S = 1.5
TICKS = 350


def queue() -> list[ManoeuvreCase]:
    """Build the 45 manoeuvres."""
    return [
        _case(tail_m, speed, standing, moving)
        for (tail_m, speed), standing, moving in product(BENDS, _STANDING, _MOVING)
    ]


def _case(tail_m: float, speed: float, standing: int, moving: int) -> ManoeuvreCase:
    between_m = [following_gap_m(speed)] * max(moving - 1, 0)
    if moving:
        between_m.insert(0, _EGO_TIME_GAP_S * speed)
    convoy_m = sum(between_m) + len(between_m) * CAR_LENGTH_M
    return ManoeuvreCase(
        kind="hazard",
        gaps_m=(*between_m, _SIGHT_M, *[_STANDING_GAP_M] * (standing - 1)),
        speed_mps=(*[speed] * (moving + 1), *[0.0] * standing),
        script_mps={moving + k: hold(0.0, TICKS) for k in range(1, standing + 1)},
        brake_rank=moving + 1,
        onset_tick=0,
        release_tick=TICKS,
        start_m=tail_m - CAR_LENGTH_M - _SIGHT_M - convoy_m,
        labels={"bend_m": tail_m, "standing": standing, "moving": moving, "speed_mps": speed},
    )
