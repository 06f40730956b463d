"""What the newest messages oblige the ego to do, whatever a policy wishes: a bound on its action.

* **Urgent**: the deceleration that stops the ego behind the point where a braking peer will stand,
  with the cars between lined up behind it, or that matches the speed of a slower one; in a calm
  convoy with a time constant of `MATCH_S` at the quickest, since a margin that is used up there is
  mostly an error of a position. The harder it is, up to a point, the more is kept in reserve: what
  such an error does to a gentle stop is found out in time, and to a hard one not.
* **Alarm**: while a peer further ahead brakes hard or has stopped, whoever is silent in between is
  taken to brake hard from where a follower would be by now (`ml.onboard.silent_cars`); and so is
  who fell silent while it braked. Without this,
  cars that are known to be there, and are not heard for seconds, are hit while the ego brakes for
  the one that is heard.
* **Silence**: the worst case for the car in front without an alarm, answered gently, with at
  most `SILENCE_MPS2`: so the price is small when nothing was wrong. Where silence is usual on its
  link, and all that is known of the convoy is calm, it is not taken to have braked for longer than
  `RECENT_S`: every silence would else stop the ego, and the convoy drive away.
* **Unknown peers**: for as long as peers may be there that were never heard, nearest ones first,
  the ego does not close on the nearest that it knows by more than `UNKNOWN_PEER_CLOSING_MPS`.
* **Nobody heard, or the margin used up**: no speeding up, no creeping on.
* **Needless braking**: a policy may brake hard only where a peer demands it, or nearly so; for the
  rest there is no reason to startle whoever drives behind.

Margins grow with what both nodes believe of their positions' errors, so that a bad GPS fix costs
distance and not safety. All of it can be computed on the board.
"""

import math
from typing import NamedTuple

import numpy as np

from ml.arrays import Floats, Ints
from ml.compiled import compiled, inlined
from ml.onboard.estimator import Estimate
from ml.onboard.memory import Memory
from ml.onboard.prediction import BRAKING_MPS2
from ml.onboard.silent_cars import SILENT_S
from ml.vehicle import CAR_LENGTH_M, DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2, STANDSTILL_GAP_M

COMFORT_LIMIT_MPS2, URGENT_MPS2 = 2.2, 3.0
"""Needed braking up to which all is the policy's business, and from which all of it is done."""
RELEASE_MPS3 = 2.5
MARGIN_M = 1.0
"""Distance kept at standstill, if positions were exact; by an urgent braking `RESERVE_M` more."""
MARGIN_SDS = 2.0
"""Standard deviations of the two positions' difference, as believed, that are kept beside it."""
RESERVE_M = 1.0
"""What an urgent braking stops short of that: an error larger by so much is no crash yet. At
walking pace, with less room than that, such a braking is the hardest there is."""
DELAY_S = 0.15
"""From an observation to the middle of the tick that answers it, and a beacon's share."""
ALARM_MPS2 = 2.5
"""Braking of a peer that makes it likely that everyone behind it brakes, too: beyond benign slowing
(2 m/s²) and an accelerometer's error."""
BRAKED_MPS2 = 2.0
"""Braking that a car must have reported before it fell silent to be expected to brake harder."""
ALARMED_MPS2 = 4.5
"""Braking that is expected of a silent car that braked, or while one further ahead brakes hard."""
RESPONSE_S = 0.4
"""A message's way into a tick, a tick to act, and a beacon's phase, s."""
SILENCE_MARGIN_M = 4.0
SILENCE_GAIN, SILENCE_MPS2 = 0.25, 1.5
"""Slowing per metre of room that is missing, 1/s², and at most: soft enough that nobody behind is
startled when nothing was wrong, and no more than 1 m/s² beyond the gentlest benign slowing, which
is what a silence may hide."""
BRAKE_ALLOWANCE_MPS2 = 1.0
"""How much harder than needed a policy may brake."""
CREEP_MPS2 = 1.0
"""Braking where the margin is used up."""
RECENT_S = 0.7
"""How long the car in front may have been braking unheard, on a link that is silent as a rule while
the convoy is calm, s."""
USUAL_PER_S = 0.42
"""Share of the time in which a link is silent from which on that is the rule, per second of the
driver's time gap, 1/s; up to half of it silence is an exception. A driver who sets a short gap does
not want to be left behind."""
SILENCE_S, RECORD_S = 1.0, 20.0
"""What counts as silence of a link, and the time constant of the record of its share, s."""
DRIFT_MPS2 = 0.3
"""By how much a silent car's speed may have drifted from the prediction beyond that."""
CALM_MPS2, CALM_SHARE = 1.5, 0.7
"""No peer of a calm convoy is predicted to brake harder, or to drive slower than that share of the
own speed."""
MATCH_S = 1.0
"""Time constant, at the least, with which a slower peer's speed is matched in a calm convoy, s."""
UNKNOWN_PEER_CLOSING_MPS, UNKNOWN_PEER_GAIN = 3.0, 0.5
"""Closing speed while an unknown peer may be in between, and how it is reached, 1/s."""
MIN_MESSAGES = 60
"""Messages after the last peer that was new, from which on nobody else is expected: some seconds
on a good link, and as many more as a bad one takes."""
_LEAST_ROOM_M = 0.1


