"""A training run by `roadsense train` in a process of its own, watched from outside.

A run that dies costs itself and nothing else, and one that is given up or interrupted saves its
state: the next call for the same folder goes on from there.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from ml.atomic_files import write_atomically
from ml.errors import EvaluationError
from ml.execution.jobs import Files, JobStopped, Link, Portable
from ml.training.child import Child
from ml.training.config import TrainConfig
from ml.training.config_files import to_yaml
from ml.training.run_directory import RunDirectory, absolute_files, files_of
from ml.training.train_convoy import main

_POLL_S = 0.3
_SAVING_S = 60.0
"""How long a run may take to save once it is told to stop."""
_OVERRIDES = ("PRESET", "TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "RESUME")
"""Environment variables that would change the run's configuration."""
_LONGEST_NOTE = 400
_CONFIG_FILE = "config.yaml"
_SCORE = "evaluation/safety_score"


def train_apart(
    folder: Path, arguments: Sequence[str], give_up: Callable[[], bool] = lambda: False
) -> int | None:
    """Train as `roadsense train` does, in a process of its own.

    Args:
        folder: Gets `train.log`, `runs/` and `models/`.
        arguments: Options of `roadsense train`.
        give_up: Asked now and then; True ends the run, which saves its state.

    Returns:
        The exit code; None where the run was given up.

    Raises:
        EvaluationError: The process died.
    """
    child: Child[tuple[Path, Sequence[str]], int] = Child(_train)
    try:
        child.ask("the training run", (folder, arguments))
        while (code := child.poll(_POLL_S)) is None:
            if give_up():
                return None
    finally:
        child.close(_SAVING_S)
    return code


def _train(job: tuple[Path, Sequence[str]]) -> int:
    """Train in this process, which is the trainer's alone; returns the exit code."""
    folder, arguments = job
    os.setsid()  # Ctrl-C and the like reach whoever asked alone, who stops a run once
    with (folder / "train.log").open("a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    for name in _OVERRIDES:
        os.environ.pop(name, None)
    os.environ |= {"RUNS_DIR": str(folder / "runs"), "MODELS_DIR": str(folder / "models")}
    return main(arguments)


def last_line(folder: Path) -> str:
    """Return the last line of the log of the run in a folder, and where there is more."""
    log = folder / "train.log"
    lines = log.read_text("utf-8", "replace").strip().splitlines() if log.exists() else []
    return f"{lines[-1][:_LONGEST_NOTE]}; {log} says more" if lines else f"{log} is empty"


def runs_in(folder: Path) -> list[RunDirectory]:
    """List the runs in a folder, the newest last."""
    return [RunDirectory(file.parent) for file in sorted((folder / "runs").glob("*/config.yaml"))]


def figures_in(run: RunDirectory) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics; one that is being written is left for later."""
    if not run.metrics_file.exists():
        return []
    *whole, _ = run.metrics_file.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in whole]


def scores_in(run: RunDirectory) -> list[tuple[int, float]]:
    """Return step and safety score of each evaluation."""
    return [(said["step"], said[_SCORE]) for said in figures_in(run) if _SCORE in said]


@dataclass(frozen=True, slots=True)
class TrainingJob(Portable):
    """A whole training run in a folder of its own, which goes on where that stands.

    Attributes:
        folder: See `train_apart`.
        arguments: Options of `roadsense train`.
        config: Configuration that they are put over; None for the preset's.
    """

    name: str
    folder: Path
    arguments: tuple[str, ...] = ()
    config: TrainConfig | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def home(self) -> Path | None:
        """Return the run's folder."""
        return self.folder

    @property
    def finished(self) -> bool:
        """Whether there is a model that was trained to the end."""
        return any((self.folder / "models").glob("*.zip"))

    def files(self) -> list[Files]:
        """List what the configuration names: a road, a radio, cases, recordings."""
        return [] if self.config is None else config_files(self.config)

    def at(self, places: Mapping[str, str]) -> Self:
        """Return it for another folder, with these files elsewhere."""
        config = None if self.config is None else config_at(self.config, places)
        return replace(self, folder=Path(places[str(self.folder)]), config=config)


def config_files(config: TrainConfig) -> list[Files]:
    """List the files of a configuration for a job."""
    named, files = absolute_files(config.env), files_of(config.env)
    return [Files.of(_plain(key, path), files[key]) for key, path in named.items()]


def config_at(config: TrainConfig, places: Mapping[str, str]) -> TrainConfig:
    """Return a configuration with its files elsewhere."""
    moved = {}
    for key, path in absolute_files(config.env).items():
        file = _plain(key, path)
        moved[key] = places[file] + path[len(file) :]
    return config.model_copy(update={"env": config.env.model_copy(update=moved)})


def _plain(key: str, path: str) -> str:
    """Return a path without the boards that stand behind a radio's."""
    from ml.parameters import split_boards  # noqa: PLC0415 (numpy is slow to import)

    return split_boards(path)[0] if key == "radio" else path


def train_whole(job: TrainingJob, link: Link) -> str:
    """Train, or go on, and report (step, safety score or None) on the way; runs in an executor.

    Returns:
        What went wrong; empty where there is a model.

    Raises:
        JobStopped: It was told to stop, and has saved.
    """
    if job.finished:
        return ""
    job.folder.mkdir(parents=True, exist_ok=True)
    arguments = list(job.arguments)
    runs = runs_in(job.folder)
    if runs and (runs[-1].checkpoints / "latest").exists():
        arguments = ["--resume", str(runs[-1].path)]
    elif job.config is not None:
        file = job.folder / _CONFIG_FILE
        write_atomically(file, to_yaml(job.config))
        arguments += ["--preset", job.config.preset, "--config", str(file)]
    known: dict[str, Any] = {"step": -1}

    def look() -> bool:
        if link.stopped:
            raise JobStopped
        new = runs_in(job.folder)[len(runs) :] or runs[-1:]
        lines = figures_in(new[-1]) if new else []
        if not lines or lines[-1]["step"] <= known["step"]:
            return False
        known["step"] = lines[-1]["step"]
        scores = [line[_SCORE] for line in lines if _SCORE in line]
        return link(known["step"], max(scores, default=None))

    try:
        code = train_apart(job.folder, arguments, look)
    except EvaluationError as error:
        return f"{error} ({last_line(job.folder)})"
    if code:
        return f"the training run ended with exit code {code} ({last_line(job.folder)})"
    return ""
