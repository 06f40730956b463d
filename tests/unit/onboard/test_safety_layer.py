"""What the safety layer demands follows from braking distances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.onboard.estimator import Estimate
from ml.onboard.memory import Memory
from ml.onboard.safety_layer import (
    ALARMED_MPS2,
    BRAKE_ALLOWANCE_MPS2,
    COMFORT_LIMIT_MPS2,
    CREEP_MPS2,
    DELAY_S,
    DRIFT_MPS2,
    MARGIN_M,
    MARGIN_SDS,
    MATCH_S,
    MIN_MESSAGES,
    RECENT_S,
    RELEASE_MPS3,
    RESERVE_M,
    SILENCE_MPS2,
    UNKNOWN_PEER_CLOSING_MPS,
    UNKNOWN_PEER_GAIN,
    URGENT_MPS2,
    Bounds,
    Demands,
    bound,
    braking_for_s,
    demand,
    floor_mps2,
    hard_bound_mps2,
    missing_room,
    needed_braking,
    silent_share_after,
    soft_bound_mps2,
)
from ml.vehicle import CAR_LENGTH_M, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2, STANDSTILL_GAP_M

TIME_GAP_S = 1.0


def predicted(*peers):
    """An estimate of the given peers of one ego, nearest first."""
    links = (1, max(len(peers), 1))
    known = Estimate(*(np.zeros(links) for _ in Estimate._fields))
    known = known._replace(
        order=np.arange(links[1])[None], num_heard=np.array([len(peers)], dtype=np.int64)
    )
    for s, peer in enumerate(peers):
        known.age_s[0, s] = peer.get("age", 0.1)
        known.gap_m[0, s] = peer["gap"]
        known.gap_sent_m[0, s] = peer.get("gap_sent", peer["gap"])
        known.speed_mps[0, s] = peer["speed"]
        known.speed_sent_mps[0, s] = peer.get("speed_sent", peer["speed"])
        known.accel_mps2[0, s] = peer.get("accel", 0.0)
        known.position_sd_m[0, s] = peer.get("sd", 0.0)
    return known


def no_demands(sources):
    """Room for what so many peers demand of one ego."""
    return Demands(np.zeros(1), np.zeros(1), np.zeros((1, max(sources, 1))))


def asked(own_mps, *peers, silent_share=1.0):
    """Needed braking, free distance, missing room and each one's demand, nearest first."""
    found = no_demands(len(peers))
    free = demand(0, own_mps, predicted(*peers), silent_share, TIME_GAP_S, found)
    return found.needed_mps2[0], free, found.missing_m[0], found.of_peer_mps2[0]


def bounded(own_mps, *peers, messages=MIN_MESSAGES, hard=MAX_ACCEL_MPS2):
    """Needed braking, missing room and bounds, of an ego whose hard bound was `hard`."""
    found, bounds = no_demands(len(peers)), Bounds(np.zeros(1), np.array([hard]), np.zeros(1))
    memory = Memory.blank(1, max(len(peers), 1))
    memory.messages[0], memory.time_gap_s[0] = messages, TIME_GAP_S
    ego = np.array([0]), np.array([own_mps])
    bound(*ego, predicted(*peers), memory, found, bounds)
    return found.needed_mps2[0], found.missing_m[0], *(values[0] for values in bounds)


def test_stopping_behind_a_standing_car_takes_v_squared_over_twice_the_room():
    """At 20 m/s and 50 m, less a delay of 0.15 s: 400 / 2 / 47."""
    assert needed_braking(20.0, 50.0, 0.0, 0.0, 0.0) == pytest.approx(
        400.0 / 2.0 / (50.0 - 20.0 * DELAY_S)
    )


def test_a_braking_car_leaves_its_own_braking_distance_as_room():
    """Both at 20 m/s, the other braking at 5 m/s²: it stands after 40 m more."""
    left = 30.0 - 20.0 * DELAY_S
    assert needed_braking(20.0, 30.0, 20.0, -5.0, 0.0) == pytest.approx(400.0 / 2.0 / (left + 40.0))


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
    room = 60.0 - CAR_LENGTH_M - MARGIN_M - RESERVE_M - STANDSTILL_GAP_M - 20.0 * DELAY_S
    assert each[1] == pytest.approx(400.0 / 2.0 / room)


