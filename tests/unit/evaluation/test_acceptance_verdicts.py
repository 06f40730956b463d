"""When an acceptance test passes, fails, and is inconclusive."""

import numpy as np
import pytest

from ml.evaluation.acceptance.verdicts import (
    at_most,
    better_frontier,
    cases_at_share,
    dominates_each,
    least_cases,
    no_more,
    none_in,
    not_dominated,
    standing,
    together,
)
from ml.evaluation.paired import PairedEstimate, paired_rates
from ml.evaluation.summary import Figure, Rate

NAN = float("nan")


def estimate(difference, low, high):
    """A paired difference; less is better."""
    return PairedEstimate(100, difference, 0.0, low, high, 1.0)


BETTER, WORSE = estimate(-0.2, -0.3, -0.1), estimate(0.2, 0.1, 0.3)
ABOUT_BETTER, ABOUT_WORSE = estimate(-0.1, -0.3, 0.1), estimate(0.1, -0.1, 0.3)
ALIKE = estimate(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((1.2, 1.1, 1.3), "pass"),
        ((1.2, 1.1, 1.31), "inconclusive"),
        ((1.4, 1.3, 1.5), "inconclusive"),
        ((1.4, 1.31, 1.5), "fail"),
        ((1.4, 1.2, float("inf")), "inconclusive"),
        ((NAN, NAN, NAN), "inconclusive"),
    ],
)
def test_a_bound_is_kept_by_the_whole_interval(interval, verdict):
    """Its ends may touch the bound; what is no number shows nothing."""
    assert at_most(Figure(*interval, 10), 1.3) == verdict


def test_no_crash_needs_all_the_cases_and_one_crash_is_enough():
    """0 in 10,000: of which some are unavoidable, and one in a thousand may be invalid."""

    def crash(hits, count):
        return Figure(hits / count if count else NAN, 0.0, 1.0, count, hits)

    assert none_in(crash(0, 9_900), 9_995, 10_000) == "pass"
    assert none_in(crash(0, 9_900), 9_985, 10_000) == "inconclusive"
    assert none_in(crash(1, 9_900), 10_000, 10_000) == "fail"
    assert none_in(crash(1, 10), 10, 10_000) == "fail"
    assert none_in(crash(0, 0), 10_000, 10_000) == "inconclusive"


def test_of_several_training_runs_each_has_to_pass():
    """One that fails is enough to fail; nothing is shown by nothing."""
    assert together(["pass", "pass"]) == "pass"
    assert together(["pass", "inconclusive"]) == "inconclusive"
    assert together(["inconclusive", "fail", "pass"]) == "fail"
    assert together([]) == "inconclusive"


def test_how_many_cases_without_a_hit_can_show_a_rate():
    """Wilson's upper end of 0 in n is z² / (n + z²), with z² = 3.8415."""
    for bound in (0.02, 0.001, 0.0003):
        assert least_cases(bound) == pytest.approx(3.8415 * (1.0 / bound - 1.0), abs=1.0)


def test_how_many_cases_pass_a_rate_depends_on_the_hits_among_them():
    """5 in 10,000: the first number of cases whose Wilson interval keeps to it, and no fewer."""
    needed = [7_680, 11_326, 14_582, 17_639, 20_568, 23_407]
    assert [least_cases(0.0005, hits) for hits in range(6)] == needed
    for hits, cases in enumerate(needed):
        assert Rate.of(hits, cases).high <= 0.0005 < Rate.of(hits, cases - 1).high
        assert at_most(Rate.of(hits, cases).as_figure(), 0.0005) == "pass"
    assert at_most(Rate.of(5, 10_000).as_figure(), 0.0005) == "inconclusive"
    assert [least_cases(0.0006, hits) for hits in (0, 3)] == [6_399, 14_698]


