"""What carries a batch of convoys whoever drives: SUMO, and the sensors and radio on top of it."""

from functools import partial
from typing import NamedTuple

import numpy as np

from ml.envs.config import EnvConfig
from ml.envs.worlds.live import V2VStack
from ml.envs.worlds.recovery import SimulatorKeeper
from ml.envs.worlds.stack import Stack
from ml.espnow_emulator import NodeClocks, PeerTable
from ml.parameters import Parameters
from ml.sumo.factory import create_simulator
from ml.sumo.protocol import SumoAccess
from ml.sumo.scenarios import Scenario


class World(NamedTuple):
    """A SUMO and a radio for the same number of convoys and vehicle slots.

    Attributes:
        keeper: Holds the simulator.
        stack: Sensors and radio.
    """

    keeper: SimulatorKeeper
    stack: Stack


def empty_table(parameters: Parameters, num_envs: int, num_slots: int) -> PeerTable:
    """Make a peer table of the egos that no radio writes, (num_envs, 1, num_slots − 1)."""
    clocks = NodeClocks(parameters.radio, num_envs=num_envs, num_nodes=num_slots)
    return PeerTable(clocks, np.zeros(1, dtype=np.int64))


def live_world(
    config: EnvConfig,
    scenario: Scenario,
    parameters: Parameters,
    *,
    num_envs: int,
    sumo: SumoAccess,
) -> World:
    """Build a world in which everything happens; see `ConvoyBatch` for the arguments."""
    num_slots = 1 + config.max_convoy_peers
    create = partial(create_simulator, scenario=scenario, num_envs=num_envs, num_vehicles=num_slots)
    keeper = SimulatorKeeper(
        create(config.backend, sumo=sumo),
        return_within_s=sumo.deadline_s,
        make_spare=partial(create, "libsumo") if sumo.embedded_spare else None,
    )
    return World(keeper, V2VStack(config, parameters, scenario.road, num_envs=num_envs))
