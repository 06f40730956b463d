"""The learning loop with everything around it; whatever ends it, the state is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Logger

from ml.training.callbacks import (
    CheckpointCallback,
    ExplorationCallback,
    MetricsCallback,
    StopCallback,
)
from ml.training.checkpoints import CheckpointStore
from ml.training.config_files import as_markdown
from ml.training.health import HealthCallback, not_learning
from ml.training.loggers import JsonLinesWriter, TensorBoardWriter
from ml.training.periodic_evaluation import BestModel, EvaluationCallback
from ml.training.progress import create_progress

if TYPE_CHECKING:
    from rich.console import Console
    from stable_baselines3 import PPO

    from ml.errors import EvaluationError
    from ml.training.callbacks import ReportsTicks
    from ml.training.config import TrainConfig
    from ml.training.periodic_evaluation import EvaluationChild
    from ml.training.run_directory import RunDirectory
    from ml.training.stop_signals import StopSignals

_NEVER = 2**62


def start_environment(model: PPO) -> None:
    """Reset the environment now, which starts SUMO, so that a failure comes before any writing."""
    vec_env = model.get_env()
    if vec_env is not None:
        # SB3 resets only where there is no observation yet.
        model._last_obs = vec_env.reset()  # type: ignore[assignment]  # noqa: SLF001
        model._last_episode_starts = np.ones(vec_env.num_envs, dtype=bool)  # noqa: SLF001


class Learning:
    """A model that learns in a run directory.

    Args:
        model: Fresh or restored.
        environment: Its environment, without wrappers.
        run: Where everything goes.
        config: The run's configuration.
        console: Where the user looks.
        stop: Signals.
        child: Evaluates now and then, if given.
    """

    def __init__(
        self,
        model: PPO,
        environment: ReportsTicks,
        run: RunDirectory,
        config: TrainConfig,
        *,
        console: Console,
        stop: StopSignals,
        child: EvaluationChild | None,
    ) -> None:
        self._model = model
        self._total = config.total_timesteps
        self._console = console
        writers = (
            TensorBoardWriter(run.tensorboard, model.num_timesteps),
            JsonLinesWriter(run.metrics_file),
        )
        writers[0].writer.add_text("hyperparameters", as_markdown(config), model.num_timesteps)
        model.set_logger(Logger(str(run.path), list(writers)))
        self._progress = create_progress(console, self._total)
        self._store = CheckpointStore(run.checkpoints, config.checkpoints.keep)
        self._saving = CheckpointCallback(
            self._store, config.checkpoints.every_steps, config.ppo.n_steps
        )
        self._stopping = StopCallback(stop)
        self._health = HealthCallback(config.health, self._tell)
        metrics = MetricsCallback(environment, self._progress)
        # Health before the metrics, which write an update's figures and forget them.
        self._callbacks = [self._stopping, self._health, metrics, self._saving]
        policy = config.policy
        if policy.log_std_final is not None:
            self._callbacks.append(
                ExplorationCallback(policy.log_std_init, policy.log_std_final, self._total)
            )
        self._evaluating: EvaluationCallback | None = None
        if child is not None:
            best = BestModel(run, writers, self._tell, least_gain=config.evaluation.least_gain)
            fresh = model.num_timesteps == 0 and not run.best_model.exists()
            warm = fresh and config.imitation_rounds > 0
            self._evaluating = EvaluationCallback(
                child, best, config.evaluation, stop, from_start=warm
            )
            self._callbacks.append(self._evaluating)

    @property
    def evaluation_failure(self) -> EvaluationError | None:
        """Why an evaluation that was asked for is missing; None where none is."""
        return self._evaluating.failure if self._evaluating else None

    def run(self) -> bool:
        """Learn up to `total_timesteps`.

        Returns:
            Whether that step was reached; False where a signal came first.

        Raises:
            NotLearningError: The run was ended because it does not learn.
        """
        done = self._model.num_timesteps
        try:
            if done >= self._total:
                self._tell(f"nothing left to learn: {done:,} steps are done")
                return True
            self._learn(self._total - done)
            if self._stopping.stopped:
                return False
            if self._health.stopped:
                raise not_learning(self._health.complaints)
            if self._evaluating is not None:
                self._evaluating.ask()
                self._evaluating.collect()
        finally:
            self._model.logger.close()
        return True

    def _learn(self, steps: int) -> None:
        self._store.reserve(self._model)
        try:
            # Counting goes on from the restored step; SB3 adds it to `total_timesteps` itself.
            self._model.learn(
                steps,
                callback=CallbackList(self._callbacks),
                log_interval=_NEVER,  # MetricsCallback writes
                reset_num_timesteps=False,
            )
            if not (self._stopping.stopped or self._health.stopped):
                self._saving.boundary_step = self._model.num_timesteps
        finally:
            self._progress.close()
            self._saving.save()
            self._store.release()

    def _tell(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
