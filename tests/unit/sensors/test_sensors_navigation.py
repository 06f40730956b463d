"""Between two fixes: dead reckoning, or a staircase. Held to drives whose truth is a formula."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

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
from ml.vehicle import TICK_US


def _parameters(mode: str = "fused", **values: float) -> SensorParameters:
    """All errors zero but for the named ones."""
    get = values.pop
    parameters = SensorParameters(
        position=PositionParameters(
            mode=mode,
            sd_m=get("sd_m", 0.0),
            white_sd_m=get("white_sd_m", 0.0),
            hold_period_s=get("period_s", 1.0),
            hold_delay_s=get("delay_s", 0.15),
        ),
        speed=SpeedParameters(sd_mps=get("speed_sd_mps", 0.0), tau_s=get("speed_tau_s", 2.0)),
        heading=HeadingParameters(
            sd_deg=get("heading_sd_deg", 0.0), gyro_bias_sd_dps=get("gyro_bias_sd_dps", 0.0)
        ),
        accelerometer=AccelerometerParameters(
            bias_sd_mps2=get("bias_sd_mps2", 0.0),
            white_sd_mps2=get("accel_sd_mps2", 0.0),
            lag_s=0.0,
        ),
    )
    assert not values
    return parameters


@dataclass
class Drive:
    """An even acceleration from a start at time 0, straight or on a circle."""

    speed_mps: float = 20.0
    accel_mps2: float = 0.0
    heading_deg: float = 60.0
    radius_m: float = np.inf

    def way_m(self, t_s: np.ndarray) -> np.ndarray:
        """Driven since the start."""
        return self.speed_mps * t_s + 0.5 * self.accel_mps2 * t_s * t_s

    def truth(self, t_s: np.ndarray) -> dict[str, np.ndarray]:
        """Everything a sensor bank is told of the moment."""
        way_m = self.way_m(t_s)
        start = np.radians(self.heading_deg)
        turned = way_m / self.radius_m
        if np.isinf(self.radius_m):
            east_m, north_m = way_m * np.sin(start), way_m * np.cos(start)
        else:
            east_m = self.radius_m * (np.cos(start) - np.cos(start + turned))
            north_m = self.radius_m * (np.sin(start + turned) - np.sin(start))
        return {
            "x_m": 1000.0 + east_m,
            "y_m": -500.0 + north_m,
            "speed_mps": self.speed_mps + self.accel_mps2 * t_s,
            "heading_deg": np.degrees(start + turned) % 360.0,
            "accel_mps2": np.where(t_s > 0.0, self.accel_mps2, 0.0),
        }

    def run(self, parameters: SensorParameters, ticks: int, shape=(40, 5), times=None, key=1):
        """Errors along the road, across it (to the right), of speed, heading; sd; each (ticks…)."""
        bank = SensorBank(parameters, num_envs=shape[0], num_vehicles=shape[1])
        rows = np.arange(shape[0])
        bank.reset(rows, fold(key, rows))
        record = []
        for k in range(ticks + 1):
            t_us = np.full(shape, k * TICK_US) if times is None or k == 0 else times(k)
            truth = self.truth(t_us * 1e-6)
            if k == 0:
                measured = bank.measure_start(rows, Truth(**truth))
            else:
                measured = bank.measure(np.full(shape[0], k), Truth(**truth), sampled_us=t_us)
            direction = np.radians(truth["heading_deg"])
            east_m, north_m = measured.x_m - truth["x_m"], measured.y_m - truth["y_m"]
            turn_deg = (measured.heading_deg - truth["heading_deg"] + 180.0) % 360.0 - 180.0
            record.append(
                (
                    east_m * np.sin(direction) + north_m * np.cos(direction),
                    east_m * np.cos(direction) - north_m * np.sin(direction),
                    measured.speed_mps - truth["speed_mps"],
                    turn_deg,
                    measured.position_sd_m,
                )
            )
        return np.moveaxis(np.array(record), 1, 0)


PERIODS = [(1.0, 0.15), (0.2, 0.15), (0.1, 0.15), (1.0, 0.0), (0.73, 1.0)]


@pytest.mark.parametrize(("period_s", "delay_s"), PERIODS)
@pytest.mark.parametrize("drive", [Drive(), Drive(30.0, -2.5), Drive(0.0, 2.0, 300.0)])
def test_fused_without_errors_is_the_truth(drive: Drive, period_s: float, delay_s: float):
    """Straight, at constant speed or evenly accelerated, every value is exact at any fix rate."""
    parameters = _parameters(period_s=period_s, delay_s=delay_s)
    along, across, speed, heading, sd = drive.run(parameters, 100)
    # Before the start the car stood or drove evenly, so the first fixes know no acceleration.
    assert np.abs(along).max() < 1e-3
    assert np.abs(across).max() < 1e-3
    assert np.abs(speed).max() < 1e-9
    assert np.abs(heading).max() < 1e-9
    assert (sd == 0.0).all()


def _beacons(jitter_us: int):
    """Times of beacons: a phase for each car and a jitter for each tick, within the tick."""
    random = np.random.default_rng(5)
    phase = random.integers(0, TICK_US, (40, 5))

    def times(tick: int) -> np.ndarray:
        jitter = random.integers(0, jitter_us, (40, 5)) if jitter_us else 0
        return (tick - 1) * TICK_US + np.minimum(phase + jitter, TICK_US - 1)

    return times


@pytest.mark.parametrize("jitter_us", [0, 40_000])
def test_samples_between_the_ticks_are_exact_at_their_own_times(jitter_us: int):
    """A beacon's state is that of its moment, with phases and jitter as large as may be."""
    drive = Drive(25.0, -1.5)
    along, _, speed, _, _ = drive.run(_parameters(), 120, times=_beacons(jitter_us))
    assert np.abs(along).max() < 1e-3
    assert np.abs(speed).max() < 1e-9


