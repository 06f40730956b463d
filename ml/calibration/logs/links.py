"""From logs to links: for every beacon of a board, whether another had it, and where both were."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from scipy.ndimage import median_filter

from ml.arrays import Bools, Floats, Ints
from ml.calibration.logs.boards import STALLED_PERIODS, Receiver, Sender, gather, sender_of
from ml.calibration.logs.clocks import ClockLine, align
from ml.calibration.logs.echoes import echoed_positions, when_fixed
from ml.calibration.logs.link import LEFT_OUT, LOST, RECEIVED, Drive, Link
from ml.calibration.logs.reader import Log
from ml.calibration.logs.receptions import (
    LEAST_PAIRED,
    by_sequence,
    counted,
    first_hand,
    gaps_of,
    matched,
)
from ml.calibration.logs.schema import LogKind
from ml.calibration.logs.trajectories import Trajectory, reference_for, trajectory
from ml.calibration.logs.units import check_units
from ml.errors import LogError
from ml.espnow_emulator import GeoReference

PEER: Final = "echo"
_AFTER_STALL_MS: Final = 60.0
_BESIDE_M, _BESIDE_SHARE = 12.0, 0.3
_STEADY_ROWS: Final = 601  # a minute
_HEARD_BRIDGED_MS: Final = 60_000.0
_SUPPOSED_MPS: Final = 10.0
_MOST_WANDER_M: Final = 30.0
_LEAST_PLACED: Final = 0.5
_MOST_MISSING: Final = 50
_POSITIONS: Final = (("lat", "lon"), ("receiver_lat", "receiver_lon"), ("peer_lat", "peer_lon"))


def read_drive(
    logs: Sequence[Log],
    number: int = 0,
    *,
    distance_m: float | None = None,
) -> Drive:
    """Build all links that logs of one drive hold.

    Args:
        logs: Of one drive.
        number: Of the drive.
        distance_m: Between two boards that did not move.

    Raises:
        LogError: Logs that do not belong together, or hold other units than they say.
    """
    for log in logs:
        check_units(log)
    boards, receivers = gather(logs)
    drive = Drive(boards, number, distance_m=distance_m)
    reference = _reference(logs)
    if reference is None and distance_m is None:
        drive.notes.append("No log holds a position: nothing can be said about distance.")
    reference = reference or GeoReference.at(0.0, 0.0)
    for board in boards:
        drive.drop(board.tx, board.dropped)
        columns = [board.of_its_own(name) for name in ("lat", "lon", "speed")]
        way = drive.ways[board.name] = trajectory(reference, board.time_ms, *columns)
        drive.drop(board.tx, way.dropped)
    senders = {board.name: sender_of(board) for board in boards}
    drive.rows_ahead_ms = {
        name: float(np.median(sender.sent_ms - sender.stamps_ms))
        for name, sender in senders.items()
    }
    heard = {
        (name, receiver.name): found
        for receiver in receivers
        for name in sorted({*senders, *receiver.rx.names["from_vehicle_id"].tolist()})
        if name != receiver.name
        and (found := _heard(drive, receiver, name, senders.get(name))) is not None
    }
    _ways_of_the_heard(drive, receivers, heard, reference)
    for receiver in receivers:
        _count_receptions(drive, receiver, {n for n, at in heard if at == receiver.name})
    drive.links = [
        _one_way(drive, heard[name, receiver.name], receiver)
        for name, receiver in sorted(
            (
                (name, receiver)
                for receiver in receivers
                for name, at in heard
                if at == receiver.name
            ),
            key=lambda pair: (pair[0], pair[1].name),
        )
    ]
    drive.round_trips = [
        _round_trip(log, reference, drive) for log in logs if log.kind is LogKind.RTT
    ]
    if not drive.links:
        drive.links += drive.round_trips[:1]
    _check_standing(drive)
    return drive


def _reference(logs: Sequence[Log]) -> GeoReference | None:
    """Return the plane of a drive, of the boards' own positions if there are any."""
    own = [log for log in logs if log.kind is not LogKind.RX]
    for some in (own, logs):
        pairs = [
            (log.columns[lat], log.columns[lon])
            for log in some
            for lat, lon in _POSITIONS
            if lat in log.columns and lon in log.columns
        ]
        if some is own:
            pairs = [(log.columns["lat"], log.columns["lon"]) for log in own]
        found = pairs and reference_for(
            *(np.concatenate(axis) for axis in zip(*pairs, strict=True))
        )
        if found:
            return found
    return None


