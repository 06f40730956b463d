"""Who drives ahead of whom: what fresh messages said once still holds when one falls silent.

Cars of one lane do not overtake. So a car that has not been heard for long, and would by now be
predicted to have driven through the car ahead of it, has queued up behind that: knowing the order
keeps a silent car in front from being forgotten just when the convoy stops.
"""

from ml.arrays import Bools, Floats
from ml.compiled import inlined
from ml.onboard.silent_cars import CERTAIN_M, distance_m
from ml.onboard.views import PeerView
from ml.vehicle import CAR_LENGTH_M, STANDSTILL_GAP_M

_FRESH_S = 1.5
_STALE_S, _APART_M = 10.0, 10.0
_SHARE = 0.1
_STALER_S = 0.3


@inlined
def compare_pairs(peers: PeerView) -> None:
    """Learn the order of the peers of each ego from pairs that are heard afresh.

    How far one drives ahead of another is smoothed over the ticks in which both were fresh. A pair
    of which one is silent, and that was never heard afresh together, is ordered by where the silent
    one is predicted, if the two are far enough apart.

    Args:
        peers: Moved on to now (`silent_cars.follow_on`); its `ahead_m` is changed.
    """
    num_envs, num_sources = peers.heard.shape
    for e in range(num_envs):
        for s in range(num_sources):
            if not peers.heard[e, s] or peers.age_s[e, s] > _STALE_S:
                continue
            for o in range(s + 1, num_sources):
                known = peers.ahead_m[e, s, o] != 0.0
                limit_s = _FRESH_S if known else _STALE_S
                older_s = max(peers.age_s[e, s], peers.age_s[e, o])
                if not peers.heard[e, o] or older_s > limit_s:
                    continue
                ahead = distance_m(peers, e, s, o)
                if known:
                    ahead = peers.ahead_m[e, s, o] + _SHARE * (ahead - peers.ahead_m[e, s, o])
                elif older_s > _FRESH_S and abs(ahead) < _APART_M:
                    continue
                peers.ahead_m[e, s, o], peers.ahead_m[e, o, s] = ahead, -ahead


@inlined
def queue_up(
    heard: Bools,
    age_s: Floats,
    ahead_m: Floats,
    gap_m: Floats,
    speed_mps: Floats,
    accel_mps2: Floats,
) -> None:
    """Hold predictions to the order: nobody is where somebody ahead of them is, or beyond.

    Arrays are those of one ego, (S,) and, as in `PeerView`, `ahead_m` (S, S). The last three are
    predictions, and changed. The word of the fresher of two peers counts.
    """
    for _ in range(heard.size):
        changed = False
        for s in range(heard.size):
            for o in range(heard.size):
                if not (heard[s] and heard[o]) or ahead_m[s, o] < CERTAIN_M:
                    continue
                behind_m = gap_m[o] - CAR_LENGTH_M - STANDSTILL_GAP_M
                if age_s[s] > age_s[o] + _STALER_S and gap_m[s] > behind_m:
                    gap_m[s] = behind_m
                    speed_mps[s] = min(speed_mps[s], speed_mps[o])
                    accel_mps2[s] = min(accel_mps2[s], accel_mps2[o])
                    changed = True
        if not changed:
            return
