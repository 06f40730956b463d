"""Every figure of an episode, on traces whose figures are known by hand."""

import math

import numpy as np
import pytest

from ml.evaluation.delay_budget import delay_budget_s
from ml.evaluation.episode_metrics import CaseFacts, measure, rss_distance_m
from ml.evaluation.recording import Column, EpisodeTrace

DT_S = 0.1
KMH = 1.0 / 3.6


def trace_of(speed, lead, gap_m, **columns):
    """Build a trace of two cars from their speeds; the gap follows."""
    speed, lead = np.asarray(speed, float), np.asarray(lead, float)
    values = np.zeros((len(Column), speed.size))

    def travel(v):
        return np.concatenate(([0.0], np.cumsum((v[1:] + v[:-1]) * DT_S / 2.0)))

    def accel(v):
        return np.concatenate(([0.0], np.diff(v) / DT_S))

    values[Column.SPEED_MPS], values[Column.LEAD_SPEED_MPS] = speed, lead
    values[Column.ACCEL_MPS2], values[Column.LEAD_ACCEL_MPS2] = accel(speed), accel(lead)
    values[Column.LEAD_POS_M] = 50.0 + travel(lead)
    values[Column.GAP_M] = gap_m + travel(lead) - travel(speed)
    for name, column in columns.items():
        values[Column[name]] = column
    return EpisodeTrace(values)


def facts(**changes):
    """A hazard of the car in front at the first tick, avoidable, told at once."""
    usual = {
        "hazard": True,
        "num_peers": 1,
        "onset_tick": 0,
        "avoidable": True,
        "informed_s": 0.1,
    }
    return CaseFacts(**{**usual, **changes})


def braking(speed, decel, ticks, *, onset=0, final=0.0):
    """Speeds of a car that brakes from a tick on."""
    steps = np.maximum(np.arange(ticks + 1) - onset, 0)
    return np.maximum(speed - decel * DT_S * steps, final)


def test_the_crash_its_speed_and_what_ends_there():
    """20 m/s against a wall 31 m ahead: 15.5 ticks to impact, and no figure beyond."""
    trace = trace_of(np.full(41, 20.0), np.zeros(41), 31.0)
    found = measure(trace, facts())
    assert found["crash"]
    assert trace.crash_tick == 16
    assert found["impact_speed_mps"] == pytest.approx(20.0)
    assert found["min_gap_m"] == 0.0
    assert found["distance_m"] == pytest.approx(32.0)
    assert found["max_drac_mps2"] == pytest.approx(20.0**2 / (2.0 * 1.0))
    assert found["min_ttc_s"] == 0.0
    assert math.isnan(found["progress"])


def test_the_impact_speed_is_that_at_contact_not_at_the_ticks_end():
    """Braking at 8 m/s², halfway between two ticks the closing speed is the mean of both."""
    speed = braking(20.0, 8.0, 20)
    travelled = (speed[:6] + speed[1:7]).sum() * DT_S / 2.0
    half = travelled - (speed[5] + speed[6]) * DT_S / 4.0
    found = measure(trace_of(speed, np.zeros(21), half), facts())
    assert found["impact_speed_mps"] == pytest.approx((speed[5] + speed[6]) / 2.0)


def test_time_to_collision_and_what_is_made_of_it():
    """Closing at 10 m/s from 20 m: TTC falls by 0.1 s a tick from 2.0 s to 1.0 s."""
    trace = trace_of(np.full(11, 20.0), np.full(11, 10.0), 20.0)
    found = measure(trace, facts())
    assert found["min_ttc_s"] == pytest.approx(1.0)
    assert found["max_drac_mps2"] == pytest.approx(10.0**2 / (2 * 10.0))
    assert found["tet_s"] == pytest.approx(0.5)
    assert found["tit_s2"] == pytest.approx(DT_S * (0.1 + 0.2 + 0.3 + 0.4 + 0.5))
    assert not found["crash"]


def test_opening_cars_are_not_on_a_collision_course():
    """A slower follower has the longest TTC, needs no braking and is exposed to nothing."""
    found = measure(trace_of(np.full(11, 10.0), np.full(11, 20.0), 20.0), facts())
    assert (found["min_ttc_s"], found["max_drac_mps2"], found["tet_s"]) == (60.0, 0.0, 0.0)


def test_rss_safe_distance():
    """20 m/s behind 20 m/s: 20 + 1.75 + 23.5²/8 − 20²/16 = 65.78 m, never below 0."""
    assert rss_distance_m(20.0, 20.0) == pytest.approx(65.78125)
    assert rss_distance_m(0.0, 50.0) == 0.0
    close = measure(trace_of(np.full(11, 20.0), np.full(11, 20.0), 65.7), facts())
    far = measure(trace_of(np.full(11, 20.0), np.full(11, 20.0), 65.9), facts())
    assert (close["share_below_rss"], far["share_below_rss"]) == (1.0, 0.0)


