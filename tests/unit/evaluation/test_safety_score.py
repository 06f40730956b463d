"""The safety score ranks as its docstring says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planted_rows import planted_row

from ml.errors import EvaluationError
from ml.evaluation.safety_score import OTHER_WEIGHT, SafetyScore, as_figures, score_of
from ml.evaluation.summary import Rate

AT_TARGET = {"false_brakes_per_km": 0.05, "time_headway_s": 1.3, "jerk_p95_mps3": 2.0}
PERFECT = dict.fromkeys(AT_TARGET, 0.0)
FIGURES = st.fixed_dictionaries(dict.fromkeys(AT_TARGET, st.floats(0.0, 1e6)))
COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def scored(crashes, avoidable, **figures):
    """The score of some crashes in avoidable episodes, and of the other figures."""
    return SafetyScore(Rate.of(crashes, avoidable), **figures)


def test_on_target_is_a_half():
    """The scale of each figure is its target, and the weights sum to one."""
    score = scored(0, 10**9, **AT_TARGET)
    parts = {"crashes": 1.0, "false_braking": 0.5, "headway": 0.5, "jerk": 0.5}
    assert score.parts == parts
    assert score.score == pytest.approx(0.82 + 0.5 * 3 * 0.06)
    assert scored(0, 10**9, **PERFECT).score == pytest.approx(1.0)


def test_few_cases_prove_little():
    """0 of 20 is not better than 1 of 5,000, whatever else the first does well."""
    assert scored(0, 20, **PERFECT).score < scored(1, 5000, **AT_TARGET).score
    assert scored(0, 0, **AT_TARGET).parts["crashes"] == 0.0


@given(COUNTS, FIGURES)
def test_it_is_bounded(counts, figures):
    """Whatever was measured, the score and its parts are from 0 to 1."""
    score = scored(*counts, **figures)
    for value in (score.score, *score.parts.values()):
        assert 0.0 <= value <= 1.0 + 1e-12


@given(st.integers(0, 199), FIGURES)
def test_one_more_crash_is_worse(crashes, figures):
    """Among equal figures and cases fewer crashes win."""
    fewer, more = (scored(n, 200, **figures).score for n in (crashes, crashes + 1))
    assert more < fewer


@pytest.mark.parametrize("name", sorted(AT_TARGET))
def test_equal_crashes_are_ranked_by_each_other_figure(name):
    """Below the target, too, less is better."""
    better, worse = (
        scored(1, 200, **AT_TARGET | {name: AT_TARGET[name] * by}).score for by in (0.7, 0.9)
    )
    assert better > worse


def test_halving_the_bound_on_crashes_outweighs_any_one_other_figure():
    """From hopeless to perfect in one figure is worth less than half the crashes."""
    many, half = (scored(n, 10_000, **AT_TARGET) for n in (200, 94))
    assert half.crashes.high == pytest.approx(many.crashes.high / 2.0, rel=0.03)
    assert half.score - many.score > OTHER_WEIGHT


def test_what_could_not_be_measured_scores_nothing():
    """A driver that stands has no headway; that is no merit."""
    score = scored(0, 100, **AT_TARGET | {"time_headway_s": math.nan})
    assert score.parts["headway"] == 0.0
    assert math.isfinite(score.score)


def test_the_score_of_episodes():
    """Crashes count where they could be avoided, in quiet episodes too; braking in quiet ones."""
    rows = [
        planted_row(kind="hazard", avoidable=True, crash=True, false_brakes=7),
        planted_row(kind="hazard", avoidable=False, crash=True),
        planted_row(kind="hazard", avoidable=True, invalid=True, crash=True),
        planted_row(kind="benign", avoidable=True, crash=True, false_brakes=1, distance_m=500.0),
        planted_row(kind="free", avoidable=True, crash=False, false_brakes=1, distance_m=1500.0),
    ]
    score = score_of(rows)
    assert (score.crashes.hits, score.crashes.trials) == (2, 3)
    assert score.false_brakes_per_km == pytest.approx(1.0)
    figures = as_figures(score)
    assert figures["safety_score"] == score.score
    assert figures["avoidable_episodes"] == 3.0
    with pytest.raises(EvaluationError, match="no episode was valid"):
        score_of([rows[2]])
