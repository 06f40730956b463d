"""What happens beside learning: figures and who sees them, checkpoints, stopping.

Checkpoints (and evaluations) happen between an update and the next rollout. There the weights are
fresh, no sample is half used, and the step count is that of the last point on the curve.
"""

import os
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from statistics import fmean

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback

from ml.console import plain_lines
from ml.envs.scoring.tracker import EpisodeSummary
from ml.progress import duration
from ml.training.checkpoints import CheckpointStore
from ml.training.config import TrainConfig
from ml.training.rollouts import RolloutMemory
from ml.training.stop_signals import StopSignals
from ml.training.workers import WorkersVecEnv
from ml.vehicle import DT_S

_LINE_EVERY_S = 5.0
_RECENT_EPISODES = 100
"""As many as SB3 takes for the mean return."""


class SettledEpisodes:
    """The latest episodes of a batch, such that none is among them for having ended early.

    A crash ends early: of what ended in the first rollouts, nearly all are crashes. So an episode
    counts from when it is settled: all that began before it, or with it, have ended. Until each
    convoy has ended one, there is none. The convoys given all begin an episode now.
    """

    def __init__(self, num_envs: int) -> None:
        self._began = np.zeros(num_envs, dtype=np.int64)
        self._ended: list[tuple[int, EpisodeSummary]] = []

    def add(self, row: int, tick: int, summary: EpisodeSummary | None) -> None:
        """Note that an episode of convoy `row` has ended at a tick, where its next one begins.

        Its summary is None where it went down with its worker: it does not count.
        """
        if summary is not None:
            self._ended.append((int(self._began[row]), summary))
        self._began[row] = tick

    def latest(self) -> list[EpisodeSummary]:
        """Return those that are settled, and forget what is too old."""
        self._ended.sort(key=lambda episode: episode[0])
        oldest_running = self._began.min()
        settled = [episode for episode in self._ended if episode[0] < oldest_running]
        if len(settled) > _RECENT_EPISODES:  # those that began together stay together
            oldest = settled[-_RECENT_EPISODES][0]
            self._ended = [episode for episode in self._ended if episode[0] >= oldest]
        return [summary for began, summary in self._ended if began < oldest_running]


class ProgressDisplay:
    """A bar that redraws itself; or a line at once, one every few seconds, and the last state.

    Args:
        console: Where the user looks; `CI` in the environment means plain lines.
        total: Steps of the whole run.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._say, self._total = plain_lines(console), total
        self._next_line = 0.0
        self._held_back = ""
        self._paced_from: tuple[int, float] | None = None  # step and time; after SUMO's start
        self._bar: Progress | None = None
        if console.is_terminal and not os.environ.get("CI"):
            self._bar = Progress(
                TextColumn("[bold]{task.completed:>9,.0f}[/] / {task.total:,.0f}"),
                BarColumn(bar_width=24),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task("first rollout …", total=total)

    def start(self, step: int) -> None:
        """Begin at a step."""
        if self._bar is None:
            self._say(f"step {step:,} / {self._total:,}: training starts")
        else:
            self._bar.update(self._task, completed=step)
            self._bar.start()

    def update(self, step: int, figures: str) -> None:
        """Show the step, and figures such as the return."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=escape(figures))
            return
        now_s, left = time.monotonic(), ""
        if self._paced_from is None:
            self._paced_from = (step, now_s)
        elif step < self._total:
            pace_s = (now_s - self._paced_from[1]) / (step - self._paced_from[0])
            left = f", {duration(pace_s * (self._total - step))} left"
        self._held_back = f"step {step:,} / {self._total:,}: {figures}{left}"
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY_S
            self._tell_last()

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is None:
            self._tell_last()
        else:
            self._bar.stop()

    def _tell_last(self) -> None:
        if self._held_back:
            self._say(self._held_back)
            self._held_back = ""


class MetricsCallback(BaseCallback):
    """Figures of each rollout: reward terms, radio, crash rates, steps per second."""

    def __init__(self, environment: WorkersVecEnv, progress: ProgressDisplay) -> None:
        super().__init__()
        self._environment, self._progress = environment, progress

    def _on_training_start(self) -> None:
        self._progress.start(self.num_timesteps)
        self._episodes = SettledEpisodes(self.training_env.num_envs)
        self._begin_window()

    def _on_step(self) -> bool:
        for row in np.flatnonzero(self.locals["dones"]).tolist():
            summary = self.locals["infos"][row].get("episode_summary")
            self._episodes.add(row, self.n_calls, summary)
            self._finished += summary is not None
        return True

    def _on_rollout_end(self) -> None:
        figures = self._environment.tick_metrics() | episode_figures(self._episodes.latest())
        figures["episodes/finished"] = float(self._finished)
        # From rollout end to rollout end: acting, simulating and learning.
        elapsed_s = max(time.monotonic() - self._started_s, 1e-9)
        rate = (self.num_timesteps - self._started_step) / elapsed_s
        figures["time/steps_per_second"] = rate
        for name, value in figures.items():
            self.logger.record(name, value)
        self._progress.update(self.num_timesteps, _sentence(figures))
        self._begin_window()

    # SB3 would write an update's losses with the next rollout, and those of the last update never.
    # We write once per rollout, after its update, so that all its figures share one step.

    def _on_rollout_start(self) -> None:
        self.logger.dump(self._started_step)

    def _on_training_end(self) -> None:
        self.logger.dump(self._started_step)

    def _begin_window(self) -> None:
        self._finished = 0
        self._started_s = time.monotonic()
        self._started_step = self.num_timesteps


class Bystander(BaseCallback):
    """Does nothing in a step: training goes on."""

    def _on_step(self) -> bool:
        return True


