"""What every simulator does with commands, on real SUMO over both backends."""

import libsumo
import numpy as np
import pytest
from support.traffic import BACKENDS, commands, convoy, gap_m, placeable, stack

from ml.errors import SimulatorError
from ml.sumo import libsumo_backend
from ml.sumo.names import tile_lane, vehicle_id
from ml.sumo.protocol import TickCommands
from ml.vehicle import CAR_LENGTH_M, DT_S

pytestmark = pytest.mark.sumo


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scenario", ["highway", "rural"])
def test_cars_do_exactly_what_they_are_told(make_simulator, backend, scenario):
    """Realised equals commanded acceleration until standstill, through curves and junctions."""
    count = 24
    simulator = make_simulator(backend, scenario, num_envs=count, num_vehicles=1)
    rng = np.random.default_rng(5)
    starts_m = np.linspace(10.0, simulator.road.length_m - 900.0, count)
    starts_m = np.where(placeable(simulator.road, starts_m), starts_m, starts_m + 20.0)
    placements = [convoy([s], 15.0, env=env) for env, s in enumerate(starts_m)]
    simulator.place(stack(placements))
    position_m, speed_mps = starts_m, np.full(count, 15.0)
    passed_lanes = set()
    for tick in range(300):
        accel_mps2 = rng.uniform(-8.0, 2.6, count)
        if tick % 100 < 70:
            accel_mps2 = np.abs(accel_mps2) / 8.0 * 2.6  # mostly forwards, or nobody gets far
        if tick % 100 >= 95:
            accel_mps2 = np.full(count, -8.0)
        command_mps = np.maximum(speed_mps + accel_mps2 * DT_S, 0.0)
        state = simulator.step(commands((count, 1), slot0=command_mps))
        realised_mps2 = (state.speed_mps[:, 0] - speed_mps) / DT_S
        commanded_mps2 = (command_mps - speed_mps) / DT_S
        np.testing.assert_allclose(realised_mps2, commanded_mps2, atol=0.05)
        trapezoid_m = (speed_mps + state.speed_mps[:, 0]) / 2.0 * DT_S
        np.testing.assert_allclose(state.route_pos_m[:, 0] - position_m, trapezoid_m, atol=1e-6)
        position_m, speed_mps = state.route_pos_m[:, 0], state.speed_mps[:, 0]
        passed_lanes |= set(simulator.road.locate(position_m)[0].tolist())
    assert state.present.all()
    if scenario == "rural":
        assert len(passed_lanes) > 12


