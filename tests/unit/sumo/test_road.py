"""The road as arrays, on roads small enough to reckon by hand."""

import numpy as np
import pytest

from ml.errors import SimulatorError
from ml.sumo.road import Lane, Road


def lane(name, length_m, shape, *, limit=10.0, internal=False):
    """A lane along points (x, y) or (x, y, z)."""
    points = np.array([(*point, 0.0) if len(point) == 2 else point for point in shape], dtype=float)
    return Lane(name, length_m, limit, internal, points)


@pytest.fixture
def bend():
    """100 m north, 10 m inside a junction to the north-east, 100 m east."""
    return Road(
        [
            lane("a", 100.0, [(0, 0), (0, 100)], limit=20.0),
            lane(":j", 10.0, [(0, 100), (8, 106)], limit=5.0, internal=True),
            lane("b", 100.0, [(8, 106), (108, 106)], limit=30.0),
        ],
    )


def test_positions_follow_the_centre_line(bend):
    """Points lie on the lane's shape at the distance along it."""
    x_m, y_m, _ = bend.pose(np.array([[0.0, 50.0], [105.0, 210.0]]))
    np.testing.assert_allclose(x_m, [[0.0, 0.0], [4.0, 108.0]], atol=1e-12)
    np.testing.assert_allclose(y_m, [[0.0, 50.0], [103.0, 106.0]], atol=1e-12)
    along_m = np.linspace(0.0, 210.0, 97).reshape(1, 97)
    assert np.array_equal(bend.points(along_m), np.stack(bend.pose(along_m)[:2], axis=-1))


def test_the_heading_is_that_of_a_car_of_its_length(bend):
    """On a straight it is the road's; in a bend the chord's from rear to front bumper."""
    _, _, heading_deg = bend.pose(np.array([1.0, 100.0, 102.0, 200.0]))
    chord = np.degrees(np.arctan2(1.6, 1.2 + 2.5))
    np.testing.assert_allclose(heading_deg, [0.0, 0.0, chord, 90.0], atol=1e-9)


@pytest.mark.parametrize(
    ("towards", "heading_deg"),
    [((0, 9), 0.0), ((9, 0), 90.0), ((0, -9), 180.0), ((-9, 0), 270.0), ((-1e-20, 9), 0.0)],
)
def test_headings_are_clockwise_from_north(towards, heading_deg):
    """All four quarters come out in [0, 360), also a hair west of north."""
    road = Road([lane("a", 9.0, [(0, 0), towards])])
    result = road.pose(8.0)[2]
    assert result == pytest.approx(heading_deg)
    assert 0.0 <= result < 360.0


def test_a_lane_may_be_longer_than_its_shape():
    """SUMO's lane positions stretch the shape to the lane's length."""
    road = Road(
        [lane("a", 120.0, [(0, 0), (30, 0), (100, 0)]), lane("b", 10.0, [(100, 0), (110, 0)])]
    )
    np.testing.assert_allclose(road.pose([60.0, 120.0, 125.0])[0], [50.0, 100.0, 105.0])
    assert road.length_m == 130.0


def test_slopes_count_towards_the_length():
    """On a hill the distance along the lane includes the height."""
    road = Road(
        [lane("a", 50.0, [(0, 0, 0), (30, 0, 40)]), lane("b", 30.0, [(30, 0, 40), (60, 0, 40)])]
    )
    np.testing.assert_allclose(road.pose([25.0, 65.0])[0], [15.0, 45.0])


def test_a_lane_without_extent_is_passed():
    """SUMO writes lanes of 0.1 m whose shape is one point twice."""
    road = Road(
        [
            lane("a", 50.0, [(0, 0), (50, 0)]),
            lane(":j", 0.1, [(50, 0), (50, 0)], internal=True),
            lane("b", 50.0, [(50, 0), (100, 0)]),
        ],
    )
    np.testing.assert_allclose(road.pose([49.0, 50.05, 60.1])[0], [49.0, 50.0, 60.0])


def test_positions_are_found_on_their_lane(bend):
    """A lane's start belongs to it, and its end to the next."""
    index, lane_pos_m = bend.locate(np.array([0.0, 99.5, 100.0, 109.0, 110.0, 210.0]))
    np.testing.assert_array_equal(index, [0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(lane_pos_m, [0.0, 99.5, 0.0, 9.0, 0.0, 100.0])
    np.testing.assert_array_equal(
        bend.lane_start_m[index] + lane_pos_m, [0, 99.5, 100, 109, 110, 210]
    )
    np.testing.assert_array_equal(bend.lane_limit_mps[index], [20, 20, 5, 5, 30, 30])
    np.testing.assert_array_equal(bend.lane_internal, [False, True, False])


@pytest.mark.parametrize("method", ["pose", "points", "locate"])
@pytest.mark.parametrize("position_m", [-0.1, 210.1, np.nan, np.inf])
def test_positions_off_the_road_are_refused(bend, method, position_m):
    """Nothing is clipped: a position off the road is an error that names it."""
    with pytest.raises(SimulatorError, match=f"{position_m} m is not on the road"):
        getattr(bend, method)(np.array([10.0, position_m]))
