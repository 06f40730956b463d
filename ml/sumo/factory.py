"""Make a simulator by the name of its backend."""

from pathlib import Path
from typing import Literal

from ml.errors import SimulatorError
from ml.folders import default_cache_dir
from ml.sumo.libsumo_backend import LibsumoSimulator
from ml.sumo.protocol import OWN_SUMO, Simulator, SumoAccess
from ml.sumo.scenarios import Scenario
from ml.sumo.traci_backend import TraciSimulator

Backend = Literal["libsumo", "traci"]


def create_simulator(
    backend: Backend,
    scenario: Scenario,
    *,
    num_envs: int,
    num_vehicles: int,
    sumo: SumoAccess = OWN_SUMO,
    cache_dir: Path | None = None,
) -> Simulator:
    """Make a simulator; nothing starts before its `start`.

    Args:
        backend: "libsumo" (in this process, one per process) or "traci" (over TCP).
        scenario: The road.
        num_envs: Convoys that it carries, each on its own copy of the road.
        num_vehicles: Vehicle slots per convoy, the ego included.
        sumo: Where a SUMO runs already, or how to start one.
        cache_dir: Where tiled networks are kept; None for ROADSENSE_CACHE_DIR or
            ``~/.cache/roadsense``. A SUMO elsewhere must see it under the same path.

    Raises:
        SimulatorError: The arguments contradict each other or are out of range.
    """
    cache = default_cache_dir() if cache_dir is None else cache_dir
    if backend == "libsumo":
        if sumo.host is not None or sumo.port is not None or sumo.gui:
            raise SimulatorError(
                'host, port and gui belong to backend="traci"; backend="libsumo" runs in this '
                "process and has neither. Leave them out or change the backend."
            )
        return LibsumoSimulator(
            scenario, num_envs=num_envs, num_vehicles=num_vehicles, cache_dir=cache
        )
    if backend == "traci":
        return TraciSimulator(
            scenario, sumo, num_envs=num_envs, num_vehicles=num_vehicles, cache_dir=cache
        )
    raise SimulatorError(f"Backend {backend!r} is not known; use 'libsumo' or 'traci'.")
