"""Fixtures of the tests that hold on both backends."""

from __future__ import annotations

import pytest

from ml.sumo.factory import create_simulator
from ml.sumo.protocol import SumoAccess
from ml.sumo.scenarios import SCENARIO_DIR, load_scenario
from ml.sumo.sumo_process import SumoProcess


@pytest.fixture(scope="session")
def tile_cache(tmp_path_factory):
    """A cache directory of this test session's own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make_simulator(tile_cache):
    """Build and start simulators that are closed at the end, whatever happens."""
    opened = []

    def make(backend, scenario="highway", *, num_envs=1, num_vehicles=6, start=True, **options):
        simulator = create_simulator(
            backend,
            load_scenario(scenario),
            num_envs=num_envs,
            num_vehicles=num_vehicles,
            cache_dir=tile_cache,
            sumo=SumoAccess(**options),
        )
        opened.append(simulator)
        if start:
            simulator.start()
        return simulator

    yield make
    for simulator in opened:
        simulator.close()


@pytest.fixture
def small_sumo():
    """A SUMO that waits for a client with a network of its own, as in the container."""
    network = SCENARIO_DIR / "highway" / "highway.net.xml"
    process = SumoProcess(["--net-file", str(network), "--no-step-log", "true"])
    yield process
    process.end()
