"""What is said of a fitted radio, held against logs: met, not met, or that they cannot tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml.calibration.logs.link import LOST, RECEIVED, Link
from ml.calibration.trials.logged_drive import EMULATED, Gate, Judgement, Verdict, judge_links
from ml.calibration.trials.loss_statistics import LossLog
from ml.parameters import BoardSet, load_parameters


def gate(name, measured, emulated, noise, minutes=3.0):
    """A figure, with nothing said of the naive models."""
    return Gate(name, measured, noise, (emulated, 0.0, 0.0), minutes)


@pytest.mark.parametrize(
    ("name", "measured", "emulated", "noise", "verdict"),
    [
        ("older than 0.3 s", 0.030, 0.0042, 0.015, Verdict.CANNOT_TELL),  # 0.14 of it
        ("older than 0.5 s", 0.012, 0.0, 0.009, Verdict.CANNOT_TELL),
        ("older than 1 s", 0.1067, 0.0036, 0.0404, Verdict.CANNOT_TELL),
        ("older than 0.3 s", 0.030, 0.0042, 0.002, Verdict.NOT_MET),
        ("older than 0.3 s", 0.030, 0.025, 0.002, Verdict.MET),
        ("older than 0.3 s", 0.030, 0.043, 0.002, Verdict.MET),
        ("older than 0.3 s", 0.030, 0.050, 0.002, Verdict.NOT_MET),
        ("older than 1 s", 0.0, 0.0, 0.0, Verdict.MET),
        ("older than 1 s", 0.0, 0.001, 0.002, Verdict.CANNOT_TELL),
        ("frames lost", 0.30, 0.32, 0.02, Verdict.MET),
        ("frames lost", 0.30, 0.32, 0.05, Verdict.CANNOT_TELL),
        ("frames lost", 0.30, 0.60, 0.05, Verdict.NOT_MET),
        ("frames lost", 0.02, 0.045, 0.004, Verdict.NOT_MET),  # within 0.03, and twice as many
        ("autocorrelation at 0.5 s", 0.2, 0.25, 0.03, Verdict.MET),
        ("autocorrelation at 0.5 s", np.nan, 0.25, np.nan, Verdict.CANNOT_TELL),
    ],
)
def test_a_log_that_is_too_short_cannot_tell(name, measured, emulated, noise, verdict):
    """Met is what lies within the tolerance on a log whose noise does; noise alone excuses none."""
    assert gate(name, measured, emulated, noise).verdict is verdict


def test_it_is_said_how_long_a_log_would_have_to_be():
    """Noise of 1.5 tolerances wants 2.25 times the log; of a figure that never was nobody knows."""
    short = gate("older than 0.3 s", 0.03, 0.03 - 1e-6, 0.015, minutes=20.0)
    assert short.tolerance == pytest.approx(0.01)
    assert short.needed_min == pytest.approx(45.0)
    assert short.words == "cannot tell, needs about 45 minutes"
    unknown = gate("autocorrelation at 0.5 s", np.nan, 0.2, np.nan)
    assert unknown.words == "cannot tell: too few losses"
    met = gate("older than 0.3 s", 0.03, 0.031, 0.001)
    judgement = Judgement(LossLog.of_losses(np.zeros((1, 1), bool)), {}, [short, met, met])
    assert judgement.summary == (
        "of 3 figures of the losses 2 met, 1 cannot tell: 20 minutes of logs are too few; "
        "about 45 would tell most"
    )


def link(lost, source="a", receiver="b"):
    """A link of 10 Hz at 20 m."""
    size = lost.size
    return Link(
        source=source,
        receiver=receiver,
        two_way=False,
        time_s=np.arange(size) * 0.1,
        receiver_s=np.arange(size) * 0.1,
        outcome=np.where(lost, LOST, RECEIVED).astype(np.int8),
        distance_m=np.full(size, 20.0),
        travel_m=np.ones(size),
        between=np.zeros(size, np.int64),
        latency_ms=np.where(lost, np.nan, 1.0),
    )


def test_naive_models_lose_what_the_fitting_logs_lost():
    """Beside an emulator that never saw the held-out log, models that did would prove nothing."""
    rng = np.random.Generator(np.random.PCG64(1))
    fitted, held_out = link(rng.random(3000) < 0.1), link(rng.random(2000) < 0.4)
    levels = {("a", "b", 0): (8.0, 9.0)}
    clean = load_parameters("clean")
    judgement = judge_links([held_out], clean, levels, lambda *_: None, fitted_to=[fitted])
    for name in ("independent", "Gilbert–Elliott"):
        lost = np.mean([log.lost.mean() for log in judgement.models[name]])
        assert lost == pytest.approx(0.1, abs=0.02)
    assert judgement.gates[0].measured == pytest.approx(0.4, abs=0.03)
    own = judge_links([held_out], clean, levels, lambda *_: None)
    lost = np.mean([log.lost.mean() for log in own.models["independent"]])
    assert lost == pytest.approx(0.4, abs=0.02)
    # A pair that was not fitted to: what all links lost.
    other = replace(held_out, source="c", receiver="d")
    judgement = judge_links([other], clean, levels, lambda *_: None, fitted_to=[fitted])
    lost = np.mean([log.lost.mean() for log in judgement.models["independent"]])
    assert lost == pytest.approx(0.1, abs=0.02)


def test_without_positions_no_longer_log_is_advised():
    """What is drawn for want of positions goes with no minute more; with positions minutes help."""
    rng = np.random.Generator(np.random.PCG64(2))
    placed = link(rng.random(2000) < 0.3)
    nowhere = replace(placed, distance_m=np.full(2000, np.nan))
    levels = {("a", "b", 0): (-5.0, 20.0)}
    for one, advises in ((placed, True), (nowhere, False)):
        judgement = judge_links([one], load_parameters("clean"), levels, lambda *_: None)
        said = " ".join([judgement.summary, *(gate.words for gate in judgement.gates)])
        assert "cannot tell" in said
        assert ("minutes" in said) is advises
        assert ("takes positions, however long the logs are" in said) is not advises


def test_the_emulated_radio_draws_what_the_logs_leave_open():
    """A floor known to lie between 0 and 0.5 differs from drive to drive; a point does not."""
    quiet = link(np.zeros(1500, dtype=bool))
    levels = {("a", "b", 0): (40.0, 40.0)}
    clean = load_parameters("clean")
    open_floor = BoardSet(purpose="test", drawn={"radio.loss.floor_loss": (0.0, 0.5)})
    parameters = clean.model_copy(update={"boards": "mine", "board_sets": {"mine": open_floor}})
    spreads = []
    for one in (clean, parameters):
        judgement = judge_links([quiet], one, levels, lambda *_: None)
        spreads.append(np.std([log.lost.mean() for log in judgement.models[EMULATED]]))
    assert spreads[0] < 0.01
    assert spreads[1] > 0.03
