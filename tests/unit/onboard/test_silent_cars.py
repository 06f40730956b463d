"""A silent car is taken to follow the car ahead of it; a heard one, to do what it said."""

import pytest
from support.boards import HandFed

from ml.onboard.prediction import travel
from ml.onboard.silent_cars import SILENT_S, pull_mps2
from ml.vehicle import CAR_LENGTH_M

START_M = (0.0, 35.0)
SPEED_MPS = 20.0


class Two(HandFed):
    """Peer 0 behind peer 1 on a straight road to the east; both are told of at first."""

    def __init__(self, start_m=START_M):
        super().__init__()
        self.seen = self.board.peers
        for peer in (0, 1):
            self.message(peer, start_m[peer], SPEED_MPS)
        self.tick()

    def forget(self):
        """Begin anew without a known order, and with what is in the table."""
        heard = self.table.heard.copy()
        self.reset()
        self.table.heard[:] = heard

    def brake(self, mps2, ticks):
        """Peer 1 brakes, and is heard in every tick."""
        x_m, speed = START_M[1] + SPEED_MPS * self.age_ms[0, 0, 0] / 1000.0, SPEED_MPS
        for _ in range(ticks):
            self.message(1, x_m, speed, -mps2)
            self.tick()
            x_m, speed = x_m + 0.1 * max(speed - 0.05 * mps2, 0.0), max(speed - 0.1 * mps2, 0.0)
        return x_m


def test_while_both_drive_on_a_silent_car_keeps_its_speed():
    """Eight seconds of silence behind a car that is heard all the time."""
    two = Two()
    for tick in range(80):
        two.message(1, START_M[1] + SPEED_MPS * 0.1 * (tick + 1), SPEED_MPS)
        two.tick()
    assert two.seen.now_mps[0, 0] == pytest.approx(SPEED_MPS, abs=0.05)
    assert two.seen.travelled_m[0, 0] == pytest.approx(SPEED_MPS * 8.0, abs=0.3)


def test_a_silent_car_stops_behind_one_that_is_heard_to_stop():
    """Near enough to it and not beyond, at no more than 8 m/s²; by itself it would drive on."""
    two = Two()
    two.tick(10)
    stops_m = two.brake(4.0, ticks=100)
    assert two.seen.now_mps[0, 0] == pytest.approx(0.0, abs=0.2)
    between_m = stops_m - CAR_LENGTH_M - two.seen.travelled_m[0, 0]
    assert 0.0 < between_m < 8.0
    alone_m, _, _ = travel(SPEED_MPS, 0.0, 11.0)
    assert two.seen.travelled_m[0, 0] < alone_m - 50.0


def test_the_braking_reaches_it_later_than_the_car_ahead():
    """A second after a braking of 4 m/s² began it is faster than the car ahead, and slows."""
    two = Two()
    two.tick(10)
    two.brake(4.0, ticks=10)
    assert SPEED_MPS - 4.0 < two.seen.now_mps[0, 0] < SPEED_MPS


def test_what_is_heard_afresh_is_believed():
    """A message ends the guessing, whatever it was."""
    two = Two()
    two.tick(10)
    two.brake(4.0, ticks=40)
    two.message(0, 60.0, 19.0, -0.5, age_s=0.2)
    two.tick()
    expected = travel(19.0, -0.5, 0.2)
    found = two.seen.travelled_m[0, 0], two.seen.now_mps[0, 0], two.seen.now_mps2[0, 0]
    assert found == pytest.approx(expected)


def test_when_the_car_ahead_drives_off_it_follows():
    """After fifteen seconds it has come within a tenth of the speed that it had said."""
    two = Two()
    two.tick(10)
    x_m = two.brake(4.0, ticks=80)
    for _ in range(150):
        x_m += 0.1 * 25.0
        two.message(1, x_m, 25.0, 0.5)
        two.tick()
    assert two.seen.now_mps[0, 0] == pytest.approx(SPEED_MPS, rel=0.1)


def test_without_a_known_car_ahead_it_does_what_it_said():
    """Peer 1, in front of all, brakes by its own word until it stands."""
    two = Two()
    two.message(1, 100.0, SPEED_MPS, -4.0)
    two.tick(30)
    travelled, speed, _ = travel(SPEED_MPS, -4.0, 2.9)
    assert two.seen.now_mps[0, 1] == pytest.approx(speed, abs=1e-6)
    assert two.seen.travelled_m[0, 1] == pytest.approx(travelled, abs=1e-6)


def test_a_new_episode_begins_without_a_past():
    """After a reset the first message is not taken for one that is known."""
    two = Two()
    two.tick(30)
    two.forget()
    two.message(0, 5.0, 10.0, age_s=SILENT_S)
    two.tick()
    assert two.seen.now_mps[0, 0] == pytest.approx(10.0)
    assert two.seen.travelled_m[0, 0] == pytest.approx(10.0 * SILENT_S)


@pytest.mark.parametrize(("gap_m", "low", "high"), [(1e6, -1e-6, 0.0), (0.0, -8.0, -8.0)])
def test_the_pull_is_nothing_far_away_and_bounded_at_contact(gap_m, low, high):
    """By the interaction term of the model."""
    assert low <= pull_mps2(20.0, 10.0, gap_m) <= high


def test_a_car_that_was_never_heard_together_with_the_one_ahead_is_ordered_by_prediction():
    """Peer 0 is heard when peer 1 has been silent for 6 s; then peer 1 is heard to stop."""
    two = Two(start_m=(-400.0, 35.0))
    two.forget()
    two.age_ms[0, 0, 1] = 6000.0
    two.message(0, 100.0, SPEED_MPS)
    two.tick()
    ahead_m = START_M[1] + SPEED_MPS * 6.0 - 100.0
    assert two.seen.ahead_m[0, 0, 1] == pytest.approx(ahead_m, abs=2.0)
    assert two.seen.ahead_m[0, 1, 0] == -two.seen.ahead_m[0, 0, 1]


def test_cars_that_are_too_near_to_tell_are_not_ordered_by_prediction():
    """Nine metres after six seconds say nothing."""
    two = Two(start_m=(-400.0, 35.0))
    two.forget()
    two.age_ms[0, 0, 1] = 6000.0
    two.message(0, START_M[1] + SPEED_MPS * 6.0 - 9.0, SPEED_MPS)
    two.tick()
    assert two.seen.ahead_m[0, 0, 1] == 0.0
