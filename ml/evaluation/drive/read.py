"""From logs of a drive to what the ego's board met: own states, and receptions in its own time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.calibration.logs.boards import Board
from ml.calibration.logs.clocks import ClockLine, align
from ml.calibration.logs.link import Drive
from ml.calibration.logs.log_map import LogMap
from ml.calibration.logs.reader import Log
from ml.calibration.logs.reading import read_logs
from ml.calibration.logs.schema import CLOCK_TURNS_MS
from ml.calibration.self_test import SelfTest
from ml.errors import ConfigError, LogError, did_you_mean
from ml.espnow_emulator import GeoReference
from ml.espnow_emulator.message_store import MAX_NODES
from ml.evaluation.drive.states import States, as_measured
from ml.onboard.views import Measurement
from ml.sensors import SensorParameters
from ml.vehicle import TICK_US

OnPart = Callable[[str, float], None]
_SHORTEST_S: Final = 60.0
_GLANCE_MS: Final = 1000.0
_LEAST_WAY_M: Final = 3.0


class Receptions(NamedTuple):
    """What the ego received, in order of reception; (K,) int64 unless said otherwise.

    Attributes:
        received_us: When, since tick 0, in the ego's clock.
        source: Whose state it is, the place in `RecordedDrive.peers`.
        timestamp_ms: In the source's clock.
        generated_us: The same moment since tick 0 in the ego's clock.
        hops: How often it was relayed.
        payload: (K, F) float64, indexed by `PayloadField`.
    """

    received_us: Ints
    source: Ints
    timestamp_ms: Ints
    generated_us: Ints
    hops: Ints
    payload: Floats


@dataclass(frozen=True, slots=True)
class RecordedDrive:
    """A drive as one board met it, in ticks of 0.1 s of its own clock.

    This is all that a judge needs, open loop or closed: for the latter, the peers' ways are in
    `drive.ways`, in their own clocks, and `clocks` translates.
    """

    ego: str  # Its board
    peers: tuple[str, ...]  # Whom it heard, in order of their names
    start_ms: float  # Tick 0, in the ego's clock
    own: Measurement  # (T,) each, what its board believed of itself
    driven_mps2: Floats  # (T,), what it did in the tick before: its last command, open loop
    known: Bools  # (T,), whether its log tells about the tick
    receptions: Receptions  # What it received
    accel_mps2: dict[str, Floats]  # (T,) of each board by its log, else as heard; NaN where unknown
    sent_us: dict[str, Ints]  # When each peer that wrote a log sent its beacons, since tick 0
    clocks: dict[str, ClockLine]  # From the clock of each peer's rows to the ego's
    drive: Drive  # The logs
    plane: GeoReference | None = None  # Whose metres positions are in
    notes: list[str] = field(default_factory=list)  # What else is to be said

    @property
    def ticks(self) -> int:
        """T."""
        return self.known.size


def read_recorded_drive(
    paths: Sequence[Path],
    ego: str | None,
    on_part: OnPart = lambda _what, _share: None,
    *,
    log_map: LogMap | None = None,
    sensors: SensorParameters | None = None,
) -> RecordedDrive:
    """Read the logs of one drive, and turn them into what one board met.

    Args:
        paths: Logs of the boards, in one folder.
        ego: The board at whose wheel drivers are put; None for the last of the convoy.
        on_part: Told what is being done, and how far it is in [0, 1].
        log_map: How logs in other formats are read.
        sensors: How wrong boards take their sensors to be; default: as the preset `clean`.

    Raises:
        LogError: Logs that cannot be read, are not of one drive, or cannot be fused.
        ConfigError: There is no such ego.
    """
    logs, drives = read_logs(paths, on_part, log_map=log_map)
    if len(drives) > 1:
        folders = sorted({str(path.parent) for path in paths})
        raise LogError(
            f"logs of {len(drives)} folders, {' and '.join(folders)}: each is a drive of its own, "
            "and one drive is judged at a time. Name the logs of one folder."
        )
    (drive,) = drives
    board, log, why = choose_ego(drive, ego)
    on_part("what its board received", 0.0)
    return _met_by(board, log, drive, States(drive, logs, sensors), [why])


def choose_ego(drive: Drive, asked: str | None) -> tuple[Board, Log, str]:
    """Choose the board at whose wheel drivers are put, and say why.

    It needs an RX log, for what it heard. Of several the last of the convoy is taken: the one that
    has the others ahead of it for most of the time.

    Raises:
        LogError: No board has an RX log, or the one that was asked for has none.
        ConfigError: There is no board of the name; or none was named, and who is last is unknown.
    """
    names = [board.name for board in drive.boards]
    able = {board.name: board.rx for board in drive.boards if board.rx is not None}
    if asked is not None and asked not in names:
        raise ConfigError(
            f"--ego {asked}: no board of that name wrote a log.{did_you_mean(asked, names)} There "
            f"are: {', '.join(names) or 'none'}."
        )
    if not names:
        raise LogError(
            "no board has a TX log, so nobody knows where the ego was, and how it drove. Add the "
            "TX log of the board that shall be judged, beside its RX log."
        )
    if not able:
        files = ", ".join(str(board.tx.path) for board in drive.boards)
        raise LogError(
            f"no board has an RX log, so nobody knows what any of them heard; there are {files}. "
            "Add the RX log of the board that shall be judged."
        )
    if asked is not None:
        board = drive.boards[names.index(asked)]
        if board.rx is None:
            raise LogError(
                f"--ego {asked}: {board.tx.path} is its TX log, and there is no RX log of it, so "
                f"nobody knows what it heard. Add that, or name {_or(able)}."
            )
        return board, board.rx, f"The ego is {asked}, as asked for."
    if len(able) == 1:
        ((last, log),) = able.items()
        why = f"The ego is {last}: no other board has an RX log."
    else:
        shares = {name: _share_ahead(drive.boards[names.index(name)], drive) for name in able}
        ahead = {name: share for name, share in shares.items() if share is not None}
        if not ahead:
            raise ConfigError(
                f"which board is the ego? {', '.join(able)} have RX logs, and their logs do not "
                "tell who drives last: nobody drove, or their clocks never met. Name one with "
                "--ego."
            )
        last = max(ahead, key=lambda name: ahead[name])
        log = able[last]
        why = (
            f"The ego is {last}, the last of the convoy: the others are ahead of it in "
            f"{ahead[last]:.0%} of the time. --ego names another: "
            f"{_or(name for name in able if name != last)}."
        )
    return drive.boards[names.index(last)], log, why


def _or(names: Iterable[str]) -> str:
    return " or ".join(names)


def _share_ahead(board: Board, drive: Drive) -> float | None:
    """Share of glances, one a second for each other car, in which that one is ahead of a board.

    Ahead goes by the way that the car is driving; who stands, or is nowhere, counts for nobody.
    None where nobody ever counts.
    """
    way = drive.ways[board.name]
    at_ms = np.arange(board.time_ms[0], board.time_ms[-1], _GLANCE_MS)
    here = way.at(at_ms)
    course = way.at(at_ms + _GLANCE_MS) - here
    drives = np.hypot(*course.T) > _LEAST_WAY_M
    ahead = seen = 0
    for other in drive.boards:
        if other is board or drive.clocks_between(board.name, other.name) is None:
            continue
        there = drive.ways[other.name].at(drive.translate(board.name, other.name, at_ms))
        along = ((there - here) * course).sum(axis=1)[drives]
        ahead += int((along > 0.0).sum())
        seen += int(np.isfinite(along).sum())
    return ahead / seen if seen else None


def _met_by(
    board: Board, log: Log, drive: Drive, states: States, notes: list[str]
) -> RecordedDrive:
    """Put together what one board met; see `read_recorded_drive`."""
    own_ms = board.time_ms
    lasts_s = (float(own_ms[-1]) - float(own_ms[0])) / 1000.0
    if lasts_s < _SHORTEST_S:
        raise LogError(
            f"{board.tx.path}: {lasts_s:.1f} s from line {_line(board, 0)} to line "
            f"{_line(board, -1)}, allowed are {_SHORTEST_S:g} s or more. Judge a longer drive."
        )
    start_ms = float(own_ms[0])
    at_ms: Floats = np.arange(start_ms, own_ms[-1], TICK_US / 1000.0)
    believed = states.at(board.name, at_ms)
    if not believed.valid.any():
        raise LogError(f"{board.tx.path}: at no time is its position known. Record with a GPS fix.")
    messages = _messages(board, log, drive, states, notes)
    if len(messages) >= MAX_NODES:
        raise LogError(
            f"{log.path}: {len(messages)} boards are heard, allowed are {MAX_NODES - 1}. Leave out "
            "the rows of some."
        )
    own = as_measured(believed)
    accel_mps2 = {board.name: np.where(believed.valid, believed.accel_mps2, np.nan)}
    sent_us: dict[str, Ints] = {}
    boards = {other.name: other for other in drive.boards}
    for name, of in messages.items():
        theirs = states.at(name, of.row_clock.to_sender(at_ms))
        accel_mps2[name] = np.where(theirs.valid, theirs.accel_mps2, np.nan)
        if name in boards:
            stamps = boards[name].of_its_own("msg_timestamp")
            sent_us[name] = _since(of.clock.to_receiver(stamps), start_ms)
    tested = [board.name, *messages]
    notes += [_said(test) for name, test in states.tests.items() if name in tested]
    return RecordedDrive(
        ego=board.name,
        peers=tuple(messages),
        start_ms=start_ms,
        own=own,
        driven_mps2=own.accel_mps2,
        known=believed.valid,
        receptions=_receptions(log, messages, start_ms),
        accel_mps2=accel_mps2,
        sent_us=sent_us,
        clocks={name: one.row_clock for name, one in messages.items()},
        drive=drive,
        plane=states.plane,
        notes=notes,
    )


class _Messages(NamedTuple):
    """What the ego received of one board, each message as it came first, in order of timestamps."""

    clock: ClockLine  # From the clock of its timestamps to the ego's
    row_clock: ClockLine  # From the clock of its log's rows, which may be another
    rows: Ints  # (K,) of the ego's RX log
    stamps_ms: Floats  # (K,) in its own clock
    payload: Floats  # (K, F) what they said, all of it known


def _messages(
    board: Board, log: Log, drive: Drive, states: States, notes: list[str]
) -> dict[str, _Messages]:
    """Find the messages of each peer, in order of their names, and how its clock runs.

    Raises:
        LogError: There is none that is of use: the logs are of different drives.
    """
    if "msg_timestamp" not in log.columns:
        raise LogError(
            f"{log.path}, line 1: the column msg_timestamp is missing, so nobody knows how old a "
            "message was. Log it, or name its column in a map."
        )
    senders = log.names["from_vehicle_id"]
    boards = {other.name: other for other in drive.boards}
    names = sorted(set(senders.tolist()) - {board.name})
    found: dict[str, _Messages] = {}
    for name in names:
        rows, stamps, lacked = _of_sender(log, name, boards.get(name))
        straight = log.columns["hop_count"][rows] == 0.0
        clock = drive.clocks.get((name, board.name))
        if name not in boards:
            who = f"{name} in {log.path}"
            # A log with a sequence has told the clock already.
            clock = clock or align(stamps[straight], log.time_ms[rows][straight], who)
            if clock is not None:
                states.hear(name, log, rows, stamps)
        if clock is None:
            notes.append(
                f"{name} is left out: {int(straight.sum())} of its messages came straight to "
                f"{board.name}, too few to tell its clock."
            )
        elif refusal := states.refusal(name):
            notes.append(f"{name} is left out, and heard by nobody: {refusal}.")
        else:
            sent_ms = _written_ms(boards.get(name), stamps)
            payload = states.said_by(name, log, rows, sent_ms)
            row_clock = _moved(clock, drive.rows_ahead_ms.get(name, 0.0))
            of = _Messages(clock, row_clock, rows, stamps, payload)
            if (useful := _useful(name, of, board, lacked, notes)) is not None:
                found[name] = useful
    if not found:
        heard = ", ".join(f"{int((senders == name).sum())} of {name}" for name in names) or "none"
        raise LogError(
            f"{log.path}, lines {int(log.lines[0])} to {int(log.lines[-1])}: messages of others "
            f"are {heard}, and none is of use.\n  "
            + "".join(f"{note}\n  " for note in notes[1:])
            + "The logs are of different drives, or this is the RX log of another board. Name the "
            "logs of one drive, or another ego with --ego."
        )
    silent = sorted(boards.keys() - {board.name, *names})
    if silent:
        notes.append(f"{board.name} has heard nothing of {', '.join(silent)}.")
    return found


def _useful(
    name: str, of: _Messages, board: Board, lacked: int, notes: list[str]
) -> _Messages | None:
    """Leave out messages that are of no use, note how many and why; None where none is left."""
    assert board.rx is not None  # noqa: S101 - it is the ego
    early = board.rx.time_ms[of.rows] < board.time_ms[0]
    unknown = ~early & ~np.isfinite(of.payload).all(axis=1)
    kept = ~early & ~unknown
    dropped = {
        f"that {name}'s own log lacks": lacked,
        f"from before {board.name}'s log begins": int(early.sum()),
        f"in which {name} did not know its own state": int(unknown.sum()),
    }
    reasons = " and ".join(f"{count} {why}" for why, count in dropped.items() if count)
    if not kept.any():
        notes.append(f"{name} is left out, none of its messages is of use: {reasons}.")
        return None
    if reasons:
        notes.append(f"Of {name}'s messages {kept.sum()} are of use; left out are {reasons}.")
    return of._replace(rows=of.rows[kept], stamps_ms=of.stamps_ms[kept], payload=of.payload[kept])


def _moved(clock: ClockLine, shift_ms: float) -> ClockLine:
    """Return the line of a sender's clock that shows so much more."""
    return replace(
        clock, origin_ms=clock.origin_ms + shift_ms, offset_ms=clock.offset_ms - shift_ms
    )


