"""Following cars along the road from lane positions and speeds alone."""

import numpy as np
import pytest

from ml.errors import SimulatorError
from ml.sumo.fleet import Fleet
from ml.sumo.protocol import DriverParameters, Placement, TickCommands
from ml.sumo.road import Lane, Road

LENGTHS_M = [60.0, 0.1, 40.0, 0.29, 8.0, 0.1, 0.1, 80.0]


@pytest.fixture
def road():
    """Long lanes with very short ones between, as junctions make them."""
    starts = np.concatenate(([0.0], np.cumsum(LENGTHS_M)))
    return Road(
        [
            Lane(f"l{k}", m, 20.0, m < 10.0, np.array([[starts[k], 0, 0], [starts[k + 1], 0, 0]]))
            for k, m in enumerate(LENGTHS_M)
        ],
    )


def placed(road, positions_m, speeds_mps):
    """A fleet of one convoy."""
    fleet = Fleet(road, 1, len(positions_m))
    shape = (1, len(positions_m))
    fleet.admit(
        Placement(
            env_indices=np.array([0]),
            present=np.ones(shape, bool),
            route_pos_m=np.array([positions_m], float),
            speed_mps=np.array([speeds_mps], float),
            controlled=np.ones(shape, bool),
            drivers=DriverParameters(*(np.ones(shape) for _ in range(5))),
        ),
    )
    return fleet


@pytest.mark.parametrize("speed_mps", [0.37, 2.0, 9.7, 31.0])
def test_cars_are_followed_through_the_shortest_lanes(road, speed_mps):
    """At any speed the route position is that of the trapezoidal rule, lane by lane."""
    fleet = placed(road, [0.013], [speed_mps])
    truth_m, lanes = 0.013, set()
    while truth_m < road.length_m - speed_mps * 0.1:
        truth_m += speed_mps * 0.1
        lane, lane_pos_m = road.locate(truth_m)
        lanes.add(int(lane))
        fleet.advance(np.array([lane_pos_m]), np.array([speed_mps]))
        assert fleet.state().route_pos_m[0, 0] == pytest.approx(truth_m, abs=1e-9)
    assert {0, 2, 7} <= lanes
    if speed_mps < 1.0:
        assert lanes == set(range(8))


def test_a_stop_within_a_tick_does_not_mislead(road):
    """A car that stops part of the way is a few centimetres short of the rule; that is no jump."""
    fleet = placed(road, [59.97], [0.9])
    fleet.advance(np.array([0.0405 - 0.03]), np.array([0.0]))
    assert fleet.state().route_pos_m[0, 0] == pytest.approx(60.0105)


def test_a_jump_is_an_error(road):
    """A lane position that no lane explains is an error, not a guess."""
    fleet = placed(road, [20.0, 50.0], [10.0, 10.0])
    with pytest.raises(SimulatorError, match=r"c0000\.v01 jumped: expected .* 51\.000 m"):
        fleet.advance(np.array([21.0, 52.5]), np.array([10.0, 10.0]))


def test_orders_say_only_what_changed(road):
    """Taking over and releasing are told once; commands only for controlled cars that have one."""
    fleet = placed(road, [10.0, 30.0], [8.0, 9.0])

    def told(controlled, speed_mps, factor=(np.nan, np.nan)):
        return fleet.orders(
            TickCommands(np.array([controlled]), np.array([speed_mps]), np.array([factor])),
        )

    first = told([True, True], [7.0, np.nan])
    assert first.taken_over.size == first.released.size == 0
    assert first.speed_index.tolist() == [0]
    second = told([True, False], [7.0, 5.0], [np.nan, 0.9])
    assert second.released.tolist() == [1]
    assert second.speed_index.tolist() == [0]
    assert second.factor_index.tolist() == [1]
    third = told([True, True], [7.0, np.nan])
    assert third.taken_over.tolist() == [1]
    assert third.speed_index.tolist() == [0, 1]
    assert third.speed_mps.tolist() == [7.0, 9.0]


def test_absent_cars_are_not_commanded(road):
    """A car that has left is not in any order."""
    fleet = placed(road, [10.0, 30.0], [8.0, 9.0])
    fleet.drop(np.array([1]))
    orders = fleet.orders(
        TickCommands(np.zeros((1, 2), bool), np.full((1, 2), 5.0), np.full((1, 2), 1.0)),
    )
    assert orders.released.tolist() == [0]
    assert orders.factor_index.tolist() == [0]
    assert fleet.state().present.tolist() == [[True, False]]
    assert fleet.state().route_pos_m[0, 1] == 0.0


def test_insertions_are_checked_to_the_bit(road):
    """A speed or position other than asked for is an error that names the car."""
    fleet = placed(road, [10.0, 30.0], [8.0, 9.0])
    cars = np.array([0, 1])
    fleet.confirm(cars, np.array([10.0, 30.0]), np.array([8.0, 9.0]))
    with pytest.raises(SimulatorError, match=r"did not insert c0000\.v01 as asked"):
        fleet.confirm(cars, np.array([10.0, 30.0]), np.array([8.0, 8.99]))
    with pytest.raises(SimulatorError, match=r"did not insert c0000\.v00 as asked"):
        fleet.confirm(cars, np.array([10.1, 30.0]), np.array([8.0, 9.0]))


def test_cars_are_reused_in_an_order_in_which_none_passes_another(road):
    """Forwards the one in front goes first, backwards the last; a new car comes after both."""
    fleet = placed(road, [10.0, 20.0, 30.0], [8.0, 8.0, 8.0])

    def moved(positions_m, present=(True, True, True)):
        shape = (1, 3)
        return fleet.admit(
            Placement(
                env_indices=np.array([0]),
                present=np.array([present]),
                route_pos_m=np.array([positions_m]),
                speed_mps=np.full(shape, 8.0),
                controlled=np.zeros(shape, bool),
                drivers=DriverParameters(*(np.ones(shape) for _ in range(5))),
            ),
        )

    assert moved([15.0, 25.0, 35.0]).sequence.tolist() == [2, 1, 0]
    assert moved([5.0, 15.0, 25.0]).sequence.tolist() == [0, 1, 2]
    split = moved([1.0, 40.0, 50.0])
    assert split.sequence.tolist() == [2, 1, 0]
    assert split.reused.tolist() == [True, True, True]
    shorter = moved([2.0, 41.0, 0.0], (True, True, False))
    assert shorter.removed.tolist() == [2]
    grown = moved([1.0, 42.0, 55.0])
    assert grown.sequence.tolist() == [1, 0, 2]
    assert grown.reused.tolist() == [True, True, False]
    out_of_order = moved([9.0, 3.0, 20.0])
    assert out_of_order.removed.tolist() == [0, 1, 2]
    assert not out_of_order.reused.any()
