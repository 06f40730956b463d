"""Make a simulator by the name of its backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ml.errors import SimulatorError
from ml.sumo.cache import default_cache_dir
from ml.sumo.libsumo_backend import LibsumoSimulator

if TYPE_CHECKING:
    from pathlib import Path

    from ml.sumo.protocol import Simulator
    from ml.sumo.scenarios import Scenario

Backend = Literal["libsumo", "traci"]


def create_simulator(
    backend: Backend,
    scenario: Scenario,
    *,
    num_envs: int,
    num_vehicles: int,
    cache_dir: Path | None = None,
) -> Simulator:
    """Make a simulator; nothing starts before its `start`."""
    cache = default_cache_dir() if cache_dir is None else cache_dir
    if backend == "libsumo":
        return LibsumoSimulator(
            scenario,
            num_envs=num_envs,
            num_vehicles=num_vehicles,
            cache_dir=cache,
        )
    raise SimulatorError(f"Backend {backend!r} is not known; use 'libsumo' or 'traci'.")
