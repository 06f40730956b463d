"""A node notices on the way what calibration notices in a log: an accelerometer the wrong way."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from support.board_code import needs
from support.nodes import FIRMWARE, c_library

from ml.calibration.fits.forward_axis import forward_axis

pytestmark = [pytest.mark.board, needs("gcc")]

DT_S = 0.1


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The check alone."""
    library = c_library([FIRMWARE / "convoy" / "axis.c"], tmp_path_factory.mktemp("axis") / "a.so")
    library.axis_is_reversed.restype = ctypes.c_bool
    return library


def is_reversed(library, speed_mps, accel_mps2):
    """Hand it a drive, tick by tick, with a fix a second."""
    memory = ctypes.create_string_buffer(128)
    for tick, (speed, accel) in enumerate(zip(speed_mps, accel_mps2, strict=True)):
        library.axis_add(memory, ctypes.c_float(accel))
        if tick % 10 == 0:
            library.axis_fix(memory, ctypes.c_int64(tick * 100_000), ctypes.c_float(speed))
    return library.axis_is_reversed(memory)


def drive(seed, seconds, swing_mps2=1.0):
    """Return speed and acceleration of a drive whose acceleration wanders."""
    rng = np.random.default_rng(seed)
    knots = rng.normal(0.0, swing_mps2, int(seconds / 4) + 2)
    times_s = np.arange(0.0, seconds, DT_S)
    accel = np.interp(times_s, 4.0 * np.arange(knots.size), knots)
    return 15.0 + np.cumsum(accel) * DT_S, accel


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_it_says_what_calibration_says_of_the_same_drive(library, seed, sign):
    """With noise and a bias, which tell nothing of the sign."""
    speed, accel = drive(seed, 180.0)
    read = sign * accel + np.random.default_rng(seed + 100).normal(0.4, 0.4, accel.size)
    axes = np.stack([read, np.zeros_like(read), np.full_like(read, 9.81)], axis=-1)
    fit = forward_axis(np.arange(speed.size) * DT_S, speed, axes)
    assert fit.is_told
    assert fit.sign == sign
    assert is_reversed(library, speed, read) == (sign < 0.0)


def test_nothing_is_said_in_the_first_minute(library):
    """Nor of a car that keeps its speed, nor of one whose sensor says anything at all."""
    speed, accel = drive(3, 55.0)
    assert not is_reversed(library, speed, -accel)
    speed, accel = drive(3, 300.0, swing_mps2=0.1)
    assert not is_reversed(library, speed, -accel)
    for seed in range(10):
        speed, _ = drive(seed, 300.0)
        noise = np.random.default_rng(seed + 50).normal(0.0, 2.0, speed.size)
        assert not is_reversed(library, speed, noise)
