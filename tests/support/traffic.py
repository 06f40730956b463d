"""Traffic for the tests of the simulators: placements, random commands, and what came of them."""

from __future__ import annotations

import hashlib

import numpy as np

from ml.sumo.protocol import DriverParameters, Placement, TickCommands
from ml.vehicle import CAR_LENGTH_M


def drivers(shape, **values):
    """Drivers that are all alike, but for what is given."""
    defaults = {
        "tau_s": 1.2,
        "accel_mps2": 2.0,
        "decel_mps2": 3.0,
        "min_gap_m": 2.0,
        "speed_factor": 1.0,
    }
    named = {**defaults, **values}
    return DriverParameters(**{name: np.full(shape, float(v)) for name, v in named.items()})


def convoy(positions_m, speed_mps, *, controlled=True, env=0, **values):
    """A placement of one convoy; positions from the ego on forwards."""
    shape = (1, len(positions_m))
    return Placement(
        env_indices=np.array([env]),
        present=np.ones(shape, dtype=bool),
        route_pos_m=np.array([positions_m], dtype=float),
        speed_mps=np.full(shape, float(speed_mps)),
        controlled=np.full(shape, controlled),
        drivers=drivers(shape, **values),
    )


def stack(placements):
    """Placements of several convoys as one."""
    each = [p.drivers for p in placements]
    return Placement(
        **{
            name: np.concatenate([getattr(p, name) for p in placements])
            for name in ("env_indices", "present", "route_pos_m", "speed_mps", "controlled")
        },
        drivers=DriverParameters(
            **{
                name: np.concatenate([getattr(d, name) for d in each])
                for name in DriverParameters.__slots__
            },
        ),
    )


def commands(shape, *, controlled=True, **columns):
    """Commands for a tick; `slotN=` gives that slot's speed, everything else is left alone."""
    speed_mps = np.full(shape, np.nan)
    for name, values in columns.items():
        speed_mps[:, int(name.removeprefix("slot"))] = values
    return TickCommands(
        controlled=np.broadcast_to(controlled, shape).copy(),
        speed_mps=speed_mps,
        speed_factor=np.full(shape, np.nan),
    )


def placeable(road, route_pos_m):
    """Where a car can be inserted: anywhere but inside a junction."""
    return ~road.lane_internal[road.locate(route_pos_m)[0]]


def random_convoy(road, key, *, env, num_vehicles):
    """A convoy that depends on its key alone: gaps, speeds, drivers and size are drawn."""
    rng = np.random.default_rng(key)
    shape = (1, num_vehicles)
    size = int(rng.integers(2, num_vehicles + 1))
    gaps_m = rng.uniform(8.0, 40.0, num_vehicles)
    positions_m = rng.uniform(20.0, 2500.0) + np.cumsum(gaps_m + CAR_LENGTH_M)
    while not placeable(road, positions_m).all():
        positions_m = positions_m + 23.0
    return Placement(
        env_indices=np.array([env]),
        present=np.arange(num_vehicles)[None, :] < size,
        route_pos_m=positions_m[None, :],
        speed_mps=rng.uniform(8.0, 14.0, shape),
        controlled=(np.arange(num_vehicles) == 0)[None, :],
        drivers=DriverParameters(
            tau_s=rng.uniform(0.8, 2.0, shape),
            accel_mps2=rng.uniform(1.0, 2.6, shape),
            decel_mps2=rng.uniform(2.0, 4.5, shape),
            min_gap_m=rng.uniform(1.0, 3.0, shape),
            speed_factor=rng.uniform(0.8, 1.1, shape),
        ),
    )


def random_command(key, tick, speed_mps):
    """One convoy's commands, from its key, the tick and its cars' speeds alone.

    The ego is always commanded, though two commands in ten are missed; slot 1 is taken over
    and released again; slot 2 gets new speed factors.
    """
    rng = np.random.default_rng([*key, tick])
    accel_mps2 = rng.uniform(-8.0, 2.6, speed_mps.size) + 1.5
    command_mps = np.clip(speed_mps + accel_mps2 * 0.1, 0.0, 30.0)
    controlled = np.zeros(speed_mps.size, dtype=bool)
    controlled[0] = True
    controlled[1] = tick % 90 > 50
    command_mps[~controlled | (rng.random(speed_mps.size) < 0.2)] = np.nan
    factor = np.full(speed_mps.size, np.nan)
    if tick % 7 == 3 and speed_mps.size > 2:
        factor[2] = rng.uniform(0.6, 1.1)
    return controlled, command_mps, factor


def rollout(simulator, keys, ticks, *, episode_ticks):
    """Drive convoys at random and return a hash of each one's whole history.

    Convoy e starts a new episode whenever ``tick + 13 · keys[e]`` is a multiple of its length, so
    convoys begin at different times; each history depends on the convoy's key alone.
    """
    num_envs, num_vehicles = simulator.num_envs, simulator.num_vehicles
    hashes = [hashlib.sha256() for _ in keys]
    clock = np.zeros(num_envs, dtype=int)
    episode = np.zeros(num_envs, dtype=int)
    speed_mps = np.zeros((num_envs, num_vehicles))
    for tick in range(ticks):
        fresh = [
            row
            for row, key in enumerate(keys)
            if tick == 0 or (tick + 13 * key) % episode_ticks == 0
        ]
        if fresh:
            placements = [
                random_convoy(
                    simulator.road,
                    [keys[row], episode[row]],
                    env=row,
                    num_vehicles=num_vehicles,
                )
                for row in fresh
            ]
            placement = stack(placements)
            simulator.place(placement)
            speed_mps[fresh] = np.where(placement.present, placement.speed_mps, 0.0)
            clock[fresh] = 0
            episode[fresh] += 1
        drawn = [
            random_command((keys[row], episode[row]), int(clock[row]), speed_mps[row])
            for row in range(num_envs)
        ]
        controlled, command_mps, factor = (np.array(part) for part in zip(*drawn, strict=True))
        state = simulator.step(TickCommands(controlled, command_mps, factor))
        speed_mps = state.speed_mps.copy()
        clock += 1
        for row, history in enumerate(hashes):
            history.update(state.present[row].tobytes())
            history.update(state.route_pos_m[row].tobytes())
            history.update(state.speed_mps[row].tobytes())
    return [history.hexdigest() for history in hashes]


BACKENDS = ("libsumo", "traci")


def gap_m(state):
    """Bumper-to-bumper gap of slot 0 to slot 1, per convoy."""
    return state.route_pos_m[:, 1] - CAR_LENGTH_M - state.route_pos_m[:, 0]
