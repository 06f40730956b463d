"""The closing table's figures are the episodes' figures."""

import pytest
from support.planted_rows import planted_row

from ml.errors import EvaluationError
from ml.evaluation.closing import figures_of, verdict
from ml.evaluation.summary import Rate


def test_the_wilson_interval_of_a_rate():
    """10 of 100: [5.5 %, 17.4 %], the textbook example of Wilson's interval."""
    rate = Rate.of(10, 100)
    assert (rate.low, rate.high) == pytest.approx((0.0552, 0.1744), abs=1e-4)


def test_no_crash_in_few_episodes_is_not_a_proof():
    """0 of 10 leaves the upper end near 28 %."""
    assert Rate.of(0, 10).high == pytest.approx(0.278, abs=1e-3)


def test_crashes_are_counted_by_kind_and_false_brakes_where_nothing_happens():
    """A crash in a hazard is not one in free driving; braking in a hazard is not false."""
    rows = [
        planted_row(crash=True, mean_return=-20.0),
        planted_row(false_brakes=9, mean_return=40.0),
        planted_row(kind="free", false_brakes=1, distance_m=500.0, mean_return=40.0),
        planted_row(kind="benign", crash=True, distance_m=500.0, mean_return=40.0),
    ]
    figures = figures_of("d", rows)
    assert (figures.hazard_crashes.hits, figures.hazard_crashes.trials) == (1, 2)
    assert (figures.other_crashes.hits, figures.other_crashes.trials) == (1, 2)
    assert figures.false_brakes_per_km == pytest.approx(1.0)
    assert figures.mean_return == pytest.approx(25.0)


def test_invalid_episodes_are_left_out_and_counted():
    """An episode in which peers collided says nothing about the driver."""
    figures = figures_of("d", [planted_row(), planted_row(invalid=True, crash=True)])
    assert (figures.episodes, figures.invalid, figures.hazard_crashes.hits) == (1, 1, 0)


def test_nothing_but_invalid_episodes_is_an_error():
    """No table is made of nothing."""
    with pytest.raises(EvaluationError, match="none of 1 episodes was valid"):
        figures_of("d", [planted_row(invalid=True)])


def test_a_hazard_that_the_reference_driver_does_not_survive_is_charged_to_nobody():
    """Two hazards, one of them unavoidable and crashed in: no crash in one."""
    figures = figures_of("d", [planted_row(), planted_row(crash=True, avoidable=False)])
    assert (figures.hazard_crashes.hits, figures.hazard_crashes.trials) == (0, 1)


def test_the_verdict_says_what_is_better_and_what_the_cases_cannot_tell():
    """Half a second closer in 60 cases, and one crash against none, which tells nothing."""
    rows = {
        "ours": [planted_row(case=i, headway_s=1.0 + i / 1000, crash=i == 0) for i in range(60)],
        "theirs": [planted_row(case=i, headway_s=1.5 + i / 900) for i in range(60)],
    }
    said = verdict("ours", "theirs", rows)
    assert said.startswith(
        "Verdict: ours beside theirs, 60 paired episodes: better in time headway"
    )
    assert "(1.03 for 1.53 s)" in said
    assert "they cannot tell: 1 and 0 of 60 avoidable hazards" in said


def test_the_verdict_on_equals_names_no_difference():
    """The same driver twice."""
    rows = {name: [planted_row(case=i) for i in range(20)] for name in ("a", "b")}
    assert "not shown to differ in anything" in verdict("a", "b", rows)


def test_a_difference_that_is_certain_but_small_is_not_called_unknown():
    """13 crashes more in 1,400 hazards are certain, and less than what matters."""
    rows = {
        name: [planted_row(case=i, crash=i < crashes) for i in range(1400)]
        for name, crashes in (("a", 13), ("b", 0))
    }
    assert verdict("a", "b", rows).endswith("not shown to differ in anything.")
