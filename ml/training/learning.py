"""The learning loop with everything around it; whatever ends it, the state is saved."""

import numpy as np
from rich.console import Console
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Logger

from ml.console import plain_lines
from ml.errors import EvaluationError, NotLearningError
from ml.training.callbacks import (
    CheckpointCallback,
    CurriculumCallback,
    ExplorationCallback,
    MetricsCallback,
    NaturalWeightsCallback,
    ProgressDisplay,
    StopCallback,
)
from ml.training.checkpoints import CheckpointStore
from ml.training.config import CurriculumConfig, TrainConfig, steps_collected
from ml.training.health import HealthCallback
from ml.training.loggers import JsonLinesWriter, TensorBoardWriter
from ml.training.periodic_evaluation import (
    BestModel,
    EvaluationCallback,
    EvaluationChild,
    cases_of,
)
from ml.training.run_directory import RunDirectory
from ml.training.stop_signals import StopSignals
from ml.training.workers import WorkersVecEnv

_NEVER = 2**62


def start_environment(model: PPO) -> None:
    """Reset the environment now, which starts SUMO, so that a failure comes before any writing."""
    vec_env = model.get_env()
    if vec_env is not None:
        # SB3 resets only where there is no observation yet.
        model._last_obs = vec_env.reset()  # type: ignore[assignment]  # noqa: SLF001
        model._last_episode_starts = np.ones(vec_env.num_envs, dtype=bool)  # noqa: SLF001


def learn(
    model: PPO,
    environment: WorkersVecEnv,
    run: RunDirectory,
    config: TrainConfig,
    *,
    console: Console,
    stop: StopSignals,
    child: EvaluationChild | None,
) -> tuple[bool, EvaluationError | None]:
    """Learn up to `total_timesteps`, with a model that is fresh or restored.

    Returns:
        Whether the last step was reached; False where a signal came first. And why an evaluation
        that was asked for is missing; None where none is.

    Raises:
        NotLearningError: The run was ended because it does not learn.
    """
    tell = plain_lines(console)
    done, total = model.num_timesteps, config.total_timesteps
    writers = TensorBoardWriter(run.tensorboard, done), JsonLinesWriter(run.metrics_file)
    writers[0].describe(config, done)
    model.set_logger(Logger(str(run.path), list(writers)))
    progress = ProgressDisplay(console, steps_collected(config))
    store = CheckpointStore(run.checkpoints, config.checkpoints.keep)
    saving = CheckpointCallback(store, config.checkpoints.every_steps, config.ppo.n_steps)
    stopping = StopCallback(stop)
    health = HealthCallback(config.health, tell)
    # Health before the metrics, which write an update's figures and forget them.
    callbacks = [stopping, health, MetricsCallback(environment, progress), saving]
    policy = config.policy
    if policy.log_std_final is not None:
        callbacks.append(ExplorationCallback(policy.log_std_init, policy.log_std_final, total))
    if config.cases_weights == "natural" and config.env.cases:
        callbacks.append(NaturalWeightsCallback())
    if config.curriculum != CurriculumConfig():
        callbacks.append(CurriculumCallback(environment, config))
    evaluating: EvaluationCallback | None = None
    if child is not None:
        least = config.evaluation.least_gain
        best = BestModel(run, writers, tell, least_gain=least, cases=cases_of(config))
        warm = config.imitation_rounds > 0 and done == 0 and not run.best_model.exists()
        evaluating = EvaluationCallback(child, best, config.evaluation, stop, from_start=warm)
        callbacks.append(evaluating)
    try:
        if done >= total:
            tell(f"nothing left to learn: {done:,} steps are done")
            return True, None
        store.reserve(model)
        try:
            # Counting goes on from the restored step; SB3 adds it to `total_timesteps` itself.
            model.learn(
                total - done,
                callback=CallbackList(callbacks),
                log_interval=_NEVER,  # MetricsCallback writes
                reset_num_timesteps=False,
            )
            if not (stopping.stopped or health.stopped):
                saving.boundary_step = model.num_timesteps
        finally:
            progress.close()
            saving.save()
            store.release()
        if stopping.stopped:
            return False, None
        if health.stopped:
            raise NotLearningError(
                f"the run is not learning: {' '.join(health.complaints)} The state is saved; "
                "--resume latest --health.action warn continues regardless."
            )
        if evaluating is not None:
            evaluating.ask()
            evaluating.collect()
    finally:
        model.logger.close()
    return True, evaluating.failure if evaluating else None
