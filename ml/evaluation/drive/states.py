"""What boards believed of themselves, at any moment of their own clocks."""

from typing import Final

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.calibration.fused_log import FusedStates, fused_states
from ml.calibration.logs.board_log import BoardLog, board_log
from ml.calibration.logs.link import Drive
from ml.calibration.logs.reader import Log
from ml.calibration.logs.trajectories import in_metres, is_somewhere, reference_for
from ml.calibration.self_test import SelfTest, self_test
from ml.errors import LogError
from ml.espnow_emulator.messages import PayloadField
from ml.onboard.views import Measurement

_NAMES: Final = [field.name.lower() for field in PayloadField]
_GPS_SD_M: Final = 2.1


class States:
    """The states of the boards of one drive, by their self-tests and the one fusion.

    Args:
        drive: The drive.

    Attributes:
        tests: The self-test of each board that wrote a log of its own.

    Raises:
        LogError: A log cannot be fused.
    """

    def __init__(self, drive: Drive) -> None:
        self._drive = drive
        self._logs: dict[str, BoardLog] = {}
        self.tests: dict[str, SelfTest] = {}
        for board in drive.boards:
            log = board_log(board, drive.ways[board.name])
            self._logs[board.name], self.tests[board.name] = log, self_test(log)

    def at(self, name: str, at_ms: Floats) -> FusedStates:
        """Return what a board believed of itself at times (K,) of its own clock, in order.

        Raises:
            LogError: Its log cannot be fused.
        """
        return fused_states(self._logs[name], at_ms / 1000.0, self.tests[name])

    def said_by(self, name: str, log: Log, rows: Ints) -> Floats:
        """Return what messages said, (K, F), indexed by `PayloadField`; NaN where unusable.

        A board that wrote a log says what it believed at the message's timestamp, fused as the
        simulated nodes and the board's program do it. Of any other there is what its messages hold.

        Args:
            name: Whose messages they are.
            log: The RX log in which they stand.
            rows: (K,), where in it, in the order of their timestamps.

        Raises:
            LogError: That board's log cannot be fused.
        """
        if name not in self._logs:
            return self._as_logged(log, rows)
        said = self.at(name, log.columns["msg_timestamp"][rows])
        values = np.stack([getattr(said, field) for field in _NAMES], axis=-1)
        return np.where(said.valid[:, None], values, np.nan)

    def _as_logged(self, log: Log, rows: Ints) -> Floats:
        every = [board.tx for board in self._drive.boards]
        reference = reference_for(
            *(np.concatenate([one.columns[axis] for one in every]) for axis in ("lat", "lon"))
        )
        if reference is None:
            raise LogError(f"{log.path}: no log of its drive holds a position. Record with GPS.")
        lat, lon, speed = (log.columns[column][rows] for column in ("lat", "lon", "speed"))
        somewhere: Bools = is_somewhere(lat, lon)
        values = (
            *in_metres(reference, lat, lon),
            speed,
            log.columns["heading"][rows] % 360.0,
            log.columns["accel_x"][rows],
            np.hypot(_GPS_SD_M, speed),
        )
        return np.where(somewhere[:, None], np.stack(values, axis=-1), np.nan)


def as_measured(states: FusedStates) -> Measurement:
    """Return states as a board's sensors give them, (T,); where unknown, those before."""
    newest = np.maximum.accumulate(np.where(states.valid, np.arange(states.valid.size), -1))
    rows = np.where(newest >= 0, newest, int(np.argmax(states.valid)))
    return Measurement(*(getattr(states, name)[rows] for name in Measurement.__slots__))
