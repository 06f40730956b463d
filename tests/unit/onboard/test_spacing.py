"""The gap that the ego shall keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.onboard.spacing import wanted_gap_m
from ml.vehicle import WANTED_STANDSTILL_M


@pytest.mark.parametrize(
    ("speed_mps", "gap_m"), [(0.0, 10.0), (30.0, 30.0), (10.0, 10.0 * 2**0.125)]
)
def test_it_is_the_time_gap_or_the_standstill_distance(speed_mps, gap_m):
    """At 1 s: 10 m standing, 30 m at 30 m/s; where both are equal the corner adds 9 %."""
    assert wanted_gap_m(speed_mps, 1.0) == pytest.approx(gap_m, rel=1e-4)


@given(st.floats(0.0, 55.0), st.floats(0.0, 5.0))
def test_it_is_no_less_than_either_and_grows_with_speed(speed_mps, time_gap_s):
    """Never below the larger of the two, never above by more than the corner."""
    larger = max(WANTED_STANDSTILL_M, time_gap_s * speed_mps)
    gap = wanted_gap_m(speed_mps, time_gap_s)
    assert larger - 1e-9 <= gap <= larger * 2**0.125 + 1e-9
    assert wanted_gap_m(speed_mps + 1.0, time_gap_s) >= gap


def test_arrays_are_taken_element_by_element():
    """As the teacher calls it."""
    gaps = wanted_gap_m(np.array([0.0, 20.0]), np.array([1.0, 1.5]))
    assert gaps == pytest.approx([10.0, 30.0], rel=1e-4)
