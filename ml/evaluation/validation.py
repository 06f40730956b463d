"""The cases that choices are made on: which checkpoint is kept, what a search tries next.

They are episodes of the configuration that is trained in, on seeds that the card never sees, with
the fate of every packet decided along the reference driver's way: every model and every controller
meets the same ones, and only what that driver could avoid counts as a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml.envs.config import EnvConfig
from ml.evaluation.episodes import run_suite
from ml.evaluation.result import EpisodeRow
from ml.evaluation.suites.suite import drawn_suite

if TYPE_CHECKING:
    from ml.evaluation.drivers import Driver


def run_validation(
    driver: Driver,
    config: EnvConfig,
    *,
    episodes: int,
    seed: int,
    cases: Sequence[int] | None = None,
) -> list[EpisodeRow]:
    """Drive the cases on an embedded SUMO.

    Args:
        driver: Who drives.
        config: What an episode is like; where SUMO runs and what a crash ends are set here.
        episodes: How many cases there are.
        seed: Seed of every draw: `seeds.VALIDATION_SEED`, or another, but not the test seed.
        cases: Which of them; None for all.

    Returns:
        A row per case.

    Raises:
        RoadSenseError: SUMO failed, or no case was asked for.
    """
    config = config.model_copy(update={"backend": "libsumo", "stop_at_collision": False})
    suite = drawn_suite("validation", config, episodes)
    return run_suite(driver, suite, radio=config.radio, seed=seed, cases=cases)
