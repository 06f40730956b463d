"""Where a board was that only echoes, while frames are lost and while they are not."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration.logs.echoes import echoed_positions, when_fixed
from ml.calibration.logs.trajectories import reference_for, trajectory

FRAMES = 6000
TIME_MS = np.arange(FRAMES) * 100.0
DEG_PER_M = 1.0 / 110_900.0


def held(at_m, phase_ms=30.0):
    """Positions as a receiver holds them, new once a second."""
    newest_ms = np.floor((TIME_MS - phase_ms) / 1000.0) * 1000.0 + phase_ms
    return np.interp(newest_ms, TIME_MS, at_m)


def bursts(rng, mean=12):
    """Which of the pings come back: bursts of losses, half of all."""
    back, at = np.ones(FRAMES, dtype=bool), 0
    while at < FRAMES:
        lost = int(rng.exponential(mean)) + 1
        back[at : at + lost] = False
        at += lost + int(rng.exponential(mean)) + 1
    back[0] = back[-1] = True
    return back


def where(at_m, me_m, back):
    """Metres north of the echoing board at each ping, from the echoes that came back."""
    lat, mine = 32.0 + held(at_m) * DEG_PER_M, 32.0 + held(me_m) * DEG_PER_M
    lon, speed = np.full(FRAMES, 35.0), np.full(FRAMES, 15.0)
    reference = reference_for(lat, lon)
    me = trajectory(reference, TIME_MS, mine, lon, speed)
    fixed_ms = when_fixed(TIME_MS[back], lat[back], lon[back])
    assert (np.diff(fixed_ms) > 0.0).all()
    way = trajectory(reference, fixed_ms, lat[back], lon[back], speed[back])
    north_m = echoed_positions(way, me, TIME_MS)[:, 1]
    truth_m = (32.0 - reference.lat_deg) / DEG_PER_M + at_m
    return north_m - truth_m * DEG_PER_M * reference.north_m_per_deg


@pytest.mark.parametrize("phase_ms", [0.0, 30.0, 950.0])
def test_a_board_ahead_does_not_trail_where_frames_are_lost(phase_ms):
    """At 15 m/s its place is as well known in bursts of losses as between them: within 0.2 m."""
    rng = np.random.Generator(np.random.PCG64(4))
    back = bursts(rng)
    at_m = 15.0 * TIME_MS / 1000.0
    lat = 32.0 + held(at_m, phase_ms) * DEG_PER_M
    fixed_ms = when_fixed(TIME_MS[back], lat[back], np.full(back.sum(), 35.0))
    new = np.flatnonzero(np.diff(lat[back])) + 1
    late_ms = (fixed_ms[new] - phase_ms + 500.0) % 1000.0 - 500.0
    np.testing.assert_allclose(late_ms, late_ms.mean(), atol=20.0)
    off_m = where(at_m, at_m - 30.0, back)
    known = np.isfinite(off_m)
    assert known.mean() > 0.99
    assert off_m[known & ~back].mean() == pytest.approx(off_m[known & back].mean(), abs=0.2)


def test_a_receiver_without_a_step_is_taken_to_have_moved_in_the_middle():
    """Fixes at uneven times: half of a gap, not its end."""
    rng = np.random.Generator(np.random.PCG64(5))
    moments_ms = np.cumsum(rng.uniform(300.0, 1700.0, 900))
    lat = 32.0 + np.searchsorted(moments_ms, TIME_MS) * 1e-5
    back = bursts(rng)
    fixed_ms = when_fixed(TIME_MS[back], lat[back], np.full(back.sum(), 35.0))
    new = np.diff(lat[back], prepend=lat[0]) > 0.0
    newest_ms = moments_ms[np.searchsorted(moments_ms, TIME_MS[back][new]) - 1]
    late_ms = fixed_ms[new] - newest_ms
    after_gap = np.diff(TIME_MS[back], prepend=0.0)[new] > 400.0
    assert abs(late_ms[after_gap].mean()) < 120.0
    assert (TIME_MS[back][new] - newest_ms)[after_gap].mean() > 250.0  # what the echo says


@pytest.mark.parametrize("ahead", [True, False])
def test_long_gaps_are_bridged_as_the_other_car_drove(ahead):
    """A car ahead brakes and sets off as its follower does; one that is parked stays."""
    rng = np.random.Generator(np.random.PCG64(6))
    speed = np.abs(12.0 * np.sin(TIME_MS / 1000.0 / 12.0))
    me_m = np.cumsum(speed) * 0.1
    at_m = me_m + 25.0 if ahead else np.full(FRAMES, 300.0) + 1e-3 * np.floor(TIME_MS / 5000.0)
    back = np.ones(FRAMES, dtype=bool)
    for begin in (1000, 2300, 4100):
        back[begin : begin + 120] = False  # twelve seconds
    off_m = where(at_m, me_m, back & (rng.random(FRAMES) < 0.8))
    assert np.isfinite(off_m).all()
    assert np.abs(off_m[~back]).max() < 2.0
