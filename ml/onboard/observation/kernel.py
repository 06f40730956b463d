"""The loop over convoys and peers that fills an observation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.onboard.observation.columns import (
    ACCEL,
    E_ACCEL,
    E_BRAKING,
    E_CHANGE,
    E_CLOSING,
    E_COMMAND,
    E_EARLIER,
    E_GAP,
    E_GAP_ERROR,
    E_HEARD,
    E_LEAD_ACCEL,
    E_LEAD_AGE,
    E_LEAD_SD,
    E_MISSING,
    E_NEEDED,
    E_RANGE,
    E_RANGE_VALID,
    E_SD,
    E_SILENCE,
    E_SPEED,
    E_TIME_GAP,
    E_WANTED,
    HEADING,
    P_ACCEL,
    P_AGE,
    P_BETWEEN,
    P_COS,
    P_GAP,
    P_HISTORY,
    P_HOPS,
    P_LATERAL,
    P_NEEDED,
    P_RELATIVE,
    P_ROOM,
    P_SD,
    P_SIN,
    P_SPEED,
    P_TIME_GAP,
    SD,
    SPEED,
    X,
    Y,
)
from ml.onboard.observation.spec import (
    EGO_FEATURES,
    HISTORY,
    MAX_PEERS,
    PEER_FEATURES,
)
from ml.onboard.peer_order import queue_up
from ml.onboard.prediction import along, turned
from ml.onboard.safety_layer import (
    AGE,
    DEVIATION,
    GAP,
    NEEDED,
    NOW,
    NUM_PREDICTED,
    PULL,
    SAID,
    SAID_GAP,
    bounds,
    silent_share_after,
)
from ml.onboard.spacing import wanted_gap_m
from ml.vehicle import CAR_LENGTH_M

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SLOWEST_MPS = 2.0
_NOBODY_GAP_M = 150.0
_NOBODY_AGE_S = 10.0

_NUM_PEER = len(PEER_FEATURES)
_NUM_EGO = len(EGO_FEATURES)


@compiled
def _peer_row(
    message: NDArray[np.float64],
    age_s: float,
    own: tuple[float, float, float, float],
    moved: tuple[float, float, float],
    source: int,
    predicted: NDArray[np.float64],
    row: NDArray[np.float64],
) -> None:
    """Write what does not depend on other peers of a peer's features, and its prediction.

    Args:
        message: (F,), as received.
        age_s: Its age.
        own: Own x, y, heading in radians and position sd.
        moved: Distance since the message, speed and acceleration now; see `PeerOrder`.
        source: Column of `predicted` to write.
        predicted: (NUM_PREDICTED, S).
        row: (23,), in the features' own units.
    """
    own_x, own_y, own_heading, own_sd = own
    travelled, speed_now, accel_now = moved
    east, north = message[X] - own_x, message[Y] - own_y
    turn = turned(math.radians(message[HEADING]), own_heading)
    mean = own_heading + 0.5 * turn
    said_gap = along(east, north, own_heading, turn) - CAR_LENGTH_M
    predicted[AGE, source] = age_s
    predicted[GAP, source], predicted[SAID_GAP, source] = said_gap + travelled, said_gap
    predicted[NOW, source], predicted[SAID, source] = speed_now, message[SPEED]
    predicted[PULL, source] = accel_now
    predicted[DEVIATION, source] = math.hypot(message[SD], own_sd)
    row[P_LATERAL] = north * math.sin(mean) - east * math.cos(mean)
    row[P_SPEED] = message[SPEED]
    row[P_ACCEL] = message[ACCEL]
    row[P_SIN] = math.sin(turn)
    row[P_COS] = math.cos(turn)
    row[P_AGE] = age_s
    row[P_SD] = message[SD]


@compiled
def _history(
    said: NDArray[np.float64], said_ms: NDArray[np.int64], row: NDArray[np.float64]
) -> None:
    """Write a peer's earlier messages into its row."""
    for back in range(1, HISTORY + 1):
        at = P_HISTORY + 3 * (back - 1)
        row[at] = said[back, 0]
        row[at + 1] = said[back, 1] - row[P_SPEED]
        row[at + 2] = (said_ms[0] - said_ms[back]) / 1000.0


