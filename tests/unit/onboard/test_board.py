"""The board as a whole: what is asked of it in a tick, and what it makes of a wish."""

import numpy as np
import pytest
from support.boards import HandFed

from ml.onboard.safety_layer import RELEASE_MPS3
from ml.vehicle import CAR_LENGTH_M, DT_S, MAX_ACCEL_MPS2

STANDING_M = 35.0


def facing_a_standing_car(**how):
    """A board at 20 m/s that hears of a car which stands 35 m ahead."""
    fed = HandFed(speed_mps=20.0, **how)
    fed.message(0, x_m=STANDING_M + CAR_LENGTH_M)
    fed.tick()
    return fed


def commanded(fed, wish_mps2):
    """What is commanded for a wish, and what is withheld of it, m/s²."""
    speed_mps, command_mps = np.array([[fed.speed_mps]]), np.zeros((1, 1))
    withheld = fed.board.command(np.array([wish_mps2]), speed_mps, command_mps)
    return (command_mps[0, 0] - fed.speed_mps) / DT_S, withheld[0]


def test_a_command_keeps_to_what_the_newest_messages_demand():
    """With the layer it brakes as needed, v²/2s at the least, and says by how much; else not."""
    needed_mps2 = 20.0**2 / (2.0 * STANDING_M)
    accel_mps2, withheld_mps2 = commanded(facing_a_standing_car(safety_layer=True), 1.0)
    assert accel_mps2 < -needed_mps2
    assert withheld_mps2 == pytest.approx(1.0 - accel_mps2)
    accel_mps2, withheld_mps2 = commanded(facing_a_standing_car(), 1.0)
    assert accel_mps2 == pytest.approx(1.0)
    assert withheld_mps2 == 0.0


def test_asking_again_in_a_tick_changes_nothing():
    """Bounds are lifted slowly: by a tick's share per tick, however often they are asked for."""
    fed = facing_a_standing_car()
    hard = fed.board.bounds().hard[0]
    fed.speed_mps = 0.0
    fed.tick()
    for _ in range(3):
        fed.board.observe()
        assert fed.board.bounds().hard[0] == pytest.approx(hard + RELEASE_MPS3 * DT_S)


def test_what_is_estimated_is_what_is_observed():
    """One prediction serves a controller, the safety layer and a policy's observation."""
    fed = facing_a_standing_car()
    known = fed.board.estimate()
    assert known.gap_m[0, 0] == pytest.approx(STANDING_M)
    assert known.lead().heard.tolist() == [True]
    seen = fed.board.observe()
    assert seen["peers"][0, 0, 0] == np.float32(known.gap_m[0, 0] / 100.0)
    assert seen["peer_mask"].tolist() == [[1.0] + [0.0] * 7]


def test_where_somebody_else_drives_the_last_command_is_what_the_car_did():
    """The two newest are kept, as of commands, within what a vehicle can do; the ego sees them."""
    fed = facing_a_standing_car()
    for did_mps2 in (-3.0, 9.0):
        fed.board.note_driven(np.array([did_mps2]))
        fed.tick()
    assert fed.board.memory.commands_mps2.tolist() == [[MAX_ACCEL_MPS2, -3.0]]
    assert fed.board.ego.last_command_mps2.tolist() == [MAX_ACCEL_MPS2]


def test_bounds_hold_a_wish_as_a_command_does():
    """Without a low-pass, whatever is wished."""
    for wish_mps2 in (-8.0, -2.0, 1.0, 2.6):
        fed = facing_a_standing_car(safety_layer=True)
        held = fed.board.bounds().hold(np.array([wish_mps2]))
        assert held[0] == pytest.approx(commanded(fed, wish_mps2)[0])
