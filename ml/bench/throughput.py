"""Training throughput as a share of what the learner could do, measured side by side."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.table import Table
from stable_baselines3 import PPO

from ml.bench.ceiling import NoOpVecEnv
from ml.envs.config import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.policies.deep_set_policy import create_deep_set_policy_kwargs

if TYPE_CHECKING:
    from collections.abc import Callable

    from stable_baselines3.common.vec_env import VecEnv

_STEPS_PER_ENV, _BATCH_SIZE, _EPOCHS = 128, 1024, 4
_ROLLOUTS = 2


@dataclass(frozen=True, slots=True)
class Throughput:
    """Steps per second of one kind of run, a value per round."""

    name: str
    steps_per_s: list[float]

    @property
    def typical(self) -> float:
        """The median round."""
        return median(self.steps_per_s)


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What the rounds gave."""

    ceiling: Throughput
    environment: Throughput
    training: Throughput

    @property
    def training_share(self) -> float:
        """Median over the rounds of training over ceiling, each pair from one round."""
        pairs = zip(self.training.steps_per_s, self.ceiling.steps_per_s, strict=True)
        return median(ours / theirs for ours, theirs in pairs)

    def table(self) -> Table:
        """Build the console table."""
        table = Table(title="environment steps per second, all convoys together")
        for column in ("what", "median", "lowest", "highest"):
            table.add_column(column, justify="left" if column == "what" else "right")
        for run in (self.environment, self.training, self.ceiling):
            values = (run.typical, min(run.steps_per_s), max(run.steps_per_s))
            table.add_row(run.name, *(f"{value:,.0f}" for value in values))
        table.caption = f"training / ceiling = {self.training_share:.2f}"
        return table


def bench(
    *,
    num_envs: int,
    num_peers: int,
    radio: str,
    rounds: int,
    on_round: Callable[[int], None] | None = None,
) -> BenchReport:
    """Measure the environment, training on it, and training on nothing, in turn.

    Args:
        num_envs: Convoys in the batch.
        num_peers: Cars ahead of each ego.
        radio: Preset or parameter file.
        rounds: How often each is measured.
        on_round: Told the round's number before it starts.
    """
    torch.set_num_threads(1)
    config = EnvConfig(num_peers=(num_peers, num_peers), radio=radio)
    env, nothing = ConvoyVecEnv(num_envs, config), NoOpVecEnv(num_envs)
    learner, ceiling = _learner(env), _learner(nothing)
    runs: dict[str, list[float]] = {"ceiling": [], "training": [], "environment": []}
    try:
        for number in range(rounds + 1):  # the first warms up and is not counted
            if on_round is not None:
                on_round(number)
            figures = {
                "ceiling": _train(ceiling, num_envs),
                "training": _train(learner, num_envs),
                "environment": _drive(env),
            }
            if number:
                for name, value in figures.items():
                    runs[name].append(value)
    finally:
        env.close()
    return BenchReport(
        ceiling=Throughput("PPO on an environment that does nothing", runs["ceiling"]),
        environment=Throughput("the environment, random actions", runs["environment"]),
        training=Throughput("PPO on the environment", runs["training"]),
    )


def _learner(env: VecEnv) -> PPO:
    return PPO(
        "MultiInputPolicy",
        env,
        n_steps=_STEPS_PER_ENV,
        batch_size=_BATCH_SIZE,
        n_epochs=_EPOCHS,
        policy_kwargs=create_deep_set_policy_kwargs(),
        device="cpu",
        seed=0,
    )


def _train(learner: PPO, num_envs: int) -> float:
    steps = _ROLLOUTS * _STEPS_PER_ENV * num_envs
    start = perf_counter()
    learner.learn(steps, reset_num_timesteps=False)
    return steps / (perf_counter() - start)


def _drive(env: ConvoyVecEnv) -> float:
    rng = np.random.default_rng(0)
    actions = rng.uniform(-0.2, 0.2, (_STEPS_PER_ENV, env.num_envs, 1)).astype(np.float32)
    env.reset()
    start = perf_counter()
    for action in actions:
        env.step(action)
    return _STEPS_PER_ENV * env.num_envs / (perf_counter() - start)
