"""Where a car is that cuts in, and from when on it is the one in front."""

import numpy as np
import pytest

from ml.envs.episodes.drawn import EpisodePlan
from ml.envs.truth.ground_truth import GroundTruth
from ml.envs.truth.lanes import car_in_front, lateral_m, move_aside
from ml.sumo.protocol import TrafficState
from ml.vehicle import CAR_LENGTH_M, CAR_WIDTH_M

LANE_M = 3.5


def plan_of(slot=1, tick=10, mps=1.0):
    """One convoy whose slot cuts in."""
    plan = EpisodePlan.empty(1)
    plan.cut_in_slot[:], plan.cut_in_tick[:], plan.cut_in_mps[:] = slot, tick, mps
    return plan


def test_it_moves_at_its_lateral_speed_and_stops_in_the_lane():
    """From the centre of one lane to that of the other, and nobody else moves."""
    at = {tick: lateral_m(plan_of(), np.array([tick]), 3, LANE_M)[0] for tick in range(60)}
    assert [at[tick][1] for tick in (0, 10, 20, 30, 44)] == pytest.approx([3.5, 3.5, 2.5, 1.5, 0.1])
    assert at[46][1] == 0.0
    assert not any(at[tick][[0, 2]].any() for tick in at)
    assert lateral_m(plan_of(mps=0.0), np.array([500]), 3, LANE_M)[0, 1] == LANE_M
    assert not lateral_m(EpisodePlan.empty(4), np.arange(4), 3, LANE_M).any()


def truth_at(positions_m, aside_m, speeds_mps=(20.0, 15.0, 20.0)):
    """Ground truth of one convoy of three."""
    aside = np.array([[0.0, aside_m, 0.0]])
    present, speeds = np.ones((1, 3), dtype=bool), np.array([speeds_mps])
    return GroundTruth.start(present, np.array([positions_m]), speeds, aside)


def test_the_gap_is_to_whom_the_lane_belongs():
    """Beside the lane: to the leader. From the first overlap on: to the car that cuts in."""
    beside = truth_at([100.0, 120.0, 160.0], CAR_WIDTH_M)
    assert beside.lead_slot[0] == 2
    assert beside.gap_m[0] == pytest.approx(60.0 - CAR_LENGTH_M)
    assert beside.peer_gap_m[0] == np.inf
    assert beside.drac_mps2[0] == 0.0
    inside = truth_at([100.0, 120.0, 160.0], CAR_WIDTH_M - 1e-6)
    assert inside.lead_slot[0] == 1
    assert inside.gap_m[0] == pytest.approx(20.0 - CAR_LENGTH_M)
    assert inside.peer_gap_m[0] == pytest.approx(40.0 - CAR_LENGTH_M)
    assert inside.drac_mps2[0] == pytest.approx(25.0 / (2.0 * 15.5))


def test_driving_into_the_side_is_a_crash_and_behind_is_not():
    """Who is beside the ego when it comes over touches it; who comes in behind is not in front."""
    assert truth_at([100.0, 99.0, 160.0], 0.0).gap_m[0] <= 0.0
    assert truth_at([100.0, 99.0, 160.0], 2.0).gap_m[0] > 0.0
    behind = truth_at([100.0, 95.0, 160.0], 0.0)
    assert behind.lead_slot[0] == 2
    assert behind.gap_m[0] > 0.0
    nobody = np.array([[100.0, 80.0]])
    assert car_in_front(nobody, np.zeros((1, 2)), 0, 100.0) == 0


def test_in_one_lane_slot_1_is_in_front():
    """Without a second lane nothing is looked for; what is aside stays so until told otherwise."""
    truth = truth_at([100.0, 120.0, 160.0], 3.0)
    moved = TrafficState(truth.present, truth.route_pos_m + 1.0, truth.speed_mps)
    assert truth.advance(moved).lead_slot[0] == 2
    assert truth.advance(moved, np.zeros((1, 3))).lead_slot[0] == 1


@pytest.mark.parametrize(("heading", "left"), [(0.0, (-1, 0)), (90.0, (0, 1)), (180.0, (1, 0))])
def test_aside_is_to_the_left_of_the_heading(heading, left):
    """North, east and south; who drifts to the right points to the right of the road."""
    shape = (1, 1)
    x, y, angle = np.zeros(shape), np.zeros(shape), np.full(shape, heading)
    move_aside(x, y, angle, np.full(shape, 2.0), np.full(shape, -1.0), np.full(shape, 20.0))
    assert (x[0, 0], y[0, 0]) == pytest.approx((2.0 * left[0], 2.0 * left[1]))
    assert angle[0, 0] == pytest.approx(heading + np.degrees(np.arctan(1.0 / 20.0)))
