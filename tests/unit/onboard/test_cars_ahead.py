"""Whom a board takes for a car ahead: nobody behind, oncoming, or not heard for a minute."""

from __future__ import annotations

import pytest
from support.boards import HandFed

from ml.onboard.cars_ahead import BEHIND_M, FORGOTTEN_S
from ml.vehicle import CAR_LENGTH_M

LEADER = {"x_m": 60.0, "speed_mps": 20.0}


def counted(fed):
    """Who is a car ahead after another tick."""
    fed.tick()
    return fed.board.estimate().heard[0].tolist()


def with_leader(**other):
    """A board that hears of a car 60 m ahead, and of another one."""
    fed = HandFed()
    fed.message(0, **LEADER)
    fed.message(1, **other)
    return fed


@pytest.mark.parametrize(
    "other",
    [
        {"x_m": -30.0, "speed_mps": 20.0},
        {"x_m": 80.0, "y_m": 3.5, "speed_mps": 20.0, "heading_deg": 270.0},
        {"x_m": 30.0, "speed_mps": 20.0, "heading_deg": 230.0},
        {"x_m": -80.0, "y_m": -40.0, "speed_mps": 10.0, "heading_deg": 330.0},
    ],
    ids=["behind", "oncoming", "turned by 140", "behind a bend"],
)
def test_who_is_behind_or_comes_the_other_way_takes_no_place(other):
    """Nobody is ranked, shown or bounded by it; the car ahead is the first, and no silent one."""
    fed = with_leader(**other)
    assert counted(fed) == [True, False]
    assert fed.board.observe()["peer_mask"][0].tolist() == [1.0] + [0.0] * 7
    alone = HandFed()
    alone.message(0, **LEADER)
    alone.tick()
    for mine, other_one in zip(fed.board.bounds(), alone.board.bounds(), strict=True):
        assert mine.tolist() == other_one.tolist()


@pytest.mark.parametrize(
    "other",
    [
        {"x_m": CAR_LENGTH_M - 10.0, "speed_mps": 20.0},
        {"x_m": -30.0, "speed_mps": 20.0, "sd_m": 15.0},
        {"x_m": -30.0, "speed_mps": 20.0, "age_s": 1.0},
        {"x_m": 45.0, "y_m": -60.0, "speed_mps": 5.0, "heading_deg": 215.0},
    ],
    ids=["too near", "by an error", "driven on since", "round a bend"],
)
def test_who_may_be_ahead_counts(other):
    """A wrong fix, an old message or a bend does not make a car ahead disappear."""
    assert counted(with_leader(**other)) == [True, True]


def test_who_was_behind_counts_again_once_it_has_passed():
    """Not as it closes up, and not while it drives beside the ego."""
    fed = with_leader(x_m=-BEHIND_M - 1.0, speed_mps=20.0)
    seen = [counted(fed)[1]]
    for x_m in (-20.0, -5.0, CAR_LENGTH_M - 0.1, CAR_LENGTH_M + 0.1):
        fed.message(1, x_m=x_m, speed_mps=20.0)
        seen.append(counted(fed)[1])
    assert seen == [False, False, False, False, True]
    fed.reset()
    fed.message(1, x_m=-5.0, speed_mps=20.0)
    assert counted(fed) == [False, True]


def test_who_is_not_heard_for_a_minute_is_forgotten():
    """With its place in the order; if it comes back, it is one that was not known before."""
    fed = HandFed(speed_mps=0.0)
    fed.message(0, x_m=60.0)
    fed.message(1, x_m=40.0)
    fed.tick()
    assert fed.board.peers.ahead_m[0, 1, 0] == pytest.approx(20.0)
    for _ in range(70):
        fed.message(0, x_m=60.0)
        fed.tick()
    assert fed.board.memory.messages[0] == 70
    fed.age_ms[0, 0, 1] = 1000.0 * FORGOTTEN_S
    assert counted(fed) == [True, True]
    assert counted(fed) == [True, False]
    assert not fed.board.peers.ahead_m.any()
    fed.message(1, x_m=40.0)
    assert counted(fed) == [True, True]
    assert fed.board.memory.messages[0] == 0
