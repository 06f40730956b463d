"""The one fusion, as a board runs it: a step a tick, and fixes that come late."""

from __future__ import annotations

import numpy as np
import pytest

from ml.onboard.fusion import Fix, Fusion, blank, fuse
from ml.vehicle import TICK_US

HOLD_MPS = 1.4


def fix_of(age_us, pose, *, has_heading=True):
    """A fix for one car; None for none."""
    x_m, y_m, speed_mps, heading_deg = np.reshape(np.asarray(pose, dtype=np.float64), (4, 1))
    return Fix(
        np.array([age_us is not None]),
        np.array([age_us or 0]),
        *(x_m, y_m, speed_mps, heading_deg),
        np.array([has_heading]),
    )


NOTHING = fix_of(None, (0.0, 0.0, 0.0, 0.0))


def tick(fused: Fusion, k: int, fix=NOTHING, accel_mps2=0.0, turn_deg=0.0):
    """Move one car on to tick `k`."""
    fuse(
        *(np.array([k * TICK_US]), np.array([accel_mps2]), np.array([turn_deg])),
        HOLD_MPS,
        fix,
        fused,
    )


def believed(fused: Fusion):
    """What one car believes: x, y, speed, heading."""
    return [float(values[0]) for values in fused[:4]]


def test_nothing_is_believed_before_the_first_fix():
    """Ticks without a fix leave a board that has not begun as it is; the first fix begins it."""
    fused = blank(1, 4)
    tick(fused, 7, accel_mps2=1.0)
    assert fused.num_steps[0] == 0
    assert believed(fused) == [0.0, 0.0, 0.0, 0.0]
    tick(fused, 8, fix_of(200_000, (100.0, 50.0, 10.0, 90.0)))
    # Driven on from its moment, 0.2 s ago.
    assert believed(fused) == pytest.approx([102.0, 50.0, 10.0, 90.0])
    assert fused.fix_us[0] == 600_000


def test_a_fix_without_a_heading_or_of_long_ago_begins_nothing():
    """A car that stands has no heading yet; the fix is kept to neither place nor speed."""
    fused, pose = blank(1, 4), (100.0, 50.0, 10.0, 90.0)
    kept_us = fused.steps.shape[1] * TICK_US
    tick(fused, 100, fix_of(0, pose, has_heading=False))
    tick(fused, 101, fix_of(kept_us + 1000, pose))
    assert fused.num_steps[0] == 0
    tick(fused, 102, fix_of(kept_us, pose))
    assert fused.num_steps[0] == 1


def test_a_late_fix_corrects_what_was_believed_of_its_moment():
    """A fix of 0.25 s ago that was right then leaves an accelerating car exactly where it is."""
    fused, accel_mps2 = blank(1, 4), 2.0
    tick(fused, 0, fix_of(0, (0.0, 0.0, 10.0, 0.0)))
    for k in range(1, 8):
        tick(fused, k, accel_mps2=accel_mps2)
    t_s = 0.8 - 0.25
    then = (0.0, 10.0 * t_s + t_s * t_s, 10.0 + 2.0 * t_s, 0.0)
    tick(fused, 8, fix_of(250_000, then), accel_mps2=accel_mps2)
    assert believed(fused) == pytest.approx([0.0, 8.64, 11.6, 0.0])
    # One that was 3 m farther east, 1 m/s faster and turned moves and turns what came since.
    later = blank(1, 4)
    tick(later, 0, fix_of(0, (0.0, 0.0, 10.0, 0.0)))
    for k in range(1, 8):
        tick(later, k, accel_mps2=accel_mps2)
    tick(later, 8, fix_of(250_000, (3.0, then[1], then[2] + 1.0, 90.0)), accel_mps2=accel_mps2)
    since_m = 8.64 - then[1]
    assert believed(later) == pytest.approx([3.0 + since_m + 0.25, then[1], 12.6, 90.0])


