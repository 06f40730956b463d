"""(f) The naive baseline: one convoy on one SUMO, as most SUMO environments are written.

SUMO over TraCI, started anew for every episode of 400 ticks; six getters per car and tick through
the Python client; no radio, no sensors.
"""

import contextlib
import io
from typing import Any

import gymnasium as gym
import numpy as np
import traci
from gymnasium import spaces
from numpy.typing import NDArray

from ml.envs.config import EnvConfig
from ml.envs.episodes.drawn import EpisodeSource
from ml.envs.spaces import observation_space
from ml.folders import default_cache_dir
from ml.keyed_random import fold
from ml.onboard.actuation import accel_from_action
from ml.sumo.commands import SPEED_MODE_UNCHECKED, insertions
from ml.sumo.plain_names import plainly_named
from ml.sumo.scenarios import load_scenario
from ml.sumo.sumo_process import sumo_program
from ml.sumo.tiling import load_options, tile_scenario
from ml.vehicle import DT_S

_EPISODE_TICKS = 400


class NaiveEnv(gym.Env[dict[str, Any], "NDArray[np.float32]"]):
    """One convoy on one SUMO, as most SUMO environments are written."""

    def __init__(self, num_peers: int) -> None:
        self.observation_space = observation_space()
        self.action_space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)
        self._config = EnvConfig(num_peers=(num_peers, num_peers))
        self._scenario = load_scenario(self._config.scenario)
        self._tiles = tile_scenario(self._scenario, 1, cache_dir=default_cache_dir())
        self._episodes = EpisodeSource(self._config, self._scenario.road)
        self._cars: list[str] = []
        self._episode = self._tick = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start SUMO again and insert the cars."""
        super().reset(seed=seed, options=options)
        self.close()
        with (
            plainly_named(self._tiles) as tiles,
            contextlib.redirect_stdout(io.StringIO()),  # the client announces each retry
        ):
            traci.start([str(sumo_program("sumo")), *load_options(tiles)])
        key = fold(0, 0, self._episode)
        _, placement = self._episodes.draw(key, np.array([0]), "free")
        self._cars = []
        road = self._scenario.road
        where = road.locate(placement.route_pos_m[placement.present])
        for car in insertions(placement, road, *where):
            traci.vehicle.add(car.name, car.route, car.vehicle_type, departSpeed=str(car.speed_mps))
            traci.vehicle.setSpeedFactor(car.name, car.speed_factor)
            traci.vehicle.moveTo(car.name, car.lane, car.lane_pos_m)
            self._cars.append(car.name)
        traci.vehicle.setSpeedMode(self._cars[0], SPEED_MODE_UNCHECKED)
        self._episode += 1
        self._tick = 0
        return self._observe(), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Command the ego, simulate, and ask for every value of every car."""
        speed = traci.vehicle.getSpeed(self._cars[0])
        accel = float(accel_from_action(action)[0])
        traci.vehicle.setSpeed(self._cars[0], max(speed + accel * DT_S, 0.0))
        traci.simulationStep()
        self._tick += 1
        return self._observe(), 0.0, False, self._tick >= _EPISODE_TICKS, {}

    def close(self) -> None:
        """End SUMO if it runs."""
        if self._cars:
            traci.close()
            self._cars = []

    def _observe(self) -> dict[str, Any]:
        vehicle = traci.vehicle
        rows = [
            (
                *vehicle.getPosition(car),
                vehicle.getSpeed(car),
                vehicle.getAngle(car),
                vehicle.getAcceleration(car),
                vehicle.getLanePosition(car),
                len(vehicle.getLaneID(car)),
            )
            for car in self._cars
        ]
        own, others = np.array(rows[0]), np.array(rows[1:])
        boxes = self.observation_space.spaces  # type: ignore[attr-defined]
        seen = {key: np.zeros(box.shape, dtype=np.float32) for key, box in boxes.items()}
        seen["peers"][: len(others), :7] = np.clip((others - own) / 1000.0, -0.5, 0.5)
        seen["peer_mask"][: len(others)] = 1.0
        return seen
