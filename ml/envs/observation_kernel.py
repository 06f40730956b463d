"""The loop over convoys and peers that fills an observation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.envs.config import MAX_PEERS
from ml.envs.observation_spec import (
    EGO_FEATURES,
    EGO_INDEX,
    HISTORY,
    PEER_FEATURES,
    PEER_INDEX,
)
from ml.espnow_emulator import PayloadField
from ml.sumo.road import CAR_LENGTH_M

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SLOWEST_MPS = 2.0
_NOBODY_GAP_M = 150.0
_NOBODY_AGE_S = 10.0
_ACCEL_HORIZON_S = 1.0
_TURN_LIMIT = 2.0
_NEARLY_STRAIGHT = 1e-9

# What a kernel indexes with must be plain numbers.
_X, _Y, _SPEED, _HEADING, _ACCEL, _SD = (
    int(field)
    for field in (
        PayloadField.X_M,
        PayloadField.Y_M,
        PayloadField.SPEED_MPS,
        PayloadField.HEADING_DEG,
        PayloadField.ACCEL_MPS2,
        PayloadField.POSITION_SD_M,
    )
)
(
    _P_GAP,
    _P_TIME_GAP,
    _P_LATERAL,
    _P_RELATIVE,
    _P_SPEED,
    _P_ACCEL,
    _P_SIN,
    _P_COS,
    _P_AGE,
    _P_SD,
    _P_HOPS,
    _P_BETWEEN,
    _P_HISTORY,
) = (
    PEER_INDEX[name]
    for name in (
        "gap",
        "time_gap",
        "lateral",
        "relative_speed",
        "speed",
        "accel",
        "heading_sin",
        "heading_cos",
        "age",
        "position_sd",
        "hops",
        "cars_between",
        "accel_1_before",
    )
)
(
    _E_SPEED,
    _E_ACCEL,
    _E_COMMAND,
    _E_EARLIER,
    _E_CHANGE,
    _E_SD,
    _E_HEARD,
    _E_SILENCE,
    _E_GAP,
    _E_CLOSING,
    _E_TIME_GAP,
    _E_BRAKING,
    _E_RANGE,
    _E_RANGE_VALID,
) = (
    EGO_INDEX[name]
    for name in (
        "speed",
        "accel",
        "last_command",
        "earlier_command",
        "speed_change",
        "position_sd",
        "peers_heard",
        "silence",
        "nearest_gap",
        "nearest_closing",
        "nearest_time_gap",
        "hardest_braking",
        "range",
        "range_valid",
    )
)
_NUM_PEER = len(PEER_FEATURES)
_NUM_EGO = len(EGO_FEATURES)


@compiled
def remember_messages(
    heard: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    timestamp_ms: NDArray[np.int64],
    payload: NDArray[np.float64],
    known: NDArray[np.int64],
    said: NDArray[np.float64],
    said_ms: NDArray[np.int64],
) -> None:
    """Push what is new in the peer table onto each peer's short history.

    Args:
        heard: (E, 1, S); the table's, as the next three.
        sequence: (E, 1, S).
        timestamp_ms: (E, 1, S).
        payload: (E, 1, S, F).
        known: (E, S), sequence of the newest message in the history, −1 for none.
        said: (E, S, HISTORY + 1, 2), acceleration and speed, the newest first.
        said_ms: (E, S, HISTORY + 1), timestamps.
    """
    for e in range(known.shape[0]):
        for s in range(known.shape[1]):
            if not heard[e, 0, s] or sequence[e, 0, s] == known[e, s]:
                continue
            for back in range(HISTORY, 0, -1):
                said[e, s, back, 0] = said[e, s, back - 1, 0]
                said[e, s, back, 1] = said[e, s, back - 1, 1]
                said_ms[e, s, back] = said_ms[e, s, back - 1]
            said[e, s, 0, 0] = payload[e, 0, s, _ACCEL]
            said[e, s, 0, 1] = payload[e, 0, s, _SPEED]
            said_ms[e, s, 0] = timestamp_ms[e, 0, s]
            if known[e, s] < 0:  # before a peer's second message its past is its present
                for back in range(1, HISTORY + 1):
                    said[e, s, back, 0] = said[e, s, 0, 0]
                    said[e, s, back, 1] = said[e, s, 0, 1]
                    said_ms[e, s, back] = said_ms[e, s, 0]
            known[e, s] = sequence[e, 0, s]


@compiled
def _peer_row(
    message: NDArray[np.float64],
    age_s: float,
    own_x: float,
    own_y: float,
    own_speed: float,
    own_heading: float,
    row: NDArray[np.float64],
) -> None:
    """Write a peer's present into its row, in the features' own units."""
    speed, accel = message[_SPEED], message[_ACCEL]
    # Prediction to now: the reported acceleration for at most a second, never backwards.
    fading = min(age_s, _ACCEL_HORIZON_S)
    speed_now = speed + accel * fading
    if speed_now <= 0.0 and accel < 0.0:
        speed_now = 0.0
        travelled = speed * speed / (-2.0 * accel)
    else:
        travelled = 0.5 * (speed + speed_now) * fading + speed_now * (age_s - fading)

    east, north = message[_X] - own_x, message[_Y] - own_y
    turn = math.radians(message[_HEADING]) - own_heading
    turn -= 2.0 * math.pi * math.floor((turn + math.pi) / (2.0 * math.pi))
    # On an arc the chord points along the mean of the two headings, whatever the noise across.
    mean = own_heading + 0.5 * turn
    sin_mean, cos_mean = math.sin(mean), math.cos(mean)
    ahead = east * sin_mean + north * cos_mean
    half = min(max(0.5 * turn, -0.5 * _TURN_LIMIT), 0.5 * _TURN_LIMIT)
    if abs(half) > _NEARLY_STRAIGHT:
        ahead *= half / math.sin(half)
    gap = ahead + travelled - CAR_LENGTH_M

    row[_P_GAP] = gap
    row[_P_TIME_GAP] = gap / max(own_speed, _SLOWEST_MPS)
    row[_P_LATERAL] = north * sin_mean - east * cos_mean
    row[_P_RELATIVE] = speed_now - own_speed
    row[_P_SPEED] = speed
    row[_P_ACCEL] = accel
    row[_P_SIN] = math.sin(turn)
    row[_P_COS] = math.cos(turn)
    row[_P_AGE] = age_s
    row[_P_SD] = message[_SD]


@compiled
def _ego_row(
    speed_mps: float,
    accel_mps2: float,
    position_sd_m: float,
    commands: NDArray[np.float64],
    speed_change_mps: float,
    row: NDArray[np.float64],
) -> None:
    """Write what the ego knows of itself into its row, in the features' own units."""
    row[_E_SPEED] = speed_mps
    row[_E_ACCEL] = accel_mps2
    row[_E_COMMAND] = commands[0]
    row[_E_EARLIER] = commands[1]
    row[_E_CHANGE] = speed_change_mps
    row[_E_SD] = position_sd_m


