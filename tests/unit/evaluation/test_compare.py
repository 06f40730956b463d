"""What a paired comparison may say, on episodes of which the truth is known."""

import io

import numpy as np
import pytest
from rich.console import Console
from support.planted_rows import planted_rows

from ml.errors import ConfigError, EvaluationError
from ml.evaluation.compare import compare
from ml.evaluation.paired import holm_significant, paired_rates, paired_ratios


def noise(key, size=1000, scale=1.0):
    """Return reproducible normal numbers."""
    return scale * np.random.default_rng(key).standard_normal(size)


def verdicts(comparison):
    """Return the verdict of each metric."""
    return {item.metric.key: item.verdict for item in comparison.differences}


def test_equal_controllers_show_no_difference():
    """The same episodes twice: every difference is 0, and losses beyond the margin ruled out."""
    jerk = 2.0 + noise(0)
    rows = planted_rows(1000, jerk_p95_mps3=lambda i: jerk[i], crash=lambda i: i % 50 == 0)
    comparison = compare(rows, rows)
    assert set(verdicts(comparison).values()) == {"no difference shown"}
    assert all(item.loss_ruled_out for item in comparison.differences)
    assert comparison.exit_code == 0


def test_more_crashes_beyond_the_margin_are_a_regression():
    """3 % of avoidable hazards instead of 0 %: worse, and the gate closes."""
    comparison = compare(
        planted_rows(1000, crash=lambda i: i % 33 == 0),
        planted_rows(1000, controller="baseline"),
    )
    assert [item.metric.key for item in comparison.regressions] == ["crash"]
    assert comparison.exit_code == 1
    assert (comparison.candidate, comparison.baseline) == ("candidate", "baseline")


def test_fewer_crashes_are_better():
    """The same the other way round is no regression."""
    comparison = compare(planted_rows(1000), planted_rows(1000, crash=lambda i: i % 33 == 0))
    assert verdicts(comparison)["crash"] == "better"
    assert comparison.exit_code == 0


def test_unavoidable_crashes_do_not_count():
    """What the reference ego cannot avoid, nobody is blamed for."""
    comparison = compare(
        planted_rows(1000, crash=lambda i: i % 33 == 0, avoidable=lambda i: i % 33 != 0),
        planted_rows(1000),
    )
    assert comparison.exit_code == 0


def test_significant_within_the_margin_is_no_difference():
    """0.05 m/s³ more jerk in every single case is certain, and does not matter."""
    comparison = compare(planted_rows(1000, jerk_p95_mps3=1.05), planted_rows(1000))
    assert verdicts(comparison)["jerk"] == "no difference shown"
    assert (
        compare(
            planted_rows(1000, jerk_p95_mps3=1.05), planted_rows(1000), margins={"jerk": 0.02}
        ).exit_code
        == 1
    )


@pytest.mark.parametrize("key", range(5))
def test_small_noise_is_not_a_regression(key):
    """Two controllers that differ by chance alone pass, in all metrics together."""
    first = [noise((key, which), scale=0.3) for which in range(3)]
    second = [noise((key, which + 3), scale=0.3) for which in range(3)]
    crashed = [np.flatnonzero(noise((key, which + 6)) > 2.3) for which in range(2)]

    def rows(values, crashes):
        return planted_rows(
            1000,
            jerk_p95_mps3=lambda i: 2.0 + values[0][i],
            headway_s=lambda i: 1.2 + values[1][i],
            reaction_after_message_s=lambda i: 1.0 + values[2][i],
            crash=lambda i: i in crashes,
        )

    assert compare(rows(first, crashed[0]), rows(second, crashed[1])).exit_code == 0


def test_few_cases_rule_nothing_out():
    """Three crashes in 40 cases are not shown to be more than none, nor is it said they are not."""
    comparison = compare(planted_rows(40, crash=lambda i: i < 3), planted_rows(40))
    (crash,) = (item for item in comparison.differences if item.metric.key == "crash")
    assert crash.verdict == "no difference shown"
    assert not crash.loss_ruled_out
    assert crash.estimate.low < 0.0
    assert crash.estimate.high > 7.5


def test_false_brakes_count_per_km_and_only_where_nothing_happens():
    """One false brake in 1 km of every calm episode is 1 / km; those in hazards are no matter."""
    calm = {"kind": "free"}
    comparison = compare(planted_rows(200, false_brakes=1, **calm), planted_rows(200, **calm))
    (false,) = comparison.regressions
    assert (false.metric.key, false.estimate.candidate) == ("false_brakes", 1.0)
    assert compare(planted_rows(200, false_brakes=1), planted_rows(200)).exit_code == 0


