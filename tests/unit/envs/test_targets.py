"""The one table of bounds: by the dictionary's names, and no limit easier than what must be."""

import pytest

from ml.envs.scoring.metrics import METRICS, OF_ACCEPTANCE, OVER_EPISODES
from ml.envs.scoring.targets import TARGETS, bound_of, targets_of
from ml.evaluation.acceptance.figures import convoy_figures, manoeuvre_figures
from ml.evaluation.acceptance.sizes import PARTS


def test_every_bound_is_of_a_metric_that_is_defined_and_measured():
    """By its name in the dictionary, which is that of the figure; on a part of the tests."""
    defined = {metric.name for metric in METRICS} | OVER_EPISODES.keys() | OF_ACCEPTANCE.keys()
    measured = convoy_figures([]).keys() | manoeuvre_figures([]).keys()
    assert {target.metric for target in TARGETS} <= defined & measured
    assert measured - {"hazards"} <= defined
    assert {target.where for target in TARGETS} <= set(PARTS)
    keys = [(t.metric, t.radio, t.where, t.level, t.than) for t in TARGETS]
    assert len(set(keys)) == len(keys)


def test_a_limit_says_how_it_was_derived_and_asks_for_more_than_a_must():
    """Where there is a must for the same metric and radio."""
    limits = [target for target in TARGETS if target.level == "limit"]
    found = {(t.metric, t.radio): t.bound for t in limits}
    assert found == {
        ("crash_rate", "clean"): 0.0,
        ("crash_rate", "bursty"): 0.0003,
        ("overreaction_rate", "bursty"): 0.02,
        ("braking_share", "bursty"): 0.23,
        ("overreaction_rate", "shadowed"): 0.02,
    }
    for target in limits:
        assert len(target.derivation) > 40
        must = bound_of(target.metric, target.radio)
        assert must is None or target.bound < must


@pytest.mark.parametrize(
    ("metric", "radio", "bound"),
    [
        ("crash_rate", "clean", 0.0005),
        ("headway_s", "clean", 1.3),
        ("crash_rate", "bursty", 0.0006),
        ("headway_s", "bursty", 1.5),
        ("overreaction_rate", "bursty", 0.04),
        ("braking_share", "bursty", 0.27),
        ("crash_rate", "shadowed", 0.02),
        ("braking_share", "clean", None),
        ("overreaction_rate", "shadowed", None),
    ],
)
def test_what_must_be_reached_is_found_by_metric_and_radio(metric, radio, bound):
    """A bound on the driver's own figure; what is compared with baselines or a limit is none."""
    assert bound_of(metric, radio) == bound


def test_another_part_and_another_level_have_bounds_of_their_own():
    """The manoeuvres on bursty are a stretch."""
    assert bound_of("crash_rate", "clean", where="ncap") == 0.001
    assert bound_of("gain_at_fundamental", "bursty", where="plexe") is None
    assert bound_of("gain_at_fundamental", "bursty", where="plexe", level="stretch") == 0.8
    assert [t.cases for t in targets_of("r157", "clean")] == [1121]