@pytest.mark.parametrize(("gap", "kept"), [(120.0, 0.0), (78.0, 0.5), (40.0, 1.0)])
def test_the_harder_a_braking_the_more_is_kept_in_reserve(gap, kept):
    """Behind a standing car: nothing up to 2.2 m/s², all of it from 3 on, a share in between."""
    plain = needed_braking(20.0, gap - MARGIN_M, 0.0, 0.0, 0.0)
    share = min(max((plain - COMFORT_LIMIT_MPS2) / (URGENT_MPS2 - COMFORT_LIMIT_MPS2), 0.0), 1.0)
    assert share == pytest.approx(kept, abs=0.2)
    needed, free, _, _ = asked(20.0, {"gap": gap, "speed": 0.0})
    assert needed == needed_braking(20.0, gap - MARGIN_M - share * RESERVE_M, 0.0, 0.0, 0.0)
    assert free == gap - MARGIN_M, "standing at its distance, the ego does not creep for it"


def test_silence_counts_once_somebody_ahead_brakes_hard():
    """A car in front, unheard for 1.5 s, is nothing to brake for until one ahead of it brakes."""
    silent = {"gap": 12.0, "gap_sent": 12.0 - 1.5 * 20.0, "speed": 20.0, "age": 1.5}
    calm, _, _, _ = asked(20.0, silent, {"gap": 70.0, "speed": 20.0})
    alarmed, _, _, each = asked(20.0, silent, {"gap": 70.0, "speed": 18.0, "accel": -4.0})
    assert calm == 0.0
    left = 12.0 - MARGIN_M - RESERVE_M + 400.0 / (2.0 * ALARMED_MPS2) - 20.0 * DELAY_S
    assert alarmed == each[0] == pytest.approx(400.0 / (2.0 * left))


def test_an_alarm_behind_the_silent_car_is_none():
    """Who brakes behind a car says nothing of that car."""
    needed, _, _, each = asked(
        20.0,
        {"gap": 25.0, "speed": 19.0, "accel": -3.0},
        {"gap": 70.0, "gap_sent": 20.0, "speed": 20.0, "age": 2.5},
    )
    assert each[1] == 0.0
    assert needed == each[0]


@given(
    st.floats(0.0, 55.0),
    st.floats(-50.0, 300.0),
    st.floats(0.0, 55.0),
    st.floats(-10.0, 3.0),
    st.sampled_from((0.0, MATCH_S)),
)
def test_the_needed_braking_is_within_the_vehicles_and_falls_with_room(
    own, free, speed, accel, match_s
):
    """Between 0 and 8 m/s²; ten metres more never demand more, nor does a slower match."""
    needed = needed_braking(own, free, speed, accel, match_s)
    assert 0.0 <= needed <= 8.0
    assert needed_braking(own, free + 10.0, speed, accel, match_s) <= needed + 1e-9
    assert needed <= needed_braking(own, free, speed, accel, 0.0)


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
    assert soft_bound_mps2(20.0, 0.0, MIN_MESSAGES) == -SILENCE_MPS2
    assert soft_bound_mps2(-10.0, 0.0, MIN_MESSAGES) == pytest.approx(2.5)
    assert soft_bound_mps2(-np.inf, 0.0, MIN_MESSAGES) == 0.0, "nobody was ever heard"


def test_a_margin_used_up_is_no_reason_to_brake_hard_in_a_calm_convoy():
    """Closing at 2 m/s within the margin: 2 m/s²; with somebody braking or slow, all there is."""
    near = {"gap": 5.0, "speed": 18.0, "sd": 2.0}
    needed, free, _, each = asked(20.0, near, {"gap": 60.0, "speed": 20.0})
    assert free <= 0.0
    assert needed == each[0] == pytest.approx(2.0 / MATCH_S)
    for wrong in ({"speed": 20.0, "accel": -1.6}, {"speed": 13.0}):
        assert asked(20.0, near, {"gap": 200.0, **wrong})[0] == MAX_BRAKING_MPS2