def test_how_many_cases_pass_a_rate_at_the_share_of_hits_that_was_found():
    """At 3 in 10,000 a bound of 5 takes 47,995 cases; at 2 it takes 21,331."""
    assert cases_at_share(0.0005, 0.0003) == 47_995
    assert cases_at_share(0.0005, 0.0002) == 21_331
    assert cases_at_share(0.0005, 0.0) == least_cases(0.0005)
    for hits in (1, 4, 400):
        cases = least_cases(0.0005, hits)
        assert cases_at_share(0.0005, hits / cases) == pytest.approx(cases, rel=1e-4)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (estimate(-0.2, -0.3, -0.1), "pass"),
        (estimate(0.0, -0.2, 0.2), "pass"),
        (estimate(0.0, -0.2, 0.21), "inconclusive"),
        (estimate(0.1, 0.0, 0.3), "inconclusive"),
        (estimate(0.3, 0.1, 0.5), "fail"),
        (estimate(0.1, 0.05, 0.15), "fail"),
    ],
)
def test_no_more_than_another_is_within_the_margin_and_not_shown_to_be_more(found, verdict):
    """The margin is 0.2; a difference that is shown fails, however small it is."""
    assert no_more(found, 0.2) == verdict


def test_two_drivers_without_a_crash_are_alike_once_the_cases_suffice():
    """A margin of 2.5 in 10,000 takes as many as a bound of that size."""
    for cases, verdict in ((15_361, "inconclusive"), (15_362, "pass")):
        none = np.zeros(cases, dtype=bool)
        assert no_more(paired_rates(none, none), 0.00025) == verdict
    assert least_cases(0.00025) == 15_362


@pytest.mark.parametrize(
    ("found", "stands"),
    [
        ((BETTER, ALIKE), "dominates"),
        ((BETTER, ABOUT_BETTER), "dominates"),
        ((BETTER, ABOUT_WORSE), "inconclusive"),
        ((BETTER, WORSE), "neither"),
        ((WORSE, ALIKE), "dominated"),
        ((WORSE, ABOUT_WORSE), "dominated"),
        ((WORSE, ABOUT_BETTER), "inconclusive"),
        ((ABOUT_BETTER, ABOUT_BETTER), "inconclusive"),
        ((ALIKE, ALIKE), "inconclusive"),
    ],
)
def test_one_dominates_where_it_is_worse_in_nothing_and_shown_better_in_one(found, stands):
    """Where each is shown better at something, neither does."""
    differences = dict(zip(("crash", "jerk"), found, strict=True))
    assert standing(differences, ("crash", "jerk")) == stands
    assert standing({"crash": BETTER}, ("crash", "jerk")) == "inconclusive"


def test_not_being_dominated_is_shown_by_being_better_at_something():
    """Against every baseline; without one nothing is shown."""
    assert not_dominated({"a": "neither"}, {"a": True}) == "pass"
    assert (
        not_dominated({"a": "neither", "b": "inconclusive"}, {"a": True, "b": False})
        == "inconclusive"
    )
    assert not_dominated({"a": "neither", "b": "dominated"}, {"a": True, "b": False}) == "fail"
    assert not_dominated({}, {}) == "inconclusive"


def test_each_baseline_is_to_be_dominated_on_one_radio():
    """It fails where on every radio it is shown not to be."""
    assert dominates_each({"a": ["neither", "dominates"], "b": ["dominates"]}) == "pass"
    assert dominates_each({"a": ["dominates"], "b": ["neither", "dominated"]}) == "fail"
    assert dominates_each({"a": ["dominates"], "b": ["neither", "inconclusive"]}) == "inconclusive"
    assert dominates_each({}) == "inconclusive"


def test_a_better_frontier_crashes_less_at_no_more_headway_than_each_baseline():
    """Up to the headway that matters; a baseline below every point of the model is not met."""

    def verdict(crash, baseline_s, points_s=(2.0,)):
        points = [(s, {"a": crash}) for s in points_s]
        return better_frontier(points, {"a": baseline_s}, 3.0)

    assert verdict(BETTER, 2.5) == "pass"
    assert verdict(ABOUT_BETTER, 2.5) == "inconclusive"
    assert verdict(WORSE, 2.5) == "fail"
    assert verdict(BETTER, 1.9) == "fail"
    assert verdict(BETTER, 1.9, (2.0, 1.8)) == "pass"
    assert verdict(BETTER, 3.1) == "inconclusive"
