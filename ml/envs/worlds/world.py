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
from ml.sumo.scenarios import Scenario


class SumoAccess(NamedTuple):
    """How a batch gets its SUMO; for the backend `traci` alone.

    Attributes:
        host: Host of a running SUMO; None starts one.
        port: Its TraCI port.
        gui: Open sumo-gui.
        deadline_s: Longest wait for SUMO: to connect, to answer, to come back after a loss.
        embedded_spare: Go on with an embedded SUMO where one that was lost does not come back.
    """

    host: str | None = None
    port: int | None = None
    gui: bool = False
    deadline_s: float = 30.0
    embedded_spare: bool = False


OWN_SUMO = SumoAccess()
"""One that the batch starts itself."""


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
    simulator = create(
        config.backend, host=sumo.host, port=sumo.port, gui=sumo.gui, deadline_s=sumo.deadline_s
    )
    keeper = SimulatorKeeper(
        simulator,
        return_within_s=sumo.deadline_s,
        make_spare=partial(create, "libsumo") if sumo.embedded_spare else None,
    )
    return World(keeper, V2VStack(config, parameters, scenario.road, num_envs=num_envs))
