"""From logs to links: for every beacon of a board, whether another had it, and where both were."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import median_filter

from ml.calibration.logs.boards import Board, gather
from ml.calibration.logs.clocks import ClockLine, align
from ml.calibration.logs.schema import LogKind
from ml.calibration.logs.trajectories import Trajectory, reference_for, trajectory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ml.calibration.logs.reader import Log

LOST, RECEIVED, LEFT_OUT = 0, 1, -1
_AFTER_STALL_MS: Final = 60.0
_BESIDE_M, _BESIDE_SHARE = 12.0, 0.3
_LEAST_PAIRED: Final = 20
_STEADY_ROWS: Final = 601  # a minute


@dataclass(frozen=True, slots=True)
class Link:
    """The beacons of one board at another, or the pings of one board and their echoes.

    Attributes:
        source: Who sends.
        receiver: Who receives, or echoes.
        two_way: Whether a loss may have happened on either way.
        time_s: (K,) in a clock common to all links of a drive.
        receiver_s: (K,) in the receiver's clock; for pings in the sender's.
        outcome: (K,) int8, LOST, RECEIVED or LEFT_OUT.
        distance_m: (K,) between the antennas, NaN where unknown.
        travel_m: (K,), the mean of what both cars travelled since the row before.
        between: (K,) int64, cars that stood between.
        latency_ms: (K,), in excess of the fastest; for pings the round trip; NaN where lost.
        xy_m: (K, 2, 2), where sender and receiver were.
        drive: Number of the drive.
    """

    source: str
    receiver: str
    two_way: bool
    time_s: NDArray[np.float64]
    receiver_s: NDArray[np.float64]
    outcome: NDArray[np.int8]
    distance_m: NDArray[np.float64]
    travel_m: NDArray[np.float64]
    between: NDArray[np.int64]
    latency_ms: NDArray[np.float64]
    xy_m: NDArray[np.float64]
    drive: int = 0

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.source} {'⇄' if self.two_way else '→'} {self.receiver}"

    @property
    def pair(self) -> tuple[str, str]:
        """The two boards, in order of their names."""
        one, other = sorted((self.source, self.receiver))
        return one, other

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(K,) bool, rows whose loss counts."""
        scored: NDArray[np.bool_] = self.outcome != LEFT_OUT
        return scored

    @property
    def lost(self) -> NDArray[np.bool_]:
        """(K,) bool."""
        lost: NDArray[np.bool_] = self.outcome == LOST
        return lost


@dataclass(slots=True)
class Drive:
    """All that the logs of one drive hold.

    Attributes:
        boards: With TX logs.
        links: One-way ones, and two-way ones of pairs without.
        round_trips: Two-way links of all RTT logs.
        clocks: (source, receiver) to the line of their clocks.
        ways: Of each board.
        dropped: File to reason to rows.
        notes: What else was noticed.
    """

    boards: list[Board]
    links: list[Link]
    round_trips: list[Link]
    clocks: dict[tuple[str, str], ClockLine]
    ways: dict[str, Trajectory]
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_drive(logs: Sequence[Log], number: int = 0) -> Drive:
    """Build all links that logs of one drive hold.

    Raises:
        LogError: Logs that do not belong together.
    """
    boards = gather(logs)
    drive = Drive(boards, [], [], {}, {})
    for board in boards:
        drive.dropped |= board.dropped
    every = [log for log in logs if log.kind is not LogKind.RX]
    reference = reference_for(
        np.concatenate([log.columns["lat"] for log in every] or [np.zeros(0)]),
        np.concatenate([log.columns["lon"] for log in every] or [np.zeros(0)]),
    )
    if reference is None:
        drive.notes.append("No log holds a position: nothing can be said about distance.")
        reference = reference_for(np.ones(1), np.ones(1))
    assert reference is not None  # noqa: S101 - (1, 1) is somewhere
    for board in boards:
        columns, own = board.tx.columns, board.own
        drive.ways[board.name] = trajectory(
            reference,
            board.tx.time_ms[own],
            columns["lat"][own],
            columns["lon"][own],
            columns["speed"][own],
        )
        _count_positions(drive, str(board.tx.path), drive.ways[board.name])
    heard = {
        (source.name, receiver.name): _heard(drive, source, receiver)
        for source, receiver in permutations(boards, 2)
        if receiver.rx is not None
    }
    for board in boards:
        if board.rx is not None:
            _count_receptions(drive, board)
    drive.links = [
        _one_way(drive, source, receiver, heard[source.name, receiver.name], number)
        for source, receiver in permutations(boards, 2)
        if (source.name, receiver.name) in drive.clocks
    ]
    paired = {link.pair for link in drive.links}
    for log in logs:
        if log.kind is LogKind.RTT:
            from ml.calibration.logs.round_trips import round_trip_link  # noqa: PLC0415 (it needs us)

            link = round_trip_link(log, reference, drive, number)
            drive.round_trips.append(link)
            if link.pair not in paired and not drive.links:
                drive.links.append(link)
    return drive


