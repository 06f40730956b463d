"""What one board logged of itself: rows of its accelerometer, and the fixes that came in them."""

from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.calibration.logs.boards import Board
from ml.calibration.logs.trajectories import STANDING_MPS, Trajectory

_LATE_PERIODS: Final = 1.5


class Fixes(NamedTuple):
    """Fixes of one board, in the order in which they came; (F,) each.

    Attributes:
        row: int64, the row in which the fix first stands.
        age_s: How old it was there by the log, s; 0 where the log does not say.
        x_m: East, in metres of the drive's plane.
        y_m: North.
        speed_mps: Over ground.
        heading_deg: Over ground, clockwise from north; NaN where unknown.
    """

    row: Ints
    age_s: Floats
    x_m: Floats
    y_m: Floats
    speed_mps: Floats
    heading_deg: Floats


class BoardLog(NamedTuple):
    """One board's own rows, in its own clock.

    Attributes:
        name: Of the board.
        source: The file, for errors.
        time_s: (K,) of each row, in order.
        accel_mps2: (K, A) as logged, axes x, y, z or x alone; NaN where unknown.
        speed_mps: (K,) as logged; NaN where unknown.
        fixes: What its receiver said.
    """

    name: str
    source: str
    time_s: Floats
    accel_mps2: Floats
    speed_mps: Floats
    fixes: Fixes

    @property
    def period_s(self) -> float:
        """Usual time between two rows; 0 of a single one."""
        steps = np.diff(self.time_s)
        return float(np.median(steps[steps > 0.0])) if (steps > 0.0).any() else 0.0


def board_log(board: Board, way: Trajectory) -> BoardLog:
    """Take a board's own rows from its TX log.

    Args:
        board: It.
        way: Its trajectory, made of the same rows.
    """
    columns = board.tx.columns
    age_ms = board.of_its_own("fix_age_ms") if "fix_age_ms" in columns else None
    accel = np.stack([board.of_its_own(f"accel_{axis}") for axis in "xyz"], axis=-1)
    speed, heading = board.of_its_own("speed"), board.of_its_own("heading")
    return log_of_rows(board.name, str(board.tx.path), way, accel, (speed, heading, age_ms))


def log_of_rows(
    name: str,
    source: str,
    way: Trajectory,
    accel_mps2: Floats,
    speed_heading_age: tuple[Floats, Floats, Floats | None],
) -> BoardLog:
    """Take rows of any log that says what a board believed of itself.

    A fix is new where the position changes. A car that stands may be given the same one again and
    again: it is then taken to come as often as the others do.

    Args:
        name: Of the board.
        source: The file, for errors.
        way: The trajectory that was made of the same rows, (K,).
        accel_mps2: (K, A) as logged.
        speed_heading_age: (K,) each: speed in m/s, heading in degrees, and how old the fix was, in
            ms; None without such a column.
    """
    speed_mps, heading_deg, age_ms = speed_heading_age
    time_ms = way.rows_ms
    # A trajectory holds a standing car's fix in every row.
    moved = [np.diff(axis, prepend=np.nan) != 0.0 for axis in (way.east_m, way.north_m)]
    new = np.flatnonzero(moved[0] | moved[1])
    row = np.searchsorted(time_ms, way.time_ms[new])
    row, of_fix = _with_repeats(time_ms, row, np.nan_to_num(speed_mps, nan=np.inf) < STANDING_MPS)
    age_s = np.zeros(row.size) if age_ms is None else np.nan_to_num(age_ms[row]) / 1000.0
    known = np.isfinite(speed_mps[row])
    fixes = Fixes(
        row[known],
        age_s[known],
        way.east_m[new][of_fix][known],
        way.north_m[new][of_fix][known],
        speed_mps[row][known],
        heading_deg[row][known],
    )
    return BoardLog(name, source, time_ms / 1000.0, accel_mps2, speed_mps, fixes)


def _with_repeats(time_ms: Floats, row: Ints, standing: Bools) -> tuple[Ints, Ints]:
    """Add the fixes that a standing car was given again: rows, and which of the fixes each is."""
    of_fix = np.arange(row.size)
    if row.size < 2:  # noqa: PLR2004 - no time between two
        return row, of_fix
    between_ms = np.diff(time_ms[row])
    period_ms = float(np.median(between_ms))
    rows, fixes = [row], [of_fix]
    ends = np.append(row[1:], time_ms.size)
    # A pair of fixes at a time: hardly any are far apart.
    wide = np.flatnonzero(np.append(between_ms, np.inf) > _LATE_PERIODS * period_ms)
    for k in wide.tolist():
        inside = np.arange(row[k] + 1, ends[k])
        turn = (time_ms[inside] - time_ms[row[k]]) // period_ms
        fresh = inside[(np.diff(turn, prepend=0.0) > 0.0) & standing[inside]]
        rows.append(fresh)
        fixes.append(np.full(fresh.size, k))
    every, which = np.concatenate(rows), np.concatenate(fixes)
    order = np.argsort(every, kind="stable")
    return every[order], which[order]
