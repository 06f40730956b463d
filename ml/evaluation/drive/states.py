"""What boards believed of themselves, at any moment of their own clocks."""

from dataclasses import replace
from typing import Final

import numpy as np

from ml.arrays import Floats, Ints
from ml.calibration.fits.accelerometer import Accelerometer, accelerometer_of
from ml.calibration.logs.boards import Board
from ml.calibration.logs.link import Drive
from ml.calibration.logs.reader import Log
from ml.calibration.logs.trajectories import in_metres, is_somewhere, reference_for
from ml.errors import LogError
from ml.espnow_emulator.messages import PayloadField
from ml.sensors.sensor_bank import Measurement

_COLUMNS: Final = ("lat", "lon", "speed", "heading", "accel_x")
_GPS_SD_M: Final = 2.1
_SD: Final = "position_sd_m"


class States:
    """The states of the boards of one drive.

    Args:
        drive: The drive.

    Attributes:
        reference: Whose plane all positions are in.

    Raises:
        LogError: No log has a position.
    """

    def __init__(self, drive: Drive) -> None:
        lat, lon = (
            np.concatenate([board.of_its_own(name) for board in drive.boards])
            for name in ("lat", "lon")
        )
        reference = reference_for(lat, lon)
        if reference is None:
            files = ", ".join(str(board.tx.path) for board in drive.boards)
            raise LogError(
                f"{files}: no row has a position, and a driver goes by positions. Record with GPS."
            )
        self.reference = reference
        self._judged = {board.name: accelerometer_of(board) for board in drive.boards}

    def at(self, board: Board, at_ms: Floats) -> Measurement:
        """Return what a board believed of itself at times (K,) of its own clock, (K,) each."""
        rows = np.clip(np.searchsorted(board.time_ms, at_ms, side="right") - 1, 0, None)
        columns = [board.of_its_own(name) for name in _COLUMNS]
        believed = self._raw(columns, self._judged[board.name])
        return Measurement(
            *(_held(getattr(believed, name))[rows] for name in Measurement.__slots__)
        )

    def said_by(self, board: Board | None, log: Log, rows: Ints) -> Floats:
        """Return what messages said, (K, F), indexed by `PayloadField`; NaN where they do not.

        Args:
            board: Whose messages they are; None where that board wrote no log.
            log: The RX log in which they stand.
            rows: (K,), where in it.
        """
        columns = [log.columns[name][rows] for name in _COLUMNS]
        said = self._raw(columns, None if board is None else self._judged[board.name])
        if _SD in log.columns:
            told = log.columns[_SD][rows]
            said = replace(said, position_sd_m=np.where(np.isnan(told), said.position_sd_m, told))
        names = [field.name.lower() for field in PayloadField]
        return np.stack([getattr(said, name) for name in names], axis=-1)

    def _raw(self, columns: list[Floats], judged: Accelerometer | None) -> Measurement:
        lat, lon, speed_mps, heading_deg, accel_mps2 = columns
        somewhere = is_somewhere(lat, lon)
        east_m, north_m = in_metres(self.reference, lat, lon)
        if judged is not None:
            accel_mps2 = accel_mps2 - (judged.bias_mps2 or 0.0)
            accel_mps2 = -accel_mps2 if judged.is_backwards else accel_mps2
        return Measurement(
            x_m=np.where(somewhere, east_m, np.nan),
            y_m=np.where(somewhere, north_m, np.nan),
            speed_mps=speed_mps,
            heading_deg=heading_deg % 360.0,
            accel_mps2=accel_mps2,
            position_sd_m=np.hypot(_GPS_SD_M, speed_mps),
        )


def _held(values: Floats) -> Floats:
    """Fill what is not known with the value before it, and before the first with that one."""
    known = np.isfinite(values)
    if not known.any():
        return values
    newest = np.maximum.accumulate(np.where(known, np.arange(values.size), -1))
    filled: Floats = values[np.where(newest >= 0, newest, int(np.argmax(known)))]
    return filled
