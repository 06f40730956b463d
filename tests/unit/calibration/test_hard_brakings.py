"""Hard brakings on synthetic drives."""

import numpy as np
import pytest

from ml.calibration.synthetic.drive import hard_braking_ticks, make_drive


def test_all_brake_hard_one_behind_another_and_nobody_else_changes():
    """The leader by 5 m/s² for 1.2 s, each car a second after the one ahead; speeds come back."""
    calm = make_drive(3, 900.0, 4)
    hard = make_drive(3, 900.0, 4, hard_brakings=6)
    ticks = hard_braking_ticks(calm.speed_mps[:, 2], 4, 6)
    assert len(ticks) == 6
    slower = hard.speed_mps - calm.speed_mps
    for tick in ticks:
        for behind, car in enumerate((2, 1, 0)):
            onset = tick + 10 * behind
            assert slower[onset - 1, car] == pytest.approx(0.0, abs=0.05)
            assert slower[onset + 12, car] == pytest.approx(-6.0, abs=0.4)
            assert slower[onset + 60, car] == pytest.approx(0.0, abs=0.05)
    assert hard.speed_mps.min() >= -1e-6
    assert make_drive(3, 900.0, 4, hard_brakings=0).x_m.tolist() == calm.x_m.tolist()


def test_brakings_are_as_many_as_there_is_room_for():
    """So far apart that one is over before the next; the same seed, the same ones."""
    speed = make_drive(2, 300.0, 1).speed_mps[:, 1]
    found = hard_braking_ticks(speed, 1, 1000)
    assert 2 <= len(found) < 25
    assert np.diff(found).min() > 140
    assert hard_braking_ticks(speed, 1, 1000) == found
    assert hard_braking_ticks(speed, 2, 1000) != found
    assert hard_braking_ticks(np.zeros(500), 1, 5) == []
