"""From logs to links: for every beacon of a board, whether another had it, and where both were."""

from collections.abc import Sequence
from itertools import permutations
from typing import Final

import numpy as np
from scipy.ndimage import median_filter

from ml.arrays import Bools, Floats, Ints
from ml.calibration.logs.boards import STALLED_PERIODS, Board, gather
from ml.calibration.logs.clocks import align
from ml.calibration.logs.echoes import echoed_positions, when_fixed
from ml.calibration.logs.link import LEFT_OUT, LOST, RECEIVED, Drive, Link
from ml.calibration.logs.reader import Log
from ml.calibration.logs.schema import LogKind
from ml.calibration.logs.trajectories import reference_for, trajectory
from ml.errors import LogError
from ml.espnow_emulator import GeoReference

PEER: Final = "echo"
_AFTER_STALL_MS: Final = 60.0
_BESIDE_M, _BESIDE_SHARE = 12.0, 0.3
_LEAST_PAIRED: Final = 20
_STEADY_ROWS: Final = 601  # a minute


def read_drive(logs: Sequence[Log], number: int = 0) -> Drive:
    """Build all links that logs of one drive hold.

    Raises:
        LogError: Logs that do not belong together.
    """
    boards = gather(logs)
    drive = Drive(boards, number)
    every = [log for log in logs if log.kind is not LogKind.RX]
    reference = reference_for(
        np.concatenate([log.columns["lat"] for log in every] or [np.zeros(0)]),
        np.concatenate([log.columns["lon"] for log in every] or [np.zeros(0)]),
    )
    if reference is None:
        drive.notes.append("No log holds a position: nothing can be said about distance.")
        reference = GeoReference.at(0.0, 0.0)
    for board in boards:
        drive.drop(board.tx, board.dropped)
        columns = [board.of_its_own(name) for name in ("lat", "lon", "speed")]
        way = drive.ways[board.name] = trajectory(reference, board.time_ms, *columns)
        drive.drop(board.tx, way.dropped)
    heard = {
        (source.name, receiver.name): _heard(drive, source, receiver.rx, receiver.name)
        for source, receiver in permutations(boards, 2)
        if receiver.rx is not None
    }
    for board in boards:
        if board.rx is not None:
            _count_receptions(drive, board.name, board.rx)
    drive.links = [
        _one_way(drive, source, receiver, receiver.rx, heard[source.name, receiver.name])
        for source, receiver in permutations(boards, 2)
        if receiver.rx is not None and (source.name, receiver.name) in drive.clocks
    ]
    drive.round_trips = [
        _round_trip(log, reference, drive) for log in logs if log.kind is LogKind.RTT
    ]
    if not drive.links:
        drive.links += drive.round_trips[:1]
    return drive


def _heard(drive: Drive, source: Board, log: Log, receiver: str) -> Ints:
    """Rows of an RX log that came straight from the source, each message once."""
    stamps = log.columns["msg_timestamp"]
    rows = np.flatnonzero(
        (log.names["from_vehicle_id"] == source.name) & (log.columns["hop_count"] == 0)
    )
    _, first = np.unique(stamps[rows], return_index=True)
    rows = rows[np.sort(first)]
    known = np.isin(stamps[rows], source.of_its_own("msg_timestamp"))
    drive.drop(log, {"not in the sender's log": int((~known).sum())})
    rows = rows[known]
    line = align(stamps[rows], log.time_ms[rows], f"{source.tx.path} and {log.path}")
    if line is None:
        drive.notes.append(
            f"{source.name} → {receiver}: {rows.size} messages arrived, too few to align the "
            f"clocks ({_LEAST_PAIRED} are needed); the link is left out."
        )
    else:
        drive.clocks[source.name, receiver] = line
    return rows


def _count_receptions(drive: Drive, name: str, log: Log) -> None:
    names, hops = log.names["from_vehicle_id"], log.columns["hop_count"]
    known = np.isin(names, [other.name for other in drive.boards if other.name != name])
    direct = (hops == 0) & known
    messages = zip(names[direct], log.columns["msg_timestamp"][direct], strict=True)
    counts = {
        "relayed, not first-hand": int((hops > 0).sum()),
        "sender without a log": int((~known & (hops == 0)).sum()),
        "duplicate": int(direct.sum()) - len(set(messages)),
    }
    drive.drop(log, counts)


