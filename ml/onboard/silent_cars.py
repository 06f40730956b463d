"""What a car does that is not heard: it follows the car ahead of it, as people do.

A car whose newest message is old is driven on by a car-following model behind what is known of
the car ahead of it. When a convoy brakes, the braking runs from car to car and takes a second or
more for each; this tells when it reaches a silent one, and how far back that will stop. To expect
full braking at once of everybody who is silent would be safe, too, but leaves needless gaps.

The model is the Intelligent Driver Model (Treiber, Hennecke and Helbing, Phys. Rev. E 62, 1805,
2000) with usual values. Who drives differently shows it in the message: the model's pull at the
time when the car falls silent is taken off.
"""

import math

from ml.arrays import Floats, Ints
from ml.compiled import compiled, inlined
from ml.onboard.prediction import BRAKING_MPS2, HORIZON_S, along, travel, turned
from ml.onboard.views import PeerView
from ml.vehicle import CAR_LENGTH_M, DT_S, MAX_BRAKING_MPS2, PEER_STANDSTILL_M

SILENT_S = 0.3
"""Age of the newest message from which a car is driven on."""
CERTAIN_M = 2.0
"""Distance between two cars from which their order is certain."""
_ACCEL_MPS2, _COMFORT_MPS2 = 1.5, 2.5
_TIME_GAP_S = 1.2
_LEAST_GAP_M = 0.5
_UNDISTURBED_MPS2 = 0.2


@compiled
def pull_mps2(speed_mps: float, ahead_mps: float, gap_m: float) -> float:
    """How hard the car ahead makes a driver brake, by the IDM's interaction term; −8 to 0."""
    braking = speed_mps * (speed_mps - ahead_mps) / (2.0 * math.sqrt(_ACCEL_MPS2 * _COMFORT_MPS2))
    wanted = PEER_STANDSTILL_M + max(speed_mps * _TIME_GAP_S + braking, 0.0)
    share = wanted / max(gap_m, _LEAST_GAP_M)
    return -min(_ACCEL_MPS2 * share * share, MAX_BRAKING_MPS2)


@inlined
def _car_ahead(peers: PeerView, e: int, s: int) -> int:
    """The nearest heard car that is known to drive ahead of s; −1 where none is."""
    nearest = -1
    for o in range(peers.heard.shape[1]):
        if not peers.heard[e, o] or peers.ahead_m[e, s, o] < CERTAIN_M:
            continue
        if nearest < 0 or peers.ahead_m[e, s, o] < peers.ahead_m[e, s, nearest]:
            nearest = o
    return nearest


@inlined
def distance_m(peers: PeerView, e: int, s: int, o: int) -> float:
    """How far peer o is ahead of peer s now, along the road, by their newest messages."""
    heading = math.radians(peers.heading_deg[e, s])
    turn = turned(math.radians(peers.heading_deg[e, o]), heading)
    east, north = peers.x_m[e, o] - peers.x_m[e, s], peers.y_m[e, o] - peers.y_m[e, s]
    apart = along(east, north, heading, turn)
    # In this order: a sum of three is rounded as it is written.
    ahead: float = apart + peers.travelled_m[e, o] - peers.travelled_m[e, s]
    return ahead


@inlined
def follow_on(peers: PeerView, sequence: Ints, followed: Ints, usual_mps2: Floats) -> None:
    """Move every peer on by a tick: from a fresh message by itself, else behind the car ahead.

    Args:
        peers: Its last three are changed: what they have done since their newest message.
        sequence: (E, S), of the newest messages.
        followed: (E, S), sequence of the message from which a silent peer is driven on, −1 for
            none; changed.
        usual_mps2: (E, S), the model's pull when it fell silent; changed.
    """
    for e in range(peers.heard.shape[0]):
        for s in range(peers.heard.shape[1]):
            if not peers.heard[e, s] or sequence[e, s] == followed[e, s]:
                continue
            moved = travel(peers.speed_mps[e, s], peers.accel_mps2[e, s], peers.age_s[e, s])
            peers.travelled_m[e, s], peers.now_mps[e, s], peers.now_mps2[e, s] = moved
        for s in range(peers.heard.shape[1]):
            age_s = peers.age_s[e, s]
            if not peers.heard[e, s] or age_s <= SILENT_S:
                continue
            before = peers.now_mps[e, s]
            o = _car_ahead(peers, e, s)
            pull = 0.0
            if o >= 0:
                gap_m = distance_m(peers, e, s, o) - CAR_LENGTH_M
                pull = pull_mps2(before, peers.now_mps[e, o], gap_m)
            if sequence[e, s] != followed[e, s]:
                followed[e, s] = sequence[e, s]
                # In steady driving the pull is never stronger than the wish to speed up.
                usual_mps2[e, s] = max(pull, -_ACCEL_MPS2)
                continue
            disturbance = min(pull - usual_mps2[e, s], 0.0)
            accel = _accel_of_silent(
                peers.speed_mps[e, s], peers.accel_mps2[e, s], age_s, before, disturbance
            )
            now = max(before + accel * DT_S, 0.0)
            peers.travelled_m[e, s] += 0.5 * (before + now) * DT_S
            peers.now_mps[e, s] = now


@compiled
def _accel_of_silent(
    sent_mps: float, sent_mps2: float, age_s: float, speed_mps: float, disturbance_mps2: float
) -> float:
    """Acceleration of a silent car, m/s²: as it sent it, and as what happens ahead makes it."""
    brakes = sent_mps2 < -BRAKING_MPS2
    accel = sent_mps2 if brakes or age_s <= HORIZON_S else 0.0
    if not brakes and speed_mps < sent_mps and disturbance_mps2 > -_UNDISTURBED_MPS2:
        accel = max(accel, _ACCEL_MPS2 * (1.0 - (speed_mps / sent_mps) ** 4))
    return max(accel + disturbance_mps2, -MAX_BRAKING_MPS2)
