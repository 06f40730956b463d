"""The safety score charges each fault its price, in the episodes in which it counts."""

from __future__ import annotations

import math

import pytest
from support.planted_rows import planted_row

from ml.envs.prices import PRICES
from ml.errors import EvaluationError
from ml.evaluation.safety_score import as_figures, in_words, paired_gain, score_of

PERFECT = {
    "headway_s": 0.0,
    "false_brakes": 0,
    "braking_share": 0.0,
    "overreaction_mps2": float("nan"),
    "jerk_p95_mps3": 0.0,
    "progress": 1.0,
}


def score(**changes):
    """The score of an episode without fault, but for the changes."""
    return score_of([planted_row(**{**PERFECT, **changes})]).score


def test_an_episode_without_fault_costs_nothing():
    """At no distance, in every kind; getting further than the car in front is no merit."""
    assert all(score(kind=kind) == 0.0 for kind in ("hazard", "benign", "free"))
    assert score(progress=1.2) == 0.0


@pytest.mark.parametrize(
    ("changes", "points"),
    [
        ({"crash": True}, 4000.0),
        ({"crash": True, "avoidable": False}, 0.0),
        ({"crash": True, "kind": "free"}, 4000.0),
        ({"headway_s": 1.3}, 52.0),
        ({"headway_s": float("nan"), "progress": 0.5}, 25.0),
        ({"false_brakes": 2}, 24.0),
        ({"braking_share": 0.25, "kind": "free"}, 5.0),
        ({"braking_share": 0.25}, 0.0),
        ({"overreaction_mps2": 1.0, "kind": "benign"}, 20.0),
        ({"overreaction_mps2": 9.0, "kind": "benign"}, 40.0),
        ({"overreaction_mps2": 0.5, "kind": "benign"}, 0.0),
        ({"overreaction_mps2": 9.0}, 0.0),
        ({"jerk_p95_mps3": 2.0}, 4.0),
    ],
)
def test_each_fault_costs_its_price_where_it_counts(changes, points):
    """A crash where avoidable, braking without a hazard, an overreaction to a benign slowing."""
    assert score(**changes) == pytest.approx(-points)


def test_the_score_of_a_driver():
    """The mean over valid episodes; what is shown beside it has its own episodes."""
    rows = [
        planted_row(**{**PERFECT, "crash": True, "false_brakes": 7}),
        planted_row(**{**PERFECT, "crash": True, "avoidable": False}),
        planted_row(**{**PERFECT, "crash": True, "invalid": True}),
        planted_row(**{**PERFECT, "kind": "benign", "crash": True, "false_brakes": 1}),
        planted_row(**{**PERFECT, "kind": "free", "false_brakes": 1}),
    ]
    found = score_of(rows)
    assert found.by_case[:2] == (-4084.0, 0.0)
    assert math.isnan(found.by_case[2])
    assert found.score == pytest.approx(-(2 * PRICES["crash"] + 9 * PRICES["false_brakes"]) / 4)
    assert found.costs["crash"] == pytest.approx(2000.0)
    assert (found.crashes.hits, found.crashes.trials) == (2, 3)
    assert found.false_brakes_per_km == pytest.approx(1.0)
    figures = as_figures(found)
    assert figures["safety_score"] == found.score
    assert figures["avoidable_episodes"] == 3.0
    with pytest.raises(EvaluationError, match="no episode was valid"):
        score_of([rows[2]])


def test_two_drivers_are_compared_case_by_case():
    """What cases differ by among themselves does not blur what the drivers differ by.

    A case that is invalid for either is left out.
    """
    cases = [-1000.0 * case for case in range(40)]
    gain = paired_gain([score + 1.0 for score in cases] + [math.nan, 0.0], [*cases, 0.0, math.nan])
    assert gain is not None
    assert (gain.pairs, gain.difference) == (40, pytest.approx(1.0))
    assert gain.low == pytest.approx(1.0)
    assert in_words(gain) == "+1.00 [+1.00, +1.00] points, 40 paired cases"
    assert paired_gain([math.nan], [1.0]) is None
    with pytest.raises(EvaluationError, match="3 and 2 cases cannot be paired"):
        paired_gain([1.0] * 3, [1.0] * 2)


def test_one_crash_more_of_many_cases_is_not_shown_to_be_worse():
    """It may be chance, and the interval says so."""
    many = [0.0] * 400
    gain = paired_gain([-PRICES["crash"], *many[1:]], many)
    assert gain is not None
    assert gain.low < gain.difference < 0.0 <= gain.high
