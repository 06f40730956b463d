"""The fit of the margin, and the statistics of losses, on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration.fits.field_tables import LossBin
from ml.calibration.fits.margin import expected_loss, fit_margin, loss_in_bin, mean_margin_db
from ml.calibration.synthetic.drive import reference_drive, reference_speed_mps
from ml.calibration.trials.loss_statistics import (
    LossLog,
    autocorrelation_at,
    mean_burst,
    window_spread,
)
from ml.calibration.trials.reference_drive import share_of_time_beyond
from ml.espnow_emulator import MarginLoss

PLAIN = MarginLoss(
    shadowing_sd_db=0.0,
    bias_sd_db=0.0,
    antenna_sd_db=0.0,
    door_share=0.0,
    fading_m=None,
    floor_loss=0.0,
)


def test_the_fit_finds_what_made_the_bins():
    """Bins computed from known parameters give them back, and leave nothing over."""
    truth = MarginLoss(margin_20m_db=9.0, exponent_far=2.8, car_first_db=5.0)
    shape = [(10.0, 20.0, 0), (30.0, 50.0, 0), (20.0, 40.0, 1), (70.0, 90.0, 0), (90.0, 120.0, 1)]
    bins = tuple(LossBin(*where, loss_in_bin(truth, LossBin(*where, loss=0.0))) for where in shape)
    fit = fit_margin(MarginLoss(), bins)
    assert fit.values == pytest.approx(
        {"margin_20m_db": 9.0, "exponent_far": 2.8, "car_first_db": 5.0}, abs=0.01
    )
    assert fit.at_bound == ()
    assert fit.rms < 1e-5


def test_the_fit_names_what_its_bounds_hold_back():
    """A parameter that wants to leave its range ends at the bound, and is named."""
    truth = MarginLoss(margin_20m_db=9.0, exponent_far=1.0)
    bins = tuple(
        LossBin(low, low + 10.0, 0, loss_in_bin(truth, LossBin(low, low + 10.0, 0, 0.0)))
        for low in (10.0, 30.0, 70.0, 90.0, 110.0)
    )
    fit = fit_margin(MarginLoss(), bins, {"margin_20m_db": (3.0, 18.0), "exponent_far": (2.0, 3.5)})
    assert fit.at_bound == ("exponent_far",)
    assert fit.values["exponent_far"] == pytest.approx(2.0, abs=1e-3)


def test_without_anything_drawn_the_loss_is_the_step_itself():
    """A margin of 0 dB loses half, 3 dB lose 1 / (1 + e^3), and cars between cost what they do."""
    at_20m = PLAIN.model_copy(update={"margin_20m_db": 0.0})
    assert expected_loss(at_20m, 20.0, 0) == pytest.approx(0.5, abs=1e-3)
    assert expected_loss(at_20m.model_copy(update={"margin_20m_db": 3.0}), 20.0, 0) == (
        pytest.approx(1.0 / (1.0 + np.exp(3.0)), abs=1e-3)
    )
    margin = PLAIN.model_copy(update={"car_first_db": 7.0, "cars_cap_db": 12.0})
    costs = [
        float(mean_margin_db(margin, 20.0, 0) - mean_margin_db(margin, 20.0, k)) for k in (1, 2, 3)
    ]
    assert costs == [7.0, 11.0, 12.0]


def test_the_margin_falls_by_the_exponents():
    """From 20 to 60 m by the near exponent, from 60 to 600 m by the far one, not below 3 m."""
    margin = PLAIN.model_copy(update={"exponent_near": 1.0, "exponent_far": 3.0})
    near, knee, far = mean_margin_db(margin, np.array([20.0, 60.0, 600.0]), 0)
    assert near - knee == pytest.approx(10.0 * np.log10(3.0))
    assert knee - far == pytest.approx(30.0)
    assert mean_margin_db(margin, 0.0, 0) == mean_margin_db(margin, 3.0, 0)
    assert np.isnan(expected_loss(margin, np.nan, 0))  # nobody guesses where a board is


def test_statistics_of_a_sequence_known_by_hand():
    """Two bursts of three and one frame in ten, on two links of one drive."""
    one = np.array([1, 1, 1, 0, 0, 0, 1, 0, 0, 0], dtype=bool)
    log = LossLog.of_losses(np.stack([one, one], axis=-1))
    assert mean_burst(log) == 2.0
    centred = one - 0.4
    expected = (centred[1:] * centred[:-1]).mean() / 0.24
    assert autocorrelation_at(log, 1) == pytest.approx(expected)
    assert autocorrelation_at(log, 1, together=2) == pytest.approx(expected)
    assert np.isnan(autocorrelation_at(LossLog.of_losses(np.zeros((9, 4), dtype=bool)), 1))
    windows = LossLog.of_losses(
        np.repeat([[0.6], [0.2]], 100, axis=0) > np.tile(np.arange(10) / 10.0, 20)[:, None]
    )
    assert window_spread(windows) == pytest.approx(0.2)


def test_links_that_share_a_mean_remember_what_differs_between_them():
    """A link that loses all and one that loses nothing: no memory alone, all of it together."""
    log = LossLog.of_losses(np.tile([True, False], (50, 1)))
    assert np.isnan(autocorrelation_at(log, 1))
    assert autocorrelation_at(log, 1, together=2) == pytest.approx(1.0)


def test_the_share_of_time_is_exact_between_receptions():
    """A frame lost in every second slot makes the age run from 4 to 204 ms."""
    frames = np.arange(20)
    latency_ms = np.where(frames % 2 == 0, 4.0, np.nan)[:, None]
    shares = share_of_time_beyond(latency_ms, 100_000 * frames[:, None], (0.0, 0.104, 0.3))
    assert shares == pytest.approx({0.0: 1.0, 0.104: 0.5, 0.3: 0.0})


def test_the_reference_drive_is_what_it_says():
    """582 s, 10.6 m/s on average, a stop of 42 s, cars that never roll back or touch."""
    speed_mps = reference_speed_mps()
    assert speed_mps.size == 5821
    assert abs(speed_mps.mean() - 10.6) < 0.3
    standing = "".join("x" if v < 0.1 else " " for v in speed_mps).split()
    assert 40.0 <= max(map(len, standing)) * 0.1 <= 44.0
    drive = reference_drive(2)
    assert drive.shape == (5821, 2, 3)
    assert (np.diff(drive, axis=0) >= 0.0).all()
    gaps = np.diff(drive, axis=2)
    assert gaps.min() >= 8.0
    assert abs(gaps.mean() - 20.0) < 1.0