def test_reactions_count_from_the_onset_and_from_the_message():
    """Onset at 1.0 s, message at 1.3 s, braking commanded at 1.6 s: 0.6 s and 0.3 s."""
    trace = trace_of(braking(20.0, 5.0, 60, onset=16), braking(20.0, 5.0, 60, onset=10), 60.0)
    found = measure(trace, facts(onset_tick=10, informed_s=1.3))
    assert found["reaction_after_onset_s"] == pytest.approx(0.6)
    assert found["message_delay_s"] == pytest.approx(0.3)
    assert found["reaction_after_message_s"] == pytest.approx(0.3)


def test_easing_off_before_the_onset_is_no_reaction():
    """Only braking of more than 1 m/s² after the onset counts; without any it is not a number."""
    early = trace_of(braking(20.0, 5.0, 60, final=15.0), np.full(61, 20.0), 60.0)
    assert math.isnan(measure(early, facts(onset_tick=20))["reaction_after_onset_s"])
    soft = trace_of(braking(20.0, 0.9, 60), np.full(61, 20.0), 60.0)
    assert math.isnan(measure(soft, facts())["reaction_after_onset_s"])


def test_each_interruption_begins_a_new_false_brake():
    """Flagged in ticks 5 to 7 and 15 to 16: two events."""
    flags = np.isin(np.arange(31), [5, 6, 7, 15, 16])
    steady = np.full(31, 20.0)
    assert measure(trace_of(steady, steady, 200.0, NEEDLESS=flags), facts())["false_brakes"] == 2


def test_braking_counts_from_0_2_mps2():
    """A quarter of the ticks at 0.21 m/s², the rest at 0.19."""
    decel = np.tile([0.21, 0.19, 0.19, 0.19], 10)
    speed = 20.0 - DT_S * np.concatenate(([0.0], np.cumsum(decel)))
    found = measure(trace_of(speed, speed, 30.0), facts(hazard=False))
    assert found["braking_share"] == 0.25
    assert found["max_decel_mps2"] == pytest.approx(0.21)


def test_headway_is_gross_and_net_of_the_standstill_distance():
    """30 m at 20 m/s is 1.5 s; net of 10 m it is 1 s; below 5 m/s nothing counts."""
    trace = trace_of(np.full(11, 20.0), np.full(11, 20.0), 30.0)
    found = measure(trace, facts(standstill_m=10.0))
    assert found["headway_s"] == pytest.approx(1.5)
    assert found["headway_net_s"] == pytest.approx(1.0)
    assert math.isnan(measure(trace, facts())["headway_net_s"])
    assert math.isnan(measure(trace, facts(standstill_m=math.nan))["headway_net_s"])
    slow = measure(trace_of(np.full(11, 4.9), np.full(11, 4.9), 30.0), facts())
    assert math.isnan(slow["headway_s"])


def test_without_a_standstill_distance_the_standing_gap_is_taken():
    """A policy that stops 6 m behind is measured net of 6 m."""
    stop = np.concatenate([braking(20.0, 5.0, 40), np.zeros(20)])
    trace = trace_of(stop, stop, 6.0)
    expected = np.mean([6.0 / v - 6.0 / v for v in stop if v > 5.0])
    assert measure(trace, facts())["headway_net_s"] == pytest.approx(expected)


def test_string_gains_compare_with_the_car_in_front():
    """Half the swing is half the gain, by norm and at the swing's frequency."""
    time_s = np.arange(401) * DT_S
    swing = np.sin(2.0 * np.pi * 0.2 * time_s)
    trace = trace_of(20.0 + 1.0 * swing, 20.0 + 2.0 * swing, 100.0)
    found = measure(trace, facts(hazard=False, frequency_hz=0.2))
    assert found["string_gain_l2"] == pytest.approx(0.5)
    assert found["gain_at_fundamental"] == pytest.approx(0.5)
    assert found["speed_dip_ratio"] == pytest.approx(0.5, rel=1e-3)


def test_noise_at_another_frequency_is_not_in_the_gain_at_the_fundamental():
    """A jitter at 2 Hz raises the norm, not the gain at 0.2 Hz."""
    time_s = np.arange(401) * DT_S
    swing, jitter = (np.sin(2.0 * np.pi * f * time_s) for f in (0.2, 2.0))
    trace = trace_of(20.0 + swing + jitter, 20.0 + 2.0 * swing, 100.0)
    found = measure(trace, facts(hazard=False, frequency_hz=0.2))
    assert found["gain_at_fundamental"] == pytest.approx(0.5, rel=1e-3)
    assert found["string_gain_l2"] > 1.0


