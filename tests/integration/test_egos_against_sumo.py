"""Egos that are moved by formula are where SUMO has them, to the last bit."""

import numpy as np
import pytest
from support.traffic import commands, convoy, placeable, stack

from ml.envs.worlds.egos import Egos, drive_on
from ml.sumo.factory import create_simulator
from ml.sumo.protocol import OWN_SUMO
from ml.sumo.scenarios import load_scenario

pytestmark = pytest.mark.sumo

NUM_ENVS, TICKS = 24, 700


def told(speed_mps, tick, rng):
    """Speeds at the tick's end: steady, hard, at rest, and all but at rest."""
    wish = rng.choice([-8.0, -1.5, 0.0, 0.7, 2.6], speed_mps.size) + rng.normal(size=speed_mps.size)
    wished = np.clip(speed_mps + 0.1 * wish, 0.0, 55.0)
    slow = rng.choice([0.0, 3e-9, 3e-6, 1.1e-5, 4e-4, 0.2], speed_mps.size)
    return np.where((tick + np.arange(speed_mps.size)) % 97 < 12, slow, wished)


@pytest.mark.parametrize("name", ["highway", "rural", "two-lanes"])
def test_an_ego_is_where_sumo_has_it(name):
    """Through curves and junctions, at rest, and up to a few metres before the road's end."""
    scenario = load_scenario(name)
    road = scenario.road
    simulator = create_simulator(
        "libsumo", scenario=scenario, num_envs=NUM_ENVS, num_vehicles=1, sumo=OWN_SUMO
    )
    rng = np.random.default_rng(7)
    free_m = rng.uniform(20.0, road.length_m - 30.0, 400)
    start_m = free_m[placeable(road, free_m)][:NUM_ENVS]
    start_m[0] = 6.0
    start_speed_mps = rng.uniform(0.0, road.slowest_mps, NUM_ENVS)
    start_speed_mps[1] = 0.0
    egos = Egos.on(road, NUM_ENVS)
    lanes, rests, last_m = set(), 0, 0.0

    def place(rows):
        placements = [convoy([start_m[e]], start_speed_mps[e], env=e) for e in rows]
        simulator.place(stack(placements))
        egos.place(road, np.array(rows), start_m[rows], start_speed_mps[rows])

    simulator.start()
    try:
        place(list(range(NUM_ENVS)))
        for tick in range(TICKS):
            command_mps = told(egos.speed_mps, tick, rng)
            state = simulator.step(commands((NUM_ENVS, 1), slot0=command_mps))
            driven = [drive_on(egos, e, told_mps) for e, told_mps in enumerate(command_mps)]
            route_pos_m = np.array(driven)
            np.testing.assert_array_equal(route_pos_m, state.route_pos_m[:, 0])
            np.testing.assert_array_equal(egos.speed_mps, state.speed_mps[:, 0])
            lanes |= set(road.locate(route_pos_m)[0].tolist())
            rests += np.count_nonzero(egos.speed_mps == 0.0)
            last_m = max(last_m, route_pos_m.max())
            near = np.flatnonzero(route_pos_m + 0.2 * egos.speed_mps > road.length_m - 3.0)
            if near.size:
                place(near.tolist())
    finally:
        simulator.close()
    assert rests > 100
    assert last_m > road.length_m - 12.0
    if name == "rural":
        assert len(lanes) >= 7