def test_fixes_under_way_are_held_to_what_was_corrected_meanwhile():
    """Two true fixes that overlap in time make a car true that believed itself 5 m farther on."""
    fused = blank(1, 8)
    tick(fused, 0, fix_of(0, (0.0, 5.0, 10.0, 0.0)))
    for k in range(1, 5):
        tick(fused, k)
    # Both are of moments before the first of them came, at 0.2 and at 0.43 s.
    tick(fused, 5, fix_of(300_000, (0.0, 2.0, 10.0, 0.0)))
    assert believed(fused) == pytest.approx([0.0, 5.0, 10.0, 0.0])
    tick(fused, 6, fix_of(170_000, (0.0, 4.3, 10.0, 0.0)))
    assert believed(fused) == pytest.approx([0.0, 6.0, 10.0, 0.0])


@pytest.mark.parametrize("age_us", [400_001, -1, 10_000_000])
def test_a_fix_of_a_moment_that_is_not_kept_is_refused(age_us):
    """Too long ago, not yet, or before the start: nothing changes, and the old fix stays newest."""
    fused = blank(1, 2)
    for k in range(10):
        tick(fused, k, fix_of(0, (0.0, 1.0 * k, 10.0, 0.0)) if k == 0 else NOTHING)
    tick(fused, 10, fix_of(age_us, (500.0, 500.0, 0.0, 90.0)))
    assert believed(fused) == pytest.approx([0.0, 10.0, 10.0, 0.0])
    assert fused.fix_us[0] == 0
    tick(fused, 11, fix_of(400_000, (1.0, 7.0, 10.0, 0.0)))
    assert believed(fused) == pytest.approx([1.0, 11.0, 10.0, 0.0]), "four ticks ago is kept"


@pytest.mark.parametrize(("late_ticks", "all_taken"), [(7, True), (9, False)])
def test_a_fix_that_is_later_than_the_kept_corrections_is_refused(late_ticks, all_taken):
    """With a fix a tick and more of them since its moment than are kept, it changes nothing."""
    fused = blank(1, 30)
    for k in range(31):
        moment = 1.0 * (k - late_ticks)
        tick(fused, k, fix_of(TICK_US * late_ticks, (0.0, moment, 10.0, 0.0)))
    assert (fused.num_corrections[0] == 31) == all_taken
    assert believed(fused) == pytest.approx([0.0, 30.0, 10.0, 0.0])


def test_a_fix_that_a_newer_one_overtook_is_refused():
    """What a newer fix said stays."""
    fused = blank(1, 8)
    tick(fused, 0, fix_of(0, (0.0, 0.0, 10.0, 0.0)))
    tick(fused, 1)
    tick(fused, 2, fix_of(0, (0.0, 3.0, 10.0, 0.0)))
    tick(fused, 3, fix_of(200_000, (90.0, 1.0, 10.0, 0.0)))
    assert believed(fused) == pytest.approx([0.0, 4.0, 10.0, 0.0])


def test_a_fix_without_a_heading_keeps_the_last_one():
    """Position and speed are believed, the heading stays; a car that hardly moves does not turn."""
    fused = blank(1, 4)
    tick(fused, 0, fix_of(0, (0.0, 0.0, 1.0, 45.0)))
    tick(fused, 1, turn_deg=30.0)
    assert believed(fused)[3] == 45.0
    tick(fused, 2, fix_of(0, (7.0, 8.0, 0.5, 300.0), has_heading=False))
    assert believed(fused) == pytest.approx([7.0, 8.0, 0.5, 45.0])


def test_cars_of_a_batch_are_independent():
    """Each of two cars with its own clock and fixes ends as it does alone."""
    poses = np.array([[0.0, 0.0, 10.0, 0.0], [5.0, 5.0, 20.0, 270.0]])
    together, alone = blank(2, 4), [blank(1, 4), blank(1, 4)]
    for k in range(12):
        ages = [0 if k == 0 else (150_000 if k % (5 + car) == 0 else None) for car in (0, 1)]
        fixes = [fix_of(age, pose + 0.3 * k) for age, pose in zip(ages, poses, strict=True)]
        for car in (0, 1):
            tick(alone[car], k + 3 * car, fixes[car], accel_mps2=0.5 - car)
        fuse(
            (k + 3 * np.arange(2)) * TICK_US,
            0.5 - np.arange(2),
            np.zeros(2),
            HOLD_MPS,
            Fix(*(np.concatenate(both) for both in zip(*fixes, strict=True))),
            together,
        )
    for car in (0, 1):
        for both, one in zip(together, alone[car], strict=True):
            assert np.array_equal(both[car], one[0])