class Bounds(NamedTuple):
    """What the layer lets pass; (E,) float64, m/s².

    Attributes:
        soft: Largest acceleration that may be wished, before the low-pass.
        hard: Largest acceleration that may be commanded, behind it.
        floor: Least acceleration that may be wished.
    """

    soft: Floats
    hard: Floats
    floor: Floats

    def hold(self, wish_mps2: Floats) -> Floats:
        """Hold wishes (E,), m/s², to the bounds: what is commanded where no low-pass is between."""
        return np.minimum(np.clip(wish_mps2, self.floor, self.soft), self.hard)


class Demands(NamedTuple):
    """What the peers' newest messages demand; float64.

    Attributes:
        needed_mps2: (E,), the largest deceleration that any peer demands, 0 to 8.
        missing_m: (E,), the room that is missing to the car in front (`missing_room`); minus
            infinity where nobody is heard.
        of_peer_mps2: (E, S), the deceleration that each heard peer demands, 0 to 8.
    """

    needed_mps2: Floats
    missing_m: Floats
    of_peer_mps2: Floats


@compiled
def margin_m(position_sd_m: float, rank: float) -> float:
    """Distance kept to a peer with `rank` cars between, without the reserve."""
    return MARGIN_M + MARGIN_SDS * position_sd_m + STANDSTILL_GAP_M * rank


@compiled
def needed_braking(
    own_mps: float, free_m: float, speed_mps: float, accel_mps2: float, match_s: float
) -> float:
    """Deceleration that stops behind a braking peer, or matches the speed of a slower one.

    Args:
        own_mps: Own speed, m/s.
        free_m: Distance to the peer now, less the cars between and less the margin, m.
        speed_mps: Its speed now, m/s.
        accel_mps2: Its acceleration now, m/s².
        match_s: Time constant with which its speed is matched at the quickest, however little
            distance is left, s; 0: as quickly as the brakes can.

    Returns:
        m/s², 0 to 8.
    """
    left_m = free_m - own_mps * DELAY_S
    stop_m = math.inf
    if speed_mps <= 0.0:
        stop_m = 0.0
    elif accel_mps2 < -BRAKING_MPS2:
        stop_m = speed_mps * speed_mps / (-2.0 * accel_mps2)
    needed = own_mps * own_mps / (2.0 * max(left_m + stop_m, _LEAST_ROOM_M))
    closing = max(own_mps - speed_mps, 0.0)
    room_m = max(left_m, 0.5 * match_s * closing, _LEAST_ROOM_M)
    needed = max(needed, closing * closing / (2.0 * room_m))
    return min(needed, MAX_BRAKING_MPS2)


@compiled
def needed_in_alarm(own_mps: float, free_m: float, speed_mps: float) -> float:
    """Deceleration that stops behind a silent peer if it brakes hard from now on, 0 to 8.

    `free_m` is to where it is predicted, at `speed_mps`, less the cars between and the margin.
    """
    stop_m = speed_mps * speed_mps / (2.0 * ALARMED_MPS2)
    left_m = max(free_m + stop_m - own_mps * DELAY_S, _LEAST_ROOM_M)
    return min(own_mps * own_mps / (2.0 * left_m), MAX_BRAKING_MPS2)


