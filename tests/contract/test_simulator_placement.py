"""Where convoys are put, and that histories do not depend on others, on both backends."""

import numpy as np
import pytest
from support.traffic import BACKENDS, commands, convoy, drivers, gap_m, placeable, rollout, stack

from ml.errors import SimulatorError
from ml.sumo.protocol import Placement
from ml.vehicle import DT_S

pytestmark = pytest.mark.sumo


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scenario", ["highway", "rural"])
def test_insertion_is_exact(make_simulator, backend, scenario):
    """Cars stand and move exactly as placed, also bumper to bumper and after a replacement."""
    simulator = make_simulator(backend, scenario, num_envs=3, num_vehicles=4)
    for offset_m in (0.0, 1.37, 777.7):
        positions_m = np.array([12.5, 17.01, 40.0, 71.3]) + offset_m
        assert placeable(simulator.road, positions_m).all()
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
    assert placeable(simulator.road, wanted_m).all()

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
    assert not placeable(simulator.road, inside_m)
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
