"""Actions become accelerations within the vehicle's limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.errors import EnvironmentStateError
from ml.onboard.actuation import Bounds, accel_from_action, action_from_accel, command_egos


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


def test_the_speed_command_never_goes_backwards():
    """A car that brakes to a standstill stays there, and that is what counts as commanded."""
    speed, commands = np.array([[0.3, 7.0], [10.0, 7.0]]), np.array([[-1.0, 9.0], [0.5, 9.0]])
    command = np.full((2, 2), np.nan)
    command_egos(np.array([-8.0, 1.0]), speed, command, commands)
    assert command[:, 0].tolist() == [0.0, 10.1]
    assert np.isnan(command[:, 1]).all()
    assert commands[:, 0] == pytest.approx([-3.0, 1.0])
    assert commands[:, 1].tolist() == [-1.0, 0.5]


def bounds(soft=2.6, hard=2.6, floor=-8.0):
    """Bounds of one ego."""
    return Bounds(np.array([soft]), np.array([hard]), np.array([floor]))


def commanded(wish, *, before=0.0, **how):
    """What is commanded at 20 m/s after `before`, for a wish in m/s²."""
    commands = np.array([[before, 0.0]])
    command_egos(np.array([wish]), np.array([[20.0]]), np.zeros((1, 1)), commands, **how)
    return commands[0, 0]


def test_a_lag_goes_on_from_what_was_commanded_last():
    """One tick of 0.1 s makes up 1 − exp(−1/3) of the difference at a lag of 0.3 s."""
    share = 1.0 - np.exp(-1.0 / 3.0)
    assert commanded(2.6, lag_s=0.3) == pytest.approx(2.6 * share)
    assert commanded(0.0, before=-4.0, lag_s=0.3) == pytest.approx(-4.0 * (1.0 - share))


def test_the_hard_bound_acts_at_once_and_the_soft_one_through_the_lag():
    """Whatever the wish, the command obeys the hard bound; the soft one bounds the wish."""
    assert commanded(2.6, lag_s=0.3, bounds_mps2=bounds(hard=-6.0)) == pytest.approx(-6.0)
    share = 1.0 - np.exp(-1.0 / 3.0)
    assert commanded(2.6, lag_s=0.3, bounds_mps2=bounds(soft=-1.0)) == pytest.approx(-1.0 * share)
    assert commanded(-8.0, bounds_mps2=bounds(-1.0, -6.0)) == pytest.approx(-8.0)


def test_the_floor_holds_a_wish_and_no_demand():
    """A wish for −8 becomes −1.9; a demand for −6 stays."""
    assert commanded(-8.0, bounds_mps2=bounds(floor=-1.9)) == pytest.approx(-1.9)
    assert commanded(-8.0, bounds_mps2=bounds(hard=-6.0, floor=-1.9)) == pytest.approx(-6.0)


def test_what_bounds_take_off_a_wish_is_told():
    """2.6 wished, −1 allowed by the lower of the two: 3.6; nothing without bounds."""

    def withheld(**how):
        speed, commands = np.array([[20.0]]), np.zeros((1, 2))
        return command_egos(np.array([2.6]), speed, np.zeros((1, 1)), commands, **how)[0]

    assert withheld(bounds_mps2=bounds(-1.0, 2.0)) == pytest.approx(3.6)
    assert withheld(bounds_mps2=bounds(5.0, 5.0)) == 0.0
    assert withheld() == 0.0
