"""Run a driver for a number of episodes and keep what happened in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.errors import EvaluationError
from ml.onboard.actuation import action_from_accel

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml.envs.config import EnvConfig, EpisodeKind
    from ml.evaluation.drivers import Driver
    from ml.onboard.observation.spec import Observation

EpisodeSummary = dict[str, float | int | str | bool]


@dataclass(frozen=True, slots=True)
class RolloutResult:
    """What a driver did.

    Attributes:
        driver: Its name.
        episodes: One summary an episode (`ml.envs.scoring.tracker`), ordered by convoy, then time.
        metrics: What the radio did, over all ticks of the batch, as `ConvoyVecEnv.tick_metrics`
            names it; figures of the driver come from the episodes.
    """

    driver: str
    episodes: list[EpisodeSummary]
    metrics: dict[str, float]


def run_episodes(
    driver: Driver,
    config: EnvConfig,
    *,
    episodes: int,
    seed: int,
    num_envs: int = 64,
    kind: EpisodeKind | None = None,
    on_tick: Callable[[int, int], None] | None = None,
) -> RolloutResult:
    """Run episodes on a SUMO of their own.

    Every convoy contributes the same number of its first episodes (the last convoys one less), so
    that short episodes, which are the crashes, are not counted more often than long ones.

    Args:
        driver: Who drives.
        config: What an episode is like; its `ego_control` is the driver's.
        episodes: How many.
        seed: Seed of every draw: two drivers with one seed meet the same episodes.
        num_envs: Largest batch.
        kind: Force the kind of episode.
        on_tick: Told (episodes finished, episodes wanted) after every tick.

    Raises:
        EvaluationError: Fewer than one episode is asked for.
    """
    if episodes < 1:
        raise EvaluationError(f"episodes = {episodes}; an evaluation needs at least one")
    num_envs = min(num_envs, episodes)
    quota = np.full(num_envs, episodes // num_envs)
    quota[: episodes % num_envs] += 1
    env = ConvoyVecEnv(
        num_envs,
        config.model_copy(update={"ego_control": driver.ego_control, **driver.config_changes}),
        seed=seed,
        forced_kind=kind,
    )
    done: list[list[EpisodeSummary]] = [[] for _ in range(num_envs)]
    try:
        observation = env.reset()
        while any(len(rows) < want for rows, want in zip(done, quota, strict=True)):
            seen = cast("Observation", observation)
            action = action_from_accel(driver.accel(env.batch, seen))
            observation, _, ended, infos = env.step(action[:, None])
            for row in np.flatnonzero(ended):
                if len(done[row]) < quota[row]:
                    done[row].append({"convoy": int(row), **infos[row]["episode_summary"]})
            if on_tick is not None:
                on_tick(sum(map(len, done)), episodes)
        metrics = env.tick_metrics()
    finally:
        env.close()
    return RolloutResult(driver.name, [episode for rows in done for episode in rows], metrics)