def test_in_a_bend_the_gyroscope_keeps_the_heading():
    """On a circle of 84 m the way stays within centimetres; without gyroscope it leaves by 1 m."""
    drive = Drive(14.0, 0.0, radius_m=84.0)
    _, across, _, heading, _ = drive.run(_parameters(), 100)
    # The chord of a tick is shorter than its arc, and a fix is interpolated on the chord.
    assert np.abs(across).max() < 0.03
    assert np.abs(heading).max() < 1e-6
    without = _parameters().model_copy(
        update={"heading": HeadingParameters(sd_deg=0.0, gyro_bias_sd_dps=None)}
    )
    _, across, _, heading, _ = drive.run(without, 100)
    # 14 m/s on 84 m turn 9.55 degrees a second; the oldest heading is 1.15 s old.
    assert heading.min() == pytest.approx(-9.55 * 1.15, abs=1.0)
    assert np.abs(across).max() > 1.0


def test_a_hold_is_a_staircase_of_late_fixes():
    """Each car reports once a second, at its own phase, where it was 0.15 s ago; then nothing."""
    along, across, speed, heading, sd = Drive().run(_parameters("hold"), 60, (40, 5))
    age_s = -along / 20.0
    # A tick after the delivery's moment the report is at most so old; before, one period more.
    assert age_s.min() >= 0.15 - 1e-9
    assert age_s.max() < 1.15
    assert np.allclose(sd, 20.0 * age_s)
    assert np.abs(across).max() < 1e-9
    assert np.abs(speed).max() == 0.0
    assert np.abs(heading).max() < 1e-9
    growth = np.diff(age_s, axis=0)
    fresh = growth < 0.0
    assert np.allclose(growth[~fresh], 0.1)
    assert np.allclose(growth[fresh], -0.9)
    assert np.allclose(fresh[:50].sum(axis=0), 5), "one a second, from the first second on"
    # Phases are uniform: the mean age is 0.15 plus half a second, and all ages occur.
    assert age_s.mean() == pytest.approx(0.65, abs=4.0 * 0.289 / np.sqrt(200))
    assert np.histogram(age_s[30], bins=10, range=(0.15, 1.15))[0].min() >= 5