def test_beyond_the_margin_a_calm_convoy_is_answered_like_any():
    """Closing at 2 m/s with 1.5 m of room for it, and at 4 m/s with 1.5: the first is as ever."""
    gap = MARGIN_M + 20.0 * DELAY_S + 1.5
    assert asked(20.0, {"gap": gap, "speed": 18.0})[0] == pytest.approx(4.0 / (2.0 * 1.5))
    assert asked(20.0, {"gap": gap, "speed": 16.0})[0] == pytest.approx(4.0 / MATCH_S)
    assert 4.0 / MATCH_S < 16.0 / (2.0 * 1.5), "at once it would be more"


def test_a_calm_braking_is_stopped_for_however_gentle_the_match():
    """A peer that slows with 1.4 m/s² as fast as the ego: nothing to match, all of the stop."""
    gap = 8.0
    needed, free, _, _ = asked(20.0, {"gap": gap, "speed": 20.0, "accel": -1.4, "sd": 3.0})
    left = gap - MARGIN_M - 3.0 * MARGIN_SDS - 20.0 * DELAY_S
    assert needed == pytest.approx(400.0 / 2.0 / (left + 400.0 / 2.8))
    assert free < gap - MARGIN_M


def test_what_a_policy_may_wish_within_a_calm_margin_goes_by_the_gentle_match():
    """Needed 2 m/s² of the car in front: 3 may be wished, no emergency braking."""
    needed, _, _, hard, floor = bounded(20.0, {"gap": 4.5, "speed": 18.0, "sd": 2.0})
    assert needed == pytest.approx(2.0)
    assert (hard, floor) == pytest.approx((-CREEP_MPS2, -2.0 - BRAKE_ALLOWANCE_MPS2))


def test_who_may_be_unheard_in_between_is_not_driven_into():
    """Until 60 messages have told of nobody new, the ego closes at 3 m/s on the nearest known."""
    closing = UNKNOWN_PEER_CLOSING_MPS + 1.0
    assert soft_bound_mps2(-100.0, closing, MIN_MESSAGES - 1) == pytest.approx(-UNKNOWN_PEER_GAIN)
    assert soft_bound_mps2(-100.0, closing, MIN_MESSAGES) == pytest.approx(25.0)


def test_missing_room_is_the_difference_of_two_stopping_points():
    """RSS with both at 8 m/s²: equal speeds leave 0.4 s and 4 m to be missing."""
    assert missing_room(20.0, 0.0, 20.0) == pytest.approx(0.4 * 20.0 + 4.0)


def test_hard_braking_may_be_wished_only_where_it_is_nearly_demanded():
    """Nothing demanded: 1.5 m/s². 4 demanded: 5."""
    assert floor_mps2(0.0) == -SILENCE_MPS2
    assert floor_mps2(4.0) == pytest.approx(-5.0)


def test_who_fell_silent_while_it_braked_is_expected_to_brake_harder():
    """Fresh, 3 m/s² are believed; unheard for a second, 5 are feared; 1.5 are no reason to."""
    car = {"gap": 40.0, "speed": 15.0, "accel": -3.0}
    fresh, _, _, _ = asked(18.0, car)
    silent, _, _, _ = asked(18.0, {**car, "age": 1.0})
    assert fresh == needed_braking(18.0, 40.0 - MARGIN_M, 15.0, -3.0, 0.0)
    feared = needed_braking(18.0, 40.0 - MARGIN_M, 15.0, -ALARMED_MPS2, 0.0)
    assert silent > feared > fresh, "beyond 2.2 m/s² something is kept in reserve"
    assert silent <= needed_braking(18.0, 40.0 - MARGIN_M - RESERVE_M, 15.0, -ALARMED_MPS2, 0.0)
    gently = {**car, "accel": -1.5}
    assert asked(18.0, gently)[0] == asked(18.0, {**gently, "age": 1.0})[0]


