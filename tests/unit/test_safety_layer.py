"""What the safety layer demands follows from braking distances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.envs.safety_layer import (
    AGE,
    ALARMED_MPS2,
    BETWEEN_M,
    DELAY_S,
    DEVIATION,
    GAP,
    MARGIN_M,
    MARGIN_SDS,
    NEEDED,
    NOW,
    NUM_PREDICTED,
    PULL,
    RELEASE_MPS3,
    SAID,
    SAID_GAP,
    SILENCE_MPS2,
    demands,
    floor_mps2,
    hard_bound_mps2,
    missing_room,
    needed_braking,
    soft_bound_mps2,
)
from ml.sumo.road import CAR_LENGTH_M


def asked(own_mps, *peers):
    """Needed braking, free distance and missing room for peers, nearest first."""
    predicted = np.zeros((NUM_PREDICTED, len(peers)))
    for s, peer in enumerate(peers):
        predicted[AGE, s] = peer.get("age", 0.1)
        predicted[GAP, s] = peer["gap"]
        predicted[SAID_GAP, s] = peer.get("said_gap", peer["gap"])
        predicted[NOW, s] = peer["speed"]
        predicted[SAID, s] = peer.get("said", peer["speed"])
        predicted[PULL, s] = peer.get("accel", 0.0)
        predicted[DEVIATION, s] = peer.get("sd", 0.0)
    return *demands(own_mps, np.arange(len(peers)), predicted), predicted[NEEDED]


def test_stopping_behind_a_standing_car_takes_v_squared_over_twice_the_room():
    """At 20 m/s and 50 m, less a delay of 0.15 s: 400 / 2 / 47."""
    assert needed_braking(20.0, 50.0, 0.0, 0.0) == pytest.approx(
        400.0 / 2.0 / (50.0 - 20.0 * DELAY_S)
    )


def test_a_braking_car_leaves_its_own_braking_distance_as_room():
    """Both at 20 m/s, the other braking at 5 m/s²: it stands after 40 m more."""
    left = 30.0 - 20.0 * DELAY_S
    assert needed_braking(20.0, 30.0, 20.0, -5.0) == pytest.approx(400.0 / 2.0 / (left + 40.0))


def test_at_the_speed_of_the_car_in_front_nothing_is_needed():
    """Following is not the layer's business."""
    needed, _, _, _ = asked(20.0, {"gap": 15.0, "speed": 20.0})
    assert needed == 0.0


def test_the_margin_grows_with_the_uncertainty_and_the_cars_between():
    """Two deviations of the gap, a car's length and 1.5 m per car between."""
    _, free, _, _ = asked(20.0, {"gap": 30.0, "speed": 20.0, "sd": 3.0})
    assert free == pytest.approx(30.0 - MARGIN_M - 3.0 * MARGIN_SDS)
    _, _, _, each = asked(
        20.0, {"gap": 30.0, "speed": 20.0}, {"gap": 60.0, "speed": 0.0, "accel": -6.0}
    )
    room = 60.0 - CAR_LENGTH_M - MARGIN_M - BETWEEN_M - 20.0 * DELAY_S
    assert each[1] == pytest.approx(400.0 / 2.0 / room)


def test_silence_counts_once_somebody_ahead_brakes_hard():
    """A car in front, unheard for 1.5 s, is nothing to brake for until one ahead of it brakes."""
    silent = {"gap": 12.0, "said_gap": 12.0 - 1.5 * 20.0, "speed": 20.0, "age": 1.5}
    calm, _, _, _ = asked(20.0, silent, {"gap": 70.0, "speed": 20.0})
    alarmed, _, _, each = asked(20.0, silent, {"gap": 70.0, "speed": 18.0, "accel": -4.0})
    assert calm == 0.0
    left = 12.0 - MARGIN_M + 400.0 / (2.0 * ALARMED_MPS2) - 20.0 * DELAY_S
    assert alarmed == each[0] == pytest.approx(400.0 / (2.0 * left))


def test_an_alarm_behind_the_silent_car_is_none():
    """Who brakes behind a car says nothing of that car."""
    needed, _, _, each = asked(
        20.0,
        {"gap": 25.0, "speed": 19.0, "accel": -3.0},
        {"gap": 70.0, "said_gap": 20.0, "speed": 20.0, "age": 2.5},
    )
    assert each[1] == 0.0
    assert needed == each[0]


@given(st.floats(0.0, 55.0), st.floats(-50.0, 300.0), st.floats(0.0, 55.0), st.floats(-10.0, 3.0))
def test_the_needed_braking_is_within_the_vehicles_and_falls_with_room(own, free, speed, accel):
    """Between 0 and 8 m/s²; ten metres more never demand more."""
    needed = needed_braking(own, free, speed, accel)
    assert 0.0 <= needed <= 8.0
    assert needed_braking(own, free + 10.0, speed, accel) <= needed + 1e-9


@given(st.floats(0.0, 8.0), st.floats(-20.0, 100.0), st.floats(-8.0, 2.6))
def test_the_hard_bound_brakes_at_least_as_needed_and_is_lifted_slowly(needed, free, before):
    """From 3 m/s² all of it is done, and no tick lifts the bound by more than the release rate."""
    bound = hard_bound_mps2(needed, free, before)
    assert bound <= before + RELEASE_MPS3 * 0.1 + 1e-12
    if needed >= 3.0:
        assert bound <= -needed
    if free < 0.0:
        assert bound < 0.0


def test_silence_slows_gently_and_only_where_room_is_missing():
    """20 m short: the gentlest limit; 10 m to spare: 2.5 m/s² of acceleration are allowed."""
    assert soft_bound_mps2(20.0) == -SILENCE_MPS2
    assert soft_bound_mps2(-10.0) == pytest.approx(2.5)
    assert soft_bound_mps2(-np.inf) == 0.0, "nobody was ever heard"


def test_missing_room_is_the_difference_of_two_stopping_points():
    """RSS with both at 8 m/s²: equal speeds leave 0.3 s and 4 m to be missing."""
    assert missing_room(20.0, 0.0, 20.0) == pytest.approx(0.3 * 20.0 + 4.0)


def test_hard_braking_may_be_wished_only_where_it_is_nearly_demanded():
    """Nothing demanded: 1.9 m/s². 4 demanded: 5."""
    assert floor_mps2(0.0) == -SILENCE_MPS2
    assert floor_mps2(4.0) == pytest.approx(-5.0)


def test_who_fell_silent_while_it_braked_is_expected_to_brake_harder():
    """Fresh, 3 m/s² are believed; unheard for a second, 5 are feared; 1.5 are no reason to."""
    car = {"gap": 40.0, "speed": 15.0, "accel": -3.0}
    fresh, _, _, _ = asked(18.0, car)
    silent, _, _, _ = asked(18.0, {**car, "age": 1.0})
    assert fresh == needed_braking(18.0, 40.0 - MARGIN_M, 15.0, -3.0)
    assert silent == needed_braking(18.0, 40.0 - MARGIN_M, 15.0, -ALARMED_MPS2) > fresh
    gently = {**car, "accel": -1.5}
    assert asked(18.0, gently)[0] == asked(18.0, {**gently, "age": 1.0})[0]