def _written_ms(sender: Board | None, stamps_ms: Floats) -> Floats:
    """Translate timestamps (K,) of a board's messages into the times of the rows it wrote of them.

    A message says what the row said that was written with it. The two times need not be of one
    clock; in one they may differ by what is rounded, and then the row is the later one.
    """
    if sender is None:
        return stamps_ms  # they are all that tells when
    own, row = np.unique(sender.of_its_own("msg_timestamp"), return_index=True)
    at_ms: Floats = sender.time_ms[row[np.searchsorted(own, stamps_ms)]]
    return at_ms


def _of_sender(log: Log, name: str, sender: Board | None) -> tuple[Ints, Floats, int]:
    """Rows (K,) with a board's messages as each came first, and their timestamps, in order.

    Those that its own log lacks are of no use: nobody knows what it believed then. How many those
    are is returned, too.
    """
    rows = np.flatnonzero(log.names["from_vehicle_id"] == name)
    rows = rows[np.argsort(log.time_ms[rows], kind="stable")]
    stamps = log.columns["msg_timestamp"][rows]
    if sender is not None:
        sent = sender.of_its_own("msg_timestamp")
        for turn in CLOCK_TURNS_MS:  # its log reads on where its clock began at 0 again
            again = ~np.isin(stamps, sent) & np.isin(stamps + turn, sent)
            stamps = np.where(again, stamps + turn, stamps)
    stamps, first = np.unique(stamps, return_index=True)
    known = (
        np.isin(stamps, sender.of_its_own("msg_timestamp"))
        if sender
        else np.ones(stamps.size, dtype=bool)
    )
    return rows[first][known], stamps[known], int((~known).sum())


