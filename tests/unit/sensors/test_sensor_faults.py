"""Faults of sensors, and the ranging sensor: options that are off until somebody asks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ml.keyed_random import fold
from ml.sensors import (
    AccelerometerFaults,
    AccelerometerParameters,
    GpsFreezeFault,
    GpsJumpFault,
    HeadingParameters,
    PositionParameters,
    RangingParameters,
    RangingSensor,
    SensorBank,
    SensorFaultParameters,
    SensorParameters,
    SpeedParameters,
    Truth,
)

SPEED_MPS = 20.0


def _parameters(mode: str = "hold", **faults) -> SensorParameters:
    return SensorParameters(
        position=PositionParameters(mode=mode, sd_m=0.0, white_sd_m=0.0, hold_delay_s=0.0),
        speed=SpeedParameters(sd_mps=0.0),
        heading=HeadingParameters(sd_deg=0.0, gyro_bias_sd_dps=0.0),
        accelerometer=AccelerometerParameters(bias_sd_mps2=0.0, white_sd_mps2=0.0, lag_s=0.0),
        faults=SensorFaultParameters(**faults),
    )


def _drive(parameters: SensorParameters, ticks: int, envs: int = 30, cars: int = 4, first: int = 0):
    """Drive north at 20 m/s; (ticks + 1, E, V) errors along and across, and accelerations."""
    bank = SensorBank(parameters, num_envs=envs, num_vehicles=cars)
    rows = np.arange(envs)
    bank.reset(rows, fold(9, rows + first))
    along, across, accel = [], [], []
    for k in range(ticks + 1):
        north_m = SPEED_MPS * 0.1 * k
        truth = {
            name: np.full((envs, cars), value)
            for name, value in {
                "x_m": 0.0,
                "y_m": north_m,
                "speed_mps": SPEED_MPS,
                "heading_deg": 0.0,
                "accel_mps2": -2.0 if k else 0.0,
            }.items()
        }
        measured = (
            bank.measure(np.full(envs, k), Truth(**truth))
            if k
            else bank.measure_start(rows, Truth(**truth))
        )
        along.append(measured.y_m - north_m)
        across.append(measured.x_m)
        accel.append(measured.accel_mps2)
    return np.array(along), np.array(across), np.array(accel)


def test_by_default_no_sensor_has_a_fault():
    """The staircase is never older than its period, and the accelerometer reads the truth."""
    along, across, accel = _drive(_parameters(), 600)
    assert along.min() > -SPEED_MPS
    assert (across == 0.0).all()
    assert (accel[1:] == -2.0).all()


def test_a_frozen_receiver_repeats_its_last_fix():
    """For its seconds the position stands still, though fixes keep coming; then it is back."""
    freeze = GpsFreezeFault(mean_interval_s=30.0, duration_s=5.0)
    along, _, _ = _drive(_parameters(gps_freeze=freeze), 1200, envs=40)
    lag_s = -along / SPEED_MPS
    frozen = lag_s > 1.0 + 1e-9
    # Five repeated fixes after a good one: at most six seconds old, but where one freeze follows
    # upon another, at 1 in 30.
    assert ((lag_s > 5.9) & (lag_s < 6.0)).any()
    assert 0.0 < (lag_s > 6.0).mean() < 0.25 * (lag_s > 3.0).mean()
    starts = (frozen[1:] & ~frozen[:-1]).sum()
    # A freeze begins at a fix of a working receiver, so at 1 in 30 s of the seconds it works.
    expected = 40 * 4 * 120.0 / (30.0 + 5.0)
    assert abs(starts - expected) < 4.0 * np.sqrt(expected)
    # Old by more than a second: from the repeated fix on, for five seconds.
    assert frozen.mean() == pytest.approx(5.0 / 35.0, rel=4.0 / np.sqrt(starts) + 0.05)


def test_a_frozen_receiver_ruins_dead_reckoning_too():
    """A fused position follows what the receiver says, since the node cannot know better."""
    freeze = GpsFreezeFault(mean_interval_s=30.0, duration_s=5.0)
    along, _, _ = _drive(_parameters("fused", gps_freeze=freeze), 600)
    assert along.min() < -4.0 * SPEED_MPS
    assert np.median(np.abs(along)) < 1.2


def test_a_jump_puts_all_fixes_beside_the_truth_for_a_while():
    """One offset for the duration, the same in every fix, drawn anew for each jump."""
    jump = GpsJumpFault(mean_interval_s=40.0, duration_s=8.0, sd_m=10.0)
    _, across, _ = _drive(_parameters(gps_jump=jump), 1200, envs=60)
    assert (across[:50] == 0.0).mean() > 0.85
    offsets, lengths = [], []
    for series in across.reshape(across.shape[0], -1).T:
        edges = np.flatnonzero(np.diff(series) != 0.0) + 1
        for begin, end in pairwise(edges):
            if series[begin] != 0.0:
                offsets.append(series[begin])
                lengths.append(end - begin)
    assert set(lengths) == {80}
    assert len(offsets) > 300
    assert np.std(offsets) == pytest.approx(10.0, rel=4.0 / np.sqrt(2.0 * len(offsets)))
    assert abs(np.mean(offsets)) < 4.0 * 10.0 / np.sqrt(len(offsets))
    assert (across != 0.0).mean() == pytest.approx(8.0 / 48.0, rel=4.0 / np.sqrt(len(offsets)))


def test_a_jump_goes_north_as_far_as_east_and_no_further():
    """Both axes jump at once and independently; with a fix at every sample, for as long."""
    jump = GpsJumpFault(mean_interval_s=40.0, duration_s=8.0, sd_m=10.0)
    north, east, _ = _drive(_parameters("continuous", gps_jump=jump), 600, envs=200)
    beside = east != 0.0
    assert np.array_equal(beside, np.abs(north) > 1e-9)
    last = np.array([east[-1][beside[-1]], north[-1][beside[-1]]])
    assert last.shape[1] > 80
    for offsets in last:
        assert offsets.std() == pytest.approx(10.0, rel=4.0 / np.sqrt(2.0 * offsets.size))
    assert abs(np.corrcoef(last)[0, 1]) < 4.0 / np.sqrt(last.shape[1])


def test_boards_are_mounted_wrong_for_a_whole_episode():
    """Inverted boards read +2 for −2, misaligned ones 0, in the stated shares."""
    faults = AccelerometerFaults(inverted_probability=0.3, misaligned_probability=0.2)
    _, _, accel = _drive(_parameters(accelerometer=faults), 5, envs=1000)
    assert (accel[1:] == accel[1]).all()
    values, counts = np.unique(accel[1], return_counts=True)
    assert values.tolist() == [-2.0, 0.0, 2.0]
    for count, share in zip(counts, (0.5, 0.2, 0.3), strict=True):
        assert abs(count / 4000 - share) < 4.0 * np.sqrt(share * (1.0 - share) / 4000)


def test_biased_boards_are_off_by_the_bias_either_way():
    """A quarter of the boards read 1.5 too much or too little, up and down alike."""
    faults = AccelerometerFaults(biased_probability=0.25, bias_mps2=1.5)
    _, _, accel = _drive(_parameters(accelerometer=faults), 2, envs=1000)
    values, counts = np.unique(accel[1], return_counts=True)
    assert values.tolist() == [-3.5, -2.0, -0.5]
    for count, share in zip(counts, (0.125, 0.75, 0.125), strict=True):
        assert abs(count / 4000 - share) < 4.0 * np.sqrt(share * (1.0 - share) / 4000)


def test_an_inverted_accelerometer_pulls_the_fused_speed_the_wrong_way():
    """Between fixes the node believes to speed up while it brakes."""
    for faults, worst_mps in (
        (AccelerometerFaults(), 0.0),
        (AccelerometerFaults(inverted_probability=1.0), 4.0),
        (AccelerometerFaults(misaligned_probability=1.0), 2.0),
    ):
        bank = SensorBank(_parameters("fused", accelerometer=faults), num_envs=20, num_vehicles=5)
        rows = np.arange(20)
        bank.reset(rows, fold(9, rows))
        errors = []
        for k in range(81):
            t_s = 0.1 * k
            truth = {
                name: np.full((20, 5), value)
                for name, value in {
                    "x_m": 0.0,
                    "y_m": SPEED_MPS * t_s - t_s * t_s,
                    "speed_mps": SPEED_MPS - 2.0 * t_s,
                    "heading_deg": 0.0,
                    "accel_mps2": -2.0 if k else 0.0,
                }.items()
            }
            measured = (
                bank.measure(np.full(20, k), Truth(**truth))
                if k
                else bank.measure_start(rows, Truth(**truth))
            )
            errors.append(measured.speed_mps - truth["speed_mps"])
        # Just before the next fix it is a second old; each second the error begins anew.
        assert np.max(errors) == pytest.approx(worst_mps, abs=0.05 * worst_mps + 1e-9)
        assert np.min(errors) > -1e-9


def test_a_board_is_not_inverted_and_misaligned_at_once():
    """Shares that add up to more than all boards are refused with their sum."""
    with pytest.raises(ValueError, match=r"misaligned_probability = 1\.1, allowed is up to 1"):
        AccelerometerFaults(inverted_probability=0.6, misaligned_probability=0.5)


def test_faults_do_not_depend_on_the_batch():
    """A convoy alone has the faults that it has in a batch."""
    faults = {
        "gps_freeze": GpsFreezeFault(mean_interval_s=20.0),
        "gps_jump": GpsJumpFault(mean_interval_s=20.0),
        "accelerometer": AccelerometerFaults(inverted_probability=0.3, biased_probability=0.5),
    }
    together = _drive(_parameters("fused", **faults), 300, envs=4)
    alone = _drive(_parameters("fused", **faults), 300, envs=1, cars=2, first=3)
    for many, one in zip(together, alone, strict=True):
        assert np.array_equal(many[:, 3:, :2], one)


def _range(gap_m: np.ndarray, ticks: int, **values) -> tuple[np.ndarray, np.ndarray]:
    sensor = RangingSensor(RangingParameters(**values), num_envs=gap_m.size)
    rows = np.arange(gap_m.size)
    sensor.reset(rows, fold(3, rows))
    ranges, valid = [], []
    for k in range(ticks):
        sensor.measure(rows, np.full(gap_m.size, k), gap_m)
        ranges.append(sensor.range_m.copy())
        valid.append(sensor.is_valid.copy())
    return np.array(ranges), np.array(valid)


def test_ranging_is_off_by_default():
    """Without being asked for, the sensor sees nothing."""
    ranges, valid = _range(np.full(10, 20.0), 5)
    assert not valid.any()
    assert (ranges == 0.0).all()


def test_ranging_measures_the_gap_with_white_noise():
    """Unbiased, 0.3 m, new at each tick and in each convoy."""
    ranges, valid = _range(np.full(400, 20.0), 50, enabled=True)
    assert valid.all()
    error = ranges - 20.0
    assert abs(error.std() / 0.3 - 1.0) < 4.0 / np.sqrt(2.0 * 20_000)
    assert abs(error.mean()) < 4.0 * 0.3 / np.sqrt(20_000)
    assert abs(np.corrcoef(error[:-1].ravel(), error[1:].ravel())[0, 1]) < 4.0 / np.sqrt(19_600)
    assert abs(np.corrcoef(error[:, :-1].ravel(), error[:, 1:].ravel())[0, 1]) < 4.0 / np.sqrt(2e4)
    exact, _ = _range(np.array([7.25]), 1, enabled=True, sd_m=0.0)
    assert exact.tolist() == [[7.25]]


def test_ranging_sees_so_far_and_no_further_and_never_behind_itself():
    """Beyond its range, and without a car ahead, there is no measurement; none is below zero."""
    gaps = np.array([0.0, 59.9, 60.0, 60.1, np.inf])
    ranges, valid = _range(gaps, 200, enabled=True)
    assert valid.tolist() == [[True, True, True, False, False]] * 200
    assert (ranges[:, 3:] == 0.0).all()
    assert ranges[:, 0].min() == 0.0
    assert ranges[:, 0].max() > 0.3
