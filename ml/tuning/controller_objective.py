"""The parameters of a classical controller, scored on the very cases of a policy's search."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self

import yaml

from ml.atomic_files import finite
from ml.controllers.registry import check_parameter, tunable, tuned_controller
from ml.envs.config import EnvConfig
from ml.errors import ConfigError, EvaluationError
from ml.evaluation.drivers import ControllerDriver
from ml.evaluation.episodes import run_validation
from ml.evaluation.result import EpisodeRow
from ml.evaluation.safety_score import as_figures, score_of
from ml.evaluation.seeds import VALIDATION_SEED
from ml.execution.jobs import Files, JobStopped, Link
from ml.execution.workers import WorkerPool
from ml.training.apart import config_at, config_files
from ml.training.config import TrainConfig
from ml.training.run_directory import digests
from ml.tuning.objective import Outcome
from ml.tuning.space import Space, Value

_CASES_AT_ONCE = 64
"""Between two looks at whether a trial is worth going on with."""


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    values: dict[str, float]
    config: EnvConfig
    episodes: int
    cases: range

    def __str__(self) -> str:
        return f"{self.name}, cases {self.cases.start} to {self.cases.stop - 1}"


def _drive(job: _Job) -> list[EpisodeRow]:
    """Drive some cases; runs in a process of its own, which may hold an embedded SUMO."""
    driver = ControllerDriver(tuned_controller(job.name, job.values))
    return run_validation(
        driver, job.config, episodes=job.episodes, seed=VALIDATION_SEED, cases=job.cases
    )


_Process = WorkerPool[_Job, list[EpisodeRow]]
_idle: SimpleQueue[_Process] = SimpleQueue()
"""Processes of trials that ended: to load the libraries takes longer than a trial of few cases."""


def _process() -> _Process:
    """Return a process that drives: one that a trial before has left, or a new one."""
    while True:
        try:
            process = _idle.get_nowait()
        except Empty:
            return WorkerPool(_drive, 1)
        if process.alive:
            return process
        process.close()


def end_idle() -> None:
    """End the processes that trials in this process have left, at the end of a search."""
    while True:
        try:
            _idle.get_nowait().close()
        except Empty:
            return


class ControllerObjective:
    """A kind of controller, in the environment that policies are trained in.

    Raises:
        ConfigError: There is no such controller, or the space does not fit it.
    """

    def __init__(
        self, name: str, space: Space, source: str, config: EnvConfig, episodes: int
    ) -> None:
        self.title = f"controller {name}"
        self._name, self._config, self._episodes = name, config, episodes
        self._usual = tunable(name)
        for key, dimension in space.items():
            check_parameter(name, key, source)
            for value in dimension.ends():
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise ConfigError(f"{source}: {key} = {value!r}: it must be a number.")
                if key in {"time_gap_s", "standstill_m"} and value < 0.0:
                    raise ConfigError(f"{source}: {key} = {value:g}: it must be at least 0.")
        self.space = space

    def usual(self) -> dict[str, Value]:
        """Return the constants of the controller's class."""
        return {name: self._usual[name] for name in self.space}

    @property
    def cores(self) -> int:
        """One: a trial drives part by part."""
        return 1

    def files(self) -> list[Files]:
        """List the road, the radio, the cases and the recordings of the environment."""
        return config_files(TrainConfig(env=self._config))

    def at(self, places: Mapping[str, str]) -> Self:
        """Return it with these files elsewhere."""
        config = config_at(TrainConfig(env=self._config), places).env
        return type(self)(self._name, self.space, "the space", config, self._episodes)

    def run(self, values: Mapping[str, Value], folder: Path, report: Link) -> Outcome:
        """Drive the cases, part by part; see `Objective.run`."""
        del folder  # a trial takes less than what it would be worth to remember a part of it
        process = _process()
        try:
            outcome = self._drive(process, values, report)
        except EvaluationError as error:
            process.close()
            return Outcome("failed", note=str(error))
        except BaseException:
            process.close()
            raise
        _idle.put(process)
        return outcome

    def _drive(self, process: _Process, values: Mapping[str, Value], report: Link) -> Outcome:
        numbers = {name: float(value) for name, value in values.items()}
        rows: list[EpisodeRow] = []
        for start in range(0, self._episodes, _CASES_AT_ONCE):
            cases = range(start, min(start + _CASES_AT_ONCE, self._episodes))
            job = _Job(self._name, numbers, self._config, self._episodes, cases)
            if report.stopped:
                raise JobStopped
            for _, found in process.run([job]):
                rows += found
            worse = report(start // _CASES_AT_ONCE, score_of(rows).score)
            if worse and len(rows) < self._episodes:
                return Outcome("pruned", note=f"worse than most after {len(rows)} cases")
        score = score_of(rows)
        figures = as_figures(score) | {
            "time_headway_s": score.time_headway_s,
            "false_brakes_per_km": score.false_brakes_per_km,
        }
        return Outcome("complete", score.score, [figures], by_case=finite(score.by_case))

    def record(self) -> dict[str, Any]:
        """Return what the score depends on, beside the parameters."""
        return {
            "controller": self._name,
            "usual": self._usual,
            "environment": self._config.model_dump(mode="json"),
            "files": digests(self._config),
            "episodes": self._episodes,
            "validation_seed": VALIDATION_SEED,
        }

    def winner(self, values: Mapping[str, Value], comment: str) -> str:
        """Return a file for `--controllers NAME@FILE`."""
        head = f"# {comment}\n# roadsense evaluate MODEL --controllers {self._name}@THIS_FILE\n"
        return head + yaml.safe_dump(dict(values), sort_keys=False)