class _Heard(NamedTuple):
    """What one board heard of another."""

    sender: Sender  # Who sent, and what
    rows: Ints  # (R,) of the RX log, messages that count, each once
    stamps_ms: Floats  # (R,) their timestamps
    own_clock: bool  # Whether the sender's clock was heard, too


def _heard(drive: Drive, receiver: Receiver, name: str, sender: Sender | None) -> _Heard | None:
    """Find what a receiver heard of a board, and how their clocks run; None for too little."""
    log, to = receiver.rx, receiver.name
    rows = first_hand(log, name)
    own_clock = "msg_timestamp" in log.columns
    if sender is not None:
        rows, stamps, dropped = (matched if own_clock else by_sequence)(log, sender, rows)
        own_clock = True
        drive.drop(log, dropped)
        who = f"{sender.tx.path if sender.tx else name} and {log.path}"
    elif "sequence" in log.columns:
        found = counted(log, name, rows)
        if found is None:
            return None
        sender, rows, stamps = found
        who = f"{name} in {log.path}"
        if not own_clock and any(source == name for source, _ in drive.clocks):
            raise LogError(
                f"{log.path}: {name!r} is heard in another log, too, and without its own clock "
                "(msg_timestamp) the two cannot be joined. Put each log into a folder of its own."
            )
    else:
        return None
    line = align(stamps, log.time_ms[rows], who) if own_clock else ClockLine(0.0, 0.0, 0.0)
    if line is None:
        drive.notes.append(
            f"{name} → {to}: {rows.size} messages arrived, too few to align the "
            f"clocks ({LEAST_PAIRED} are needed); the link is left out."
        )
        return None
    drive.clocks[name, to] = line
    return _Heard(sender, rows, stamps, own_clock)


def _ways_of_the_heard(
    drive: Drive,
    receivers: Sequence[Receiver],
    heard: Mapping[tuple[str, str], _Heard],
    reference: GeoReference,
) -> None:
    """Lay out the ways of boards without a TX log, by what others logged of them."""
    pieces: dict[str, list[Floats]] = {}
    for receiver in receivers:
        log = receiver.rx
        for (name, at), found in heard.items():
            if at == receiver.name and found.sender.tx is None:
                pose = [log.columns[column][found.rows] for column in ("lat", "lon", "speed")]
                pieces.setdefault(name, []).append(np.stack([found.stamps_ms, *pose]))
        if receiver.board is None and "receiver_lat" in log.columns:
            unknown = np.full(log.rows, np.nan)
            own = [log.columns.get(f"receiver_{c}", unknown) for c in ("lat", "lon", "speed")]
            pieces.setdefault(receiver.name, []).append(np.stack([log.time_ms, *own]))
    for name, several in pieces.items():
        if name not in drive.ways:
            rows = np.concatenate(several, axis=1)
            rows = rows[:, np.argsort(rows[0], kind="stable")]
            drive.ways[name] = trajectory(reference, *rows, bridged_ms=_HEARD_BRIDGED_MS)
    nothing = np.zeros(0)
    for name in {name for pair in heard for name in pair}:
        drive.ways.setdefault(name, trajectory(reference, *[nothing] * 4))


def _count_receptions(drive: Drive, receiver: Receiver, known_names: set[str]) -> None:
    log = receiver.rx
    names, hops = log.names["from_vehicle_id"], log.columns["hop_count"]
    known = np.isin(
        names, [*known_names, *(b.name for b in drive.boards if b.name != receiver.name)]
    )
    direct = (hops == 0) & known
    message = log.columns.get("msg_timestamp", log.columns.get("sequence"))
    assert message is not None  # noqa: S101 - the reader has looked
    messages = zip(names[direct], message[direct], strict=True)
    counts = {
        "relayed, not first-hand": int((hops > 0).sum()),
        "sender without a log": int((~known & (hops == 0)).sum()),
    }
    if "msg_timestamp" in log.columns:
        counts["duplicate"] = int(direct.sum()) - len(set(messages))
    drive.drop(log, counts)


