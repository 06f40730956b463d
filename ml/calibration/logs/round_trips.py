"""Links of RTT logs: one board pings, the other echoes, and a loss may be on either way."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.logs.links import LEFT_OUT, LOST, RECEIVED, Drive, Link
from ml.calibration.logs.trajectories import trajectory
from ml.errors import LogError

if TYPE_CHECKING:
    from ml.calibration.logs.reader import Log
    from ml.espnow_emulator import GeoReference

_STALLED_PERIODS: Final = 2.5
_UNKNOWN_DISTANCE_M: Final = 20.0
PEER: Final = "echo"


def round_trip_link(log: Log, reference: GeoReference, drive: Drive, number: int) -> Link:
    """Make a two-way link of an RTT log.

    Where the echoes do not say where their board is, distances are NaN.

    Raises:
        LogError: A row that is neither lost nor came back, or a round trip that cannot be.
    """
    columns = log.columns
    lost = columns["lost"] != 0.0
    rtt = np.where(lost, np.nan, columns["rtt_ms"])
    wrong = ~lost & ~(rtt >= 0.0)
    if wrong.any():
        line = int(log.lines[np.argmax(wrong)])
        raise LogError(
            f"{log.path}, line {line}, column rtt_ms: lost is 0, but there is no round trip. "
            "Correct the line, or set lost to 1."
        )
    sent_ms = columns["send_time_ms"]
    reasons = drive.dropped.setdefault(str(log.path), Counter())
    double = np.diff(columns["sequence"], prepend=-1.0) == 0.0
    reasons["duplicate"] = int(double.sum())
    period = float(np.median(np.diff(sent_ms))) if sent_ms.size > 1 else 0.0
    if period <= 0.0:
        raise LogError(f"{log.path}, line {int(log.lines[0])}: time does not advance.")
    gap = np.diff(sent_ms, prepend=sent_ms[0] - period)
    stalled = np.zeros(sent_ms.size, dtype=bool)
    stalled[:-1] = gap[1:] > _STALLED_PERIODS * period  # its echo may have met a logger at a stand
    reasons["logger stalled"] = int(stalled.sum())
    me = trajectory(reference, sent_ms, columns["lat"], columns["lon"], columns["speed"])
    reasons["position glitch"] = me.glitches
    reasons["no position yet"] = me.no_fix
    xy = np.full((sent_ms.size, 2, 2), np.nan)
    xy[:, 0] = me.at(sent_ms)
    outcome = np.where(lost, LOST, RECEIVED).astype(np.int8)
    if "peer_lat" in columns and "peer_lon" in columns:
        back = np.flatnonzero(~lost & ~double)
        peer = trajectory(
            reference,
            sent_ms[back],
            columns["peer_lat"][back],
            columns["peer_lon"][back],
            columns["speed"][back],
        )
        xy[:, 1] = peer.at(sent_ms)
        nowhere = ~np.isfinite(xy).all(axis=(1, 2))
        reasons["no position of one of the two"] = int((nowhere & ~double & ~stalled).sum())
        outcome[nowhere] = LEFT_OUT
    outcome[double | stalled] = LEFT_OUT
    rtt[double | stalled] = np.nan
    speed = me.speed_at(sent_ms)
    name = str(log.names["vehicle_id"][0]) if "vehicle_id" in log.names else _stem(log)
    return Link(
        source=name,
        receiver=PEER,
        two_way=True,
        time_s=sent_ms / 1000.0,
        receiver_s=sent_ms / 1000.0,
        outcome=outcome,
        distance_m=np.hypot(*(xy[:, 0] - xy[:, 1]).T),
        travel_m=speed * np.clip(np.diff(sent_ms, prepend=sent_ms[0]), 0.0, None) / 1000.0,
        between=np.zeros(sent_ms.size, dtype=np.int64),
        latency_ms=rtt,
        xy_m=xy,
        drive=number,
    )


def _stem(log: Log) -> str:
    return log.path.stem.removesuffix("-rtt").removesuffix("_rtt")