def _receptions(log: Log, messages: Mapping[str, _Messages], start_ms: float) -> Receptions:
    """Put the messages of all peers in order of reception."""
    of_each = [
        Receptions(
            received_us=_since(log.time_ms[of.rows], start_ms),
            source=np.full(of.rows.size, source, dtype=np.int64),
            timestamp_ms=np.floor(of.stamps_ms).astype(np.int64),
            generated_us=_since(of.clock.to_receiver(of.stamps_ms), start_ms),
            hops=log.columns["hop_count"][of.rows].astype(np.int64),
            payload=of.payload,
        )
        for source, of in enumerate(messages.values())
    ]
    every = Receptions._make(map(np.concatenate, zip(*of_each, strict=True)))
    # The clock's line lies beneath all receptions but for what is rounded.
    every = every._replace(generated_us=np.minimum(every.generated_us, every.received_us))
    order = np.argsort(every.received_us, kind="stable")
    return Receptions._make(values[order] for values in every)


def _line(board: Board, row: int) -> int:
    return int(board.tx.lines[board.own][row])


def _said(test: SelfTest) -> str:
    """Say what a self-test found and what was applied."""
    return (
        f"{test.board}: {test.verdict}. Forward axis {test.axis.name}, bias "
        f"{test.bias.value:+.2f} m/s², GPS {test.delay_to_apply_s:.2f} s late: applied."
    )


def _since(at_ms: Floats, start_ms: float) -> Ints:
    since: Ints = np.rint((at_ms - start_ms) * 1000.0).astype(np.int64)
    return since