@compiled
def _order_by_gap(
    rows: NDArray[np.float64], fresh: NDArray[np.bool_], order: NDArray[np.int64]
) -> int:
    """Fill `order` with the fresh peers, nearest first (insertion sort); return their number."""
    count = 0
    for s in range(fresh.size):
        if not fresh[s]:
            continue
        at = count
        while at > 0 and rows[order[at - 1], _P_GAP] > rows[s, _P_GAP]:
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
    said: NDArray[np.float64],
    said_ms: NDArray[np.int64],
    ego_bounds: NDArray[np.float64],
    peer_bounds: NDArray[np.float64],
    out_ego: NDArray[np.float32],
    out_peers: NDArray[np.float32],
    out_mask: NDArray[np.float32],
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
        said: (E, S, HISTORY + 1, 2), see `remember_messages`.
        said_ms: (E, S, HISTORY + 1).
        ego_bounds: (3, 14), scale, low, high.
        peer_bounds: (3, 21), scale, low, high.
        out_ego: (n, 14).
        out_peers: (n, MAX_PEERS, 21), zeros.
        out_mask: (n, MAX_PEERS), zeros.

    Returns:
        Values clipped and values written.
    """
    num_sources = heard.shape[2]
    rows = np.zeros((num_sources, _NUM_PEER))
    ego = np.zeros(_NUM_EGO)
    fresh = np.zeros(num_sources, dtype=np.bool_)
    order = np.zeros(num_sources, dtype=np.int64)
    clipped = written = 0
    x_m, y_m, speed_mps, heading_deg, accel_mps2, sd_m = measured
    for i in range(convoys.size):
        e = convoys[i]
        speed = speed_mps[i, 0]
        heading = math.radians(heading_deg[i, 0])
        silence = _NOBODY_AGE_S
        braking = 0.0
        for s in range(num_sources):
            fresh[s] = heard[e, 0, s] and age_ms[e, 0, s] <= time_to_live_ms
            if not fresh[s]:
                continue
            age_s = age_ms[e, 0, s] / 1000.0
            _peer_row(payload[e, 0, s], age_s, x_m[i, 0], y_m[i, 0], speed, heading, rows[s])
            rows[s, _P_HOPS] = hops[e, 0, s]
            for back in range(1, HISTORY + 1):
                at = _P_HISTORY + 3 * (back - 1)
                rows[s, at] = said[e, s, back, 0]
                rows[s, at + 1] = said[e, s, back, 1] - rows[s, _P_SPEED]
                rows[s, at + 2] = (said_ms[e, s, 0] - said_ms[e, s, back]) / 1000.0
            silence = min(silence, age_s)
            braking = max(braking, -rows[s, _P_ACCEL])

        count = _order_by_gap(rows, fresh, order)
        for rank in range(count):
            rows[order[rank], _P_BETWEEN] = rank
        shown = 0
        for s in range(num_sources):
            # With more peers than rows, the nearest are kept; else each keeps its own row.
            at = s if num_sources <= MAX_PEERS else shown
            if not fresh[s] or rows[s, _P_BETWEEN] >= MAX_PEERS:
                continue
            clipped += _held(
                rows[s], peer_bounds[0], peer_bounds[1], peer_bounds[2], out_peers[i, at]
            )
            out_mask[i, at] = 1.0
            shown += 1

        gap, closing = _NOBODY_GAP_M, 0.0
        if count > 0:
            gap, closing = rows[order[0], _P_GAP], -rows[order[0], _P_RELATIVE]
        change = speed - speeds[e, -1]
        _ego_row(speed, accel_mps2[i, 0], sd_m[i, 0], commands[e], change, ego)
        ego[_E_HEARD] = count
        ego[_E_SILENCE] = silence
        ego[_E_GAP] = gap
        ego[_E_CLOSING] = closing
        ego[_E_TIME_GAP] = gap / max(speed, _SLOWEST_MPS)
        ego[_E_BRAKING] = braking
        ego[_E_RANGE], ego[_E_RANGE_VALID] = range_m[e], range_valid[e]
        clipped += _held(ego, ego_bounds[0], ego_bounds[1], ego_bounds[2], out_ego[i])
        written += _NUM_EGO + shown * _NUM_PEER
        for back in range(speeds.shape[1] - 1, 0, -1):
            speeds[e, back] = speeds[e, back - 1]
        speeds[e, 0] = speed
    return clipped, written
