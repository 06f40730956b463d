"""A second lane, on real SUMO over both backends."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from support.traffic import commands, convoy

from ml.errors import SimulatorError
from ml.sumo.protocol import TickCommands
from ml.vehicle import CAR_LENGTH_M

pytestmark = pytest.mark.sumo

BACKENDS = ("libsumo", "traci")
SLOT_1_LEFT = np.array([[False, True, False]])


def cut_in(positions_m, speed_mps, **values):
    """Three cars, of which slot 1 starts in the left lane."""
    return replace(convoy(positions_m, speed_mps, **values), left=SLOT_1_LEFT)


def history(simulator, *, changes_at, ticks=60):
    """Drive an ego of SUMO's behind a slow car that comes over; a hash of all that was seen."""
    simulator.place(cut_in([100.0, 130.0, 190.0], 20.0, controlled=False))
    digest, speeds = hashlib.sha256(), []
    for tick in range(ticks):
        told = np.array([[np.nan, 14.0, 20.0]])
        state = simulator.step(
            TickCommands(
                controlled=~np.isnan(told),
                speed_mps=told,
                speed_factor=np.full((1, 3), np.nan),
                left=SLOT_1_LEFT & (tick < changes_at),
            )
        )
        digest.update(state.route_pos_m.tobytes() + state.speed_mps.tobytes())
        speeds.append(state.speed_mps[0, 0])
    return digest.hexdigest(), np.array(speeds)


def test_both_backends_change_lanes_alike(make_simulator):
    """The same bits, a second time on the same road as well."""
    seen = set()
    for backend in BACKENDS:
        simulator = make_simulator(backend, "two-lanes", num_vehicles=3)
        for _ in range(2):
            seen.add(history(simulator, changes_at=20)[0])
        simulator.close()
    assert len(seen) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_sumo_brakes_for_a_car_that_has_changed_lanes_and_not_before(make_simulator, backend):
    """SUMO knows in which lane a car is: its own driver is the witness."""
    simulator = make_simulator(backend, "two-lanes", num_vehicles=3)
    _, never = history(simulator, changes_at=60)
    _, speeds = history(simulator, changes_at=20)
    assert np.array_equal(speeds[:20], never[:20])
    assert never.min() > 19.0
    assert speeds.min() < 15.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_car_comes_over_whoever_drives_there(make_simulator, backend):
    """Into an ego beside it: it changes lanes exactly then, and SUMO reports the crash."""
    simulator = make_simulator(backend, "two-lanes", num_vehicles=3)
    simulator.place(cut_in([100.0, 103.0, 200.0], 20.0))
    for tick in range(15):
        told = commands((1, 3), slot0=20.0, slot1=19.0, slot2=20.0)
        state = simulator.step(replace(told, left=SLOT_1_LEFT & (tick < 10)))
        assert state.route_pos_m[0] == pytest.approx(
            [102.0 + 2.0 * tick, 104.95 + 1.9 * tick, 202.0 + 2.0 * tick]
        )
        assert simulator.read_collisions()[0].tolist() == [tick == 10, tick == 10, False]
    assert simulator.teleport_count() == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_car_may_change_back(make_simulator, backend):
    """To the left again, past a car that stands in the convoy's lane."""
    simulator = make_simulator(backend, "two-lanes", num_vehicles=3)
    simulator.place(cut_in([100.0, 150.0, 200.0], 20.0))
    for tick in range(40):
        told = commands((1, 3), slot0=0.0, slot1=20.0, slot2=0.0)
        state = simulator.step(replace(told, left=SLOT_1_LEFT & (not 5 <= tick < 12)))
        assert not simulator.read_collisions().any()
    assert state.route_pos_m[0, 1] > state.route_pos_m[0, 2] + CAR_LENGTH_M


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_lane_that_is_not_there_is_refused(make_simulator, backend):
    """In words, before SUMO is told anything; and so is another shape."""
    simulator = make_simulator(backend, "highway", num_vehicles=3)
    placed = convoy([100.0, 130.0, 200.0], 20.0)
    with pytest.raises(SimulatorError, match="two-lanes"):
        simulator.place(replace(placed, left=SLOT_1_LEFT))
    with pytest.raises(SimulatorError, match=r"Placement\.left has shape"):
        simulator.place(replace(placed, left=SLOT_1_LEFT[:, :2]))
    simulator.place(placed)
    with pytest.raises(SimulatorError, match=r"TickCommands\.left asks for a lane"):
        simulator.step(replace(commands((1, 3), slot0=20.0), left=SLOT_1_LEFT))
