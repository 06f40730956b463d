"""The table's figures are the episodes' figures."""

import pytest

from ml.errors import EvaluationError
from ml.evaluation.metrics import Rate, figures
from ml.evaluation.rollout import RolloutResult


def episode(kind="hazard", **changes):
    """One ordinary episode summary, with changes."""
    usual = {
        "kind": kind,
        "invalid": False,
        "collision": False,
        "return": 40.0,
        "distance_m": 500.0,
        "time_headway_s": 1.2,
        "false_brakes": 0,
    }
    return {**usual, **changes}


def test_the_wilson_interval_of_a_rate():
    """10 of 100: [5.5 %, 17.4 %], the textbook example of Wilson's interval."""
    rate = Rate.of(10, 100)
    assert (rate.low, rate.high) == pytest.approx((0.0552, 0.1744), abs=1e-4)


def test_no_crash_in_few_episodes_is_not_a_proof():
    """0 of 10 leaves the upper end near 28 %."""
    assert Rate.of(0, 10).high == pytest.approx(0.278, abs=1e-3)


def test_crashes_are_counted_by_kind_and_false_brakes_where_nothing_happens():
    """A crash in a hazard is not one in free driving; braking in a hazard is not false."""
    result = RolloutResult(
        "d",
        [
            episode(collision=True, **{"return": -20.0}),
            episode(false_brakes=9),
            episode("free", false_brakes=1),
            episode("benign", collision=True),
        ],
        {},
    )
    row = figures(result)
    assert (row.hazard_crashes.hits, row.hazard_crashes.trials) == (1, 2)
    assert (row.other_crashes.hits, row.other_crashes.trials) == (1, 2)
    assert row.false_brakes_per_km == pytest.approx(1.0)
    assert row.mean_return == pytest.approx(25.0)


def test_invalid_episodes_are_left_out_and_counted():
    """An episode in which peers collided says nothing about the driver."""
    row = figures(RolloutResult("d", [episode(), episode(invalid=True, collision=True)], {}))
    assert (row.episodes, row.invalid, row.hazard_crashes.hits) == (1, 1, 0)


def test_nothing_but_invalid_episodes_is_an_error():
    """No table is made of nothing."""
    with pytest.raises(EvaluationError, match="none of 1 episodes was valid"):
        figures(RolloutResult("d", [episode(invalid=True)], {}))
