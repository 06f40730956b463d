"""The errors of each sensor, seen in mode continuous, where nothing else lies between."""

from __future__ import annotations

import numpy as np
import pytest

from ml.errors import EnvironmentStateError
from ml.keyed_random import fold
from ml.sensors import (
    AccelerometerParameters,
    HeadingParameters,
    PositionParameters,
    SensorBank,
    SensorParameters,
    SpeedParameters,
    Truth,
)

EXACT = SensorParameters(
    position=PositionParameters(mode="continuous", sd_m=0.0, white_sd_m=0.0),
    speed=SpeedParameters(sd_mps=0.0),
    heading=HeadingParameters(sd_deg=0.0, hold_below_mps=0.0, gyro_bias_sd_dps=0.0),
    accelerometer=AccelerometerParameters(bias_sd_mps2=0.0, white_sd_mps2=0.0, lag_s=0.0),
)
NOISY = SensorParameters(position=PositionParameters(mode="continuous"))


def _truth(shape: tuple[int, int], **values: float) -> Truth:
    usual = {
        "x_m": 100.0,
        "y_m": -50.0,
        "speed_mps": 20.0,
        "heading_deg": 90.0,
        "accel_mps2": 0.5,
    }
    return Truth(**{name: np.full(shape, value) for name, value in (usual | values).items()})


def _started(parameters: SensorParameters, num_envs: int, num_vehicles: int, seed: int = 1):
    bank = SensorBank(parameters, num_envs=num_envs, num_vehicles=num_vehicles)
    rows = np.arange(num_envs)
    bank.reset(rows, fold(seed, rows))
    first = bank.measure_start(rows, _truth((num_envs, num_vehicles)))
    return bank, first


def _record(bank: SensorBank, first, ticks: int, **values: float) -> dict[str, np.ndarray]:
    """Measure a steady drive; (ticks + 1, E, V) of each quantity."""
    shape = first.x_m.shape
    names = ("x_m", "y_m", "speed_mps", "heading_deg", "accel_mps2")
    record = {name: [getattr(first, name)] for name in names}
    for k in range(1, ticks + 1):
        measured = bank.measure(np.full(shape[0], k), _truth(shape, **values))
        for name in names:
            record[name].append(getattr(measured, name).copy())
    return {name: np.array(values) for name, values in record.items()}


def test_without_errors_a_measurement_is_the_truth():
    """With all noise and lag at zero every value comes out bit for bit, at the start and after."""
    bank = SensorBank(EXACT, num_envs=3, num_vehicles=4)
    rows = np.arange(3)
    bank.reset(rows, fold(1, rows))
    random = np.random.default_rng(0)
    for tick in range(20):
        truth = {
            "x_m": random.normal(size=(3, 4)) * 1e4,
            "y_m": random.normal(size=(3, 4)) * 1e-9,
            "speed_mps": random.uniform(0.0, 30.0, (3, 4)) * (random.random((3, 4)) > 0.3),
            "heading_deg": random.uniform(0.0, 360.0, (3, 4)),
            "accel_mps2": random.normal(size=(3, 4)) * 3.0,
        }
        measured = (
            bank.measure(np.full(3, tick), Truth(**truth))
            if tick
            else bank.measure_start(rows, Truth(**truth))
        )
        for name, values in truth.items():
            assert np.array_equal(getattr(measured, name), values), name
        assert (measured.position_sd_m == 0.0).all()


def test_speed_error_is_stationary_and_never_makes_a_speed_negative():
    """Speed errs by 0.15 m/s with a memory of 2 s; a standing car is never measured backwards."""
    bank, first = _started(NOISY, 600, 4)
    error = _record(bank, first, 60)["speed_mps"] - 20.0
    for tick in (0, 1, 60):
        assert abs(error[tick].std() / 0.15 - 1.0) < 4.0 / np.sqrt(2.0 * 2400)
    for ticks in (10, 20, 60):
        correlation = np.corrcoef(error[0].ravel(), error[ticks].ravel())[0, 1]
        assert abs(correlation - np.exp(-0.1 * ticks / 2.0)) < 4.0 / np.sqrt(2400)
    standing = bank.measure(np.full(600, 61), _truth((600, 4), speed_mps=0.0)).speed_mps
    assert standing.min() == 0.0
    assert 0.4 < (standing == 0.0).mean() < 0.6


