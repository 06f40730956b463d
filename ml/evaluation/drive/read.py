"""From logs of a drive to what the ego's board met: own states, and receptions in its own time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.calibration.calibrate import read_logs
from ml.calibration.logs.boards import Board
from ml.calibration.logs.clocks import ClockLine, align
from ml.calibration.logs.link import Drive
from ml.calibration.logs.reader import Log
from ml.errors import ConfigError, LogError, did_you_mean
from ml.espnow_emulator.message_store import MAX_NODES
from ml.espnow_emulator.messages import PayloadField
from ml.evaluation.drive.states import States
from ml.sensors.sensor_bank import Measurement
from ml.vehicle import TICK_US

OnPart = Callable[[str, float], None]
_SHORTEST_S: Final = 60.0
_KNOWN_MS: Final = 500.0
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
    known: Bools  # (T,), whether its log tells about the tick
    receptions: Receptions  # What it received
    accel_mps2: dict[str, Floats]  # (T,) of each board that wrote a log, NaN where it tells nothing
    sent_us: dict[str, Ints]  # When each peer that wrote a log sent its beacons, since tick 0
    clocks: dict[str, ClockLine]  # From each peer's clock to the ego's
    drive: Drive  # The logs
    notes: list[str] = field(default_factory=list)  # What else is to be said

    @property
    def ticks(self) -> int:
        """T."""
        return self.known.size


def read_recorded_drive(
    paths: Sequence[Path], ego: str | None, on_part: OnPart = lambda _what, _share: None
) -> RecordedDrive:
    """Read the logs of one drive, and turn them into what one board met.

    Args:
        paths: Logs of the boards, in one folder.
        ego: The board at whose wheel drivers are put; None for the last of the convoy.
        on_part: Told what is being done, and how far it is in [0, 1].

    Raises:
        LogError: Logs that cannot be read, or are not of one drive.
        ConfigError: There is no such ego.
    """
    _, drives = read_logs(paths, on_part)
    if len(drives) > 1:
        folders = sorted({str(path.parent) for path in paths})
        raise LogError(
            f"logs of {len(drives)} folders, {' and '.join(folders)}: each is a drive of its own, "
            "and one drive is judged at a time. Name the logs of one folder."
        )
    (drive,) = drives
    board, log, why = choose_ego(drive, ego)
    on_part("what its board received", 0.0)
    return _met_by(board, log, drive, [why])


def choose_ego(drive: Drive, asked: str | None) -> tuple[Board, Log, str]:
    """Choose the board at whose wheel drivers are put, and say why.

    It needs an RX log, for what it heard. Of several the last of the convoy is taken: the one that
    has the others ahead of it for most of the time.

    Raises:
        LogError: No board has an RX log, or the one that was asked for has none.
        ConfigError: There is no board of the name.
    """
    names = [board.name for board in drive.boards]
    able = {board.name: board.rx for board in drive.boards if board.rx is not None}
    if asked is not None and asked not in names:
        raise ConfigError(
            f"--ego {asked}: no board of that name wrote a log.{did_you_mean(asked, names)} There "
            f"are: {', '.join(names) or 'none'}."
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
        ahead = {name: _share_ahead(drive.boards[names.index(name)], drive) for name in able}
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


def _share_ahead(board: Board, drive: Drive) -> float:
    """Share of glances, one a second for each other car, in which that one is ahead of a board.

    Ahead goes by the way that the car is driving; who stands, or is nowhere, counts for nobody.
    """
    way = drive.ways[board.name]
    at_ms = np.arange(board.time_ms[0], board.time_ms[-1], _GLANCE_MS)
    here = way.at(at_ms)
    course = way.at(at_ms + _GLANCE_MS) - here
    drives = np.hypot(*course.T) > _LEAST_WAY_M
    ahead = seen = 0
    for other in drive.boards:
        if other is board or not _have_met(drive, board.name, other.name):
            continue
        there = drive.ways[other.name].at(drive.translate(board.name, other.name, at_ms))
        along = ((there - here) * course).sum(axis=1)[drives]
        ahead += int((along > 0.0).sum())
        seen += int(np.isfinite(along).sum())
    return ahead / seen if seen else 0.0


def _have_met(drive: Drive, one: str, other: str) -> bool:
    return bool({(one, other), (other, one)} & drive.clocks.keys())


def _met_by(board: Board, log: Log, drive: Drive, notes: list[str]) -> RecordedDrive:
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
    clocks = _clocks(board, log, drive, notes)
    states = States(drive)
    own = states.at(board, at_ms)
    accel_mps2 = {board.name: _known_accel(states, board, at_ms)}
    known = np.isfinite(accel_mps2[board.name])
    sent_us: dict[str, Ints] = {}
    for other in drive.boards:
        if other.name not in clocks:
            continue
        clock = clocks[other.name]
        accel_mps2[other.name] = _known_accel(states, other, clock.to_sender(at_ms))
        stamps = other.of_its_own("msg_timestamp")
        sent_us[other.name] = _since(clock.to_receiver(stamps), start_ms)
    receptions = _receptions(log, drive, states, clocks, start_ms)
    return RecordedDrive(
        ego=board.name,
        peers=tuple(sorted(clocks)),
        start_ms=start_ms,
        own=own,
        known=known,
        receptions=receptions,
        accel_mps2=accel_mps2,
        sent_us=sent_us,
        clocks=clocks,
        drive=drive,
        notes=notes,
    )


def _known_accel(states: States, board: Board, at_ms: Floats) -> Floats:
    """A board's acceleration at times (K,) of its own clock, NaN where its log tells nothing."""
    newest = np.searchsorted(board.time_ms, at_ms, side="right") - 1
    since_ms = at_ms - board.time_ms[np.maximum(newest, 0)]
    known = (newest >= 0) & (since_ms <= _KNOWN_MS)
    return np.where(known, states.at(board, at_ms).accel_mps2, np.nan)