def test_more_progress_is_better():
    """Progress is the one figure of which more is wanted."""
    ahead = compare(planted_rows(50, progress=1.0), planted_rows(50, progress=0.5))
    behind = compare(planted_rows(50, progress=0.5), planted_rows(50, progress=1.0))
    assert verdicts(ahead)["progress"] == "better"
    assert verdicts(behind)["progress"] == "worse"


def test_pairs_are_made_by_case_and_seed_and_the_rest_is_counted():
    """An episode that only one of the two met, or that is invalid, enters nowhere."""
    candidate = planted_rows(30) + planted_rows(5, seed=9) + planted_rows(1, suite="r157")
    baseline = planted_rows(28, invalid=lambda i: i == 0) + planted_rows(5, seed=9)
    comparison = compare(reversed(candidate), baseline)
    assert (comparison.pairs, comparison.unpaired) == (27 + 5, 3 + 1)


def test_each_radio_is_judged_for_itself():
    """A regression on one radio is not averaged away by another."""
    comparison = compare(
        planted_rows(500, crash=lambda i: i % 20 == 0, radio="bursty") + planted_rows(500),
        planted_rows(500, radio="bursty") + planted_rows(500, crash=lambda i: i % 20 == 0),
    )
    assert [item.radio for item in comparison.regressions] == ["bursty"]


def test_an_undefined_figure_leaves_its_pair_out():
    """A reaction that never came is not a number, and not 0 s either."""
    nan = float("nan")
    comparison = compare(
        planted_rows(10, reaction_after_message_s=lambda i: nan if i < 4 else 0.5),
        planted_rows(10, reaction_after_message_s=0.5),
    )
    (reaction,) = (item for item in comparison.differences if item.metric.key == "reaction")
    assert (reaction.estimate.pairs, reaction.estimate.difference) == (6, 0.0)


def test_nothing_in_common_is_an_error_with_a_remedy():
    """Results of different seeds are not compared as if they were paired."""
    with pytest.raises(EvaluationError, match="--seeds"):
        compare(planted_rows(3, seed=1), planted_rows(3, seed=2))


@pytest.mark.parametrize(
    ("margins", "complaint"),
    [
        ({"crush": 1.0}, "no metric 'crush'"),
        ({"crash": -1.0}, "must be ≥ 0, got -1"),
        ({"crash": float("nan")}, "must be ≥ 0, got nan"),
    ],
)
def test_wrong_margins_are_refused(margins, complaint):
    """A margin has a metric, and is not negative."""
    with pytest.raises(ConfigError, match=complaint):
        compare(planted_rows(3), planted_rows(3), margins=margins)


def test_the_table_names_the_verdict_and_its_margin():
    """What the gate did is to be read on the console."""
    comparison = compare(planted_rows(100, jerk_p95_mps3=9.0), planted_rows(100))
    console = Console(file=io.StringIO(), width=200)
    console.print(comparison.table())
    (line,) = (x for x in console.file.getvalue().splitlines() if "jerk" in x)
    assert "worse" in line
    assert "+8.00 [+8.00, +8.00]" in line


def test_newcombes_interval_of_a_paired_difference():
    """36 both, 12 and 2 one alone of 50: [0.0569, 0.3404], the example of Newcombe's paper."""
    candidate = np.arange(50) < 48
    baseline = (np.arange(50) < 36) | (np.arange(50) >= 48)
    estimate = paired_rates(candidate, baseline)
    assert (estimate.low, estimate.high) == pytest.approx((0.0569, 0.3404), abs=1e-4)
    assert estimate.p_value == pytest.approx(0.0129, abs=1e-4)


def test_the_bootstrap_covers_the_truth_as_often_as_it_says():
    """Of 200 intervals at 95 %, about 190 hold the true difference."""
    ones, held = np.ones(60), 0
    for trial in range(200):
        common = noise((trial, 0), 60)
        candidate = common + 0.3 + noise((trial, 1), 60, 0.5)
        estimate = paired_ratios((candidate, ones), (common, ones), key=f"{trial}", resamples=400)
        held += estimate.low <= 0.3 <= estimate.high
    assert 180 <= held <= 198


def test_the_bootstrap_is_the_same_every_time():
    """Its draws are keyed."""
    ones, values = np.ones(50), noise(1, 50)
    once, again = (paired_ratios((values, ones), (0 * ones, ones), key="k") for _ in range(2))
    assert once == again
    assert once != paired_ratios((values, ones), (0 * ones, ones), key="other")


def test_holm_steps_down():
    """The smallest of m meets 5 % / m, the next 5 % / (m − 1), until one fails."""
    assert holm_significant([0.04, 0.01, 0.03, 0.2]) == [False, True, False, False]
    assert holm_significant([0.02, 0.01]) == [True, True]
    assert holm_significant([]) == []