def test_heading_is_worse_when_slow_and_held_when_nearly_standing():
    """0.5 degrees above 5 m/s, twice that at half the speed, and the last one below 1.4 m/s."""
    parameters = NOISY.model_copy(update={"speed": SpeedParameters(sd_mps=0.0)})
    bank, _ = _started(parameters, 800, 4)
    spreads = []
    for k, speed_mps in enumerate((20.0, 5.0, 2.5, 1.4), start=1):
        truth = _truth((800, 4), speed_mps=speed_mps)
        spreads.append(bank.measure(np.full(800, k), truth).heading_deg.std())
    assert np.allclose(spreads, [0.5, 0.5, 1.0, 0.5 * 5.0 / 1.4], rtol=0.06)
    last = bank.measure(np.full(800, 5), _truth((800, 4))).heading_deg
    for k in (6, 7):
        slow = _truth((800, 4), speed_mps=1.39, heading_deg=200.0)
        assert np.array_equal(bank.measure(np.full(800, k), slow).heading_deg, last)
    north = bank.measure(np.full(800, 8), _truth((800, 4), heading_deg=0.0)).heading_deg
    assert (north >= 0.0).all()
    assert (north < 360.0).all()
    assert 0.4 < (north > 180.0).mean() < 0.6


def test_errors_of_one_car_do_not_know_each_other():
    """Position, speed, heading and acceleration err independently at a tick, and white over it."""
    parameters = SensorParameters(
        position=PositionParameters(mode="continuous", sd_m=0.0, white_sd_m=1.0)
    )
    bank, first = _started(parameters, 1000, 4)
    record = _record(bank, first, 2)
    now = np.array([values[1].ravel() for values in record.values()])
    later = np.array([values[2].ravel() for values in record.values()])
    matrix = np.corrcoef(np.concatenate([now, later]))
    names = list(record)
    for row, column in zip(*np.nonzero(np.triu(np.ones((10, 10)), 1)), strict=True):
        lasting = column == row + 5 and names[row] in ("speed_mps", "accel_mps2")
        if not lasting:
            assert abs(matrix[row, column]) < 4.0 / np.sqrt(4000), (row, column)


def test_accelerometer_has_a_bias_per_episode_white_noise_and_a_lag():
    """The bias lasts the episode, the noise does not, and a step is followed with its lag."""
    bank, first = _started(NOISY, 500, 4)
    error = _record(bank, first, 100)["accel_mps2"] - 0.5
    bias = error.mean(axis=0)
    assert abs(bias.std() / np.hypot(0.3, 0.15 / np.sqrt(101)) - 1.0) < 4.0 / np.sqrt(2.0 * 2000)
    assert abs((error - bias).std() / (0.15 * np.sqrt(100 / 101)) - 1.0) < 0.01

    lag = AccelerometerParameters(bias_sd_mps2=0.0, white_sd_mps2=0.0, lag_s=0.2)
    bank, _ = _started(EXACT.model_copy(update={"accelerometer": lag}), 1, 1)
    step = [
        bank.measure(np.array([k]), _truth((1, 1), accel_mps2=-7.5)).accel_mps2[0, 0]
        for k in range(1, 6)
    ]
    assert np.allclose(step, -7.5 + 8.0 * np.exp(-0.5 * np.arange(1, 6)))


@pytest.mark.parametrize("mode", ["fused", "hold", "continuous"])
def test_a_convoy_is_measured_the_same_alone_and_in_a_batch(mode: str):
    """Neither the batch, nor another's reset, nor more cars in the convoy change an error."""
    parameters = SensorParameters(position=PositionParameters(mode=mode))
    batch, first = _started(parameters, 8, 5)
    together = _record(batch, first, 30)
    alone = SensorBank(parameters, num_envs=1, num_vehicles=3)
    row = np.zeros(1, dtype=np.int64)
    alone.reset(row, fold(1, [6]))
    single = _record(alone, alone.measure_start(row, _truth((1, 3))), 30)
    for name, values in single.items():
        assert np.array_equal(values[:, 0], together[name][:, 6, :3]), name


