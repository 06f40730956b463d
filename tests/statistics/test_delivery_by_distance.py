"""Loss over distance against the recorded bins, and each preset against what it is named for."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration.fits.field_tables import LOSS_BY_DISTANCE, LossBin
from ml.calibration.fits.margin import expected_loss, fit_margin
from ml.calibration.trials.convoy import record_direct_links, straight
from ml.calibration.trials.reference_drive import neighbours_on_reference_drive, statistics_of
from ml.parameters import load_parameters

pytestmark = pytest.mark.statistics

BOARDS, TICKS = 2000, 101  # 202,000 frames of the link in question
UNOBSTRUCTED_WITHIN, ONE_CAR_WITHIN = 0.04, 0.10
# Nothing is held to the 237 frames of 40 to 60 m with nothing between.
HELD = tuple(b for b in LOSS_BY_DISTANCE if b.cars_between > 0 or b.high_m <= 40.0)


def _loss(b: LossBin) -> float:
    """Loss over a bin, each convoy with boards and a distance of its own."""
    nodes = b.cars_between + 2
    distance_m = np.linspace(b.low_m, b.high_m, BOARDS)
    along = straight(distance_m[:, None] / (nodes - 1) * np.arange(nodes), TICKS)
    radio = load_parameters("clean").radio
    ends = record_direct_links(radio, along, receivers=(0, nodes - 1), seed=103).lost
    lost = ends[:, :, 0, -1]  # from the first car to the last
    assert lost.size >= 200_000
    return float(lost.mean())


@pytest.mark.parametrize("b", HELD, ids=lambda b: b.name)
def test_loss_over_distance_is_the_recorded_one(b: LossBin):
    """Within 0.04 where nothing stands between, up to 40 m, and within 0.10 behind one car."""
    loss = _loss(b)
    print(f"{b.name}: {loss:.3f}, recorded {b.loss:g}")  # noqa: T201
    within = UNOBSTRUCTED_WITHIN if b.cars_between == 0 else ONE_CAR_WITHIN
    assert abs(loss - b.loss) <= within, f"{loss:.3f}"


@pytest.mark.parametrize(("distance_m", "between"), [(15.0, 0), (45.0, 1), (100.0, 0), (60.0, 2)])
def test_the_channel_loses_what_the_formulas_say(distance_m: float, between: int):
    """The loss that the fit computes by quadrature is what the channel does, within 0.03."""
    reached = _loss(LossBin(distance_m, distance_m + 1e-6, between, 0.0))
    expected = expected_loss(load_parameters("clean").radio.loss, distance_m, between)
    assert abs(reached - float(expected)) < 0.03


def test_the_preset_holds_what_was_fitted():
    """The fitted numbers of `clean` are those that the fit finds, rounded to a tenth or so."""
    loss = load_parameters("clean").radio.loss
    fit = fit_margin(loss)
    for name, value in fit.values.items():
        assert abs(getattr(loss, name) - value) < 0.2
    assert fit.at_bound == ("exponent_far",)
    assert fit.rms < 0.045
    assert all(abs(r) < UNOBSTRUCTED_WITHIN for r in fit.residuals[:6])
    assert all(abs(r) < ONE_CAR_WITHIN for r in fit.residuals[7:])


@pytest.mark.parametrize(
    ("preset", "loss", "burst"),
    [
        ("clean", (0.05, 0.08), (1.35, 1.7)),
        ("bursty", (0.30, 0.38), (2.5, 3.1)),
        ("shadowed", (0.81, 0.87), (11.0, 14.5)),
        ("in-car", (0.60, 0.85), (5.0, 14.0)),
        ("good-install", (0.015, 0.03), (1.0, 1.1)),
        ("blackout", (0.096, 0.156), (1.48, 2.0)),
        ("gilbert-elliott", (0.05, 0.08), (1.35, 1.7)),
        ("independent", (0.05, 0.08), (1.0, 1.12)),
        ("ideal", (0.0, 0.0), (0.0, 0.0)),
    ],
)
def test_a_preset_does_what_it_is_named_for(
    preset: str, loss: tuple[float, float], burst: tuple[float, float]
):
    """Loss and mean burst of the link from a neighbour on the reference drive."""
    latency_ms, generated_us = neighbours_on_reference_drive(
        load_parameters(preset).radio, 48, seed=104
    )
    reached = statistics_of(latency_ms, generated_us)
    lost_share, mean_burst = reached["loss"], reached["mean burst (frames)"]
    print(f"{preset}: loss {lost_share:.3f}, burst {mean_burst:.2f}")  # noqa: T201
    assert loss[0] <= lost_share <= loss[1]
    assert burst[0] <= mean_burst <= burst[1]
    if preset == "clean":
        lost = np.isnan(latency_ms)
        bursts = np.diff(lost, axis=0, prepend=False) & lost
        middle = np.median(lost.sum(axis=0) / np.maximum(bursts.sum(axis=0), 1))
        assert 1.13 <= middle <= 1.39