class ExplorationCallback(Bystander):
    """Takes the spread of the actions from one value to another, linearly over the whole run.

    A policy that learns under noise learns to answer the noise as well: an action of −1 brakes
    three times as hard as +1 accelerates, so symmetric noise slows a car down, and the mean action
    makes up for it. Without the noise, as a policy is used, it would drive closer than it learnt.

    Args:
        start: Log standard deviation at the first step.
        end: At `total_timesteps`.
        total_timesteps: Steps of the whole run, those before a resumption included.
    """

    def __init__(self, start: float, end: float, total_timesteps: int) -> None:
        super().__init__()
        self._start, self._end, self._total_timesteps = start, end, total_timesteps

    def _on_rollout_start(self) -> None:
        done = min(self.num_timesteps / self._total_timesteps, 1.0)
        with torch.no_grad():
            log_std = self.model.policy.get_parameter("log_std")
            log_std.fill_(self._start + (self._end - self._start) * done)


class NaturalWeightsCallback(Bystander):
    """Weighs what is learnt from each step by how often its episode happens by nature.

    Advantages, less their mean over the rollout, are multiplied by the natural weight of the
    episode that they belong to (`ConvoyBatch.natural_weight`), within `BOUNDS`. Returns are as they
    are: the critic learns what a state is worth, wherever it is met.
    """

    BOUNDS = (0.1, 10.0)

    def _on_rollout_end(self) -> None:
        buffer: RolloutMemory = self.locals["rollout_buffer"]
        weights = np.clip(buffer.natural_weights, *self.BOUNDS).astype(np.float32)
        buffer.advantages = (buffer.advantages - buffer.advantages.mean()) * weights


class CurriculumCallback(Bystander):
    """Raises the reward's weights to those that the run ends with.

    Args:
        environment: The environment without wrappers.
        config: The run's.
    """

    def __init__(self, environment: WorkersVecEnv, config: TrainConfig) -> None:
        super().__init__()
        self._environment, self._config = environment, config

    def _on_rollout_start(self) -> None:
        done = self.num_timesteps / self._config.total_timesteps
        weights = self._config.curriculum.weights(self._config.env.reward, done)
        self._environment.set_reward_weights(weights)


def _sentence(figures: Mapping[str, float]) -> str:
    mean, rate = figures.get("rollout/ep_rew_mean"), figures.get("episodes/collision_rate")
    shown = "–" if mean is None else f"{mean:.1f}"
    crashes = "–" if rate is None else f"{rate:.0%}"
    return f"return {shown}, collisions {crashes}, {figures['time/steps_per_second']:,.0f}/s"


def episode_figures(episodes: Collection[EpisodeSummary]) -> dict[str, float]:
    """Summarise episodes; nothing where there are none.

    Returns:
        Mean return and length; collision rates (overall and by kind) over valid episodes, and the
        share of invalid ones: all of those that were drawn by nature. The collision rate of the
        replayed critical cases stands by itself.
    """
    if not episodes:
        return {}
    replayed = [e for e in episodes if e.get("replayed") and not e["invalid"]]
    figures = {}
    if replayed:
        rate = fmean(bool(episode["collision"]) for episode in replayed)
        figures["episodes/collision_rate_replayed"] = rate
    episodes = [episode for episode in episodes if not episode.get("replayed")]
    if not episodes:
        return figures
    valid = [episode for episode in episodes if not episode["invalid"]]
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for episode in valid:
        by_kind["episodes/collision_rate"].append(bool(episode["collision"]))
        by_kind[f"episodes/collision_rate_{episode['kind']}"].append(bool(episode["collision"]))
    figures |= {name: fmean(crashes) for name, crashes in by_kind.items()}
    figures["episodes/invalid_share"] = 1.0 - len(valid) / len(episodes)
    figures["rollout/ep_rew_mean"] = fmean(float(episode["return"]) for episode in episodes)
    seconds = fmean(float(episode["duration_s"]) for episode in episodes)
    figures["rollout/ep_len_mean"] = seconds / DT_S
    return figures


class CheckpointCallback(Bystander):
    """Saves such that a killed process loses at most `every_steps` (or one rollout, if longer)."""

    def __init__(self, store: CheckpointStore, every_steps: int, rollout_steps: int) -> None:
        super().__init__()
        self._store, self._every_steps, self._rollout_steps = store, every_steps, rollout_steps
        self.saved_step = -1
        self.boundary_step = 0

    def _on_training_start(self) -> None:
        self.boundary_step = self.num_timesteps
        # A run that is stopped in its first rollout can be resumed, too: from step 0.
        self.saved_step = self.num_timesteps or -1

    def _on_rollout_start(self) -> None:
        self.boundary_step = self.num_timesteps
        if self.num_timesteps + self._rollout_steps - max(self.saved_step, 0) > self._every_steps:
            self.save()

    def save(self) -> None:
        """Save the state after the last update.

        In the middle of a rollout the weights are those of its start, so it is saved with that
        step count: the unfinished rollout is discarded, and the curve has no hole.
        """
        if self.boundary_step == self.saved_step:
            return
        reached = self.model.num_timesteps
        self.model.num_timesteps = self.boundary_step
        try:
            self._store.save(self.model, self.boundary_step)
        finally:
            self.model.num_timesteps = reached
        self.saved_step = self.boundary_step


class StopCallback(BaseCallback):
    """Ends training at the next step once a signal has come."""

    def __init__(self, stop: StopSignals) -> None:
        super().__init__()
        self._stop = stop
        self.stopped = False

    def _on_step(self) -> bool:
        self.stopped = self._stop.received is not None
        return not self.stopped
