"""Actions become accelerations within the vehicle's limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.boards import HandFed

from ml.errors import EnvironmentStateError
from ml.onboard.actuation import accel_from_action, action_from_accel, command_egos
from ml.onboard.safety_layer import Bounds


def test_the_ends_of_the_action_range_are_the_vehicles_limits():
    """−1 brakes at 8 m/s², 0 holds the speed, +1 accelerates at 2.6 m/s², linear between."""
    action = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    assert accel_from_action(action).tolist() == [-8.0, -4.0, 0.0, 1.3, 2.6]


@given(st.floats(-8.0, 2.6))
def test_an_acceleration_survives_the_way_to_an_action_and_back(accel):
    """The two maps are each other's inverse within the limits, to float32."""
    back = accel_from_action(action_from_accel(np.array([accel])))
    assert back[0] == pytest.approx(accel, abs=1e-6)


@pytest.mark.parametrize("bad", [1.001, -1.5, np.nan, np.inf])
def test_an_action_out_of_range_is_refused_by_name(bad):
    """Nothing is clipped in silence; the message says which action and what is allowed."""
    with pytest.raises(EnvironmentStateError, match=r"action\[1\].*\[-1, 1\]"):
        accel_from_action(np.array([0.0, bad]))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("beyond", [float(np.nextafter(np.float32(1), np.float32(2))) - 1.0, 1e-6])
def test_what_rounding_adds_counts_as_the_end_of_the_range(sign, beyond):
    """A rescaled float32 may lie a millionth beyond ±1; more is refused."""
    for dtype in (np.float32, np.float64):
        action = np.array([sign * (1.0 + beyond)], dtype=dtype)
        assert accel_from_action(action).tolist() == accel_from_action(np.array([sign])).tolist()
        with pytest.raises(EnvironmentStateError, match="outside"):
            accel_from_action(np.array([sign * (1.0 + 2e-6)], dtype=dtype))


def bounds(soft=np.inf, hard=np.inf, floor=-np.inf, num_envs=1):
    """Bounds of some egos; none without arguments."""
    return Bounds(*(np.full(num_envs, value) for value in (soft, hard, floor)))


def test_the_speed_command_never_goes_backwards():
    """A car that brakes to a standstill stays there, and that is what counts as commanded."""
    speed, commands = np.array([[0.3, 7.0], [10.0, 7.0]]), np.array([[-1.0, 9.0], [0.5, 9.0]])
    command = np.full((2, 2), np.nan)
    none = bounds(num_envs=2)
    command_egos(np.array([-8.0, 1.0]), 1.0, none, speed, commands, command, np.empty(2))
    assert command[:, 0].tolist() == [0.0, 10.1]
    assert np.isnan(command[:, 1]).all()
    assert commands[:, 0] == pytest.approx([-3.0, 1.0])
    assert commands[:, 1].tolist() == [-1.0, 0.5]


SHARE = 1.0 - np.exp(-1.0 / 3.0)
"""What a low-pass of 0.3 s makes up of a difference in a tick of 0.1 s."""


def commanded(wish, *, before=0.0, share=1.0, **allowed):
    """What is commanded at 20 m/s after `before`, and withheld, for a wish in m/s²."""
    commands, withheld = np.array([[before, 0.0]]), np.empty(1)
    speed, command = np.array([[20.0]]), np.zeros((1, 1))
    command_egos(np.array([wish]), share, bounds(**allowed), speed, commands, command, withheld)
    return commands[0, 0], withheld[0]


def test_a_lag_goes_on_from_what_was_commanded_last():
    """One tick of 0.1 s makes up 1 − exp(−1/3) of the difference at a lag of 0.3 s."""
    board = HandFed(lag_s=0.3).board
    command = np.zeros((1, 1))
    for wish, expected in ((2.6, 2.6 * SHARE), (0.0, 2.6 * SHARE * (1.0 - SHARE))):
        board.command(np.array([wish]), np.array([[20.0]]), command)
        assert board.memory.commands_mps2[0, 0] == pytest.approx(expected)
        assert command[0, 0] == pytest.approx(20.0 + 0.1 * expected)


def test_the_hard_bound_acts_at_once_and_the_soft_one_through_the_lag():
    """Whatever the wish, the command obeys the hard bound; the soft one bounds the wish."""
    assert commanded(2.6, share=SHARE, hard=-6.0)[0] == pytest.approx(-6.0)
    assert commanded(2.6, share=SHARE, soft=-1.0)[0] == pytest.approx(-1.0 * SHARE)
    assert commanded(-8.0, soft=-1.0, hard=-6.0)[0] == pytest.approx(-8.0)


def test_the_floor_holds_a_wish_and_no_demand():
    """A wish for −8 becomes −1.9; a demand for −6 stays."""
    assert commanded(-8.0, floor=-1.9)[0] == pytest.approx(-1.9)
    assert commanded(-8.0, hard=-6.0, floor=-1.9)[0] == pytest.approx(-6.0)


def test_what_bounds_take_off_a_wish_is_told():
    """2.6 wished, −1 allowed by the lower of the two: 3.6; nothing without bounds."""
    assert commanded(2.6, soft=-1.0, hard=2.0)[1] == pytest.approx(3.6)
    assert commanded(2.6, soft=5.0, hard=5.0)[1] == 0.0
    assert commanded(2.6)[1] == 0.0
