"""What boards believed of themselves at any moment of their own clocks: self-tested, and fused."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.calibration.fused_log import FusedStates, accuracy_of, fused_states
from ml.calibration.logs.board_log import BoardLog, board_log, log_of_rows
from ml.calibration.logs.link import Drive
from ml.calibration.logs.reader import Log
from ml.calibration.logs.schema import LogKind
from ml.calibration.logs.trajectories import in_metres, is_somewhere, reference_for, trajectory
from ml.calibration.self_test import SelfTest, self_test
from ml.errors import LogError
from ml.espnow_emulator.messages import PayloadField
from ml.onboard.views import Measurement
from ml.sensors import SensorParameters

BELIEVED: Final = "position_sd_m"
"""Rows with anything in this column are of a board that fuses, and hold what it believed: they
stand as they are; where the field is empty it believed nothing. Others hold what sensors said."""
_NAMES: Final = [field.name.lower() for field in PayloadField]
_COLUMNS: Final = ("lat", "lon", "speed", "heading", "accel_x", "accel_y", "accel_z")
_MOST_ROW_AGE_MS: Final = 500.0


class States:
    """The states of the boards of one drive, by the one fusion.

    What a board says of itself is what it believed at the time of its message, as the simulated
    nodes and the board's program do it: its rows fused, not the rows. Of a board without a log of
    its own the rows are those that the ego received. What a board has fused itself stands.

    Args:
        drive: The drive.
        logs: Those it was read from.
        sensors: How wrong boards take their sensors to be; default: as the preset `clean`.

    Attributes:
        plane: Whose metres all positions are in.
        tests: The self-test of each board whose rows are fused here, by its name.

    Raises:
        LogError: No log has a position.
    """

    def __init__(
        self, drive: Drive, logs: Sequence[Log], sensors: SensorParameters | None = None
    ) -> None:
        own = [log for log in logs if log.kind is not LogKind.RX]
        plane = reference_for(
            *(np.concatenate([log.columns[axis] for log in own]) for axis in ("lat", "lon"))
        )
        if plane is None:
            files = ", ".join(str(log.path) for log in own)
            raise LogError(
                f"{files}: no row has a position, and a driver goes by positions. Record with GPS."
            )
        self.plane = plane
        self._accuracy = None if sensors is None else accuracy_of(sensors)
        self._logs: dict[str, BoardLog] = {}
        self._believed: dict[str, tuple[Log, Ints, Floats]] = {}
        self.tests: dict[str, SelfTest] = {}
        for board in drive.boards:
            rows = np.flatnonzero(board.own)
            if _is_believed(board.tx, rows):
                self._believed[board.name] = board.tx, rows, board.time_ms
            else:
                self._add(board_log(board, drive.ways[board.name]))

    def refusal(self, name: str) -> str:
        """Say why a board's rows cannot be fused; nothing where they can, or need not be."""
        test = self.tests.get(name)
        return "" if test is None or test.is_usable else test.verdict

    def hear(self, name: str, log: Log, rows: Ints, stamps_ms: Floats) -> None:
        """Take a board without a log by what was received of it.

        Args:
            name: The board's.
            log: The ego's RX log.
            rows: (K,) those with its messages.
            stamps_ms: (K,) their timestamps, in order, in the sender's clock.

        Raises:
            LogError: The log lacks a column.
        """
        if _is_believed(log, rows):
            self._believed[name] = log, rows, stamps_ms
            return
        missing = next((column for column in _COLUMNS if column not in log.columns), None)
        if missing is not None:
            raise LogError(
                f"{log.path}, line 1: the column {missing} is missing, and {name} has no TX log: "
                "nobody knows what it said of itself. Add its TX log."
            )
        lat, lon, speed, heading, *accel = (log.columns[column][rows] for column in _COLUMNS)
        way = trajectory(self.plane, stamps_ms, lat, lon, speed)
        age_ms = log.columns["fix_age_ms"][rows] if "fix_age_ms" in log.columns else None
        pose = (speed, heading, age_ms)
        self._add(log_of_rows(name, str(log.path), way, np.stack(accel, axis=-1), pose))

    def _add(self, log: BoardLog) -> None:
        self._logs[log.name], self.tests[log.name] = log, self_test(log)

    def at(self, name: str, at_ms: Floats) -> FusedStates:
        """Return what a board believed of itself at times (K,) of its own clock, in order.

        Raises:
            LogError: Its log cannot be fused.
        """
        if name not in self._believed:
            log = self._logs[name]
            return fused_states(log, at_ms / 1000.0, self.tests[name], self._accuracy)
        heard, rows, time_ms = self._believed[name]
        newest = np.maximum(np.searchsorted(time_ms, at_ms, side="right") - 1, 0)
        since_ms = at_ms - time_ms[newest]
        values = self._as_logged(heard, rows[newest])
        valid = np.isfinite(values).all(axis=1) & (since_ms >= 0.0)
        valid &= since_ms <= _MOST_ROW_AGE_MS
        x_m, y_m, speed, heading_deg, accel, sd_m = np.where(valid[:, None], values, 0.0).T
        way_m, course = speed * since_ms / 1000.0, np.radians(heading_deg)
        x_m, y_m = x_m + way_m * np.sin(course), y_m + way_m * np.cos(course)
        return FusedStates(x_m, y_m, speed, heading_deg, accel, sd_m, valid)

    def said_by(self, name: str, log: Log, rows: Ints, sent_ms: Floats) -> Floats:
        """Return what a board's messages said, (K, F), indexed by `PayloadField`.

        NaN where the board did not know: such a message cannot be used.

        Args:
            name: Whose messages they are.
            log: The RX log in which they stand.
            rows: (K,), where in it.
            sent_ms: (K,) times of the rows that the board wrote with them, in order; where it has
                no log, their timestamps.

        Raises:
            LogError: That board's log cannot be fused.
        """
        if _is_believed(log, rows):
            return self._as_logged(log, rows)
        said = self.at(name, sent_ms)
        values = np.stack([getattr(said, field) for field in _NAMES], axis=-1)
        return np.where(said.valid[:, None], values, np.nan)

    def _as_logged(self, log: Log, rows: Ints) -> Floats:
        lat, lon, speed, heading, accel = (log.columns[name][rows] for name in _COLUMNS[:5])
        somewhere: Bools = is_somewhere(lat, lon)
        east_m, north_m = in_metres(self.plane, lat, lon)
        sd_m = log.columns[BELIEVED][rows]
        values = np.stack([east_m, north_m, speed, heading % 360.0, accel, sd_m], axis=-1)
        return np.where(somewhere[:, None], values, np.nan)


def _is_believed(log: Log, rows: Ints) -> bool:
    """Whether rows, all of one sender, hold what it believed."""
    if BELIEVED not in log.columns or "accel_x" not in log.columns:
        return False
    return bool(np.isfinite(log.columns[BELIEVED][rows]).any())


def as_measured(states: FusedStates) -> Measurement:
    """Return states as a board's sensors give them, (T,); where unknown, those known last."""
    valid: Bools = states.valid
    newest = np.maximum.accumulate(np.where(valid, np.arange(valid.size), -1))
    rows = np.where(newest >= 0, newest, int(np.argmax(valid)))
    return Measurement(*(getattr(states, name)[rows] for name in Measurement.__slots__))