@pytest.mark.parametrize("mode", ["fused", "hold", "continuous"])
def test_a_reset_starts_one_convoy_anew_and_leaves_the_others(mode: str):
    """After a reset in mid-flight the other convoys go on as if nothing had happened."""
    parameters = SensorParameters(position=PositionParameters(mode=mode))
    undisturbed, first = _started(parameters, 4, 2)
    expected = _record(undisturbed, first, 20)
    bank, _ = _started(parameters, 4, 2)
    tick = np.zeros(4, dtype=np.int64)
    for k in range(1, 21):
        tick += 1
        measured = bank.measure(tick, _truth((4, 2)))
        for name, values in expected.items():
            assert np.array_equal(getattr(measured, name)[[0, 1, 3]], values[k][[0, 1, 3]])
        if k == 10:
            row = np.array([2])
            bank.reset(row, fold(1, row))
            again = bank.measure_start(row, _truth((1, 2)))
            tick[2] = 0
            assert np.array_equal(again.x_m, expected["x_m"][:1, 2])
        if k > 10:
            assert np.array_equal(measured.x_m[2], expected["x_m"][k - 10, 2])


def test_overrides_hold_per_convoy():
    """An override sets the size of an error where it is given, and what the node reports."""
    bank = SensorBank(EXACT, num_envs=3, num_vehicles=400)
    rows = np.arange(3)
    drawn = {
        "sensors.position.sd_m": np.array([0.0, 1.0, 4.0]),
        "radio.latency.base_ms": np.zeros(3),
    }
    bank.reset(rows, fold(1, rows), overrides=drawn | {"sensors.position.common_share": rows * 0.0})
    measured = bank.measure_start(rows, _truth((3, 400)))
    assert np.allclose((measured.x_m - 100.0).std(axis=1), [0.0, 1.0, 4.0], rtol=0.12)
    assert measured.position_sd_m[:, 0].tolist() == [0.0, 1.0, 4.0]
    with pytest.raises(EnvironmentStateError, match=r"allowed are .* sensors\.position\.sd_m"):
        bank.reset(rows, fold(1, rows), overrides={"sensors.position.mode": np.zeros(3)})


def test_ticks_may_not_be_left_out_or_repeated():
    """A sensor's memory moves one tick at a time; anything else is named with its convoy."""
    bank, _ = _started(NOISY, 2, 2)
    bank.measure(np.array([1, 1]), _truth((2, 2)))
    with pytest.raises(EnvironmentStateError, match="convoy 1 were asked for tick 1 after tick 1"):
        bank.measure(np.array([2, 1]), _truth((2, 2)))
    with pytest.raises(EnvironmentStateError, match="convoy 0 were asked for tick 3 after tick 1"):
        bank.measure(np.array([3, 2]), _truth((2, 2)))
    bank.measure(np.array([2, 2]), _truth((2, 2)))
    bank.reset(np.array([1]), fold(1, [1]))
    with pytest.raises(EnvironmentStateError, match="convoy 1 were asked for tick 1 after reset"):
        bank.measure(np.array([3, 1]), _truth((2, 2)))


def test_samples_may_not_go_back_in_time():
    """A vehicle that is sampled before its last sample is named."""
    bank, _ = _started(SensorParameters(), 2, 2)
    truth = _truth((2, 2))
    bank.measure(np.array([1, 1]), truth, sampled_us=np.full((2, 2), 90_000))
    earlier = np.array([[150_000, 150_000], [150_000, 80_000]])
    with pytest.raises(EnvironmentStateError, match=r"vehicle 1 of convoy 1 .* at 80000 µs"):
        bank.measure(np.array([2, 2]), truth, sampled_us=earlier)
