"""Make a recorded convoy of boards' own logs: who drives behind whom, and how far behind."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from scipy.ndimage import uniform_filter1d

from ml.arrays import Bools, Floats, Ints
from ml.calibration.convoys.recorded import RecordedConvoy
from ml.calibration.logs.boards import Board
from ml.calibration.logs.link import Drive
from ml.calibration.logs.links import read_drive
from ml.calibration.logs.reader import Log
from ml.console import counted
from ml.errors import LogError
from ml.vehicle import CAR_LENGTH_M, DT_S

_DT_MS: Final = 1000.0 * DT_S
_LONGEST_HOLE_MS: Final = 2500.0
"""Loggers stall while they write to a card: speeds go straight over so long a hole."""
_LEAST_HELD_ROWS: Final = 3
_FARTHEST_M: Final = 400
_MOVING_MPS: Final = 2.0
_HEADING_ROWS: Final = 10
_MOST_REVERSED: Final = 0.05
_SMOOTHED_ROWS: Final = 601
"""Speeds say how a gap changes, positions how large it is: over a minute, in which the error
of a GPS position averages out."""
_ROWS_AT_ONCE: Final = 2000


def convoy_of(logs: Sequence[Log]) -> RecordedConvoy:
    """Lay the logs of one drive on one time, 10 Hz, and the cars behind one another.

    Antennas are taken to be at the same place in every car, 4.5 m long.

    Args:
        logs: TX logs of two boards at least, and RX logs, by which their clocks are aligned.

    Raises:
        LogError: The logs do not belong together, the clocks of two boards never meet, or the cars
            overtake one another.
    """
    drive = read_drive(logs)
    boards = drive.boards
    folder = logs[0].path.parent
    if len(boards) < 2:  # noqa: PLR2004
        raise LogError(
            f"{folder}: {counted(len(boards), 'board')} with a TX log; a convoy has two cars at "
            "least. Add the TX log of each board."
        )
    base = _base(drive, boards, str(folder))
    time_ms = np.arange(np.ceil(base.time_ms[0]), base.time_ms[-1], _DT_MS)
    times_ms = {b.name: drive.translate(base.name, b.name, time_ms) for b in boards}
    digest = sha256("".join(sorted(board.tx.sha256 for board in boards)).encode())
    return lay_out(drive, times_ms, folder, digest.hexdigest())


def lay_out(
    drive: Drive, times_ms: Mapping[str, Floats], source: Path, digest: str
) -> RecordedConvoy:
    """Put boards one behind another at given moments, 0.1 s apart.

    Args:
        drive: What was read of their logs.
        times_ms: The moments by the clock of each board that is to be there, (n,) each.
        source: Where the logs are.
        digest: Of them.

    Raises:
        LogError: Two cars overtake one another, or never drove at the same time.
    """
    boards = {board.name: board for board in drive.boards if board.name in times_ms}
    xy = {name: drive.ways[name].at(times_ms[name]) for name in boards}
    speed = {name: _sampled(board, times_ms[name]) for name, board in boards.items()}
    names = _in_order(list(boards), xy, speed, str(source))
    gaps = [
        _gap_m(xy[ahead], speed[ahead], xy[behind], speed[behind])
        for behind, ahead in pairwise(names)
    ]
    rows = speed[names[0]].size
    return RecordedConvoy(
        time_s=np.arange(rows, dtype=np.float64) * DT_S,
        speed_mps=np.stack([speed[name] for name in names], axis=1),
        gap_m=np.stack(gaps, axis=1) if gaps else np.zeros((rows, 0)),
        names=tuple(names),
        source=source,
        sha256=digest,
    )


def _base(drive: Drive, boards: Sequence[Board], where: str) -> Board:
    """Return a board whose clock can be set against that of every other.

    Raises:
        LogError: There is none.
    """
    for board in boards:
        if all(drive.clocks_between(board.name, other.name) for other in boards):
            return board
    raise LogError(
        f"{where}: the clocks of {', '.join(b.name for b in boards)} never meet: none heard all "
        "the others, or was heard by others that did. Add RX logs, or leave out the logs of a "
        "board that nobody heard."
    )


def _sampled(board: Board, at_ms: Floats) -> Floats:
    """Speed of a board at times of its own clock; NaN where none is known."""
    speed, time_ms = board.of_its_own("speed"), board.time_ms
    known = np.isfinite(speed)
    speed, time_ms = speed[known], time_ms[known]
    if not speed.size:
        return np.full(at_ms.size, np.nan)
    right = np.searchsorted(time_ms, at_ms)
    before = time_ms[np.clip(right - 1, 0, None)]
    after = time_ms[np.clip(right, None, time_ms.size - 1)]
    knots = _knots(speed)
    found = np.interp(at_ms, time_ms[knots], speed[knots])
    outside = (at_ms < time_ms[0]) | (at_ms > time_ms[-1])
    found[outside | (after - before > _LONGEST_HOLE_MS)] = np.nan
    return found


def _knots(speed_mps: Floats) -> Ints:
    """Rows between which a speed goes straight: all, or the ends of steps where it has such.

    A receiver holds its speed until the next fix. As a staircase it would brake with 10 m/s² once a
    second, so it goes from one value to the next in as many rows as a value is usually held.
    """
    every = np.arange(speed_mps.size)
    begins = np.flatnonzero(np.diff(speed_mps, prepend=np.nan) != 0.0)
    held = np.diff(begins)[speed_mps[begins[:-1]] > 0.0]
    usual = int(np.median(held)) if held.size else 1
    if usual < _LEAST_HELD_ROWS:
        return every
    still = begins[1:] - usual
    return np.unique(np.concatenate([begins, still[still > begins[:-1]], every[-1:]]))


def _direction(xy: Floats, speed_mps: Floats) -> Floats:
    """(n, 2) unit vector of a car's motion; 0 where it hardly moves or is not known."""
    n = xy.shape[0]
    later, before = np.arange(n) + _HEADING_ROWS, np.arange(n) - _HEADING_ROWS
    moved = xy[np.clip(later, None, n - 1)] - xy[np.clip(before, 0, None)]
    length = np.hypot(*moved.T)
    with np.errstate(invalid="ignore"):
        moving: Bools = (speed_mps > _MOVING_MPS) & (length > _MOVING_MPS)
    return np.where(moving[:, None], moved / np.where(moving, length, 1.0)[:, None], 0.0)