@compiled
def _ego_of_peers(
    rows: NDArray[np.float64],
    fresh: NDArray[np.bool_],
    order: NDArray[np.int64],
    predicted: NDArray[np.float64],
    ego: NDArray[np.float64],
) -> None:
    """Write what the ego's features say of its peers.

    Args:
        rows: (S, 23), the peers' features.
        fresh: (S,), whose message is within its time to live.
        order: (n,), the heard peers, nearest first.
        predicted: (NUM_PREDICTED, S).
        ego: (21,), in the features' own units.
    """
    ego[E_HEARD], ego[E_SILENCE], ego[E_BRAKING] = 0.0, _NOBODY_AGE_S, 0.0
    for s in range(fresh.size):
        if fresh[s]:
            ego[E_HEARD] += 1.0
            ego[E_SILENCE] = min(ego[E_SILENCE], rows[s, P_AGE])
            ego[E_BRAKING] = max(ego[E_BRAKING], -rows[s, P_ACCEL])
    ego[E_GAP], ego[E_CLOSING], ego[E_LEAD_ACCEL] = _NOBODY_GAP_M, 0.0, 0.0
    ego[E_LEAD_AGE], ego[E_LEAD_SD] = _NOBODY_AGE_S, 0.0
    if order.size > 0:
        lead = order[0]
        ego[E_GAP], ego[E_CLOSING] = rows[lead, P_GAP], -rows[lead, P_RELATIVE]
        ego[E_LEAD_ACCEL] = predicted[PULL, lead]
        ego[E_LEAD_AGE] = predicted[AGE, lead]
        ego[E_LEAD_SD] = predicted[DEVIATION, lead]


@compiled
def _order_by_gap(
    gap_m: NDArray[np.float64], heard: NDArray[np.bool_], order: NDArray[np.int64]
) -> int:
    """Fill `order` with the heard peers, nearest first (insertion sort); return their number."""
    count = 0
    for s in range(heard.size):
        if not heard[s]:
            continue
        at = count
        while at > 0 and gap_m[order[at - 1]] > gap_m[s]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = s
        count += 1
    return count


@compiled
def _held(
    values: NDArray[np.float64],
    scale: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    out: NDArray[np.float32],
) -> int:
    """Scale a row, hold it to its bounds, write it, and return how many values were clipped."""
    clipped = 0
    for i in range(values.size):
        value = values[i] / scale[i]
        if value < low[i]:
            value = low[i]
            clipped += 1
        elif value > high[i]:
            value = high[i]
            clipped += 1
        out[i] = value
    return clipped