@pytest.mark.parametrize(("lead_mps", "said"), [(0.09, False), (0.11, True)])
def test_there_is_no_gain_over_a_car_in_front_that_hardly_swings(lead_mps, said):
    """From an amplitude of 0.1 m/s there is."""
    swing = np.sin(2.0 * np.pi * 0.2 * np.arange(401) * DT_S)
    trace = trace_of(20.0 + 0.5 * swing, 20.0 + lead_mps * swing, 100.0)
    gain = measure(trace, facts(hazard=False, frequency_hz=0.2))["gain_at_fundamental"]
    assert np.isfinite(gain) == said


def test_what_the_radio_did():
    """Messages at ticks 1, 2 and 9 of 10: a blackout of 0.7 s, and 3 + 5 of 20 beacons."""
    fresh = np.isin(np.arange(11), [1, 2, 9]).astype(float)
    age = np.array([0, 0.05, 0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.05, 0.15])
    trace = trace_of(
        np.full(11, 20.0),
        np.full(11, 20.0),
        30.0,
        FRESH=fresh,
        FRESH_PEERS=fresh + np.isin(np.arange(11), [3, 4, 5, 6, 7]),
        HEARD=(np.arange(11) > 0).astype(float),
        AGE_S=age,
    )
    found = measure(trace, facts(num_peers=2))
    assert found["longest_blackout_s"] == pytest.approx(0.7)
    assert found["delivery_ratio"] == pytest.approx(8 / 20)
    assert found["age_max_s"] == pytest.approx(0.65)
    assert found["age_p50_s"] == pytest.approx(np.median(age[1:]))


@pytest.mark.parametrize(
    ("avoidable", "informed_s", "expected"),
    [
        (False, 0.1, "unavoidable"),
        (True, 0.1, "informed"),
        (True, 3.0, "blackout"),
        (True, None, "blackout"),
    ],
)
def test_the_class_of_a_crash(avoidable, informed_s, expected):
    """Unavoidable, told in time, or told later than the delay budget of 2.5 s allows."""
    lead = np.concatenate([np.full(1, 20.0), np.zeros(80)])  # a wall at once, 63 m ahead
    trace = trace_of(np.full(81, 20.0), lead, 73.0)
    found = measure(trace, facts(avoidable=avoidable, informed_s=informed_s))
    assert found["delay_budget_s"] == pytest.approx((74 - 20**2 / 16) / 20 - 0.316, abs=0.02)
    assert found["crash_class"] == expected
    assert found["informed"] == (informed_s is not None)


def test_no_crash_has_no_class():
    """An episode that ends well is not classed."""
    found = measure(trace_of(np.zeros(11), np.zeros(11), 10.0), facts(avoidable=False))
    assert found["crash_class"] == ""


@pytest.mark.parametrize(
    ("gap_m", "decel", "budget_s"), [(12.0, 6.0, 0.63), (40.0, 6.0, 2.65), (50 * KMH, 4.0, 1.35)]
)
def test_the_delay_budgets_of_euro_ncap(gap_m, decel, budget_s):
    """CCRb at 50 km/h, braking at 6 m/s² with a jerk of 12.65 m/s³: the published budgets."""
    lead = braking(50 * KMH, decel, 200)
    travel = np.concatenate(([0.0], np.cumsum((lead[1:] + lead[:-1]) * DT_S / 2.0)))
    found = delay_budget_s(travel, gap_m, 50 * KMH, 0, max_braking_mps2=6.0)
    assert found == pytest.approx(budget_s, abs=0.02)


def test_a_delay_budget_is_infinite_without_a_danger_and_0_without_a_way_out():
    """A car that drives on needs no braking; one that stands 5 m ahead cannot be missed."""
    driving = np.arange(101) * 2.0
    assert delay_budget_s(driving, 10.0, 20.0, 0) == np.inf
    assert delay_budget_s(np.zeros(101), 5.0, 20.0, 0) == 0.0


def test_an_overreaction_is_measured_against_the_peer_that_slows_and_from_the_onset_on():
    """A peer slows with 1.5; the ego braked with 6 before that, and answers with 2 m/s²."""
    peer = braking(20.0, 1.5, 40, onset=20, final=16.0)
    slowing = np.concatenate(([0.0], np.diff(peer) / DT_S))
    ego = np.concatenate((braking(30.0, 6.0, 10), braking(24.0, 2.0, 30, onset=10, final=16.0)[1:]))
    trace = trace_of(ego, peer, 80.0, BRAKE_ACCEL_MPS2=slowing)
    found = measure(trace, facts(hazard=False, onset_tick=20))
    assert found["overreaction_mps2"] == pytest.approx(0.5)
    alone = measure(trace_of(ego, peer, 80.0), facts(hazard=False, onset_tick=20))
    assert math.isnan(alone["overreaction_mps2"])
