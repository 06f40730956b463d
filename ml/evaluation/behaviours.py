"""Drivers of whom everybody knows which is the better: what a reward, a score and targets must say.

They meet the same cases and packets. Some differ in one thing alone: one keeps a tenth more
distance, one is jerky, one does not answer silence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.controllers.bounds import Oracle
from ml.envs.convoy_batch import ConvoyBatch
from ml.evaluation.drivers import ControllerDriver, Driver, make_driver
from ml.keyed_random import fold, uniform
from ml.onboard.observation.spec import Observation
from ml.vehicle import MAX_ACCEL_MPS2, MAX_BRAKING_MPS2

ORACLE, FURTHER, JERKY = "oracle", "oracle, a tenth further", "oracle, jerky"
TEACHER, DEAF = "teacher", "teacher that never answers silence"
DO_NOTHING, ALWAYS_BRAKE, FOLLOWING = "do-nothing", "always-brake", "SUMO's car-following"
_FURTHER = 1.1
_SHAKE_MPS2 = 0.06
"""How far a jerky hand shakes to either side from tick to tick: a jerk of 1.2 m/s³."""
RANDOM_SEEDS = range(6)
_HELD_TICKS = 10


@dataclass(frozen=True, slots=True)
class Expectation:
    """Who must rank above whom, and why."""

    better: str
    worse: str
    why: str


def expectations(drivers: Sequence[str]) -> list[Expectation]:
    """Say what must hold among the drivers that are there, by their names."""
    randoms = [name for name in drivers if name.startswith("random")]
    asked = [
        Expectation(ORACLE, FURTHER, "as safe, and closer to what was asked for"),
        Expectation(ORACLE, JERKY, "as safe and close, and smoother"),
        Expectation(ORACLE, TEACHER, "it knows more"),
        Expectation(ORACLE, FOLLOWING, "as safe, and calmer"),
        Expectation(TEACHER, DEAF, "silence may hide a braking"),
        *(Expectation(FOLLOWING, name, "crashing must not pay") for name in (DO_NOTHING, *randoms)),
        *(Expectation(TEACHER, name, "it drives") for name in (DO_NOTHING, *randoms)),
        Expectation(TEACHER, ALWAYS_BRAKE, "standing still is no driving"),
    ]
    return [e for e in asked if {e.better, e.worse} <= set(drivers)]


def make_behaviours(time_gap_s: float) -> list[Driver]:
    """Build all but the teachers, which training brings (`ml.training.imitation`).

    Args:
        time_gap_s: What the driver has set.
    """
    further = Oracle(_FURTHER * time_gap_s)
    further.name = FURTHER
    randoms: list[Driver] = [RandomDriver(seed) for seed in RANDOM_SEEDS]
    return [
        ControllerDriver(Oracle(time_gap_s)),
        ControllerDriver(further),
        Shaking(ControllerDriver(Oracle(time_gap_s)), JERKY),
        *map(make_driver, (DO_NOTHING, ALWAYS_BRAKE, "sumo")),
        *randoms,
    ]


class Shaking:
    """Another driver with a shaking hand: its acceleration is off to either side in turn."""

    ego_control: Literal["policy", "sumo"] = "policy"

    def __init__(self, driver: Driver, name: str) -> None:
        self._driver, self.name = driver, name
        self.needs_observation = driver.needs_observation
        self.config_changes = driver.config_changes

    def accel(self, batch: ConvoyBatch, observation: Observation) -> NDArray[np.float64]:
        """Return what the other wishes, shaken."""
        shake = np.where(batch.tick % 2 == 0, _SHAKE_MPS2, -_SHAKE_MPS2)
        wish = self._driver.accel(batch, observation) + shake
        return np.clip(wish, -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)


class RandomDriver:
    """Accelerates or brakes at random, with up to 2.6 m/s² either way, anew every second."""

    ego_control: Literal["policy", "sumo"] = "policy"
    needs_observation = False
    config_changes: Mapping[str, Any] = MappingProxyType(
        {"action_lag_s": 0.0, "safety_layer": False}
    )

    def __init__(self, seed: int) -> None:
        self.name, self._seed = f"random {seed}", seed

    def accel(self, batch: ConvoyBatch, observation: Observation) -> NDArray[np.float64]:
        """Return an acceleration that the case, its second and the seed decide."""
        del observation
        drawn = uniform(fold(self._seed, batch.keys, batch.tick // _HELD_TICKS))
        return MAX_ACCEL_MPS2 * (2.0 * drawn - 1.0)
