"""Which logs belong to which board, which rows are its own, and when its logger stood still."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from ml.arrays import Bools, Floats
from ml.calibration.logs.reader import Log
from ml.calibration.logs.schema import CLOCK_TURNS_MS, KIND_IN_NAME, TIME_COLUMN, LogKind
from ml.errors import LogError

STALLED_PERIODS: Final = 2.5
_LEAST_OWN: Final = 50


@dataclass(slots=True)
class Board:
    """One board and what it logged."""

    name: str  # Its vehicle_id
    tx: Log  # Its TX log
    rx: Log | None  # Its RX log, or None
    own: Bools  # (rows,) bool of the TX log, what it sent of itself
    period_ms: float  # Between two of its own beacons
    stalls_ms: Floats  # (S, 2), spells in which it neither sent nor logged, in its own clock
    dropped: dict[str, int] = field(default_factory=dict)  # Reason to rows of the TX log

    @property
    def time_ms(self) -> Floats:
        """Of the rows that it sent of itself, in its own clock."""
        return self.tx.time_ms[self.own]

    def of_its_own(self, name: str) -> Floats:
        """Return a column of its TX log, of the rows that it sent of itself."""
        return self.tx.columns[name][self.own]


@dataclass(frozen=True, slots=True)
class Receiver:
    """A board that logged what it received, with or without a TX log of its own."""

    name: str  # Its vehicle_id, else that of its file
    rx: Log  # Its RX log
    board: Board | None  # What its TX log says, None without one

    @property
    def span_ms(self) -> tuple[float, float]:
        """When it listened, in its own clock: its first and last row, and its last whole period."""
        if self.board is None:
            return float(self.rx.time_ms[0]), float(self.rx.time_ms[-1])
        times = self.board.tx.time_ms, self.rx.time_ms
        begin, end = min(t[0] for t in times), max(t[-1] for t in times)
        return float(begin), float(end) - self.board.period_ms

    @property
    def stalls_ms(self) -> Floats:
        """(S, 2), spells in which it logged nothing; without a TX log none are known."""
        return np.zeros((0, 2)) if self.board is None else self.board.stalls_ms


@dataclass(frozen=True, slots=True)
class Sender:
    """The beacons that a board sent, by its own TX log or by the sequence that others heard."""

    name: str  # Its vehicle_id
    tx: Log | None  # Its TX log, None where others' logs are all there is
    sent_ms: Floats  # (K,) when, in its own clock
    stamps_ms: Floats  # (K,) what the beacons say of that
    sequence: Floats | None = None  # (K,) their numbers by its TX log, None where it has none


def sender_of(board: Board) -> Sender:
    """Return what a board's TX log says that it sent."""
    numbers = board.of_its_own("sequence") if "sequence" in board.tx.columns else None
    stamps_ms = board.of_its_own("msg_timestamp")
    return Sender(board.name, board.tx, board.time_ms, stamps_ms, numbers)


def gather(logs: Sequence[Log]) -> tuple[list[Board], list[Receiver]]:
    """Make boards of TX logs and receivers of RX logs, in order of their names.

    Raises:
        LogError: Two logs of a kind of one board, or an RX log whose board cannot be told.
    """
    boards: dict[str, Board] = {}
    for log in logs:
        if log.kind is LogKind.TX:
            board = _sender(log)
            if board.name in boards:
                raise LogError(
                    f"{log.path} and {boards[board.name].tx.path} are both of the board "
                    f"{board.name!r}. Name the logs of one drive, put parts of a drive "
                    "into a folder each, or name the boards apart (vehicle_id)."
                )
            boards[board.name] = board
    receivers: dict[str, Receiver] = {}
    for log in logs:
        if log.kind is LogKind.RX:
            name = _owner(log, boards)
            if name in receivers:
                raise LogError(
                    f"{log.path} and {receivers[name].rx.path} are both RX logs of {name!r}."
                )
            if name in boards:
                log = boards[name].rx = _in_step(log, boards[name].tx)  # noqa: PLW2901
            receivers[name] = Receiver(name, log, boards.get(name))
    return [boards[name] for name in sorted(boards)], [receivers[n] for n in sorted(receivers)]


def _in_step(rx: Log, tx: Log) -> Log:
    """Return an RX log in its board's clock, if that has started at 0 again before it begins."""
    for turn in CLOCK_TURNS_MS:
        if tx.time_ms[-1] > turn and rx.time_ms[-1] < tx.time_ms[0]:
            name = TIME_COLUMN[LogKind.RX]
            return replace(rx, columns=rx.columns | {name: rx.columns[name] + turn})
    return rx


def _sender(log: Log) -> Board:
    first_hand = log.columns["hop_count"] == 0
    names = log.names["vehicle_id"]
    counted = Counter(names[first_hand].tolist())
    if not counted:
        raise LogError(
            f"{log.path}: every row has a hop_count above 0, so none is the board's own. Is it the "
            "log of a relay alone?"
        )
    name, rows = counted.most_common(1)[0]
    if rows < _LEAST_OWN:
        raise LogError(
            f"{log.path}: {rows} rows of the board's own, allowed are {_LEAST_OWN} or more (5 s). "
            "Record longer."
        )
    own: Bools = first_hand & (names == name)
    times = log.time_ms[own]
    gaps = np.diff(times)
    period = float(np.median(gaps[gaps > 0.0])) if (gaps > 0.0).any() else 0.0
    if period <= 0.0:
        raise LogError(f"{log.path}, line {log.lines[own][0]}: time does not advance.")
    doubles = np.zeros(log.rows, dtype=bool)
    doubles[np.flatnonzero(own)[1:]] = np.diff(log.columns["msg_timestamp"][own]) == 0.0
    dropped = {"relayed for others": int((~own).sum()), "duplicate": int(doubles.sum())}
    return Board(name, log, None, own & ~doubles, period, _stalls(times, period), dropped)


def _stalls(times_ms: Floats, period_ms: float) -> Floats:
    """Spells between two own rows that are too far apart: a board that runs sends every period."""
    wide = np.flatnonzero(np.diff(times_ms) > STALLED_PERIODS * period_ms)
    return np.stack([times_ms[wide], times_ms[wide + 1]], axis=-1).reshape(-1, 2)


def _owner(log: Log, boards: dict[str, Board]) -> str:
    """Return the name of the board that wrote an RX log."""
    if "vehicle_id" in log.names:
        counted = Counter(log.names["vehicle_id"].tolist())
        if len(counted) > 1:
            raise LogError(
                f"{log.path}: its column vehicle_id, the board that logged, holds "
                f"{len(counted)} names. An RX log is of one board."
            )
        return str(counted.most_common(1)[0][0])
    stem = KIND_IN_NAME.sub(r"\1*", log.path.stem)
    same = [b for b in boards.values() if KIND_IN_NAME.sub(r"\1*", b.tx.path.stem) == stem]
    same = [b for b in same if b.tx.path.parent == log.path.parent] or same
    if len(same) == 1:
        return same[0].name
    heard = set(log.names["from_vehicle_id"].tolist())
    silent = [name for name in boards if name not in heard]
    if len(silent) == 1:
        return silent[0]
    if silent:
        raise LogError(
            f"{log.path}: which board logged this? No TX log has the same name with tx for rx, and "
            f"of the boards {', '.join(sorted(boards))} more than one is not heard in it. Name the "
            "files such as car1-tx.csv and car1-rx.csv."
        )
    name = KIND_IN_NAME.sub("", log.path.stem).strip("-_. ") or log.path.stem
    return f"{name} (receiver)" if name in heard else name