@compiled
def missing_room(own_mps: float, gap_sent_m: float, speed_sent_mps: float) -> float:
    """How far the ego would come too close if the car in front braked fully since its message, m.

    Responsibility-Sensitive Safety (Shalev-Shwartz, Shammah and Shashua, arXiv:1708.06374) with the
    age of the newest message as part of the response time: the place and the speed are those of the
    message. Negative where there is room to spare.
    """
    own_stop_m = own_mps * RESPONSE_S + own_mps * own_mps / (2.0 * MAX_BRAKING_MPS2)
    lead_stops_m = gap_sent_m + speed_sent_mps * speed_sent_mps / (2.0 * MAX_BRAKING_MPS2)
    return own_stop_m + SILENCE_MARGIN_M - lead_stops_m


@compiled
def braking_for_s(age_s: float, silent_share: float, time_gap_s: float) -> float:
    """How long a silent car in front of a calm convoy may have been braking, s.

    By the age of its newest message, `silent_share_after` and the time gap that the driver set.
    """
    usual = USUAL_PER_S * time_gap_s
    exception = 1.0 if usual <= 0.0 else min(max(2.0 - 2.0 * silent_share / usual, 0.0), 1.0)
    return RECENT_S + exception * max(age_s - RECENT_S, 0.0)


@compiled
def silent_share_after(share: float, age_s: float) -> float:
    """Move on by a tick, with `RECORD_S`, the share of the time in which the lead was silent."""
    return share + DT_S / RECORD_S * ((1.0 if age_s > SILENCE_S else 0.0) - share)


@compiled
def urgency(needed_mps2: float) -> float:
    """Share of a braking that is not the policy's business any more, 0 to 1."""
    share = (needed_mps2 - COMFORT_LIMIT_MPS2) / (URGENT_MPS2 - COMFORT_LIMIT_MPS2)
    return min(max(share, 0.0), 1.0)


@inlined
def _peer_needs(
    own_mps: float, known: Estimate, e: int, s: int, free_m: float, ahead: int, match_s: float
) -> float:
    """Deceleration that peer `s` demands, 0 to 8; the alarm is `ahead` cars ahead of it, if > 0."""
    speed, accel = known.speed_mps[e, s], known.accel_mps2[e, s]
    own_need = needed_braking(own_mps, free_m, speed, accel, match_s)
    if known.age_s[e, s] > SILENT_S:
        braked = accel < -BRAKED_MPS2
        if ahead > 0 or braked:
            own_need = max(own_need, needed_in_alarm(own_mps, free_m, speed))
        if braked:
            sent_free_m = free_m - known.gap_m[e, s] + known.gap_sent_m[e, s]
            sent_mps = known.speed_sent_mps[e, s]
            own_need = max(own_need, needed_in_alarm(own_mps, sent_free_m, sent_mps))
    return own_need


