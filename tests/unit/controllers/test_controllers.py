"""Each law does what its paper says, on what a board can know."""

import numpy as np
import pytest
from support.delayed import Delayed
from support.driving import act, ego, peers

from ml.controllers.car_following import ConstantTimeHeadway, RssFollower, Threshold
from ml.controllers.platoon import PathCacc, Ploeg
from ml.controllers.predictive import HardPredictiveHeadway, PredictiveHeadway
from ml.controllers.protocol import Follower
from ml.controllers.registry import CONTROLLER_NAMES, frontier, make_controller
from ml.errors import ConfigError
from ml.onboard.estimator import estimate

BOUNDS = ("do-nothing", "always-brake", "oracle")
FOLLOWERS = [name for name in CONTROLLER_NAMES if name not in BOUNDS]


def in_front(gap_m, speed_mps, **more):
    """One car in front."""
    return peers({"gap_m": gap_m, "speed_mps": speed_mps, **more})


def test_every_controller_of_every_frontier_has_a_name_of_its_own():
    """Tables tell them apart by name alone."""
    specs = [spec for name in CONTROLLER_NAMES for spec in frontier(name)]
    specs += [f"{wrapper}:{spec}" for wrapper in ("truth", "off") for spec in specs]
    names = [make_controller(spec).name for spec in specs]
    assert len(set(names)) == len(names)


def test_a_specification_carries_time_gap_and_standstill_distance():
    """`idm:1.5:4` is the IDM at 1.5 s and 4 m; in front of it stands what it may know."""
    controller = make_controller("truth:idm:1.5:4")
    assert (controller.time_gap_s, controller.standstill_m) == (1.5, 4.0)
    assert controller.knows == "truth"
    assert make_controller("off:idm").knows == "nothing"
    assert make_controller("idm").knows == "radio"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("predictve:0.5", "'predictive'"),
        ("cth:fast", "'fast' is not a number"),
        ("cth:-1", "'-1' is not a number"),
        ("cth:1:2:3", "at most"),
        ("oracle:1", "no parameters"),
        ("off:", "there is no 'off'"),
        ("ploeg:0", "above 0"),
        ("bord@build/board", "there is no 'bord'. Did you mean 'board@DIR'"),
    ],
)
def test_a_wrong_specification_is_refused_by_name(spec, says):
    """The error names what is wrong and what comes nearest."""
    with pytest.raises(ConfigError, match=says):
        make_controller(spec)


@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_follower_holds_its_speed_while_nobody_is_heard(name):
    """What is not heard is not guessed."""
    assert act(make_controller(name), peers(), ego(20.0)).tolist() == [0.0]


@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_follower_brakes_when_too_near_and_speeds_up_when_too_far(name):
    """After a second of the same news: 3 m behind a car of equal speed, and 200 m behind it."""
    for gap_m, sign in ((3.0, -1.0), (200.0, 1.0)):
        controller = make_controller(name)
        view, own = in_front(gap_m, 20.0), ego(20.0)
        answers = [act(controller, view, own, begin=tick == 0) for tick in range(15)]
        assert sign * answers[-1][0] > 0.2, f"at {gap_m} m: {answers[-1][0]}"


