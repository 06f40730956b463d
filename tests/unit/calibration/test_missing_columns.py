"""What logs do not hold costs what needs it, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from ml.calibration.calibrate import calibrate
from ml.errors import LogError
from ml.parameters import load_parameters
from tests.support import small_logs

ROWS = 2400
RNG = np.random.Generator(np.random.PCG64(7))


def told(calibration):
    """Return of each parameter whether it was fitted."""
    return {estimate.name: estimate for estimate in calibration.estimates}


def test_without_gps_only_what_needs_a_position_is_refused(tmp_path):
    """Bursts still give a spread of shadowing; margin, slopes and lengths in metres are refused."""
    shadow = lfilter([np.sqrt(1.0 - 0.9**2)], [1.0, -0.9], RNG.normal(0.0, 5.0, (2, ROWS)))
    fade = 10.0 * np.log10(RNG.gamma(3.0, 1.0 / 3.0, shadow.shape))
    gone = RNG.random(shadow.shape) > 0.98 / (1.0 + np.exp(-(4.0 + shadow + fade)))
    lost = {("a", "b"): gone[0], ("b", "a"): gone[1]}
    tables = small_logs.drive({"a": np.zeros(ROWS), "b": np.zeros(ROWS)}, lost=lost)
    for table in tables.values():
        for name in ("lat", "lon", "speed", "heading"):
            table[name] = [""] * len(table[name])
    paths = small_logs.write_all(tmp_path, tables)
    found = told(calibrate(paths, load_parameters("clean"), "clean"))
    low, high = found["radio.loss.shadowing_sd_db"].interval
    assert low < 5.0 < high
    for name in (
        "radio.loss.margin_20m_db",
        "radio.loss.exponent_near",
        "radio.loss.exponent_far",
        "radio.loss.shadowing_distance_m",
        "radio.loss.bias_sd_db",
        "sensors.accelerometer.white_sd_mps2",
    ):
        assert not found[name].is_fitted, name
    assert "nor where they were" in found["radio.loss.shadowing_distance_m"].why


def test_latency_alone_needs_some_hundred_round_trips(tmp_path):
    """Six hundred pings, a minute: latency is fitted, as 3,000 frames would not be asked for."""
    trips = np.floor(6.0 + RNG.exponential(1.5, 600) + RNG.exponential(1.5, 600))
    table = small_logs.round_trips(np.zeros(600), np.zeros(600), np.arange(600) % 10 == 0, trips)
    path = small_logs.write(tmp_path / "a-rtt.csv", table)
    found = told(calibrate([path], load_parameters("clean"), "clean"))
    assert found["radio.mac.wait_mean_ms"].is_fitted
    short = {name: values[:500] for name, values in table.items()}
    small_logs.write(path, short)
    with pytest.raises(LogError, match=r"500 frames can be judged; allowed are 3000 .* 500 round"):
        calibrate([path], load_parameters("clean"), "clean")


def test_the_refusal_says_how_many_rows_went_for_which_reason(tmp_path):
    """Too little is left of logs in which the GPS hung while the cars drove."""
    place = np.arange(ROWS) * 1.5
    tables = small_logs.drive({"a": place + 20.0, "b": place}, receivers=["b"])
    for name in ("lat", "lon"):
        values = tables["a-tx"][name]
        tables["a-tx"][name] = values[:1300] + [values[1300]] * (ROWS - 1300)
    paths = small_logs.write_all(tmp_path, tables)
    with pytest.raises(LogError) as caught:
        calibrate(paths, load_parameters("clean"), "clean")
    said = str(caught.value)
    assert "frames can be judged; allowed are 3000" in said
    assert f"{paths[0]}: left out are 1 outside the receiver's log (b), 1,0" in said
    assert "no position of one of the two (b)" in said
