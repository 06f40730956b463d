"""What a driving board's log says of its accelerometer, wherever its axes point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml.calibration.fits.accelerometer import accelerometer_estimates
from ml.calibration.logs.boards import Board
from ml.calibration.logs.link import Drive
from ml.calibration.logs.reader import Log
from ml.calibration.logs.schema import LogKind
from ml.calibration.synthetic.drive import make_drive
from ml.parameters import load_parameters

NOISE_MPS2 = 0.22
NAME = "sensors.accelerometer.white_sd_mps2"


def board_of(accel_of):
    """A board in a car that stops and goes; `accel_of(rng, forward)` gives its three axes."""
    rng = np.random.Generator(np.random.PCG64(3))
    motion = make_drive(1, 900.0, 6)
    speed = motion.speed_mps[:, 0]
    forward = np.gradient(speed, 0.1) + rng.normal(0.4, NOISE_MPS2, speed.size)
    columns = {
        "timestamp_local_ms": np.arange(speed.size) * 100.0,
        "speed": speed,
        **dict(zip(("accel_x", "accel_y", "accel_z"), accel_of(rng, forward), strict=True)),
    }
    lines = np.arange(speed.size)
    log = Log(Path("a-tx.csv"), LogKind.TX, "", columns, {}, lines)
    return Board("a", log, None, np.ones(speed.size, dtype=bool), 100.0, np.zeros((0, 2)))


def judged(board):
    """The estimate of the noise, and what was found of the board."""
    estimates = []
    (found,) = accelerometer_estimates([Drive([board])], load_parameters("clean"), estimates)
    return next(e for e in estimates if e.name == NAME), found


@pytest.mark.parametrize(
    ("accel_of", "name", "bias_mps2"),
    [
        (lambda _, forward: (forward, 0.0 * forward, 9.81 + 0.0 * forward), "x", 0.4),
        (lambda _, forward: (0.0 * forward, forward, 9.81 + 0.0 * forward), "y", 0.4),
        (lambda _, forward: (0.0 * forward, -forward, 9.81 + 0.0 * forward), "-y", 0.4),
        (
            lambda rng, forward: (
                rng.normal(0.0, 0.9, forward.size),
                0.0 * forward,
                9.81 - forward,
            ),
            "-z",
            0.4 - 9.81,
        ),
    ],
    ids=["x", "y", "minus y", "minus z, a noisy x"],
)
def test_noise_and_bias_are_those_of_the_axis_that_points_forward(accel_of, name, bias_mps2):
    """Wherever that is: found by the GPS speed, its sign turned, and said where it is not x."""
    estimate, found = judged(board_of(accel_of))
    assert found.axis.name == name
    low, high = estimate.interval
    assert low < NOISE_MPS2 < high
    assert estimate.value == pytest.approx(NOISE_MPS2, rel=0.05)
    assert found.bias_mps2 == pytest.approx(bias_mps2, abs=0.05)
    assert found.slope_interval[0] < 1.0 < found.slope_interval[1]
    assert (f"its axis {name} points forward" in found.note) is (name != "x")


def test_rows_without_a_speed_tell_nothing_of_the_slope():
    """A GPS that is silent for a while does not say that the car stood."""
    board = board_of(lambda _, forward: (forward, 0.0 * forward, 9.81 + 0.0 * forward))
    speed = board.tx.columns["speed"]
    speed[np.arange(speed.size) % 40 < 20] = np.nan
    _, found = judged(board)
    assert found.slope_interval[0] < 1.0 < found.slope_interval[1]
    assert found.slope_interval[1] - found.slope_interval[0] < 0.3


def test_a_spread_of_zero_is_refused():
    """A column that never changes, as of an axis that is not connected, is no noise."""
    estimate, found = judged(board_of(lambda _, forward: 3 * (0.0 * forward + 0.37,)))
    assert not estimate.is_fitted
    assert estimate.value == load_parameters("clean").sensors.accelerometer.white_sd_mps2
    assert "the accelerometer of a shows no noise at all" in estimate.why
    assert "not connected" in found.note


def test_an_axis_that_cannot_be_told_is_said_to_be_taken_as_x():
    """Noise on all axes and no sign of the car: x, with the reason."""
    estimate, found = judged(
        board_of(lambda rng, forward: rng.normal(0.0, NOISE_MPS2, (3, forward.size)))
    )
    assert estimate.value == pytest.approx(NOISE_MPS2, rel=0.05)
    assert not found.axis.is_told
    assert "cannot be told: no axis goes with the GPS speed" in found.note
    assert found.note.endswith("Its x is taken.")
