"""The cases that choices are made on: which checkpoint is kept, what a search tries next.

They are episodes of the configuration that is trained in, on seeds that the card never sees, with
the fate of every packet decided along the reference driver's way: every model and every controller
meets the same ones, and only what that driver could avoid counts as a crash.
"""

from collections.abc import Sequence

from ml.envs.config import EnvConfig
from ml.evaluation.drivers import Driver
from ml.evaluation.episodes import run_drawn
from ml.evaluation.result import EpisodeRow


def run_validation(
    driver: Driver,
    config: EnvConfig,
    *,
    episodes: int,
    seed: int,
    cases: Sequence[int] | None = None,
) -> list[EpisodeRow]:
    """Drive such cases on an embedded SUMO, and past a crash; see `run_drawn`.

    The seed is `seeds.VALIDATION_SEED`, or another, but not the test seed.

    Raises:
        RoadSenseError: SUMO failed, or no case was asked for.
    """
    fixed = {"backend": "libsumo", "stop_at_collision": False, "radio_position": "reference"}
    changed = config.model_copy(update=fixed)
    return run_drawn(driver, changed, episodes=episodes, seed=seed, cases=cases)
