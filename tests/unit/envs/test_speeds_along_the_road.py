"""How fast a convoy starts on a road whose limits change: no faster than any limit it will meet."""

import numpy as np
import pytest

from ml.envs.config import EnvConfig
from ml.envs.episodes.drawn import EpisodeSource
from ml.errors import ScenarioError
from ml.keyed_random import fold
from ml.sumo.road import Lane, Road

EPISODES = 2000


def road(*pieces):
    """A straight road of pieces (length_m, limit_mps); what is shorter than 20 m is a junction."""
    lanes, start_m = [], 0.0
    for number, (length_m, limit_mps) in enumerate(pieces):
        shape_m = np.array([[start_m, 0.0, 0.0], [start_m + length_m, 0.0, 0.0]])
        lanes.append(Lane(f"{number}_0", length_m, limit_mps, length_m < 20.0, shape_m))
        start_m += length_m
    return Road(lanes)


def drawn(pieces, peers=(3, 3)):
    """Start many convoys: the road, their speeds, and where their last and first cars stand."""
    config = EnvConfig(num_peers=peers)
    way = road(*pieces)
    numbers = np.arange(EPISODES)
    plan, placement = EpisodeSource(config, way).draw(fold(7, numbers, numbers * 0), numbers)
    lead_m = placement.route_pos_m[numbers, plan.num_peers]
    return way, plan.leader_speed_mps, placement.route_pos_m[:, 0], lead_m


def limits_met(way, speed_mps, rear_m, lead_m, episode_s=50.0):
    """The lowest limit between the last car's start and the first car's place at the end."""
    reached_m = np.minimum(lead_m + 1.05 * speed_mps * episode_s, way.length_m)
    lowest = np.full(speed_mps.size, np.inf)
    for start_m, length_m, limit in zip(
        way.lane_start_m, way.lane_length_m, way.lane_limit_mps, strict=True
    ):
        met = (start_m <= reached_m) & (start_m + length_m >= rear_m)
        lowest[met] = np.minimum(lowest[met], limit)
    return lowest


SLOW_TURN = ((1000.0, 27.78), (2.6, 3.9), (1500.0, 27.78))
TOWN = (
    (300.0, 13.89),
    (9.0, 6.5),
    (250.0, 8.33),
    (12.0, 7.0),
    (700.0, 19.44),
    (0.1, 5.0),
    (500.0, 13.89),
)
RISING = ((600.0, 8.33), (1800.0, 33.33))
FALLING = ((1800.0, 33.33), (600.0, 8.33))


@pytest.mark.parametrize("pieces", [SLOW_TURN, TOWN, RISING, FALLING])
def test_no_convoy_starts_above_a_limit_that_it_will_meet(pieces):
    """No limit between the last car and the first car's place at the end is below its speed."""
    way, speed_mps, rear_m, lead_m = drawn(pieces)
    assert (speed_mps <= limits_met(way, speed_mps, rear_m, lead_m) + 1e-9).all()
    assert lead_m.max() < way.length_m


@pytest.mark.parametrize("junction_m", [0.05, 0.1, 2.6, 19.0])
@pytest.mark.parametrize("before_m", [997.0, 1000.0, 1002.0, 1011.0])
def test_a_short_slow_lane_is_seen_wherever_it_lies(before_m, junction_m):
    """A turn of 3.9 m/s slows those whom it concerns, whatever its length and place."""
    turn = ((before_m, 27.78), (junction_m, 3.9), (1500.0, 27.78))
    way, speed_mps, rear_m, lead_m = drawn(turn)
    assert way.slowest_mps == 3.9
    passing = (lead_m + 1.05 * speed_mps * 50.0 > before_m) & (rear_m < before_m)
    assert passing.any()
    assert speed_mps[passing] == pytest.approx(3.9)


def test_a_slow_turn_does_not_slow_the_whole_road():
    """Convoys that do not get there in their episode drive as fast as the road elsewhere allows."""
    _, speed_mps, _, _ = drawn(SLOW_TURN)
    assert np.median(speed_mps) > 2 * 3.9
    assert speed_mps.max() > 15.0


def test_one_limit_all_along_leaves_speeds_as_they_are_drawn():
    """Where nothing changes along the road, the drawn range is used to both its ends."""
    _, speed_mps, _, _ = drawn(((6000.0, 36.11),))
    assert speed_mps.min() == pytest.approx(8.0, abs=0.1)
    assert speed_mps.max() == pytest.approx(33.0, abs=0.1)


def test_a_short_road_with_a_slow_lane_is_driven_as_fast_as_a_convoy_has_room():
    """A road that carries slow convoys alone is not refused for what faster ones would need."""
    way, _, _, lead_m = drawn(((480.0, 27.78), (3.0, 5.0), (200.0, 27.78)), peers=(8, 8))
    assert lead_m.max() < way.length_m - 20.0
    with pytest.raises(ScenarioError, match=r"the road is 683 m long; a convoy of 8 peers at 27.8"):
        drawn(((480.0, 27.78), (203.0, 27.78)), peers=(8, 8))