@pytest.mark.parametrize("backend", BACKENDS)
def test_cars_stop_where_they_are_told_and_stay(make_simulator, backend):
    """A car commanded to stop stands still, does not roll back, and drives off on command."""
    simulator = make_simulator(backend, num_vehicles=1)
    simulator.place(convoy([100.0], 3.0))
    for speed_mps in (2.2, 1.4, 0.6, 0.0, 0.0, 0.0):
        state = simulator.step(commands((1, 1), slot0=speed_mps))
        assert state.speed_mps[0, 0] == pytest.approx(speed_mps, abs=1e-9)
    resting_m = state.route_pos_m[0, 0]
    state = simulator.step(commands((1, 1), slot0=0.0))
    assert state.route_pos_m[0, 0] == resting_m
    state = simulator.step(commands((1, 1), slot0=0.26))
    assert state.speed_mps[0, 0] == pytest.approx(0.26, abs=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("missed", [(), (20, 21)])
def test_an_ego_that_does_nothing_crashes(make_simulator, backend, missed):
    """SUMO does not brake for an ego that holds its speed, nor when two commands are missed."""
    simulator = make_simulator(backend, num_vehicles=2)
    simulator.place(convoy([200.0, 260.0], 25.0))
    gaps_m = []
    leader_mps = 25.0
    for tick in range(120):
        leader_mps = max(leader_mps - 0.6, 0.0)
        hold = np.nan if tick in missed else 25.0
        state = simulator.step(commands((1, 2), slot0=hold, slot1=leader_mps))
        assert state.speed_mps[0, 0] == pytest.approx(25.0, abs=1e-9)
        gaps_m.append(gap_m(state)[0])
    assert min(gaps_m) < -10.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_ego_that_brakes_does_not_crash(make_simulator, backend):
    """Full braking from the start at three seconds' headway stays clear of a braking leader."""
    simulator = make_simulator(backend, num_vehicles=2)
    simulator.place(convoy([200.0, 200.0 + CAR_LENGTH_M + 75.0], 25.0))
    ego_mps = leader_mps = 25.0
    for _ in range(120):
        ego_mps, leader_mps = max(ego_mps - 0.8, 0.0), max(leader_mps - 0.9, 0.0)
        state = simulator.step(commands((1, 2), slot0=ego_mps, slot1=leader_mps))
        assert gap_m(state)[0] > 0.0
    assert state.speed_mps[0].max() == 0.0
    assert not simulator.read_collisions().any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_released_car_is_driven_by_sumo_again(make_simulator, backend):
    """The same hold does not crash once SUMO's car-following has the car back."""
    simulator = make_simulator(backend, num_vehicles=2)
    simulator.place(convoy([200.0, 260.0], 25.0))
    leader_mps = 25.0
    for tick in range(200):
        leader_mps = max(leader_mps - 0.3, 0.0)
        ours = np.array([[tick < 5, True]])
        state = simulator.step(
            commands((1, 2), controlled=ours, slot0=25.0 if tick < 5 else np.nan, slot1=leader_mps),
        )
        assert gap_m(state)[0] > 0.0
    assert state.speed_mps[0, 0] == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_car_taken_over_holds_its_speed_until_told(make_simulator, backend):
    """A car taken over without a command keeps the speed it has, whatever is ahead."""
    simulator = make_simulator(backend, num_vehicles=2)
    simulator.place(convoy([200.0, 260.0], 20.0, controlled=False))
    shape = (1, 2)
    free = commands(shape, controlled=False)
    for _ in range(10):
        before = simulator.step(free)
    stopping = commands(shape, controlled=True, slot1=0.0)
    for _ in range(60):
        state = simulator.step(stopping)
        assert state.speed_mps[0, 0] == pytest.approx(before.speed_mps[0, 0], abs=1e-9)
    assert gap_m(state)[0] < 0.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_sumos_collision_report_agrees_with_the_gap(make_simulator, backend):
    """SUMO reports exactly the convoys whose gap falls below zero, within a tick or two."""
    brakes_mps2 = np.array([9.0, 6.0, 4.0, 0.0, 2.0, 0.0])
    count = brakes_mps2.size
    simulator = make_simulator(backend, num_envs=count, num_vehicles=2)
    ahead_m = np.array([30.0, 50.0, 60.0, 20.0, 80.0, 1.0])
    speed_mps = 22.0
    simulator.place(
        stack(
            [
                convoy([300.0, 300.0 + CAR_LENGTH_M + ahead], speed_mps, env=env)
                for env, ahead in enumerate(ahead_m)
            ],
        ),
    )
    leader_mps = np.full(count, speed_mps)
    touched = np.full(count, -1)
    reported = np.full(count, -1)
    for tick in range(150):
        leader_mps = np.maximum(leader_mps - brakes_mps2 * DT_S, 0.0)
        state = simulator.step(commands((count, 2), slot0=speed_mps, slot1=leader_mps))
        touched[(gap_m(state) <= 0.0) & (touched < 0)] = tick
        reported[simulator.read_collisions()[:, 0] & (reported < 0)] = tick
    assert ((touched >= 0) == (brakes_mps2 > 0.0)).all()
    assert ((touched >= 0) == (reported >= 0)).all()
    hit = touched >= 0
    assert (np.abs(reported[hit] - touched[hit]) <= 1).all()
    assert simulator.teleport_count() == 0
    assert state.present.all()


def test_commands_are_not_kept(make_simulator):
    """The caller may reuse its arrays; states that were handed out do not change."""
    simulator = make_simulator("libsumo", num_vehicles=2)
    simulator.place(convoy([100.0, 150.0], 10.0))
    shape = (1, 2)
    told = TickCommands(np.ones(shape, bool), np.full(shape, 10.0), np.full(shape, np.nan))
    first = simulator.step(told)
    kept = first.route_pos_m.copy()
    told.controlled[:] = False
    told.speed_mps[:] = np.nan
    simulator.step(commands(shape, slot0=10.0, slot1=10.0))
    np.testing.assert_array_equal(first.route_pos_m, kept)


def _sumos_places_m(simulator, count):
    """Where SUMO has the cars of each convoy along the road, (convoys, count)."""
    road = simulator.road
    places_m = np.zeros((simulator.num_envs, count))
    for env, slot in np.ndindex(places_m.shape):
        car = vehicle_id(env, slot)
        lanes = [tile_lane(env, lane) for lane in road.lane_ids]
        lane = lanes.index(libsumo.vehicle.getLaneID(car))
        places_m[env, slot] = road.lane_start_m[lane] + libsumo.vehicle.getLanePosition(car)
    return places_m


@pytest.mark.parametrize("as_written", [True, False])
@pytest.mark.parametrize("scenario", ["highway", "rural"])
def test_places_that_are_not_asked_for_are_sumos_to_the_bit(
    make_simulator, monkeypatch, scenario, as_written
):
    """Cars are where SUMO has them, in its own driving and ours, through stops and junctions."""
    if not as_written:
        monkeypatch.setattr(libsumo_backend, "_ROUNDS_AS_WRITTEN", False)
    simulator = make_simulator("libsumo", scenario, num_envs=8, num_vehicles=4)
    rng = np.random.default_rng(2)
    starts_m = np.linspace(150.0, simulator.road.length_m - 1500.0, 8)
    convoys = [[s, s + 25.0, s + 55.0, s + 80.0] for s in starts_m]
    convoys = [
        np.where(placeable(simulator.road, np.array(c)), c, np.add(c, 12.0)) for c in convoys
    ]
    simulator.place(stack([convoy(c, 14.0, env=env) for env, c in enumerate(convoys)]))
    stopped = 0
    speed_mps = np.full((8, 4), 14.0)
    for tick in range(250):
        wish_mps2 = rng.uniform(-8.0, 2.6, 8) if tick % 60 < 50 else np.full(8, -8.0)
        command_mps = np.clip(speed_mps[:, 3] + wish_mps2 * DT_S, 0.0, 30.0)
        state = simulator.step(commands((8, 4), slot3=command_mps))
        stopped += np.count_nonzero((state.speed_mps == 0.0) & (speed_mps > 0.0))
        speed_mps = state.speed_mps
        assert state.present.all()
        assert state.route_pos_m.tolist() == _sumos_places_m(simulator, 4).tolist()
    assert stopped > 10


def test_a_car_that_is_not_where_its_speeds_bring_it_is_an_error(make_simulator):
    """Its place need not be asked for in every tick: it is found out within a second."""
    simulator = make_simulator("libsumo", num_vehicles=2)
    simulator.place(convoy([200.0, 260.0], 25.0))
    simulator.step(commands((1, 2), slot0=25.0))
    car = vehicle_id(0, 1)
    place_m = libsumo.vehicle.getLanePosition(car)
    libsumo.vehicle.moveTo(car, libsumo.vehicle.getLaneID(car), place_m + 0.01)

    def drive_a_second():
        for _ in range(10):
            simulator.step(commands((1, 2), slot0=25.0))

    with pytest.raises(SimulatorError, match="lane position"):
        drive_a_second()