@compiled
def fill(
    convoys: NDArray[np.int64],
    measured: tuple[NDArray[np.float64], ...],
    range_m: NDArray[np.float64],
    range_valid: NDArray[np.bool_],
    heard: NDArray[np.bool_],
    age_ms: NDArray[np.float64],
    payload: NDArray[np.float64],
    hops: NDArray[np.int64],
    time_to_live_ms: float,
    commands: NDArray[np.float64],
    speeds: NDArray[np.float64],
    wanted_s: NDArray[np.float64],
    ahead_m: NDArray[np.float64],
    travelled_m: NDArray[np.float64],
    now_mps: NDArray[np.float64],
    now_mps2: NDArray[np.float64],
    said: NDArray[np.float64],
    said_ms: NDArray[np.int64],
    ego_bounds: NDArray[np.float64],
    peer_bounds: NDArray[np.float64],
    out_ego: NDArray[np.float32],
    out_peers: NDArray[np.float32],
    out_mask: NDArray[np.float32],
    soft_mps2: NDArray[np.float64],
    hard_mps2: NDArray[np.float64],
    least_mps2: NDArray[np.float64],
    messages: NDArray[np.int64],
    silent_share: NDArray[np.float64],
) -> tuple[int, int]:
    """Fill the observations of some convoys and move their memory of own speed on.

    Args:
        convoys: (n,) which convoys; row i of `measured` and of the outputs belongs to convoys[i].
        measured: x, y, speed, heading, acceleration, position sd of the ego, (n, V) each, slot 0.
        range_m: (E,), by the ranging sensor.
        range_valid: (E,), whether it sees a car.
        heard: (E, 1, S).
        age_ms: (E, 1, S), estimated.
        payload: (E, 1, S, F).
        hops: (E, 1, S).
        time_to_live_ms: Older peers are not shown.
        commands: (E, 2), the last two commanded accelerations.
        speeds: (E, ticks), own speed in the last ticks; moved on.
        wanted_s: (E,), the time gap that the driver has set.
        ahead_m: (E, S, S), see `PeerOrder`, as the next three.
        travelled_m: (E, S).
        now_mps: (E, S).
        now_mps2: (E, S).
        said: (E, S, HISTORY + 1, 2), see `message_history`.
        said_ms: (E, S, HISTORY + 1).
        ego_bounds: (3, 21), scale, low, high.
        peer_bounds: (3, 23), scale, low, high.
        out_ego: (n, 21).
        out_peers: (n, MAX_PEERS, 23), zeros.
        out_mask: (n, MAX_PEERS), zeros.
        soft_mps2: (E,), acceleration that silence still allows (`ml.onboard.safety_layer`).
        hard_mps2: (E,), largest acceleration that the safety layer lets pass; moved on.
        least_mps2: (E,), hardest braking that it lets a policy wish.
        messages: (E,), see `message_history`.
        silent_share: (E,), of the link to the nearest peer; moved on.

    Returns:
        Values clipped and values written.
    """
    num_sources = heard.shape[2]
    rows = np.zeros((num_sources, _NUM_PEER))
    predicted = np.zeros((NUM_PREDICTED, num_sources))
    ego = np.zeros(_NUM_EGO)
    fresh = np.zeros(num_sources, dtype=np.bool_)
    order = np.zeros(num_sources, dtype=np.int64)
    clipped = written = 0
    speed_mps, accel_mps2, sd_m = measured[2], measured[4], measured[5]
    for i in range(convoys.size):
        e = convoys[i]
        speed = speed_mps[i, 0]
        own = (measured[0][i, 0], measured[1][i, 0], math.radians(measured[3][i, 0]), sd_m[i, 0])
        for s in range(num_sources):
            fresh[s] = heard[e, 0, s] and age_ms[e, 0, s] <= time_to_live_ms
            if heard[e, 0, s]:
                age_s = age_ms[e, 0, s] / 1000.0
                _peer_row(
                    payload[e, 0, s],
                    age_s,
                    own,
                    (travelled_m[e, s], now_mps[e, s], now_mps2[e, s]),
                    s,
                    predicted,
                    rows[s],
                )
                _history(said[e, s], said_ms[e, s], rows[s])
                rows[s, P_HOPS] = hops[e, 0, s]
        queue_up(
            heard[e, 0], predicted[AGE], ahead_m[e], predicted[GAP], predicted[NOW], predicted[PULL]
        )
        count = _order_by_gap(predicted[GAP], heard[e, 0], order)
        if count > 0:
            silent_share[e] = silent_share_after(silent_share[e], predicted[AGE, order[0]])
        needed, missing, soft_mps2[e], hard_mps2[e], least_mps2[e] = bounds(
            speed,
            order[:count],
            predicted,
            messages[e],
            silent_share[e],
            wanted_s[e],
            hard_mps2[e],
        )
        for rank in range(count):
            s = order[rank]
            rows[s, P_GAP] = predicted[GAP, s]
            rows[s, P_TIME_GAP] = predicted[GAP, s] / max(speed, _SLOWEST_MPS)
            rows[s, P_RELATIVE] = predicted[NOW, s] - speed
            rows[s, P_BETWEEN] = rank
            rows[s, P_ROOM] = predicted[GAP, s] - rank * CAR_LENGTH_M
            rows[s, P_NEEDED] = predicted[NEEDED, s]
        shown = 0
        for s in range(num_sources):
            # With more peers than rows, the nearest are kept; else each keeps its own row.
            at = s if num_sources <= MAX_PEERS else shown
            if not fresh[s] or rows[s, P_BETWEEN] >= MAX_PEERS:
                continue
            clipped += _held(
                rows[s], peer_bounds[0], peer_bounds[1], peer_bounds[2], out_peers[i, at]
            )
            out_mask[i, at] = 1.0
            shown += 1

        ego[E_SPEED], ego[E_ACCEL], ego[E_SD] = speed, accel_mps2[i, 0], sd_m[i, 0]
        ego[E_COMMAND], ego[E_EARLIER] = commands[e, 0], commands[e, 1]
        ego[E_CHANGE] = speed - speeds[e, -1]
        ego[E_RANGE], ego[E_RANGE_VALID] = range_m[e], range_valid[e]
        _ego_of_peers(rows, fresh, order[:count], predicted, ego)
        ego[E_TIME_GAP] = ego[E_GAP] / max(speed, _SLOWEST_MPS)
        ego[E_GAP_ERROR] = ego[E_GAP] - wanted_gap_m(speed, wanted_s[e])
        ego[E_WANTED], ego[E_NEEDED] = wanted_s[e], needed
        ego[E_MISSING] = missing if count > 0 else 0.0
        clipped += _held(ego, ego_bounds[0], ego_bounds[1], ego_bounds[2], out_ego[i])
        written += _NUM_EGO + shown * _NUM_PEER
        for back in range(speeds.shape[1] - 1, 0, -1):
            speeds[e, back] = speeds[e, back - 1]
        speeds[e, 0] = speed
    return clipped, written