@inlined
def demand(
    e: int,
    own_mps: float,
    known: Estimate,
    silent_share: float,
    time_gap_s: float,
    demands: Demands,
) -> float:
    """Find what the peers of ego `e` demand of it, and fill its row of `demands`.

    Returns:
        The distance to the car in front less the margin, m; infinite where none is heard.
    """
    alarm, calm = -1, True
    for rank in range(known.num_heard[e]):
        s = known.order[e, rank]
        speed, accel = known.speed_mps[e, s], known.accel_mps2[e, s]
        if accel < -ALARM_MPS2 or speed <= 0.0:  # brakes hard, or has braked to a stop
            alarm = rank
        calm = calm and accel > -CALM_MPS2 and speed > CALM_SHARE * own_mps
    match_s = MATCH_S if calm else 0.0
    needed, lead_free, missing = 0.0, math.inf, -math.inf
    for rank in range(known.num_heard[e]):
        s = known.order[e, rank]
        margin = margin_m(known.position_sd_m[e, s], rank)
        free = known.gap_m[e, s] - rank * CAR_LENGTH_M - margin
        own_need = _peer_needs(own_mps, known, e, s, free, alarm - rank, match_s)
        reserve_m = RESERVE_M * urgency(own_need)
        if reserve_m > 0.0:
            left_m = free - reserve_m
            own_need = _peer_needs(own_mps, known, e, s, left_m, alarm - rank, match_s)
        demands.of_peer_mps2[e, s] = own_need
        needed = max(needed, own_need)
        if rank == 0:
            lead_free = free
            missing = missing_room(own_mps, known.gap_sent_m[e, s], known.speed_sent_mps[e, s])
            age, speed = known.age_s[e, s], known.speed_mps[e, s]
            braking_s = braking_for_s(age, silent_share, time_gap_s)
            if calm and braking_s < age:
                # The least distance to where it can have begun to brake.
                unsure_s = age - braking_s
                drift_m = 0.5 * DRIFT_MPS2 * unsure_s * unsure_s
                recent_m = known.gap_m[e, s] - braking_s * speed - drift_m
                missing = min(missing, missing_room(own_mps, recent_m, speed))
    demands.needed_mps2[e], demands.missing_m[e] = needed, missing
    return lead_free


@compiled
def soft_bound_mps2(missing_m: float, closing_mps: float, messages: int) -> float:
    """Acceleration that silence still allows; none at all where nobody has ever been heard.

    `missing_m` is as in `Demands`, `messages` as in `Memory`; the ego is faster than the nearest
    peer heard by `closing_mps`.
    """
    if missing_m == -math.inf:
        return 0.0
    bound = -SILENCE_GAIN * missing_m
    if messages < MIN_MESSAGES:
        bound = min(bound, UNKNOWN_PEER_GAIN * (UNKNOWN_PEER_CLOSING_MPS - closing_mps))
    return max(bound, -SILENCE_MPS2)


@compiled
def floor_mps2(needed_mps2: float) -> float:
    """Hardest braking that a policy may wish; `SILENCE_MPS2` where nobody demands any."""
    return -max(SILENCE_MPS2, needed_mps2 + BRAKE_ALLOWANCE_MPS2)


@compiled
def hard_bound_mps2(needed_mps2: float, lead_free_m: float, before_mps2: float) -> float:
    """Largest acceleration that the layer lets pass, whatever the policy wishes.

    From the bound a tick ago it is lifted with `RELEASE_MPS3` at most, so that a demand that comes
    and goes with the messages does not shake the car. `lead_free_m` is as `demand` returns it.
    """
    bound = MAX_ACCEL_MPS2
    if lead_free_m < 0.0:
        bound = -CREEP_MPS2
    if needed_mps2 > COMFORT_LIMIT_MPS2:
        bound = min(bound, -urgency(needed_mps2) * max(needed_mps2, URGENT_MPS2))
    return min(bound, before_mps2 + RELEASE_MPS3 * DT_S)


@inlined
def bound(
    convoys: Ints,
    own_mps: Floats,
    known: Estimate,
    memory: Memory,
    demands: Demands,
    bounds: Bounds,
) -> None:
    """Find all that the layer demands and lets pass, in a tick.

    Args:
        convoys: (n,), of which egos.
        own_mps: (E,), own speeds, m/s.
        known: What is predicted of the peers.
        memory: The record of silence is moved on.
        demands: Filled.
        bounds: Filled; `hard` is that of the tick before.
    """
    for i in range(convoys.size):
        e = convoys[i]
        closing = 0.0
        if known.num_heard[e] > 0:
            lead = known.order[e, 0]
            closing = own_mps[e] - known.speed_mps[e, lead]
            memory.silent_share[e] = silent_share_after(
                memory.silent_share[e], known.age_s[e, lead]
            )
        lead_free = demand(
            e, own_mps[e], known, memory.silent_share[e], memory.time_gap_s[e], demands
        )
        needed = demands.needed_mps2[e]
        bounds.soft[e] = soft_bound_mps2(demands.missing_m[e], closing, memory.messages[e])
        bounds.hard[e] = hard_bound_mps2(needed, lead_free, bounds.hard[e])
        bounds.floor[e] = floor_mps2(needed)