def _one_way(drive: Drive, heard: _Heard, receiver: Receiver) -> Link:
    sender, log = heard.sender, receiver.rx
    stamps, sent_ms = sender.stamps_ms, sender.sent_ms
    at_ms = drive.clocks[sender.name, receiver.name].to_receiver(stamps)
    order = np.argsort(heard.stamps_ms, kind="stable")
    rows, known_ms = heard.rows[order], heard.stamps_ms[order]
    place = np.clip(np.searchsorted(known_ms, stamps), 0, max(rows.size - 1, 0))
    got = known_ms[place] == stamps
    latency = np.where(got, log.time_ms[rows][place] - at_ms, np.nan)
    ways = drive.ways[sender.name], drive.ways[receiver.name]
    xy = np.stack([ways[0].at(sent_ms), ways[1].at(at_ms)], axis=1)
    begin, end = receiver.span_ms
    outside = (at_ms < begin) | (at_ms > end)
    if receiver.board is None:
        outside &= ~got  # it is heard in the first and in the last row
    stalled = np.zeros(stamps.size, dtype=bool)
    for spell in receiver.stalls_ms:
        stalled |= (at_ms >= spell[0]) & (at_ms <= spell[1] + _AFTER_STALL_MS)
    distance, nowhere = _placed(drive, xy, ~(outside | stalled))
    left_out = {
        "outside the receiver's log": outside,
        "receiver's logger stalled": stalled & ~outside,
        "no position of one of the two": nowhere & ~outside & ~stalled,
    }
    counts = {f"{why} ({receiver.name})": int(which.sum()) for why, which in left_out.items()}
    drive.drop(sender.tx or log, counts)
    outcome = np.where(got, RECEIVED, LOST).astype(np.int8)
    outcome[outside | stalled | nowhere] = LEFT_OUT
    latency[outside | stalled | (not heard.own_clock)] = np.nan
    travel, speed_known = _travelled(drive, ways, (sent_ms, at_ms))
    return Link(
        source=sender.name,
        receiver=receiver.name,
        two_way=False,
        time_s=_common_ms(drive, sender.name, sent_ms) / 1000.0,
        receiver_s=at_ms / 1000.0,
        outcome=outcome,
        distance_m=distance,
        travel_m=travel,
        between=_between(drive, sender.name, receiver.name, xy, sent_ms),
        latency_ms=latency,
        drive=drive.number,
        speed_known=speed_known,
    )


def _common_ms(drive: Drive, name: str, time_ms: Floats) -> Floats:
    """Translate times into the clock that all links of a drive share, the first board's."""
    first = min(
        {name for pair in drive.clocks for name in pair} | {b.name for b in drive.boards[:1]}
    )
    common = drive.boards[0].name if drive.boards else first
    return drive.translate(name, common, time_ms)


def _placed(drive: Drive, xy: Floats, counts: Bools) -> tuple[Floats, Bools]:
    """Return distances (K,) of two boards at `xy` (K, 2, 2), and which rows go for want of one.

    A link at least half of whose rows `counts` (K,) have positions goes without the others. Of one
    that has fewer every row stays, at an unknown distance: what does not need it can still be told.
    """
    if drive.distance_m is not None:
        return np.full(len(xy), drive.distance_m), np.zeros(len(xy), dtype=bool)
    distance = np.hypot(*(xy[:, 0] - xy[:, 1]).T)
    nowhere: Bools = ~np.isfinite(distance)
    if nowhere[counts].sum() > (1.0 - _LEAST_PLACED) * np.count_nonzero(counts):
        return np.full(len(xy), np.nan), np.zeros(len(xy), dtype=bool)
    return distance, nowhere


def _travelled(
    drive: Drive, ways: Sequence[Trajectory], times_ms: Sequence[Floats]
) -> tuple[Floats, bool]:
    """Return what cars travelled on average since the row before (K,), and if that is known."""
    elapsed_s = np.clip(np.diff(times_ms[0], prepend=times_ms[0][:1]), 0.0, None) / 1000.0
    if drive.distance_m is not None:
        return np.zeros(elapsed_s.size), True
    speeds = [way.speed_at(at) for way, at in zip(ways, times_ms, strict=True) if way.speed_known]
    if not speeds:
        return _SUPPOSED_MPS * elapsed_s, False
    return np.mean(speeds, axis=0) * elapsed_s, True