def _line(board: Board, row: int) -> int:
    return int(board.tx.lines[board.own][row])


def _since(at_ms: Floats, start_ms: float) -> Ints:
    since: Ints = np.rint((at_ms - start_ms) * 1000.0).astype(np.int64)
    return since


def _clocks(board: Board, log: Log, drive: Drive, notes: list[str]) -> dict[str, ClockLine]:
    """Find how the clock of each peer that the ego heard runs against the ego's.

    Raises:
        LogError: None of them does, or the logs are of different drives.
    """
    found: dict[str, ClockLine] = {}
    senders = log.names["from_vehicle_id"]
    paths = {other.name: other.tx.path for other in drive.boards}
    names = sorted(set(senders.tolist()) - {board.name})
    for name in names:
        rows = (senders == name) & (log.columns["hop_count"] == 0)
        line = drive.clocks.get((name, board.name)) or align(
            log.columns["msg_timestamp"][rows],
            log.time_ms[rows],
            f"{paths.get(name, name)} and {log.path}",
        )
        if line is None:
            notes.append(
                f"{name} is left out: {int(rows.sum())} of its messages came straight to "
                f"{board.name}, too few to tell its clock."
            )
        else:
            found[name] = line
    if not found:
        heard = ", ".join(f"{int((senders == name).sum())} of {name}" for name in names) or "none"
        raise LogError(
            f"{log.path}, lines {int(log.lines[0])} to {int(log.lines[-1])}: messages of others "
            f"are {heard}. So no clock can be set against that of {board.name}: the logs are of "
            "different drives, or this is the RX log of another board. Name logs of one drive, or "
            "another ego with --ego."
        )
    strangers = [other.name for other in drive.boards if other.name not in {*found, board.name}]
    if strangers:
        notes.append(f"{board.name} has heard nothing of {', '.join(strangers)}: left out.")
    if len(found) >= MAX_NODES:
        raise LogError(
            f"{log.path}: {len(found)} boards are heard, allowed are {MAX_NODES - 1}. Leave out "
            "the rows of some."
        )
    return found


def _receptions(
    log: Log, drive: Drive, states: States, clocks: Mapping[str, ClockLine], start_ms: float
) -> Receptions:
    """Take each message as it came first, straight or by relays, in order of reception."""
    place = {name: s for s, name in enumerate(sorted(clocks))}
    source = np.array([place.get(name, -1) for name in log.names["from_vehicle_id"]])
    order = np.argsort(log.time_ms, kind="stable")
    order = order[source[order] >= 0]
    stamps = log.columns["msg_timestamp"]
    keys = np.stack([source[order].astype(np.float64), stamps[order]], axis=-1)
    _, first = np.unique(keys, axis=0, return_index=True)
    rows = order[np.sort(first)]
    received_us = _since(log.time_ms[rows], start_ms)
    generated_us = np.empty(rows.size, dtype=np.int64)
    payload = np.empty((rows.size, len(PayloadField)))
    boards = {board.name: board for board in drive.boards}
    for name, s in place.items():
        mine = source[rows] == s
        generated_us[mine] = _since(clocks[name].to_receiver(stamps[rows[mine]]), start_ms)
        payload[mine] = states.said_by(boards.get(name), log, rows[mine])
    usable = (received_us >= 0) & np.isfinite(payload).all(axis=1)
    return Receptions(
        received_us=received_us[usable],
        source=source[rows][usable],
        timestamp_ms=np.floor(stamps[rows]).astype(np.int64)[usable],
        generated_us=np.minimum(generated_us, received_us)[usable],
        hops=log.columns["hop_count"][rows].astype(np.int64)[usable],
        payload=payload[usable],
    )