def test_hold_also_holds_speed_and_heading():
    """While braking the held speed is the one of the fix, up to 1.15 s ago."""
    _, _, speed, heading, _ = Drive(30.0, -3.0).run(_parameters("hold"), 60)
    late = speed[20:]
    assert late.min() >= 3.0 * 0.15 - 1e-9
    assert 3.0 * 1.1 < late.max() < 3.0 * 1.15
    _, _, _, heading, _ = Drive(14.0, 0.0, radius_m=84.0).run(_parameters("hold"), 60)
    assert heading[20:].max() < -9.55 * 0.14
    assert -9.6 * 1.15 < heading[20:].min() < -9.55 * 1.1


def test_fused_speed_follows_a_braking_at_once_and_a_held_one_late():
    """A sudden braking shows in the next sample of a fused speed."""
    steady = Drive(20.0, 0.0)
    for mode, worst in (("fused", 1e-9), ("hold", 5.0 * 1.15)):
        bank = SensorBank(_parameters(mode), num_envs=20, num_vehicles=5)
        rows = np.arange(20)
        bank.reset(rows, fold(1, rows))
        bank.measure_start(rows, Truth(**steady.truth(np.zeros((20, 5)))))
        errors = []
        for k in range(1, 41):
            braked_s = max(0.1 * (k - 20), 0.0)
            truth = steady.truth(np.full((20, 5), 0.1 * k))
            truth["speed_mps"] -= 5.0 * braked_s
            truth["x_m"] -= np.sin(np.pi / 3) * 2.5 * braked_s**2
            truth["y_m"] -= np.cos(np.pi / 3) * 2.5 * braked_s**2
            truth["accel_mps2"] -= 5.0 * (braked_s > 0.0)
            measured = bank.measure(np.full(20, k), Truth(**truth))
            errors.append(np.abs(measured.speed_mps - truth["speed_mps"]).max())
        assert max(errors) <= worst
        assert max(errors) >= worst - 0.3


def test_a_bias_grows_the_error_until_the_next_fix():
    """Along the road half the bias times the age squared, and it starts anew with each fix."""
    along, _, speed, _, sd = Drive().run(_parameters(bias_sd_mps2=0.3), 100, (800, 2))
    age_s = np.sqrt(sd / (0.5 * 0.3))
    assert age_s.min() >= 0.15 - 1e-9
    assert age_s.max() < 1.15
    bias = speed / age_s
    assert np.allclose(bias, bias[0], rtol=1e-6), "one bias for each car and episode"
    assert np.allclose(along, 0.5 * bias * age_s**2, atol=1e-6)
    assert bias[0].std() == pytest.approx(0.3, rel=4.0 / np.sqrt(2.0 * 1600))


def test_a_speed_error_is_driven_on_from_the_fix():
    """A GPS speed that is 0.15 m/s off makes a position that is off by that times the age."""
    along, _, speed, _, sd = Drive().run(_parameters(speed_sd_mps=0.15), 100, (800, 2))
    age_s = sd / 0.15
    assert np.allclose(along, speed * age_s, atol=1e-6)
    for tick in (0, 30, 100):
        assert speed[tick].std() == pytest.approx(0.15, rel=4.0 / np.sqrt(2.0 * 1600))
    # The process goes on from fix to fix: after a second, and after five.
    for ticks, memory in ((10, np.exp(-0.5)), (50, np.exp(-2.5))):
        correlation = np.corrcoef(speed[20].ravel(), speed[20 + ticks].ravel())[0, 1]
        assert abs(correlation - memory) < 4.0 / np.sqrt(1600)


