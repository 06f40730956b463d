"""What a parked board's log says of GPS, against the sensor model that made it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml.calibration.fits.gps import fit_gps
from ml.calibration.logs.boards import Board
from ml.calibration.logs.reader import Log
from ml.calibration.logs.schema import LogKind
from ml.calibration.logs.trajectories import reference_for, trajectory
from ml.calibration.synthetic.drive import make_drive
from ml.calibration.synthetic.recording import measure
from ml.errors import LogError
from ml.espnow_emulator import GeoReference
from ml.keyed_random import fold
from ml.parameters import load_parameters
from ml.vehicle import TICK_US

HOURS, DRIVES = 1.5, 12
BOARDS = 2 * DRIVES


def parked_board(x_m, y_m):
    """A TX log of positions at 10 Hz, in single precision as a board has them, and their way."""
    clean = load_parameters("clean")
    reference = GeoReference.of(clean.radio.wire)
    time_ms = np.arange(x_m.size) * 100.0
    lat = (reference.lat_deg + y_m / reference.north_m_per_deg).astype(np.float32)
    lon = (reference.lon_deg + x_m / reference.east_m_per_deg).astype(np.float32)
    columns = {
        "timestamp_local_ms": time_ms,
        "lat": lat.astype(np.float64),
        "lon": lon.astype(np.float64),
        "speed": np.zeros(x_m.size),
    }
    lines = np.arange(x_m.size)
    log = Log(Path("a-tx.csv"), LogKind.TX, "", columns, {}, lines)
    board = Board("a", log, None, np.ones(x_m.size, dtype=bool), 100.0, np.zeros((0, 2)))
    near = reference_for(columns["lat"], columns["lon"])
    way = trajectory(near, time_ms, columns["lat"], columns["lon"], columns["speed"])
    return board, way


@pytest.fixture(scope="module")
def parked():
    """East and north of boards that park for an hour and a half, (ticks, BOARDS, 2)."""
    clean = load_parameters("clean")
    drives = [make_drive(2, 3600.0 * HOURS, seed, parked=True) for seed in range(DRIVES)]
    ticks = len(drives[0].xy_m) - 1
    slots = np.broadcast_to(np.arange(ticks)[:, None, None] * TICK_US, (ticks, DRIVES, 2))
    keys = np.concatenate([fold(seed, 0, 0) for seed in range(DRIVES)])
    return measure(clean, drives, slots, keys)[..., :2].reshape(ticks, BOARDS, 2)


@pytest.mark.slow
def test_a_parked_board_shows_how_gps_wanders(parked):
    """Of 24 boards about 22 have intervals that hold spread and time; the mean is near both.

    Two boards of a drive share half of their errors, so a few less may do.
    """
    position = load_parameters("clean").sensors.position
    found = [fit_gps(*parked_board(*parked[:, k].T)) for k in range(BOARDS)]
    assert all(wander is not None for wander in found)
    for name, truth in (("sd", position.sd_m), ("tau", position.tau_s)):
        values = np.array([getattr(w, f"{name}_m" if name == "sd" else f"{name}_s") for w in found])
        low, high = np.array([getattr(w, f"{name}_interval") for w in found]).T
        assert ((low <= truth) & (truth <= high)).sum() >= 18, (name, low, high)
        assert values.mean() == pytest.approx(truth, rel=0.15)
        assert np.all(high / low < 3.0)


@pytest.mark.slow
def test_a_stop_that_is_too_short_shows_nothing(parked):
    """Fifteen minutes are refused: errors wander over minutes."""
    assert fit_gps(*parked_board(*parked[:9000, 0].T)) is None


@pytest.mark.slow
def test_a_wander_of_hundreds_of_metres_is_an_error(parked):
    """A car whose speed is logged as 0 while it creeps about is no parked one."""
    east, north = parked[:, 0].T
    creeping = 400.0 * np.sin(np.arange(east.size) / 2500.0)
    with pytest.raises(LogError, match="GPS seems to wander"):
        fit_gps(*parked_board(east + creeping, north + creeping))
