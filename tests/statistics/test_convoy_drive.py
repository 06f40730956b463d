"""The radio on the reference drive, held to the statistics of the recorded one.

The recording includes one receiver's blackouts, so it is the preset `blackout` that must be like
it. All figures are of links between neighbours: 96 convoys of 582 s, 1.7 million frames.
"""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration.fits.field_tables import CONVOY_DRIVE
from ml.calibration.trials.reference_drive import (
    judge,
    neighbours_on_reference_drive,
    statistics_of,
)
from ml.parameters import load_parameters

pytestmark = pytest.mark.statistics

CONVOYS, BASELINE_CONVOYS = 96, 24
GATES = (
    "loss",
    "mean burst (frames)",
    "autocorrelation at 0.1 s",
    "autocorrelation at 0.2 s",
    "autocorrelation at 0.5 s",
    "autocorrelation at 1 s",
    "sd of loss in 10-s windows",
    "share of time older than 0.3 s",
    "share of time older than 0.5 s",
    "share of time older than 1 s",
)


@pytest.fixture(scope="module")
def margin_gates() -> dict:
    """Gates of the margin model, by name."""
    radio = load_parameters("blackout").radio
    latency_ms, generated_us = neighbours_on_reference_drive(radio, CONVOYS, seed=101)
    assert latency_ms.size >= 200_000
    return {gate.name: gate for gate in judge(statistics_of(latency_ms, generated_us))}


@pytest.mark.parametrize("name", GATES)
def test_the_margin_model_loses_as_the_recorded_drive_did(margin_gates: dict, name: str):
    """Every statistic of the recorded drive lies within its bounds."""
    print(margin_gates[name])  # noqa: T201 - what is reached belongs into the report
    assert margin_gates[name].passed, str(margin_gates[name])


def test_no_statistic_is_left_out(margin_gates: dict):
    """The gates above are all that the recorded drive gives."""
    assert set(margin_gates) == set(GATES)


def _baseline(name: str, **factors: float) -> dict:
    """Gates of a baseline whose loss and bursts are brought to those of the recorded drive."""
    overrides = {
        f"radio.loss.{factor}": np.full(BASELINE_CONVOYS, value)
        for factor, value in factors.items()
    }
    latency_ms, generated_us = neighbours_on_reference_drive(
        load_parameters(name).radio, BASELINE_CONVOYS, seed=102, overrides=overrides
    )
    assert latency_ms.size >= 200_000
    return {gate.name: gate for gate in judge(statistics_of(latency_ms, generated_us))}


def test_gilbert_elliott_loss_forgets_too_fast():
    """With the recorded loss and mean burst, memory and long silences are still missing."""
    gates = _baseline("gilbert-elliott", odds_factor=2.05, burst_factor=1.16)
    assert abs(gates["loss"].figure - CONVOY_DRIVE.loss) < 0.005
    assert abs(gates["mean burst (frames)"].figure - CONVOY_DRIVE.mean_burst_frames) < 0.05
    assert gates["share of time older than 0.3 s"].passed
    failed = {name for name, gate in gates.items() if not gate.passed}
    assert failed == {
        "autocorrelation at 0.1 s",
        "autocorrelation at 0.2 s",
        "autocorrelation at 0.5 s",
        "autocorrelation at 1 s",
        "sd of loss in 10-s windows",
        "share of time older than 0.5 s",
        "share of time older than 1 s",
    }


def test_independent_loss_has_no_memory_at_all():
    """With the recorded loss, everything else is missing."""
    gates = _baseline("independent", odds_factor=2.05)
    assert abs(gates["loss"].figure - CONVOY_DRIVE.loss) < 0.005
    assert {name for name, gate in gates.items() if gate.passed} == {"loss"}