def _check_standing(drive: Drive) -> None:
    """Hold the distance that the user says against boards and fixes.

    Raises:
        LogError: More than two boards, or fixes that say otherwise.
    """
    if drive.distance_m is None:
        return
    names = {name for link in drive.links for name in link.pair}
    if len(names) > 2:  # noqa: PLR2004 - a pair
        raise LogError(
            f"--distance-m is the distance of two boards; these logs hold "
            f"{', '.join(sorted(names))}. Name the logs of two."
        )
    for name, way in drive.ways.items():
        if way.time_ms.size == 0:
            continue
        reach = np.hypot(
            *(np.subtract(*np.percentile(x, [90.0, 10.0])) for x in (way.east_m, way.north_m))
        )
        if reach > max(_MOST_WANDER_M, 0.5 * drive.distance_m):
            raise LogError(
                f"--distance-m {drive.distance_m:g}: but {name!r} moved, its fixes lie "
                f"{reach:.0f} m apart. Leave the option out, or name the logs of boards that stood."
            )


def _between(drive: Drive, source: str, receiver: str, xy: Floats, sent_ms: Floats) -> Ints:
    """Count the cars that stand between two, which are at `xy` (K, 2, 2), by where they are.

    `sent_ms` (K,) is when, in the source's clock.
    """
    along = xy[:, 1] - xy[:, 0]
    squared = np.maximum((along**2).sum(axis=1), 1e-6)
    count = np.zeros(sent_ms.size, dtype=np.int64)
    for name in sorted(drive.ways.keys() - {source, receiver}):
        if drive.clocks_between(source, name) is None:
            continue
        where = drive.ways[name].at(drive.translate(source, name, sent_ms)) - xy[:, 0]
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
    log = _with_lost(log)
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
        peer = trajectory(reference, fixed_ms, *of_peer, own_speed=False)
        there = echoed_positions(peer, me, sent_ms)
    distance, nowhere = _placed(drive, np.stack([here, there], axis=1), ~double & ~stalled)
    missing = int((nowhere & ~double & ~stalled).sum())
    drive.drop(log, {"no position of one of the two": missing})
    outcome[nowhere | double | stalled] = LEFT_OUT
    rtt[double | stalled] = np.nan
    if "lost" in log.lacks and not lost.any():
        drive.notes.append(
            f"{log.path.name}: it has neither a column lost nor numbers that are missing in its "
            "sequence: pings that did not come back cannot be told, only latency. Log them, too: a "
            "row each, with lost = 1, or a sequence that counts them."
        )
        outcome[:] = LEFT_OUT
    stem = log.path.stem.removesuffix("-rtt").removesuffix("_rtt")
    travel, speed_known = _travelled(drive, [me], [sent_ms])
    return Link(
        source=str(log.names["vehicle_id"][0]) if "vehicle_id" in log.names else stem,
        receiver=PEER,
        two_way=True,
        time_s=sent_ms / 1000.0,
        receiver_s=sent_ms / 1000.0,
        outcome=outcome,
        distance_m=distance,
        travel_m=travel,
        between=np.zeros(sent_ms.size, dtype=np.int64),
        latency_ms=rtt,
        drive=drive.number,
        speed_known=speed_known,
    )


def _with_lost(log: Log) -> Log:
    """Put in the pings that a log without a column for them leaves out, by its sequence."""
    sequence = log.columns["sequence"]
    if "lost" not in log.lacks or "sequence" in log.lacks or (np.diff(sequence) < 0.0).any():
        return log
    missing = gaps_of(sequence).astype(np.float64)
    if missing.size > _MOST_MISSING * sequence.size:
        raise LogError(
            f"{log.path}, column sequence: it goes from {sequence[0]:.0f} to {sequence[-1]:.0f} in "
            f"{sequence.size:,} rows. It does not count pings one by one: leave it out."
        )
    order = np.argsort(np.concatenate([sequence, missing]), kind="stable")

    def joined(values: Floats, of_missing: Floats | float) -> Floats:
        more = np.broadcast_to(of_missing, missing.shape)
        return np.concatenate([values, more])[order]

    at = np.interp(missing, sequence, log.columns["send_time_ms"])
    told = {"sequence": missing, "send_time_ms": at, "lost": np.ones(missing.size)}
    columns = {name: joined(values, told.get(name, np.nan)) for name, values in log.columns.items()}
    names = {name: values[np.minimum(order, log.rows - 1)] for name, values in log.names.items()}
    lines = log.lines[np.searchsorted(sequence, columns["sequence"], side="right") - 1]
    return replace(log, columns=columns, names=names, lines=lines)
