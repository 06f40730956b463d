"""What boards believed of themselves at any moment of their own clocks: self-tested, and fused."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.calibration.fused_log import FusedStates, fused_states
from ml.calibration.logs.board_log import BoardLog, board_log, log_of_rows
from ml.calibration.logs.link import Drive
from ml.calibration.logs.reader import Log
from ml.calibration.logs.schema import LogKind
from ml.calibration.logs.trajectories import in_metres, reference_for, trajectory
from ml.calibration.self_test import SelfTest, self_test
from ml.errors import LogError
from ml.espnow_emulator.messages import PayloadField
from ml.onboard.views import Measurement

_NAMES: Final = [field.name.lower() for field in PayloadField]
_SD: Final = "position_sd_m"
_COLUMNS: Final = ("lat", "lon", "speed", "heading", "accel_x", "accel_y", "accel_z")


class States:
    """The states of the boards of one drive, by the one fusion.

    What a board says of itself is what it believed at the time of its message, as the simulated
    nodes and the board's program do it: its rows fused, not the rows. Of a board without a log of
    its own the rows are those that the ego received.

    Args:
        drive: The drive.
        logs: Those it was read from.

    Attributes:
        plane: Whose metres all positions are in; None where no log has a position.
    """

    def __init__(self, drive: Drive, logs: Sequence[Log]) -> None:
        own = [log for log in logs if log.kind is not LogKind.RX]
        self.plane = reference_for(
            *(np.concatenate([log.columns[axis] for log in own]) for axis in ("lat", "lon"))
        )
        self._logs: dict[str, BoardLog] = {}
        self.tests: dict[str, SelfTest] = {}
        """The self-test of each board, by its name."""
        for board in drive.boards:
            self._add(board_log(board, drive.ways[board.name]))

    def hear(self, name: str, log: Log, stamps_ms: Floats) -> None:
        """Take a board without a log by what was received of it.

        Args:
            name: The board's.
            log: The ego's RX log.
            stamps_ms: (rows,) timestamps of all rows, in the sender's clock.

        Raises:
            LogError: The log has no position, or lacks a column.
        """
        missing = [column for column in _COLUMNS if column not in log.columns]
        if missing or self.plane is None:
            raise LogError(
                f"{log.path}, line 1: {missing[0] if missing else 'lat'} says nothing, and {name} "
                "has no TX log: nobody knows what it said of itself. Add its TX log."
            )
        rows = np.flatnonzero(log.names["from_vehicle_id"] == name)
        rows = rows[np.unique(stamps_ms[rows], return_index=True)[1]]
        lat, lon, speed, heading, *accel = (log.columns[column][rows] for column in _COLUMNS)
        way = trajectory(self.plane, stamps_ms[rows], lat, lon, speed)
        pose = (speed, heading, None)
        self._add(log_of_rows(name, str(log.path), way, np.stack(accel, axis=-1), pose))

    def _add(self, log: BoardLog) -> None:
        self._logs[log.name], self.tests[log.name] = log, self_test(log)

    def at(self, name: str, at_ms: Floats) -> FusedStates:
        """Return what a board believed of itself at times (K,) of its own clock, in order.

        Raises:
            LogError: Its log cannot be fused.
        """
        return fused_states(self._logs[name], at_ms / 1000.0, self.tests[name])

    def said_by(self, name: str, stamps_ms: Floats) -> Floats:
        """Return what a board's messages said, (K, F), indexed by `PayloadField`.

        NaN where the board did not know: such a message cannot be used.

        Args:
            name: Whose messages they are.
            stamps_ms: (K,) their timestamps, in order.

        Raises:
            LogError: That board's log cannot be fused.
        """
        said = self.at(name, stamps_ms)
        values = np.stack([getattr(said, field) for field in _NAMES], axis=-1)
        return np.where(said.valid[:, None], values, np.nan)

    def as_sent(self, log: Log, rows: Ints, believed: Floats) -> Floats:
        """Return what messages said where they come from boards that fuse by themselves.

        Such a board says how well it knows its position: where a row has `position_sd_m`, the
        message is what stands there. The others are `believed`, (K, F).

        Args:
            log: The ego's RX log.
            rows: (K,) the messages' rows.
            believed: See `said_by`.
        """
        if _SD not in log.columns or self.plane is None:
            return believed
        sd_m = log.columns[_SD][rows]
        lat, lon, speed, heading, accel = (log.columns[name][rows] for name in _COLUMNS[:5])
        east_m, north_m = in_metres(self.plane, lat, lon)
        sent = np.stack([east_m, north_m, speed, heading % 360.0, accel, sd_m], axis=-1)
        return np.where(np.isfinite(sd_m)[:, None], sent, believed)


def as_measured(states: FusedStates) -> Measurement:
    """Return states as a board's sensors give them, (T,); where unknown, those known last."""
    valid: Bools = states.valid
    newest = np.maximum.accumulate(np.where(valid, np.arange(valid.size), -1))
    rows = np.where(newest >= 0, newest, int(np.argmax(valid)))
    return Measurement(*(getattr(states, name)[rows] for name in Measurement.__slots__))