def _count_positions(drive: Drive, path: str, way: Trajectory) -> None:
    reasons = drive.dropped.setdefault(path, Counter())
    reasons["position glitch"] += way.glitches
    reasons["no position yet"] += way.no_fix


def _heard(drive: Drive, source: Board, receiver: Board) -> NDArray[np.int64]:
    """Rows of the receiver's RX log that came straight from the source, each message once."""
    log = receiver.rx
    assert log is not None  # noqa: S101 - asked for such boards only
    rows = np.flatnonzero(
        (log.names["from_vehicle_id"] == source.name) & (log.columns["hop_count"] == 0)
    )
    _, first = np.unique(log.columns["msg_timestamp"][rows], return_index=True)
    rows = rows[np.sort(first)]
    known = np.isin(
        log.columns["msg_timestamp"][rows], source.tx.columns["msg_timestamp"][source.own]
    )
    reasons = drive.dropped.setdefault(str(log.path), Counter())
    reasons["not in the sender's log"] += int((~known).sum())
    rows = rows[known]
    line = align(
        log.columns["msg_timestamp"][rows],
        log.time_ms[rows],
        f"{source.tx.path} and {log.path}",
    )
    if line is None:
        drive.notes.append(
            f"{source.name} → {receiver.name}: {rows.size} messages arrived, too few to align the "
            f"clocks ({_LEAST_PAIRED} are needed); the link is left out."
        )
    else:
        drive.clocks[source.name, receiver.name] = line
    return rows


def _count_receptions(drive: Drive, board: Board) -> None:
    log = board.rx
    assert log is not None  # noqa: S101 - asked for such boards only
    reasons = drive.dropped.setdefault(str(log.path), Counter())
    names, hops = log.names["from_vehicle_id"], log.columns["hop_count"]
    reasons["relayed, not first-hand"] = int((hops > 0).sum())
    senders = [other.name for other in drive.boards if other.name != board.name]
    reasons["sender without a log"] = int((~np.isin(names, senders) & (hops == 0)).sum())
    direct = np.flatnonzero((hops == 0) & np.isin(names, senders))
    seen = set(
        zip(names[direct].tolist(), log.columns["msg_timestamp"][direct].tolist(), strict=True)
    )
    reasons["duplicate"] = int(direct.size - len(seen))


