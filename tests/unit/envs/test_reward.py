"""Each reward term fires where it should, stays within its range and is silent elsewhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.envs.config import RewardWeights
from ml.envs.scoring.reward import TERMS, fill_terms
from ml.envs.truth.ground_truth import GroundTruth
from ml.onboard.spacing import wanted_gap_m

CAR_M = 4.5
TIME_GAP_S = np.array([1.0])
WANTED_M = wanted_gap_m(20.0, 1.0)


def traffic(*, gap, own, lead, accel=0.0, lead_accel=0.0, jerk=0.0):
    """One ego behind one peer."""
    truth = GroundTruth.start(
        np.ones((1, 2), dtype=bool), np.array([[0.0, gap + CAR_M]]), np.array([[own, lead]])
    )
    truth.accel_mps2[0] = accel, lead_accel
    truth.jerk_mps3[0] = jerk
    return truth


def scored(truth, *, braking=False, collided=False, withheld=0.0, calm=False, overreacted=0.0):
    """The unweighted terms of a batch of one, and whether its ego brakes without cause."""
    terms, needless = np.empty((1, len(TERMS))), np.empty(1, dtype=bool)
    flags = (np.array([flag]) for flag in (braking, collided, calm))
    inputs = (TIME_GAP_S, np.array([withheld]), *flags, np.array([overreacted]))
    fill_terms(truth, *inputs, terms, needless)
    return terms[0], bool(needless[0])


def terms_of(truth, **given):
    """The unweighted terms of a batch of one, by name."""
    return dict(zip(TERMS, scored(truth, **given)[0].tolist(), strict=True))


def test_ordinary_following_earns_the_headway_term_and_nothing_else():
    """At the gap that the driver has set, behind a car of the same speed, no penalty fires."""
    terms = terms_of(traffic(gap=WANTED_M, own=20.0, lead=20.0))
    assert terms == {
        "headway": 1.0,
        "safety": 0.0,
        "collision": 0.0,
        "comfort": 0.0,
        "false_braking": 0.0,
        "restraint": 0.0,
        "braking": 0.0,
        "overreaction": 0.0,
    }


def test_the_headway_term_falls_off_on_either_side():
    """A width of 5 m and half a second off, half is left; further off, less, but never nothing."""
    at = [
        terms_of(traffic(gap=WANTED_M + off, own=20.0, lead=20.0))["headway"]
        for off in (-15, 0, 15)
    ]
    assert at == pytest.approx([0.5, 1.0, 0.5])
    far = [
        terms_of(traffic(gap=WANTED_M + off, own=20.0, lead=20.0))["headway"] for off in (30, 300)
    ]
    assert far[0] == pytest.approx(0.2)
    assert 0.0 < far[1] < 0.01


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("safety", {"lead": 5.0, "gap": 15.0}),
        ("comfort", {"jerk": -60.0}),
        ("comfort", {"accel": -7.0, "lead_accel": -7.0}),
        ("false_braking", {"accel": -6.0}),
    ],
)
def test_each_penalty_fires_for_its_own_fault(name, change):
    """A needed deceleration of 7.5 m/s², a jerk of 60 m/s³ and needless braking are penalised."""
    usual = {"gap": WANTED_M, "own": 20.0, "lead": 20.0}
    terms = terms_of(traffic(**{**usual, **change}))
    assert terms[name] < -0.5
    alone = {"safety", "comfort", "false_braking"} - {name}
    if name == "false_braking":
        alone.remove("comfort")  # braking so hard is uncomfortable, too
    assert all(terms[other] == 0.0 for other in alone)


@pytest.mark.parametrize(("withheld", "term"), [(0.5, 0.0), (2.25, -0.5), (4.0, -1.0), (9.0, -1.0)])
def test_wishing_what_the_safety_layer_withholds_costs(withheld, term):
    """From 0.5 m/s², linear up to 4."""
    usual = traffic(gap=WANTED_M, own=20.0, lead=20.0)
    assert terms_of(usual, withheld=withheld)["restraint"] == pytest.approx(term)


def test_needless_braking_counts_in_full_from_3_mps2():
    """Half of the way from 1.5 to 3, half."""
    at = [
        terms_of(traffic(gap=WANTED_M, own=20.0, lead=20.0, accel=accel))["false_braking"]
        for accel in (-1.5, -2.25, -3.0)
    ]
    assert at == pytest.approx([0.0, -0.5, -1.0])


@pytest.mark.parametrize(
    ("why", "kwargs", "false"),
    [
        ("nobody gives cause", {}, True),
        ("it is not hard", {"accel": -2.0}, False),
        ("a planned braking is in progress", {"braking": True}, False),
        ("a peer brakes", {"lead_accel": -1.1}, False),
        ("a peer only eases off", {"lead_accel": -1.0}, True),
        ("the gap closes fast", {"lead": 14.0}, False),
        ("the gap is short", {"gap": 14.9}, False),
        ("the gap is not short", {"gap": 15.0}, True),
        ("it would collide in less than 6 s", {"gap": 24.0, "lead": 15.9}, False),
        ("it would not", {"gap": 24.0, "lead": 16.1}, True),
        ("more than 0.5 m/s² is needed", {"own": 40.0, "lead": 30.0, "gap": 99.0}, False),
        ("less is needed", {"own": 40.0, "lead": 30.0, "gap": 101.0}, True),
    ],
)
def test_a_false_brake_is_hard_and_without_cause(why, kwargs, false):
    """Braking beyond 2 m/s² is flagged, and costs in full, where the traffic does not justify it.

    A collision in 6 s, a needed deceleration of 0.5 m/s², a gap of 5 m and half a second and a
    peer's braking of 1 m/s² are the limits.
    """
    usual = {"gap": WANTED_M, "own": 20.0, "lead": 20.0, "accel": -3.0}
    given = {"braking": kwargs.pop("braking", False)}
    terms, needless = scored(traffic(**{**usual, **kwargs}), **given)
    assert needless == false, why
    if kwargs.get("accel") is None:
        assert terms[TERMS.index("false_braking")] == -1.0 * false, why


def test_a_collision_costs_its_weight_once():
    """The collision term is −1 where bumpers touched."""
    terms, _ = scored(traffic(gap=-0.1, own=10.0, lead=0.0), braking=True, collided=True)
    weights = RewardWeights(headway=0.0, safety=0.0, comfort=0.0, false_braking=0.0, collision=7.0)
    assert terms @ [getattr(weights, term) for term in TERMS] == -7.0


@given(
    gap=st.floats(-5.0, 500.0),
    own=st.floats(0.0, 55.0),
    lead=st.floats(0.0, 55.0),
    accel=st.floats(-8.0, 2.6),
    jerk=st.floats(-110.0, 110.0),
    withheld=st.floats(0.0, 10.6),
)
def test_every_term_stays_within_its_declared_range(gap, own, lead, accel, jerk, withheld):
    """`headway` lies in [0, 1], the penalties in [−1, 0], whatever the traffic does."""
    truth = traffic(gap=gap, own=own, lead=lead, accel=accel, jerk=jerk)
    terms = terms_of(truth, withheld=withheld)
    assert set(terms) == set(TERMS)
    assert 0.0 <= terms.pop("headway") <= 1.0
    assert all(-1.0 <= value <= 0.0 for value in terms.values())


def test_drac_is_the_deceleration_that_just_avoids_the_crash():
    """Closing at 10 m/s over 25 m needs 2 m/s² (Cooper and Ferguson)."""
    truth = traffic(gap=25.0, own=20.0, lead=10.0)
    assert truth.drac_mps2[0] == pytest.approx(2.0)
    assert truth.ttc_s[0] == pytest.approx(2.5)