def _one_way(drive: Drive, source: Board, receiver: Board, log: Log, rows: Ints) -> Link:
    sent_ms, stamps = source.time_ms, source.of_its_own("msg_timestamp")
    at_ms = drive.clocks[source.name, receiver.name].to_receiver(stamps)
    rows = rows[np.argsort(log.columns["msg_timestamp"][rows], kind="stable")]
    heard = log.columns["msg_timestamp"][rows]
    place = np.clip(np.searchsorted(heard, stamps), 0, max(rows.size - 1, 0))
    got = heard[place] == stamps
    latency = np.where(got, log.time_ms[rows][place] - at_ms, np.nan)
    ways = drive.ways[source.name], drive.ways[receiver.name]
    xy = np.stack([ways[0].at(sent_ms), ways[1].at(at_ms)], axis=1)
    distance = np.hypot(*(xy[:, 0] - xy[:, 1]).T)
    begin = min(receiver.tx.time_ms[0], log.time_ms[0])
    end = max(receiver.tx.time_ms[-1], log.time_ms[-1])
    outside = (at_ms < begin) | (at_ms > end - receiver.period_ms)
    stalled = np.zeros(stamps.size, dtype=bool)
    for spell in receiver.stalls_ms:
        stalled |= (at_ms >= spell[0]) & (at_ms <= spell[1] + _AFTER_STALL_MS)
    nowhere = ~np.isfinite(distance)
    left_out = {
        "outside the receiver's log": outside,
        "receiver's logger stalled": stalled & ~outside,
        "no position of one of the two": nowhere & ~outside & ~stalled,
    }
    counts = {f"{why} ({receiver.name})": int(which.sum()) for why, which in left_out.items()}
    drive.drop(source.tx, counts)
    outcome = np.where(got, RECEIVED, LOST).astype(np.int8)
    outcome[outside | stalled | nowhere] = LEFT_OUT
    latency[outside | stalled] = np.nan
    speed = 0.5 * (ways[0].speed_at(sent_ms) + ways[1].speed_at(at_ms))
    return Link(
        source=source.name,
        receiver=receiver.name,
        two_way=False,
        time_s=drive.translate(source.name, drive.boards[0].name, stamps) / 1000.0,
        receiver_s=at_ms / 1000.0,
        outcome=outcome,
        distance_m=distance,
        travel_m=speed * np.diff(sent_ms, prepend=sent_ms[0]) / 1000.0,
        between=_between(drive, source.name, receiver.name, xy, stamps),
        latency_ms=latency,
        drive=drive.number,
    )


def _between(drive: Drive, source: str, receiver: str, xy: Floats, stamps: Floats) -> Ints:
    """Count the cars that stand between two, which are at `xy` (K, 2, 2), by where they are."""
    along = xy[:, 1] - xy[:, 0]
    squared = np.maximum((along**2).sum(axis=1), 1e-6)
    count = np.zeros(stamps.size, dtype=np.int64)
    for name in (board.name for board in drive.boards if board.name not in (source, receiver)):
        if not {(source, name), (name, source)} & drive.clocks.keys():
            continue
        where = drive.ways[name].at(drive.translate(source, name, stamps)) - xy[:, 0]
        share = (where * along).sum(axis=1) / squared
        beside = np.abs(where[:, 0] * along[:, 1] - where[:, 1] * along[:, 0]) / np.sqrt(squared)
        limit = np.maximum(_BESIDE_M, _BESIDE_SHARE * np.sqrt(squared))
        with np.errstate(invalid="ignore"):
            inside: Bools = (share > 0.0) & (share < 1.0) & (beside < limit)
        count += inside
    # Cars change places slowly; what changes for less is a position that is off or missing.
    steady: Ints = median_filter(count, size=_STEADY_ROWS, mode="nearest")
    return steady


def _round_trip(log: Log, reference: GeoReference, drive: Drive) -> Link:
    """Make a two-way link of an RTT log: one board pings, another echoes, a loss is on either way.

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
        of_peer = [columns[name][back] for name in ("peer_lat", "peer_lon", "speed")]
        fixed_ms = when_fixed(sent_ms[back], *of_peer[:2])
        way = trajectory(reference, fixed_ms, *of_peer)
        there = echoed_positions(way, me, sent_ms)
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