def _one_way(
    drive: Drive, source: Board, receiver: Board, rows: NDArray[np.int64], number: int
) -> Link:
    line = drive.clocks[source.name, receiver.name]
    log = receiver.rx
    assert log is not None  # noqa: S101 - there is a clock line
    sent_ms = source.tx.time_ms[source.own]
    stamps = source.tx.columns["msg_timestamp"][source.own]
    at_ms = line.to_receiver(stamps)
    order = np.argsort(log.columns["msg_timestamp"][rows], kind="stable")
    place = np.searchsorted(log.columns["msg_timestamp"][rows][order], stamps)
    place = np.clip(place, 0, max(rows.size - 1, 0))
    got = log.columns["msg_timestamp"][rows][order][place] == stamps
    outcome = np.where(got, RECEIVED, LOST).astype(np.int8)
    latency = np.where(got, log.time_ms[rows][order][place] - at_ms, np.nan)
    xy = np.stack(
        [drive.ways[source.name].at(sent_ms), drive.ways[receiver.name].at(at_ms)], axis=1
    )
    distance = np.hypot(*(xy[:, 0] - xy[:, 1]).T)
    reasons = drive.dropped.setdefault(str(source.tx.path), Counter())
    begin = min(receiver.tx.time_ms[0], log.time_ms[0])
    end = max(receiver.tx.time_ms[-1], log.time_ms[-1])
    outside = (at_ms < begin) | (at_ms > end - receiver.period_ms)
    stalled = np.zeros(stamps.size, dtype=bool)
    for spell in receiver.stalls_ms:
        stalled |= (at_ms >= spell[0]) & (at_ms <= spell[1] + _AFTER_STALL_MS)
    nowhere = ~np.isfinite(distance)
    to = f" ({receiver.name})"
    reasons["outside the receiver's log" + to] += int(outside.sum())
    reasons["receiver's logger stalled" + to] += int((stalled & ~outside).sum())
    reasons["no position of one of the two" + to] += int((nowhere & ~outside & ~stalled).sum())
    outcome[outside | stalled | nowhere] = LEFT_OUT
    latency[outside | stalled] = np.nan
    speed = 0.5 * (
        drive.ways[source.name].speed_at(sent_ms) + drive.ways[receiver.name].speed_at(at_ms)
    )
    others = [b.name for b in drive.boards if b.name not in (source.name, receiver.name)]
    return Link(
        source=source.name,
        receiver=receiver.name,
        two_way=False,
        time_s=_common_ms(drive, source.name, stamps) / 1000.0,
        receiver_s=at_ms / 1000.0,
        outcome=outcome,
        distance_m=distance,
        travel_m=speed * np.diff(sent_ms, prepend=sent_ms[0]) / 1000.0,
        between=_between(drive, source.name, xy, stamps, others),
        latency_ms=latency,
        xy_m=xy,
        drive=number,
    )


def _common_ms(drive: Drive, name: str, time_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Translate times of a board's clock into those of the first board, where the two have met."""
    first = drive.boards[0].name
    if name == first:
        return time_ms
    return translate(drive, name, first, time_ms)


def translate(
    drive: Drive, one: str, other: str, time_ms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Translate times of one board's clock into another's, either way round."""
    if (one, other) in drive.clocks:
        return drive.clocks[one, other].to_receiver(time_ms)
    if (other, one) in drive.clocks:
        return drive.clocks[other, one].to_sender(time_ms)
    return time_ms


def _between(
    drive: Drive,
    source: str,
    xy: NDArray[np.float64],
    stamps: NDArray[np.float64],
    others: list[str],
) -> NDArray[np.int64]:
    """Count the cars that stand between two, by where they are."""
    along = xy[:, 1] - xy[:, 0]
    squared = np.maximum((along**2).sum(axis=1), 1e-6)
    count = np.zeros(stamps.size, dtype=np.int64)
    for name in others:
        if (source, name) not in drive.clocks and (name, source) not in drive.clocks:
            continue
        where = drive.ways[name].at(translate(drive, source, name, stamps)) - xy[:, 0]
        share = (where * along).sum(axis=1) / squared
        beside = np.abs(where[:, 0] * along[:, 1] - where[:, 1] * along[:, 0]) / np.sqrt(squared)
        limit = np.maximum(_BESIDE_M, _BESIDE_SHARE * np.sqrt(squared))
        with np.errstate(invalid="ignore"):
            count += (share > 0.0) & (share < 1.0) & (beside < limit)
    # Cars change places slowly; what changes for less is a position that is off or missing.
    steady: NDArray[np.int64] = median_filter(count, size=_STEADY_ROWS, mode="nearest")
    return steady