def _in_order(
    names: Sequence[str], xy: dict[str, Floats], speed: dict[str, Floats], where: str
) -> list[str]:
    """Put the cars in order, the last one first.

    Raises:
        LogError: Two cars overtake one another, or never drove at the same time.
    """
    behind = dict.fromkeys(names, 0)
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            ahead_m = ((xy[other] - xy[one]) * _direction(xy[one], speed[one])).sum(axis=1)
            ahead_m = ahead_m[np.isfinite(ahead_m) & (ahead_m != 0.0)]
            if not ahead_m.size:
                raise LogError(
                    f"{where}: the boards {one} and {other} never drove with positions at the same "
                    "time. Leave out the logs of one."
                )
            share = float((ahead_m > 0.0).mean())
            if min(share, 1.0 - share) > _MOST_REVERSED:
                raise LogError(
                    f"{where}: {other} drives ahead of {one} in {100.0 * share:.0f} % of the time: "
                    "they overtake one another. Split the logs there, a folder for each part."
                )
            behind[other if share > 0.5 else one] += 1  # noqa: PLR2004
    return sorted(names, key=behind.__getitem__)


def _gap_m(ahead_xy: Floats, ahead_mps: Floats, behind_xy: Floats, behind_mps: Floats) -> Floats:
    """Bumper gaps, (n,) m, of a car to the one ahead along this one's way; NaN where unknown."""
    driven_m = _driven_m(ahead_mps)
    known = np.isfinite(ahead_xy).all(axis=1) & (np.diff(driven_m, prepend=-1.0) > 0.0)
    if known.sum() < 2:  # noqa: PLR2004
        return np.full(driven_m.size, np.nan)
    # The way by the metre, and straight back from where it begins.
    path_m = np.arange(-_FARTHEST_M, np.ceil(driven_m[-1]) + 1.0)
    path = np.stack([np.interp(path_m, driven_m[known], axis[known]) for axis in ahead_xy.T], -1)
    first = int(_FARTHEST_M)
    begin = path[first + _HEADING_ROWS] - path[first] if len(path) > first + _HEADING_ROWS else 0.0
    back = np.asarray(begin) / max(float(np.hypot(*np.broadcast_to(begin, 2))), 1.0)
    path[:first] = path[first] + path_m[:first, None] * back
    gap = np.empty(driven_m.size)
    for start in range(0, gap.size, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        here = np.round(driven_m[rows]).astype(np.int64) + first
        candidates = here[:, None] - np.arange(_FARTHEST_M)
        off = path[candidates] - behind_xy[rows, None]
        nearest = np.argmin(np.nan_to_num((off**2).sum(axis=2), nan=np.inf), axis=1)
        at = candidates[np.arange(here.size), nearest]
        step = path[np.clip(at + 1, None, len(path) - 1)] - path[at - 1]
        length = np.maximum(np.hypot(*step.T), 1e-9)
        beyond_m = ((behind_xy[rows] - path[at]) * step).sum(axis=1) / length
        gap[rows] = driven_m[rows] - (path_m[at] + np.clip(beyond_m, -1.0, 1.0)) - CAR_LENGTH_M
    gap[~np.isfinite(ahead_xy).all(axis=1) | ~np.isfinite(behind_xy).all(axis=1)] = np.nan
    return _smoothed(gap, ahead_mps - behind_mps)


def _smoothed(gap_m: Floats, opening_mps: Floats) -> Floats:
    """Take the changes of a gap from speeds, and what it is over a minute from positions."""
    opened_m = _driven_m(opening_mps)
    rest = gap_m - opened_m
    known = np.isfinite(rest)
    weight = uniform_filter1d(known.astype(float), _SMOOTHED_ROWS, mode="constant")
    mean = uniform_filter1d(np.where(known, rest, 0.0), _SMOOTHED_ROWS, mode="constant")
    found = opened_m + np.divide(mean, weight, out=np.full(rest.size, np.nan), where=weight > 0.0)
    return np.where(known, found, np.nan)


def _driven_m(speed_mps: Floats) -> Floats:
    """What was driven since the first row, (n,), as SUMO moves cars; nothing where not known."""
    known = np.nan_to_num(speed_mps)
    return np.concatenate(([0.0], np.cumsum(0.5 * (known[1:] + known[:-1]) * DT_S)))