@pytest.mark.parametrize("mode", ["fused", "hold", "continuous"])
def test_gps_error_is_the_stated_one_in_every_mode(mode: str):
    """Size, correlation in time and common share are those of the parameters, at any fix rate."""
    position = PositionParameters(mode=mode, sd_m=2.0, tau_s=5.0, white_sd_m=0.5)
    parameters = _parameters().model_copy(update={"position": position})
    standing = Drive(0.0)
    along, across, *_ = standing.run(parameters, 70, (1500, 3))
    assert abs(along[0].std() / np.hypot(2.0, 0.5) - 1.0) < 4.0 / np.sqrt(2.0 * 1500 * 2)
    assert abs(along[70].std() / np.hypot(2.0, 0.5) - 1.0) < 4.0 / np.sqrt(2.0 * 1500 * 2)
    share = 4.0 / 4.25
    own = np.corrcoef(along[20].ravel(), along[70].ravel())[0, 1]
    assert abs(own - share * np.exp(-1.0)) < 4.0 / np.sqrt(1500 * 2)
    within = np.corrcoef(along[70, :, 0], along[70, :, 2])[0, 1]
    # Two cars take their fixes up to a second apart.
    assert abs(within - 0.5 * share) < 4.0 / np.sqrt(1500) + 0.04
    between = np.corrcoef(along[70, 1:, 0], along[70, :-1, 0])[0, 1]
    assert abs(between) < 4.0 / np.sqrt(1500)
    assert abs(np.corrcoef(along[70].ravel(), across[70].ravel())[0, 1]) < 4.0 / np.sqrt(1500)


@pytest.mark.parametrize("period_s", [1.0, 0.2])
@pytest.mark.parametrize("drive", [Drive(25.0), Drive(10.0), Drive(20.0, -1.5)])
def test_what_a_node_believes_of_its_position_is_honest(drive: Drive, period_s: float):
    """Along and across the road the error has the believed size, not less than 0.9 of the worse."""
    position = PositionParameters(sd_m=0.1, white_sd_m=0.05, hold_period_s=period_s)
    along, across, _, _, sd = drive.run(SensorParameters(position=position), 100, (400, 3))
    normalised = [np.sqrt(np.mean((error / sd) ** 2)) for error in (along, across)]
    assert max(normalised) < 1.05
    assert max(normalised) > 0.9
    # The longer since the fix, the less sure; and rightly so.
    if period_s == 1.0:
        unsure = sd > np.quantile(sd, 0.9)
        assert along[unsure].std() > 1.3 * along[~unsure].std()


def test_the_defaults_are_as_sure_as_their_gps():
    """With 2.1 m of GPS error dead reckoning adds a few centimetres; the staircase many metres."""
    along, across, speed, _, sd = Drive(25.0).run(SensorParameters(), 100, (300, 3))
    assert 2.1 < sd.min() < sd.max() < 2.2
    assert np.hypot(along, across).std() < 2.5
    assert 0.15 < speed.std() < 0.28
    held = SensorParameters(position=PositionParameters(mode="hold"))
    along, _, _, _, sd = Drive(25.0).run(held, 100, (300, 3))
    assert -17.5 < along.mean() < -15.0
    assert sd.max() > 25.0
    assert np.sqrt(np.mean((along / sd) ** 2)) == pytest.approx(1.0, abs=0.05)


def test_a_gyroscopes_bias_turns_the_heading_until_the_next_fix():
    """The heading drifts at one rate for each car and episode, and starts anew with each fix."""
    _, across, _, heading, _ = Drive(20.0).run(_parameters(gyro_bias_sd_dps=1.0), 60, (500, 2))
    drifts = np.diff(heading, axis=0) / 0.1
    rate = np.median(drifts, axis=0)
    assert rate.std() == pytest.approx(1.0, rel=4.0 / np.sqrt(2.0 * 1000))
    fresh = np.abs(drifts - rate) > 1e-6
    assert fresh.sum(axis=0).max() <= 7, "between fixes it drifts evenly, at one fix a second"
    age_s = heading / rate
    assert age_s.min() >= 0.15 - 1e-6
    assert age_s.max() < 1.15
    # A heading that drifts evenly leaves the road by half of it.
    assert np.allclose(across, 0.5 * 20.0 * np.radians(heading) * age_s, atol=2e-3)


