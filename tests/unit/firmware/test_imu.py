"""A sensor that lies in the car as it lies says what the car does."""

from __future__ import annotations

import ctypes
import struct

import numpy as np
import pytest

pytestmark = pytest.mark.board

GRAVITY_MPS2 = 9.80665
STEP_S = 0.01


class Reading(ctypes.Structure):
    """`struct imu_reading`."""

    _fields_ = (("accel_mps2", ctypes.c_float * 3), ("turn_dps", ctypes.c_float * 3))


class Mounting(ctypes.Structure):
    """`struct imu_mounting`."""

    _fields_ = (("axis", ctypes.c_int), ("sign", ctypes.c_float), ("bias", ctypes.c_float))


class Mean(ctypes.Structure):
    """`struct imu_mean`."""

    _fields_ = (
        ("accel_mps2", ctypes.c_float * 3),
        ("forward_mps2", ctypes.c_float),
        ("turn_deg", ctypes.c_float),
    )


class Imu:
    """A sensor mounted as said."""

    def __init__(self, library, forward="x", bias=0.0):
        self._library, self._memory = library, ctypes.create_string_buffer(256)
        for name in ("imu_mounting_of", "imu_take", "imu_decode"):
            getattr(library, name).restype = ctypes.c_bool
        mounting = Mounting()
        self.is_good = library.imu_mounting_of(
            forward.encode(), ctypes.c_float(bias), ctypes.byref(mounting)
        )
        library.imu_begin(self._memory, ctypes.byref(mounting))

    def add(self, accel, turn=(0.0, 0.0, 0.0), seconds=STEP_S, *, stands=False):
        """Add the same reading for a while."""
        reading = Reading((ctypes.c_float * 3)(*accel), (ctypes.c_float * 3)(*turn))
        for _ in range(round(seconds / STEP_S)):
            self._library.imu_add(
                self._memory, ctypes.byref(reading), ctypes.c_float(STEP_S), stands
            )

    def take(self):
        """Return the mean since the last call."""
        mean = Mean()
        return mean if self._library.imu_take(self._memory, ctypes.byref(mean)) else None


@pytest.mark.parametrize("forward", ["x", "-x", "y", "-y", "z", "-z"])
def test_the_axis_and_sign_of_the_self_test_point_forward(node_parts, forward):
    """A car that gains 2 m/s² reads so on that axis alone; the bias is taken off."""
    imu = Imu(node_parts, forward, bias=0.25)
    accel = [0.0, 0.0, 0.0]
    accel["xyz".index(forward[-1])] = (2.0 + 0.25) * (-1.0 if forward[0] == "-" else 1.0)
    imu.add(accel, seconds=0.1)
    assert imu.take().forward_mps2 == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("forward", ["", "-", "w", "+x", "xx", "X", "- x"])
def test_another_axis_is_refused(node_parts, forward):
    """Rather than x taken."""
    assert not Imu(node_parts, forward).is_good


@pytest.mark.parametrize("bias", [5.1, -5.1, float("nan"), float("inf")])
def test_a_bias_that_is_none_is_refused(node_parts, bias):
    """Half of gravity is no bias but another axis."""
    assert not Imu(node_parts, "x", bias).is_good


def test_the_mean_is_of_all_that_was_read_since(node_parts):
    """And nothing of it counts twice; without a reading there is none."""
    imu = Imu(node_parts)
    imu.add((1.0, 0.0, 9.8), seconds=0.05)
    imu.add((3.0, 0.0, 9.8), seconds=0.05)
    assert imu.take().forward_mps2 == pytest.approx(2.0)
    assert imu.take() is None
    imu.add((-4.0, 0.0, 9.8))
    assert imu.take().forward_mps2 == pytest.approx(-4.0)


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 0, -1), (0, 1, 0), (-0.6, 0, 0.8)])
def test_a_turn_is_clockwise_about_whatever_gravity_says_is_up(node_parts, up):
    """However the board lies, and whatever its gyroscope reads at rest."""
    up, bias = np.array(up, dtype=float), np.array([1.5, -2.0, 0.7])
    imu = Imu(node_parts)
    imu.add(GRAVITY_MPS2 * up, bias, seconds=3.0, stands=True)
    imu.take()
    clockwise_dps = 12.0
    imu.add(GRAVITY_MPS2 * up, bias - clockwise_dps * up, seconds=0.1)
    assert imu.take().turn_deg == pytest.approx(1.2, abs=0.01)


def test_a_gyroscope_whose_bias_is_unknown_says_nothing(node_parts):
    """A board that is switched on amid a bend has not stood yet."""
    imu = Imu(node_parts)
    imu.add((0.0, 0.0, GRAVITY_MPS2), (0.0, 0.0, -20.0), seconds=3.0)
    assert imu.take().turn_deg == 0.0


def test_a_car_that_brakes_for_long_does_not_tilt_what_is_up(node_parts):
    """Five seconds of 4 m/s² leave a turn within a tenth of what it is."""
    imu = Imu(node_parts)
    imu.add((0.0, 0.0, GRAVITY_MPS2), seconds=5.0, stands=True)
    imu.add((-4.0, 0.0, GRAVITY_MPS2), seconds=5.0)
    imu.take()
    imu.add((0.0, 0.0, GRAVITY_MPS2), (0.0, 0.0, -10.0), seconds=0.1)
    assert imu.take().turn_deg == pytest.approx(1.0, abs=0.1)


def test_registers_are_words_of_the_data_sheet(node_parts):
    """Most significant byte first, 16,384 steps a g, 131 steps a degree a second."""
    reading = Reading()
    words = (16384, -16384, 8192, 500, 131, -1310, 0)
    assert Imu(node_parts)._library.imu_decode(struct.pack(">7h", *words), ctypes.byref(reading))
    expected = [GRAVITY_MPS2, -GRAVITY_MPS2, GRAVITY_MPS2 / 2]
    assert list(reading.accel_mps2) == pytest.approx(expected)
    assert list(reading.turn_dps) == pytest.approx([1.0, -10.0, 0.0])


def test_a_sensor_that_feels_no_gravity_is_asleep(node_parts):
    """It would say for ever that the car keeps its speed."""
    reading = Reading()
    imu = Imu(node_parts)
    assert not imu._library.imu_decode(struct.pack(">7h", *[0] * 7), ctypes.byref(reading))
