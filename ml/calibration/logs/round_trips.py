"""Links of RTT logs: one board pings, the other echoes, and a loss may be on either way."""

from typing import Final

import numpy as np

from ml.calibration.logs.boards import STALLED_PERIODS
from ml.calibration.logs.link import LEFT_OUT, LOST, RECEIVED, Drive, Link
from ml.calibration.logs.reader import Log
from ml.calibration.logs.trajectories import trajectory
from ml.errors import LogError
from ml.espnow_emulator import GeoReference

PEER: Final = "echo"


def round_trip_link(log: Log, reference: GeoReference, drive: Drive) -> Link:
    """Make a two-way link of an RTT log.

    Where the echoes do not say where their board is, distances are NaN.

    Raises:
        LogError: A row that is neither lost nor came back, or a round trip that cannot be.
    """
    columns, sent_ms = log.columns, log.time_ms
    lost = columns["lost"] != 0.0
    rtt = np.where(lost, np.nan, columns["rtt_ms"])
    wrong = ~lost & ~(rtt >= 0.0)
    if wrong.any():
        line = int(log.lines[np.argmax(wrong)])
        raise LogError(
            f"{log.path}, line {line}, column rtt_ms: lost is 0, but there is no round trip. "
            "Correct the line, or set lost to 1."
        )
    period = float(np.median(np.diff(sent_ms))) if sent_ms.size > 1 else 0.0
    if period <= 0.0:
        raise LogError(f"{log.path}, line {int(log.lines[0])}: time does not advance.")
    double = np.diff(columns["sequence"], prepend=-1.0) == 0.0
    stalled = np.zeros(sent_ms.size, dtype=bool)
    # The echo of the last ping before a gap may have met a logger at a stand.
    stalled[:-1] = np.diff(sent_ms) > STALLED_PERIODS * period
    me = trajectory(reference, sent_ms, columns["lat"], columns["lon"], columns["speed"])
    counts = {"duplicate": int(double.sum()), "logger stalled": int(stalled.sum())}
    drive.drop(log, counts | me.dropped)
    here, there = me.at(sent_ms), np.full((sent_ms.size, 2), np.nan)
    outcome = np.where(lost, LOST, RECEIVED).astype(np.int8)
    if "peer_lat" in columns and "peer_lon" in columns:
        back = ~lost & ~double
        of_peer = (columns[name][back] for name in ("peer_lat", "peer_lon", "speed"))
        there = trajectory(reference, sent_ms[back], *of_peer).at(sent_ms)
        nowhere = ~np.isfinite(here + there).all(axis=1)
        missing = int((nowhere & ~double & ~stalled).sum())
        drive.drop(log, {"no position of one of the two": missing})
        outcome[nowhere] = LEFT_OUT
    outcome[double | stalled] = LEFT_OUT
    rtt[double | stalled] = np.nan
    stem = log.path.stem.removesuffix("-rtt").removesuffix("_rtt")
    elapsed_ms = np.clip(np.diff(sent_ms, prepend=sent_ms[0]), 0.0, None)
    return Link(
        source=str(log.names["vehicle_id"][0]) if "vehicle_id" in log.names else stem,
        receiver=PEER,
        two_way=True,
        time_s=sent_ms / 1000.0,
        receiver_s=sent_ms / 1000.0,
        outcome=outcome,
        distance_m=np.hypot(*(here - there).T),
        travel_m=me.speed_at(sent_ms) * elapsed_ms / 1000.0,
        between=np.zeros(sent_ms.size, dtype=np.int64),
        latency_ms=rtt,
        drive=drive.number,
    )