def test_what_a_node_believes_across_the_road_counts_where_it_is_worse():
    """With nothing but heading errors the believed size is theirs: speed, age and the turn."""
    parameters = _parameters(heading_sd_deg=1.0)
    _, across, _, _, sd = Drive(25.0).run(parameters, 60, (400, 2))
    age_s = sd / (25.0 * np.radians(1.0))
    assert age_s.min() >= 0.15 - 1e-9
    assert age_s.max() < 1.15
    assert np.sqrt(np.mean((across / sd) ** 2)) == pytest.approx(1.0, abs=0.1)


def test_the_accelerometer_lags_by_the_time_that_really_passed():
    """Between samples at uneven times a step is forgotten as exp(−time / lag), in every mode."""
    lag = AccelerometerParameters(bias_sd_mps2=0.0, white_sd_mps2=0.0, lag_s=0.2)
    bank = SensorBank(
        _parameters("continuous").model_copy(update={"accelerometer": lag}),
        num_envs=1,
        num_vehicles=1,
    )
    row = np.zeros(1, dtype=np.int64)
    bank.reset(row, fold(1, row))
    truth = {name: values[None, None] for name, values in Drive().truth(np.array(0.0)).items()}
    bank.measure_start(row, Truth(**truth))
    truth["accel_mps2"] = np.full((1, 1), -5.0)
    for tick, t_us in enumerate((30_000, 130_000, 290_000), start=1):
        measured = bank.measure(np.array([tick]), Truth(**truth), sampled_us=np.full((1, 1), t_us))
        expected = -5.0 * (1.0 - np.exp(-t_us * 1e-6 / 0.2))
        assert measured.accel_mps2[0, 0] == pytest.approx(expected, rel=1e-12)


def test_a_lagging_accelerometer_gains_less_at_first():
    """A tick after the onset of a braking the fused speed has followed as far as the lag lets."""
    lag = AccelerometerParameters(bias_sd_mps2=0.0, white_sd_mps2=0.0, lag_s=0.2)
    bank = SensorBank(
        _parameters().model_copy(update={"accelerometer": lag}), num_envs=20, num_vehicles=5
    )
    rows = np.arange(20)
    bank.reset(rows, fold(1, rows))
    bank.measure_start(rows, Truth(**Drive().truth(np.zeros((20, 5)))))
    truth = Drive(20.0, -5.0).truth(np.full((20, 5), 0.1))
    speed = bank.measure(np.ones(20, dtype=np.int64), Truth(**truth)).speed_mps
    # No fix of the braking has been delivered; 5 m/s² are gained but for 5 x lag (1 - exp(-.5)).
    assert np.allclose(speed - truth["speed_mps"], 5.0 * 0.2 * -np.expm1(-0.5))


def test_a_standing_car_is_not_carried_away_by_its_bias():
    """Speed stays near zero, never below it, and the heading is the last good one."""
    parameters = _parameters(bias_sd_mps2=0.3, gyro_bias_sd_dps=1.0)
    along, _, speed, heading, _ = Drive(0.0, 0.0, 90.0).run(parameters, 200, (200, 3))
    assert speed.min() == 0.0
    assert speed.max() < 4.0 * 0.3 * 1.15
    assert np.abs(along).max() < 0.5 * 4.0 * 0.3 * 1.15**2
    assert (heading == heading[0]).all()


def test_no_delay_may_be_longer_than_two_periods():
    """More fixes on their way than a receiver holds are refused with the allowed delay."""
    with pytest.raises(ValueError, match=r"hold_delay_s = 0.3, allowed is up to 2 x hold_period_s"):
        PositionParameters(hold_period_s=0.1, hold_delay_s=0.3)
