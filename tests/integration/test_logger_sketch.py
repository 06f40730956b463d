"""The logger's sketch, run on this machine: what it writes is what `roadsense calibrate` reads."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from support.board_code import needs
from support.nodes import FIRMWARE, GRAVITY_MPS2, NODE, Board, build_board, place, rmc

from ml.calibration.logs.reader import read_log

LOGGER = FIRMWARE / "logger"
SPEED_MPS = 10.0

pytestmark = [pytest.mark.board, needs("gcc", "g++")]


def logger(work, **settings):
    """Build the sketch with other settings."""
    work.mkdir()
    text = (LOGGER / "logger.ino").read_text()
    for name, value in settings.items():
        line = next(line for line in text.splitlines() if line.startswith(f"#define {name} "))
        text = text.replace(line, f"#define {name} {value}")
    (work / "logger.ino").write_text(text)
    return build_board(work / "logger.ino", (NODE,), work / "built")


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Ten seconds of a pinger and one who echoes; a fifth of their frames is lost."""
    folder = tmp_path_factory.mktemp("logs")
    libraries = {
        "a": logger(folder / "a", VEHICLE_ID='"a"', IS_PINGER=1, ECHOES=0),
        "b": logger(folder / "b", VEHICLE_ID='"b"', IS_PINGER=0, ECHOES=1),
    }
    boards = {
        "a": Board(libraries["a"], folder, "v1", 1_000_000),
        "b": Board(libraries["b"], folder, "v2", 5_037_000),
    }
    starts_us = {name: board.now_us for name, board in boards.items()}
    boards["a"].imu((0.5, -0.25, GRAVITY_MPS2))
    rng = np.random.default_rng(0)
    for k in range(5000):
        elapsed_us = 2_000 * (k + 1)
        on_air = []
        for name, board in boards.items():
            board.run(starts_us[name] + elapsed_us)
            if elapsed_us % 1_000_000 == 0:
                speed_mps = SPEED_MPS if elapsed_us < 8_000_000 else 0.0
                north_m = SPEED_MPS * min(elapsed_us * 1e-6, 8.0)
                heading = 90.0 if speed_mps else None
                board.gps(rmc(*place(0.0, north_m), speed_mps, heading))
            on_air += [(name, frame) for _, frame in board.sent()]
        for sender, frame in on_air:
            if rng.random() < 0.8:
                boards["b" if sender == "a" else "a"].hear(frame)
    for name, board in boards.items():
        subprocess.run(
            [sys.executable, str(LOGGER / "split_log.py"), name],
            input=board.written(), cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
    return {file.stem: read_log(file) for file in folder.glob("*.csv")}


def test_both_write_what_the_reader_takes(logs):
    """A row a tick of what each sent; RTT rows of the pinger alone."""
    assert set(logs) == {"a-tx", "a-rx", "a-rtt", "b-tx", "b-rx"}
    assert {logs["a-tx"].rows, logs["b-tx"].rows} <= {99, 100}
    assert 70 < logs["b-rx"].rows < 90
    assert np.diff(logs["a-tx"].columns["timestamp_local_ms"]) == pytest.approx(100.0, abs=1.0)


def test_its_own_state_is_that_of_its_sensors(logs):
    """Place, speed, and the accelerometer's axes; a heading that is none is held."""
    columns = logs["a-tx"].columns
    late = columns["sequence"] >= 85
    lat, lon = place(0.0, 80.0)
    assert columns["lat"][late] == pytest.approx(lat, abs=3e-7)
    assert columns["lon"][late] == pytest.approx(lon, abs=3e-7)
    assert columns["speed"][late] == pytest.approx(0.0)
    assert columns["heading"][late] == pytest.approx(90.0)
    assert columns["accel_x"][late] == pytest.approx(0.5, abs=1e-3)
    assert columns["accel_y"][late] == pytest.approx(-0.25, abs=1e-3)
    assert 0 <= columns["fix_age_ms"][late].min() < 110
    assert 890 < columns["fix_age_ms"][late].max() < 1010
    before = columns["sequence"] < 9
    assert columns["lat"][before] == pytest.approx(0.0)


def test_a_ping_is_one_row_with_its_time_or_as_lost(logs):
    """Of each beacon but the last, whose echo may still come."""
    columns = logs["a-rtt"].columns
    assert columns["sequence"].tolist() == list(range(logs["a-rtt"].rows))
    assert logs["a-rtt"].rows >= logs["a-tx"].rows - 1
    lost = columns["lost"] == 1
    assert 20 < np.count_nonzero(lost) < 50
    assert (columns["rtt_ms"][~lost] > 0).all()
    assert (columns["rtt_ms"][~lost] < 10).all()
    assert np.isnan(columns["rtt_ms"][lost]).all()


def test_what_was_heard_is_what_the_other_sent(logs):
    """Row by row, by its sequence."""
    sent, heard = logs["a-tx"].columns, logs["b-rx"].columns
    rows = np.searchsorted(sent["sequence"], heard["sequence"])
    for name in ("lat", "lon", "speed", "accel_x", "msg_timestamp"):
        assert heard[name] == pytest.approx(sent[name][rows])
