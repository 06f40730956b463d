"""Cars of one lane do not overtake: a silent one stays where it was in the order."""

import numpy as np
import pytest

from ml.onboard.peer_order import queue_up
from ml.vehicle import CAR_LENGTH_M, STANDSTILL_GAP_M


def queued(gaps, *, ages, ahead, speeds=(20.0, 0.0), accels=(0.0, 0.0)):
    """Predictions of two peers, held to their order."""
    gap, speed, accel = (np.array(v, dtype=float) for v in (gaps, speeds, accels))
    order = np.array([[0.0, ahead], [-ahead, 0.0]])
    queue_up(np.array([True, True]), np.array(ages), order, gap, speed, accel)
    return gap, speed, accel


def test_a_silent_car_queues_up_behind_the_car_that_has_stopped_ahead():
    """Peer 0, unheard for 8 s, would be predicted 60 m beyond peer 1, which stands."""
    gap, speed, _ = queued((100.0, 40.0), ages=(8.0, 0.1), ahead=25.0)
    assert gap.tolist() == [40.0 - CAR_LENGTH_M - STANDSTILL_GAP_M, 40.0]
    assert speed.tolist() == [0.0, 0.0]


def test_it_is_taken_to_brake_as_the_car_ahead_does():
    """Who is caught up with a braking car brakes, too."""
    _, speed, accel = queued(
        (41.0, 40.0), ages=(3.0, 0.1), ahead=25.0, speeds=(20.0, 9.0), accels=(0.0, -6.0)
    )
    assert speed.tolist() == [9.0, 9.0]
    assert accel.tolist() == [-6.0, -6.0]


@pytest.mark.parametrize(
    ("ages", "ahead"),
    [((0.1, 0.1), 25.0), ((8.0, 0.1), 0.0), ((8.0, 0.1), -25.0), ((0.1, 8.0), 25.0)],
)
def test_what_is_fresh_or_of_unknown_order_is_left_alone(ages, ahead):
    """The fresher word counts, and an order that nobody has seen counts for nothing."""
    gap, speed, _ = queued((100.0, 40.0), ages=ages, ahead=ahead)
    assert gap.tolist() == [100.0, 40.0]
    assert speed.tolist() == [20.0, 0.0]


def test_a_chain_of_silent_cars_lines_up():
    """Three silent cars behind one that stands leave a car's length and a gap each."""
    gap = np.array([200.0, 150.0, 120.0, 60.0])
    ahead = np.array([[20.0 * (o - s) for o in range(4)] for s in range(4)])
    queue_up(
        np.ones(4, dtype=bool),
        np.array([9.0, 8.0, 7.0, 0.1]),
        ahead,
        gap,
        np.full(4, 10.0),
        np.zeros(4),
    )
    step = CAR_LENGTH_M + STANDSTILL_GAP_M
    assert gap.tolist() == [60.0 - 3 * step, 60.0 - 2 * step, 60.0 - step, 60.0]
