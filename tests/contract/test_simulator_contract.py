"""What every simulator promises, on real SUMO over both backends."""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import libsumo
import numpy as np
import pytest
from traffic import CAR_LENGTH_M, commands, convoy, drivers, rollout, stack

from ml.errors import SimulatorError, SimulatorInUseError, SimulatorTimeoutError
from ml.sumo.protocol import Placement, TickCommands

pytestmark = pytest.mark.sumo

BACKENDS = ("libsumo", "traci")
DT_S = 0.1


def gap_m(state):
    """Bumper-to-bumper gap of slot 0 to slot 1, per convoy."""
    return state.route_pos_m[:, 1] - CAR_LENGTH_M - state.route_pos_m[:, 0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scenario", ["highway", "rural"])
def test_cars_do_exactly_what_they_are_told(make_simulator, backend, scenario):
    """Realised equals commanded acceleration until standstill, through curves and junctions."""
    count = 24
    simulator = make_simulator(backend, scenario, num_envs=count, num_vehicles=1)
    rng = np.random.default_rng(5)
    starts_m = np.linspace(10.0, simulator.road.length_m - 900.0, count)
    starts_m = np.where(simulator.road.placeable(starts_m), starts_m, starts_m + 20.0)
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
def test_a_seized_car_holds_its_speed_until_told(make_simulator, backend):
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


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scenario", ["highway", "rural"])
def test_insertion_is_exact(make_simulator, backend, scenario):
    """Cars stand and move exactly as placed, also bumper to bumper and after a replacement."""
    simulator = make_simulator(backend, scenario, num_envs=3, num_vehicles=4)
    for offset_m in (0.0, 1.37, 777.7):
        positions_m = np.array([12.5, 17.01, 40.0, 71.3]) + offset_m
        assert simulator.road.placeable(positions_m).all()
        placements = [convoy(positions_m + 3.1 * env, 11.1 + env, env=env) for env in range(3)]
        placement = stack(placements)
        simulator.place(placement)
        state = simulator.step(commands((3, 4)))
        assert state.present.all()
        np.testing.assert_array_equal(state.speed_mps, placement.speed_mps)
        np.testing.assert_allclose(
            state.route_pos_m,
            placement.route_pos_m + placement.speed_mps * DT_S,
            rtol=0.0,
            atol=1e-9,
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_replacing_one_convoy_leaves_the_others_alone(make_simulator, backend):
    """The other convoys' histories are the same to the last bit."""

    def histories(replace):
        simulator = make_simulator(backend, "rural", num_envs=4, num_vehicles=3)
        simulator.place(
            stack(
                [
                    convoy([300.0, 330.0 + env, 366.0], 12.0 + env, controlled=False, env=env)
                    for env in range(4)
                ],
            ),
        )
        states = []
        for tick in range(150):
            if replace and tick % 40 == 20:
                other = convoy([900.0, 950.0, 999.0], 17.0, env=1, tau_s=0.9, decel_mps2=4.0)
                simulator.place(other)
            states.append(simulator.step(commands((4, 3), controlled=False)))
        simulator.close()
        return np.array([np.stack((s.route_pos_m, s.speed_mps)) for s in states])

    left, replaced = histories(replace=False), histories(replace=True)
    others = [0, 2, 3]
    assert left[:, :, others].tobytes() == replaced[:, :, others].tobytes()
    assert (left[:, :, 1] != replaced[:, :, 1]).any()


@pytest.mark.parametrize("scenario", ["highway", "rural"])
def test_both_backends_and_every_batch_tell_the_same_story(make_simulator, scenario):
    """Histories are hash-equal on libsumo and TraCI, alone and in a batch."""
    keys = [3, 14, 15, 92, 65, 35, 89, 79]
    ticks, episode_ticks = 360, 170

    def run(backend, chosen):
        simulator = make_simulator(backend, scenario, num_envs=len(chosen), num_vehicles=5)
        hashes = rollout(simulator, chosen, ticks, episode_ticks=episode_ticks)
        assert simulator.teleport_count() == 0
        simulator.close()
        return hashes

    together = run("libsumo", keys)
    assert len(set(together)) == len(keys)
    assert run("traci", keys) == together
    assert run("libsumo", keys[::-1]) == together[::-1]
    for index in (0, 5):
        alone = [keys[index]]
        assert run("libsumo", alone) == [together[index]]
        assert run("traci", alone) == [together[index]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_history_does_not_depend_on_when_it_starts(make_simulator, backend):
    """The same convoy drives the same way early and late in a simulation, to the last bit."""
    simulator = make_simulator(backend, "rural", num_vehicles=4)

    def history():
        simulator.place(convoy([300.0, 330.0, 366.0, 410.0], 13.7, controlled=False, tau_s=1.31))
        return b"".join(
            simulator.step(commands((1, 4), controlled=False)).route_pos_m.tobytes()
            for _ in range(211)
        )

    first = history()
    assert history() == first
    for _ in range(37):
        simulator.step(commands((1, 4), controlled=False))
    assert history() == first


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scenario", ["highway", "rural"])
def test_a_history_does_not_depend_on_what_came_before(make_simulator, backend, scenario):
    """A convoy placed over another drives as on an empty road, to the last bit.

    The earlier one is behind, ahead, spread over it, on the lanes around it, smaller, larger, or
    has just driven through itself, and was commanded, released or never touched.
    """
    size = 5
    simulator = make_simulator(backend, scenario, num_vehicles=size)
    wanted_m = [1858.3, 1888.2, 1906.1, 1920.7, 1952.2]
    assert simulator.road.placeable(wanted_m).all()

    def drive(ticks, *, ours=False, **columns):
        told = commands((1, size), controlled=ours, **columns)
        states = [simulator.step(told) for _ in range(ticks)]
        return b"".join(s.route_pos_m.tobytes() + s.speed_mps.tobytes() for s in states)

    def history(*, ours):
        simulator.place(convoy(wanted_m, 10.3, controlled=ours, tau_s=1.37, decel_mps2=3.3))
        return drive(3, ours=ours, slot0=10.0) + drive(60)

    expected = {}
    for ours in (False, True):
        simulator.close()
        simulator.start()
        expected[ours] = history(ours=ours)
    assert expected[False] != expected[True]
    pasts_m = [
        np.array(wanted_m) - 700.0,
        np.array(wanted_m) + 80.0,
        np.array(wanted_m) + 1000.0,
        [1430.0, 1520.0, 1560.0, 1600.0, 1700.0],
        [1700.0, 1870.0, 1900.0, 2000.0, 2300.0],
        [1850.0, 1853.0, 1890.0, 1990.0, 2600.0],
    ]
    for past_m in pasts_m:
        for was_ours in (False, True):
            for ours in (False, True):
                simulator.place(convoy(past_m, 12.0, controlled=was_ours, min_gap_m=1.1))
                drive(20, ours=was_ours, slot0=30.0, slot2=0.0)
                assert history(ours=ours) == expected[ours]
    for missing in (0, 2, 4):
        smaller = convoy(pasts_m[0], 12.0)
        smaller.present[0, missing] = False
        simulator.place(smaller)
        drive(5)
        assert history(ours=False) == expected[False]


def test_cars_that_have_passed_each_other_are_placed_well(make_simulator):
    """Two cars drive through each other, change lanes, and back: the next placement is exact."""
    simulator = make_simulator("libsumo", "rural", num_vehicles=2)

    def history():
        simulator.place(convoy([2158.0, 2190.0], 10.0, controlled=False))
        states = [simulator.step(commands((1, 2), controlled=False)) for _ in range(40)]
        return b"".join(s.route_pos_m.tobytes() + s.speed_mps.tobytes() for s in states)

    expected = history()
    simulator.place(convoy([1900.0, 1910.0], 12.0))
    for slot0, slot1 in ((30.0, 5.0), (2.0, 30.0)):
        for _ in range(40):
            state = simulator.step(commands((1, 2), slot0=slot0, slot1=slot1))
        lanes = simulator.road.locate(state.route_pos_m[0])[0].tolist()
        assert lanes == ([6, 4] if slot0 == 30.0 else [6, 6])
    assert gap_m(state)[0] > 0.0
    assert history() == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_cars_that_leave_the_road_are_absent(make_simulator, backend):
    """Reaching the road's end is no error; the car is absent, the others and new ones drive on."""
    simulator = make_simulator(backend, num_envs=2, num_vehicles=3)
    end_m = simulator.road.length_m
    leaving = convoy([end_m - 200.0, end_m - 100.0, end_m - 20.0], 20.0, env=0)
    staying = convoy([100.0, 200.0, 300.0], 20.0, env=1)
    simulator.place(stack([leaving, staying]))
    present = []
    for _ in range(120):
        state = simulator.step(commands((2, 3), slot0=20.0, slot1=20.0, slot2=20.0))
        present.append(state.present.copy())
        assert (state.route_pos_m[~state.present] == 0.0).all()
        assert (state.speed_mps[~state.present] == 0.0).all()
    counts = np.array(present)[:, 0].sum(axis=1)
    assert counts[0] == 3
    assert counts[-1] == 0
    assert (np.diff(counts) <= 0).all()
    assert np.array(present)[:, 1].all()
    simulator.place(leaving)
    assert simulator.step(commands((2, 3))).present.all()
    simulator.place(stack([leaving, convoy(leaving.route_pos_m[0], 20.0, env=1)]))
    for _ in range(120):
        state = simulator.step(commands((2, 3), slot0=20.0, slot1=20.0, slot2=20.0))
    assert not state.present.any()
    empty = convoy([100.0, 200.0, 300.0], 20.0)
    empty.present[:] = False
    simulator.place(empty)
    simulator.place(staying)
    assert simulator.step(commands((2, 3))).present.tolist() == [[False] * 3, [True] * 3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_absent_slots_stay_empty(make_simulator, backend):
    """Only the slots that a placement names are filled; a smaller convoy replaces a larger one."""
    simulator = make_simulator(backend, num_vehicles=3)
    simulator.place(convoy([100.0, 140.0, 180.0], 10.0))
    present = np.array([[True, True, False]])
    simulator.place(
        Placement(
            env_indices=np.array([0]),
            present=present,
            route_pos_m=np.array([[100.0, 140.0, np.nan]]),
            speed_mps=np.array([[10.0, 10.0, np.nan]]),
            controlled=np.ones((1, 3), dtype=bool),
            drivers=drivers((1, 3)),
        ),
    )
    state = simulator.step(commands((1, 3)))
    np.testing.assert_array_equal(state.present, present)


@pytest.mark.parametrize("backend", BACKENDS)
def test_impossible_requests_are_refused(make_simulator, backend):
    """A negative command, a wrong shape or a place inside a junction is an error that says so."""
    simulator = make_simulator(backend, "rural", num_vehicles=2)
    inside_m = float(simulator.road.lane_start_m[3] + 1.0)
    assert not simulator.road.placeable(inside_m)
    with pytest.raises(SimulatorError, match="inside a junction"):
        simulator.place(convoy([100.0, inside_m], 10.0))
    with pytest.raises(SimulatorError, match="not on the road"):
        simulator.place(convoy([100.0, 1e6], 10.0))
    with pytest.raises(SimulatorError, match=r"distinct convoys in 0 … 0"):
        simulator.place(convoy([100.0, 150.0], 10.0, env=1))
    with pytest.raises(SimulatorError, match=r"drivers\.tau_s .* not finite"):
        simulator.place(convoy([100.0, 150.0], 10.0, tau_s=np.nan))
    simulator.place(convoy([100.0, 150.0], 10.0))
    with pytest.raises(SimulatorError, match=r"speed_mps of c0000\.v01 is -1\.0"):
        simulator.step(commands((1, 2), slot1=-1.0))
    with pytest.raises(SimulatorError, match=r"shape \(2, 2\)"):
        simulator.step(commands((2, 2)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_simulator_that_does_not_run_says_so(make_simulator, backend):
    """Stepping before start or after close is an error; closing twice is not."""
    simulator = make_simulator(backend, num_vehicles=2, start=False)
    with pytest.raises(SimulatorError, match="call start"):
        simulator.place(convoy([100.0, 150.0], 10.0))
    simulator.start()
    simulator.start()
    simulator.place(convoy([100.0, 150.0], 10.0))
    simulator.close()
    simulator.close()
    with pytest.raises(SimulatorError, match="call start"):
        simulator.step(commands((1, 2)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_closed_simulator_can_start_again(make_simulator, backend):
    """It starts empty, and tells the same story again."""
    simulator = make_simulator(backend, "rural", num_envs=2, num_vehicles=4)
    first = rollout(simulator, [7, 8], 40, episode_ticks=30)
    simulator.close()
    simulator.start()
    assert rollout(simulator, [7, 8], 40, episode_ticks=30) == first


def test_a_second_embedded_simulation_is_refused(make_simulator):
    """The first one lives on; once it is closed or dropped another may start."""
    first = make_simulator("libsumo", num_vehicles=2)
    first.place(convoy([100.0, 150.0], 10.0))
    second = make_simulator("libsumo", num_vehicles=2, start=False)
    with pytest.raises(SimulatorInUseError, match="num_envs"):
        second.start()
    second.close()
    assert first.step(commands((1, 2))).present.all()
    over_tcp = make_simulator("traci", num_vehicles=2)
    over_tcp.place(convoy([100.0, 150.0], 10.0))
    assert first.step(commands((1, 2))).present.all()
    first.close()
    second.start()
    second.place(convoy([100.0, 150.0], 10.0))
    assert second.step(commands((1, 2))).present.all()


def test_an_embedded_simulation_that_was_dropped_does_not_block(tile_cache):
    """A simulator that nobody holds any more gives way to the next."""
    from ml.sumo.factory import create_simulator  # noqa: PLC0415 - not through the fixture's list
    from ml.sumo.scenarios import load_scenario  # noqa: PLC0415

    def make():
        scenario = load_scenario()
        return create_simulator(
            "libsumo", scenario, num_envs=1, num_vehicles=2, cache_dir=tile_cache
        )

    dropped = make()
    dropped.start()
    del dropped
    gc.collect()
    simulator = make()
    simulator.start()
    simulator.close()


def test_a_frozen_sumo_is_an_error_at_the_deadline(make_simulator):
    """A stopped process raises a timeout that says where and what to do, and is ended by close."""
    simulator = make_simulator("traci", num_vehicles=2, deadline_s=1.0)
    simulator.place(convoy([100.0, 150.0], 10.0))
    simulator.step(commands((1, 2)))
    pid = simulator._process.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(SimulatorTimeoutError, match=r"127\.0\.0\.1:\d+ did not answer within 1\.0"):
        simulator.step(commands((1, 2)))
    with pytest.raises(SimulatorError, match="interrupted in the middle"):
        simulator.step(commands((1, 2)))
    simulator.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_sumo_is_an_error(make_simulator):
    """A SUMO that dies is reported as a broken connection, not as a timeout."""
    simulator = make_simulator("traci", num_vehicles=2, deadline_s=20.0)
    simulator.place(convoy([100.0, 150.0], 10.0))
    os.kill(simulator._process.pid, signal.SIGKILL)
    simulator._process._process.wait()
    with pytest.raises(SimulatorError, match=r"connection to SUMO at .* broke") as caught:
        simulator.step(commands((1, 2)))
    assert not isinstance(caught.value, SimulatorTimeoutError)
    simulator.close()


def test_fatal_errors_of_an_embedded_sumo_are_ours(make_simulator):
    """Its simulation is taken from under it: calls are errors of our tree, and close works."""
    simulator = make_simulator("libsumo", num_vehicles=2)
    simulator.place(convoy([100.0, 150.0], 10.0))
    with pytest.raises(libsumo.TraCIException):
        libsumo.load(["--net-file", "/nowhere.net.xml"])
    with pytest.raises(SimulatorError, match="A network was not yet constructed"):
        simulator.step(commands((1, 2)))
    with pytest.raises(SimulatorError, match="A network was not yet constructed"):
        simulator.place(convoy([100.0, 150.0], 10.0))
    simulator.close()
    simulator.start()
    simulator.place(convoy([100.0, 150.0], 10.0))


def test_nothing_listening_is_an_error_at_the_deadline(make_simulator):
    """The message names host, port, the last cause and what to run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    simulator = make_simulator(
        "traci", num_vehicles=2, start=False, host="127.0.0.1", port=port, deadline_s=0.5
    )
    with pytest.raises(SimulatorTimeoutError, match=rf"127\.0\.0\.1:{port} within 0\.5 s.*REFUSED"):
        simulator.start()
    simulator.close()


def test_a_network_that_sumo_cannot_read_is_an_error(make_simulator, tile_cache):
    """A damaged file in the cache is named, over TCP with SUMO's own words."""
    simulator = make_simulator("traci", num_envs=13, num_vehicles=2)
    simulator.close()
    damaged = max(tile_cache.glob("tiles/*/tiled.net.xml"), key=lambda file: file.stat().st_mtime)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2] + b"\n</net>\n")  # one cut short is not tried
    try:
        with pytest.raises(SimulatorError, match="ended with exit status"):
            simulator.start()
        embedded = make_simulator("libsumo", num_envs=13, num_vehicles=2, start=False)
        with pytest.raises(SimulatorError, match=f"could not load {damaged}"):
            embedded.start()
    finally:
        damaged.write_bytes(whole)


def test_a_sumo_elsewhere_loads_our_network(make_simulator, small_sumo):
    """Connecting to a running SUMO gives the same history as starting one, with any first net."""
    remote = make_simulator(
        "traci", "rural", num_envs=3, num_vehicles=4, host="127.0.0.1", port=small_sumo.port
    )
    over_tcp = rollout(remote, [1, 2, 3], 80, episode_ticks=50)
    remote.close()
    embedded = make_simulator("libsumo", "rural", num_envs=3, num_vehicles=4)
    assert rollout(embedded, [1, 2, 3], 80, episode_ticks=50) == over_tcp


def test_a_sumo_that_cannot_see_our_files_is_an_error(make_simulator, small_sumo, monkeypatch):
    """A network that SUMO cannot read at that path is an error that names the cache directory."""
    monkeypatch.setattr(
        "ml.sumo.traci_backend.load_options", lambda _tiles: ["--net-file", "/nowhere.net.xml"]
    )
    simulator = make_simulator(
        "traci", num_vehicles=2, start=False, host="127.0.0.1", port=small_sumo.port
    )
    with pytest.raises(SimulatorError, match="ROADSENSE_CACHE_DIR"):
        simulator.start()
    simulator.close()


def test_waiting_outlasts_a_slow_start(make_simulator, tile_cache):
    """A client that comes before its SUMO waits for it."""
    from ml.sumo.sumo_process import SumoProcess  # noqa: PLC0415

    make_simulator("libsumo", num_vehicles=2).close()  # lays out the road
    network = next(tile_cache.glob("tiles/*/tiled.net.xml"))
    late = SumoProcess(["--net-file", str(network), "--no-step-log", "true"])
    port = late.port
    os.kill(late.pid, signal.SIGSTOP)
    timer = threading.Timer(0.4, os.kill, (late.pid, signal.SIGCONT))
    timer.start()
    try:
        simulator = make_simulator("traci", num_vehicles=2, host="127.0.0.1", port=port)
        simulator.place(convoy([100.0, 150.0], 10.0))
        assert simulator.step(commands((1, 2))).present.all()
        simulator.close()
    finally:
        timer.join()
        late.end()


def test_sumo_does_not_outlive_a_killed_parent(tile_cache):
    """When the process that started SUMO is killed outright, SUMO ends as well."""
    program = (
        "import sys, time, pathlib\n"
        "from ml.sumo.factory import create_simulator\n"
        "from ml.sumo.scenarios import load_scenario\n"
        "s = create_simulator('traci', load_scenario(), num_envs=1, num_vehicles=2,"
        " cache_dir=pathlib.Path(sys.argv[1]))\n"
        "s.start()\n"
        "print(s._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tile_cache)], stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    give_up = time.monotonic() + 20.0
    while _runs(pid):
        assert time.monotonic() < give_up, "SUMO is still there"
        time.sleep(0.05)


def _runs(pid):
    """Tell whether a process is there and not just waiting to be collected."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - no such path is an answer here
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_gui_needs_a_display(make_simulator, monkeypatch):
    """Without DISPLAY the request for the GUI is an error, not an abort."""
    monkeypatch.delenv("DISPLAY", raising=False)
    simulator = make_simulator("traci", num_vehicles=2, start=False, gui=True)
    with pytest.raises(SimulatorError, match="DISPLAY"):
        simulator.start()


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