@pytest.mark.parametrize("name", ["cth", "acc", "ploeg", "path-cacc", "predictive"])
@pytest.mark.parametrize("speed_mps", [5.0, 25.0])
def test_at_the_wished_gap_and_speed_nothing_is_to_be_done(name, speed_mps):
    """The wished gap is the standstill distance and the time gap."""
    controller = make_controller(f"{name}:1.2:7")
    view = in_front(7.0 + 1.2 * speed_mps, speed_mps)
    assert act(controller, view, ego(speed_mps))[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_convoy_is_driven_as_if_it_were_alone(name):
    """Other convoys in the batch, and their resets, change nothing."""
    draw = np.random.default_rng(3)
    alone, together = make_controller(name), make_controller(name)
    for tick in range(20):
        gaps, speeds = draw.uniform(5, 60, 5), draw.uniform(0, 35, (5, 2))
        views = [
            (in_front(g, v, age_s=0.3, accel_mps2=a), ego(w))
            for g, (v, w), a in zip(gaps, speeds, draw.uniform(-6, 1, 5), strict=True)
        ]
        batch = [
            type(views[0][side])(
                *map(np.concatenate, zip(*(pair[side] for pair in views), strict=True))
            )
            for side in (0, 1)
        ]
        if tick in {0, 9}:
            together.reset(np.arange(5) if tick == 0 else np.array([0, 1, 4]), 5)
        answers = together.act(*batch)
        assert act(alone, *views[2], begin=tick == 0)[0] == answers[2]


def test_a_message_is_predicted_to_now():
    """A car that brakes at 4 m/s² from 20 m/s, said 2 s ago, is 32 m further on and at 12 m/s."""
    known = estimate(in_front(30.0, 20.0, accel_mps2=-4.0, age_s=2.0), ego(20.0))
    assert known.gap_m[0, 0] == pytest.approx(62.0)
    assert known.speed_mps[0, 0] == pytest.approx(12.0)
    assert known.gap_sent_m[0, 0] == pytest.approx(30.0)


def test_a_braking_car_is_predicted_to_stand_and_not_to_reverse():
    """From 10 m/s at 5 m/s² it stands after 10 m, however old the message."""
    known = estimate(in_front(30.0, 10.0, accel_mps2=-5.0, age_s=60.0), ego(20.0))
    assert known.gap_m[0, 0] == pytest.approx(40.0)
    assert (known.speed_mps[0, 0], known.accel_mps2[0, 0]) == (0.0, 0.0)


def test_ordinary_acceleration_is_taken_to_last_for_a_second():
    """1 m/s² said 3 s ago: 0.5 m and 1 m/s from the first second, 2 m from the others."""
    known = estimate(in_front(30.0, 20.0, accel_mps2=1.0, age_s=3.0), ego(20.0))
    assert known.speed_mps[0, 0] == pytest.approx(21.0)
    assert known.gap_m[0, 0] == pytest.approx(30.0 + 60.0 + 0.5 + 2.0)


def test_the_lengths_of_the_cars_between_are_not_room():
    """Ranks go by gap, whatever the order of the sources; the unheard have none."""
    cars = [{"gap_m": gap, "speed_mps": 10.0} for gap in (50.0, 10.0, 30.0)]
    known = estimate(peers(*cars, sources=4), ego(10.0))
    assert known.rank[0].tolist() == [2, 0, 1, 0]
    assert known.room_m[0, :3] == pytest.approx([41.0, 10.0, 25.5])
    assert known.gap_m[0, 3] == known.room_m[0, 3] == np.inf
    assert known.lead().gap_m[0] == pytest.approx(10.0)


def test_on_a_bend_the_gap_is_the_length_of_the_arc():
    """A quarter of a circle of radius 40 m ahead, front to front: 62.8 m, not the chord's 56.6."""
    view = peers({"gap_m": 0.0, "speed_mps": 0.0})
    bend = view._replace(
        x_m=np.array([[40.0]]), y_m=np.array([[-40.0]]), heading_deg=np.array([[180.0]])
    )
    gap_m = estimate(bend, ego(10.0)).gap_m[0, 0]
    assert gap_m == pytest.approx(40.0 * np.pi / 2.0 - 4.5)


def test_threshold_brakes_with_any_peer_that_says_that_it_brakes():
    """The third car brakes at 6 m/s²: so does the ego, unless that is old or harmless news."""
    calm = {"gap_m": 25.0, "speed_mps": 20.0}
    third = {"gap_m": 90.0, "speed_mps": 18.0, "accel_mps2": -6.0}
    controller = Threshold(0.8, 9.0)
    assert act(controller, peers(calm, third), ego(20.0))[0] == -6.0
    assert act(controller, peers(calm, third | {"age_s": 1.5}), ego(20.0))[0] > -1.0
    assert act(controller, peers(calm, third | {"speed_mps": 30.0}), ego(20.0))[0] > -1.0
    assert act(controller, peers(calm, third | {"accel_mps2": -1.9}), ego(20.0))[0] > -1.0


def test_rss_takes_the_age_of_a_message_for_reaction_time():
    """25 m at 20 m/s are safe on news of 0.05 s and not on news of 1.2 s, wherever it puts it."""
    controller = RssFollower(0.8, 9.0)
    for age_s, brakes in ((0.05, False), (1.2, True)):
        view = in_front(25.0 - 20.0 * age_s, 20.0, age_s=age_s)
        assert (act(controller, view, ego(20.0))[0] == -8.0) == brakes


def test_silence_slows_the_predictive_controller_gently():
    """At most with 1.9 m/s², only with its soft layer, and never on fresh news."""

    def settled(controller, age_s):
        view = in_front(19.0 - 20.0 * age_s, 20.0, age_s=age_s)
        return [act(controller, view, ego(20.0), begin=tick == 0)[0] for tick in range(60)][-1]

    assert settled(PredictiveHeadway(0.5), 0.05) == pytest.approx(0.0, abs=0.05)
    assert settled(PredictiveHeadway(0.5), 3.0) == pytest.approx(-1.9, abs=0.01)
    assert settled(HardPredictiveHeadway(0.5), 3.0) == pytest.approx(0.0, abs=0.05)


def test_the_predictive_controller_brakes_for_a_car_that_it_cannot_see():
    """Two ahead a car brakes at 8 m/s², the one in front does not yet: the ego does, at once."""
    in_sight = {"gap_m": 20.0, "speed_mps": 25.0}
    beyond = {"gap_m": 45.0, "speed_mps": 20.0, "accel_mps2": -8.0}
    controller = PredictiveHeadway(0.5)
    assert act(controller, peers(in_sight, beyond), ego(25.0))[0] < -5.0
    assert act(controller, peers(in_sight), ego(25.0))[0] > -0.5


def test_platoon_laws_feed_accelerations_forward():
    """A car in front that brakes at 4 m/s² at the wished gap: half of it at once for PATH's."""
    view = in_front(9.0 + 0.5 * 20.0, 20.0, accel_mps2=-4.0)
    assert act(PathCacc(0.5), view, ego(20.0))[0] == pytest.approx(-4.0)  # it leads, too
    first = act(Ploeg(0.5), view, ego(20.0))[0]
    assert first == pytest.approx(-4.0 * (1.0 - np.exp(-0.1 / 0.5)))


def test_path_listens_to_the_leader_and_to_the_car_in_front():
    """The leader is the furthest car that is heard; each counts half."""
    near = {"gap_m": 19.0, "speed_mps": 20.0}
    far = {"gap_m": 60.0, "speed_mps": 20.0, "accel_mps2": -4.0}
    assert act(PathCacc(0.5), peers(far, near), ego(20.0))[0] == pytest.approx(-2.0)


def test_a_delayed_controller_says_later_what_it_would_have_said():
    """Two ticks; a new episode begins with its speed held."""
    plain, late = ConstantTimeHeadway(1.0), Delayed(ConstantTimeHeadway(1.0), 2)
    views = [in_front(gap, 15.0) for gap in (40.0, 30.0, 20.0, 10.0)]
    said = [act(plain, view, ego(20.0))[0] for view in views]
    later = [act(late, view, ego(20.0), begin=tick == 0)[0] for tick, view in enumerate(views)]
    assert later == [0.0, 0.0, *said[:2]]
    assert act(late, views[0], ego(20.0))[0] == 0.0


def test_a_follower_without_a_law_is_told_what_to_write():
    """The class is named, and its two ways out."""

    class Lawless(Follower):
        kind, usual_gap_s = "lawless", 1.0

    with pytest.raises(TypeError, match=r"Lawless has no law: write its method `law`, or `act`"):
        Lawless().law(None, None)