def test_a_car_that_fell_silent_while_braking_may_stand_much_nearer_than_predicted():
    """It said 2.4 m/s² and may have braked harder since: it counts from where it said so."""
    silent = {
        "gap": 60.0,
        "gap_sent": 20.0,
        "speed": 10.0,
        "speed_sent": 17.0,
        "accel": -2.4,
        "age": 3.0,
    }
    needed, _, _, _ = asked(16.0, silent)
    left = 20.0 - MARGIN_M + 17.0**2 / (2.0 * ALARMED_MPS2) - 16.0 * DELAY_S
    assert 256.0 / (2.0 * left) < needed < 256.0 / (2.0 * (left - RESERVE_M))
    steady, _, _, _ = asked(16.0, silent | {"accel": -1.9})
    assert steady < needed, "a gentle braking is taken to go on as it was said"


def test_a_long_silence_counts_in_full_only_while_something_is_wrong_ahead():
    """Calm: braking for 0.7 s at most, and a drift; with a car ahead slowing, since the message."""
    silent = {"gap": 30.0, "gap_sent": -70.0, "speed": 20.0, "age": 5.0}
    _, _, calm, _ = asked(20.0, silent, {"gap": 60.0, "speed": 20.0})
    drift = 0.5 * DRIFT_MPS2 * (5.0 - RECENT_S) ** 2
    assert calm == pytest.approx(missing_room(20.0, 30.0 - RECENT_S * 20.0 - drift, 20.0))
    for wrong in ({"gap": 90.0, "speed": 12.0}, {"gap": 90.0, "speed": 20.0, "accel": -1.8}):
        _, _, missing, _ = asked(20.0, silent, wrong)
        assert missing == pytest.approx(missing_room(20.0, -70.0, 20.0))


def test_silence_is_excused_where_it_is_the_rule():
    """At a time gap of 1 s: from 42 % of the time on; up to 21 % a silence counts in full."""
    assert braking_for_s(5.0, 0.42, 1.0) == RECENT_S
    assert braking_for_s(5.0, 0.21, 1.0) == pytest.approx(5.0)
    assert braking_for_s(5.0, 0.315, 1.0) == pytest.approx(0.5 * (RECENT_S + 5.0))
    assert braking_for_s(5.0, 0.315, 1.5) == pytest.approx(5.0), "a cautious driver waits"
    silent = {"gap": 30.0, "gap_sent": -70.0, "speed": 20.0, "age": 5.0}
    _, _, missing, _ = asked(20.0, silent, silent_share=0.1)
    assert missing == pytest.approx(missing_room(20.0, -70.0, 20.0))


def test_the_record_of_silence_settles_at_its_share():
    """Silent for 3 s of each 10: about 0.3 after some time constants."""
    share = 0.0
    for tick in range(2000):
        share = silent_share_after(share, 2.0 if tick % 100 < 30 else 0.5)
    assert share == pytest.approx(0.3, abs=0.06)


def test_a_short_silence_counts_in_full():
    """Up to 0.7 s there is nothing to be spared."""
    _, _, missing, _ = asked(20.0, {"gap": 30.0, "gap_sent": 18.0, "speed": 20.0, "age": 0.6})
    assert missing == pytest.approx(missing_room(20.0, 18.0, 20.0))


def test_all_bounds_are_those_of_their_parts():
    """With nobody heard nothing is demanded, and no speeding up is allowed."""
    standing = {"gap": 30.0, "speed": 0.0}
    needed, free, missing, _ = asked(15.0, standing, silent_share=0.0)
    assert bounded(15.0, standing, messages=0) == (
        needed,
        missing,
        soft_bound_mps2(missing, 15.0, 0),
        hard_bound_mps2(needed, free, MAX_ACCEL_MPS2),
        floor_mps2(needed),
    )
    assert bounded(15.0, messages=0) == (0.0, -np.inf, 0.0, MAX_ACCEL_MPS2, -SILENCE_MPS2)
