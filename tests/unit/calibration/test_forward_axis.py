"""The forward axis of a board, found from what its GPS speed gains."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration.fits.forward_axis import forward_axis
from ml.calibration.synthetic.drive import make_drive

GRAVITY_MPS2 = 9.81


def drive(rng, *, forward, hz=10, noise=0.2, minutes=10):
    """A log of a car that stops and goes: time, speed as GPS holds it, and three axes.

    `forward` is the direction of travel in the board's own axes, of length 1.
    """
    motion = make_drive(1, 60.0 * minutes, 4)
    step = round(10 / hz)
    time_s = 1234.5 + np.arange(len(motion.speed_mps))[::step] * 0.1
    accel = np.gradient(motion.speed_mps[:, 0], 0.1)[::step]
    speed = motion.speed_mps[::step, 0]
    held = np.clip((np.floor(time_s - time_s[0] - 0.3)).astype(int), 0, None) * hz
    speed = speed[np.minimum(held, speed.size - 1)] + rng.normal(0.0, 0.2, time_s.size)
    axes = np.outer(accel, forward) + rng.normal(0.0, noise, (time_s.size, 3))
    axes[:, 2] += GRAVITY_MPS2
    return time_s, speed, axes


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("hz", [10, 1])
def test_axis_and_sign_come_back(axis, sign, hz):
    """Of a drive in town, at 10 Hz and at 1 Hz, with GPS speed held for a second and late."""
    rng = np.random.Generator(np.random.PCG64(7))
    found = forward_axis(*drive(rng, forward=sign * np.eye(3)[axis], hz=hz))
    assert (found.axis, found.sign, found.refusal) == (axis, sign, "")
    assert found.name == ("-" if sign < 0 else "") + "xyz"[axis]
    assert found.correlation > 0.8
    assert found.slope == pytest.approx(1.0, abs=0.1)
    assert found.askew_deg < 5.0


def test_a_board_askew_is_told_up_to_where_it_lies_between_two_axes():
    """By 20° the angle is shown; by 45° no axis is the forward one."""
    rng = np.random.Generator(np.random.PCG64(8))
    for angle_deg, told in ((20.0, True), (45.0, False)):
        angle = np.radians(angle_deg)
        forward = np.array([np.sin(angle), np.cos(angle), 0.0])
        found = forward_axis(*drive(rng, forward=forward))
        assert found.is_told is told
        if told:
            assert found.name == "y"
            assert found.askew_deg == pytest.approx(angle_deg, abs=4.0)
        else:
            assert "mount the board" in found.refusal


def test_an_axis_that_shakes_is_not_taken_for_the_forward_one():
    """A z of ten times the noise leads nowhere."""
    rng = np.random.Generator(np.random.PCG64(9))
    time_s, speed, axes = drive(rng, forward=np.array([-1.0, 0.0, 0.0]))
    axes[:, 2] += rng.normal(0.0, 6.0, time_s.size)
    assert forward_axis(time_s, speed, axes).name == "-x"


def test_rows_without_speed_and_gaps_are_left_out():
    """Fixes that are missing and a gap of minutes change nothing."""
    rng = np.random.Generator(np.random.PCG64(10))
    time_s, speed, axes = drive(rng, forward=np.array([0.0, -1.0, 0.0]))
    speed[500:800] = np.nan
    axes[1000:1010, 2] = np.nan
    kept = np.ones(time_s.size, dtype=bool)
    kept[2000:4000] = False
    found = forward_axis(time_s[kept], speed[kept], axes[kept])
    assert found.name == "-y"
    assert 50 < found.windows < 90


def test_what_the_log_cannot_tell_is_refused_with_a_reason():
    """A parked car, accelerations of another drive, dead axes, and no log at all."""
    rng = np.random.Generator(np.random.PCG64(11))
    time_s, speed, axes = drive(rng, forward=np.array([1.0, 0.0, 0.0]))
    parked = forward_axis(time_s, np.zeros_like(speed), axes)
    assert "hardly changed" in parked.refusal
    shuffled = forward_axis(time_s, speed, np.roll(axes, 1111, axis=0))
    assert "no axis goes with the GPS speed" in shuffled.refusal
    dead = forward_axis(time_s, speed, np.zeros_like(axes))
    assert "no axis goes with the GPS speed" in dead.refusal
    assert not forward_axis(np.zeros(0), np.zeros(0), np.zeros((0, 3))).is_told
    assert (parked.axis, parked.sign) == (0, 1)


def test_chance_finds_an_axis_rarely():
    """Of 200 boards whose accelerations are noise, none to four get an axis."""
    rng = np.random.Generator(np.random.PCG64(12))
    time_s, speed, axes = drive(rng, forward=np.zeros(3), minutes=2)
    told = 0
    for _ in range(200):
        noise = rng.normal(0.0, 0.3, (time_s.size, 3))
        told += forward_axis(time_s, speed, noise).is_told
    assert told <= 4
    assert axes.shape == (time_s.size, 3)
