"""Figures of a benchmark: weights, intervals of rare events, and what differs case by case."""

import numpy as np
import pytest
from scipy import stats
from support.planted_rows import planted_rows

from ml.evaluation.acceptance.figures import (
    _Column,
    convoy_figures,
    differences,
    manoeuvre_figures,
    percentile_95,
)


def episodes(hazards, others, **changes):
    """Some hazards, then benign cases; a callable is asked for each case's value."""
    kinds = ["hazard"] * hazards + ["benign"] * others
    return planted_rows(hazards + others, kind=lambda case: kinds[case], **changes)


def test_means_are_weighted_as_the_suite_is_whatever_was_run():
    """Hazards at 1 s, others at 2 s: 1.4 s of 90 and 10 as of 10 and 90."""
    for hazards, others in ((90, 10), (10, 90)):
        rows = episodes(hazards, others, headway_s=lambda c, n=hazards: 1.0 if c < n else 2.0)
        figure = convoy_figures(rows)["headway_s"]
        assert figure.value == pytest.approx(1.4)
        assert figure.count == 100


def test_the_interval_of_a_weighted_mean_covers_it_as_often_as_it_says():
    """400 draws of 40 hazards and 12 others, each kind with its own spread."""
    draw = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        figure = _Column(draw.normal(1.0, 0.2, 40), draw.normal(2.0, 0.6, 12)).mean()
        covered += figure.low <= 1.4 <= figure.high
    assert 0.92 <= covered / 400 <= 0.98


def test_of_one_kind_alone_the_mean_is_that_kinds():
    """And of a single episode the interval is endless."""
    (figure,) = [convoy_figures(episodes(5, 0, headway_s=float))["headway_s"]]
    assert figure.value == pytest.approx(2.0)
    single = convoy_figures(episodes(1, 1))["headway_s"]
    assert (single.low, single.high) == (-np.inf, np.inf)


def test_no_false_brake_in_some_km_is_no_proof_that_there_is_none():
    """0 in 20 km: up to 3.69 / 20 per km (Garwood); what happens in hazards does not count."""
    rows = episodes(3, 20, false_brakes=lambda case: 5 if case < 3 else 0)
    figure = convoy_figures(rows)["false_brakes_per_km"]
    assert (figure.value, figure.low) == (0.0, 0.0)
    assert figure.high == pytest.approx(3.689 / 20.0, rel=1e-3)


def test_false_brakes_that_come_together_have_the_wider_interval_of_the_bootstrap():
    """20 events in one episode of 20 are not 20 independent events."""
    rows = episodes(0, 20, false_brakes=lambda case: 20 if case == 0 else 0)
    figure = convoy_figures(rows)["false_brakes_per_km"]
    poisson_high = float(stats.chi2.ppf(0.975, 42)) / 2.0 / 20.0
    assert figure.value == pytest.approx(1.0)
    assert figure.low == 0.0
    assert figure.high > 1.5 * poisson_high


def test_an_overreaction_is_more_than_the_peers_deceleration_and_one():
    """Benign episodes alone; those that do not know it are left out."""
    excess = [0.9, 1.0, 1.1, float("nan")]
    rows = episodes(2, 4, overreaction_mps2=lambda c: excess[c - 2] if c >= 2 else 9.0)
    figure = convoy_figures(rows)["overreaction_rate"]
    assert (figure.hits, figure.count) == (1, 3)


def test_crashes_count_in_avoidable_hazards_and_invalid_episodes_nowhere():
    """Of ten hazards one is invalid and two are unavoidable; nine were met."""
    rows = episodes(
        10, 2, crash=True, invalid=lambda c: c == 0, avoidable=lambda c: c not in (1, 2)
    )
    figures = convoy_figures(rows)
    assert (figures["crash_rate"].hits, figures["crash_rate"].count) == (7, 7)
    assert figures["hazards"].value == 9
    assert (figures["quiet_crash_rate"].hits, figures["quiet_crash_rate"].count) == (2, 2)


def test_the_interval_of_a_percentile_needs_enough_values():
    """Of 100 values in order its ends are among the last ten; of 71 the upper one is endless."""
    figure = percentile_95([float(i) for i in range(100)])
    assert figure.value == pytest.approx(94.05)
    assert (figure.low, figure.high) == (89.0, 99.0)
    assert percentile_95([1.0] * 72).high == 1.0
    assert percentile_95([1.0] * 71).high == np.inf
    assert np.isnan(percentile_95([float("nan")]).value)


def test_manoeuvres_have_a_gain_and_crashes():
    """The mean at the fundamental, of those that have one."""
    rows = planted_rows(
        4, gain_at_fundamental=lambda c: [0.7, 0.9, float("nan"), 0.8][c], string_gain_l2=0.5
    )
    figures = manoeuvre_figures(rows)
    assert figures["gain_at_fundamental"].value == pytest.approx(0.8)
    assert figures["gain_at_fundamental"].count == 3
    assert figures["string_gain_l2_p95"].value == 0.5


def test_differences_are_of_the_same_cases_and_ours_less_theirs():
    """Case by case: a spread that both share drops out."""
    ours = episodes(
        200, 50,
        crash=lambda c: c < 2, headway_s=lambda c: 1.0 + c % 7, false_brakes=1,
        braking_share=0.3,
    )  # fmt: skip
    theirs = episodes(
        200, 50,
        crash=lambda c: c < 40, headway_s=lambda c: 1.1 + c % 7, false_brakes=0,
        braking_share=0.2,
    )  # fmt: skip
    found = differences(ours, theirs, key="k")
    assert found["crash_rate"].high < 0.0
    assert found["headway_s"].difference == pytest.approx(-0.1)
    assert found["headway_s"].high == pytest.approx(-0.1)
    assert found["false_brakes_per_km"].difference == pytest.approx(1.0)
    assert found["braking_share"].difference == pytest.approx(0.1)
    invalid = episodes(200, 50, invalid=lambda c: c < 2)
    assert differences(ours, invalid, key="k")["crash_rate"].candidate == 0.0
