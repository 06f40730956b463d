"""A training run by `roadsense train` in a process of its own, watched from outside.

A run that dies costs its trial and nothing else, and one that is given up or interrupted saves its
state: the next call for the same trial goes on from there.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ml.errors import EvaluationError, NotLearningError
from ml.training.child import Child
from ml.training.run_directory import RunDirectory
from ml.training.train_convoy import main
from ml.tuning.objective import Outcome

_POLL_S = 0.3
_SAVING_S = 60.0
"""How long a run may take to save once it is told to stop."""
_OVERRIDES = ("PRESET", "TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "RESUME")
"""Environment variables that would change the trial's configuration."""
_LONGEST_NOTE = 400


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


class TrainingProcess:
    """A training run in a folder of its own.

    Args:
        folder: Holds `config.yaml`; gets `train.log`, `runs/` and `models/`.
        preset: Named on the command line, for the run's name.
        worse: Told (number of the evaluation, best score so far); True ends the run.
    """

    def __init__(self, folder: Path, preset: str, worse: Callable[[int, float], bool]) -> None:
        self._folder, self._preset, self._worse = folder, preset, worse
        self._seen = self._judged = 0
        self._best = -math.inf
        self._abandoned: frozenset[Path] = frozenset()

    def run(self) -> Outcome:
        """Train, or go on; where the run is finished only its results are read.

        Returns:
            What became of it, with the figures of its best model (`evaluation/best.json`).
        """
        run = self._newest_run()
        if run is not None and run.final_model.exists():
            return self._given_up() if self._look() else _finished(run)
        if run is not None and not (run.checkpoints / "latest").exists():
            self._abandoned = frozenset(self._runs())  # killed before it had saved anything
            run = None
        if run is not None:
            arguments = ["--resume", str(run.path)]
        else:
            file = self._folder / "config.yaml"
            arguments = ["--preset", self._preset, "--config", str(file)]
        try:
            code = train_apart(self._folder, arguments, self._look)
        except EvaluationError as error:
            return Outcome("failed", note=f"{error} ({last_line(self._folder)})")
        if code is None:
            return self._given_up()
        self._look()  # for the record; a run that is through is not given up any more
        run = self._newest_run()
        if code == NotLearningError.exit_code:
            return Outcome("pruned", note=last_line(self._folder))
        if code or run is None:
            return Outcome("failed", note=f"exit code {code} ({last_line(self._folder)})")
        return _finished(run)

    def _look(self) -> bool:
        """Report evaluations that are new; returns whether to give the run up."""
        run = self._newest_run()
        scores = _scores(run) if run is not None else []
        for step, score in scores[self._seen :]:
            self._best = max(self._best, score)
            self._seen += 1
            if step == 0:
                continue  # a warm start, which not every run of a search has
            self._judged += 1
            if self._worse(self._judged - 1, self._best):
                return True
        return False

    def _given_up(self) -> Outcome:
        return Outcome("pruned", note=f"worse than most at evaluation {self._judged}")

    def _newest_run(self) -> RunDirectory | None:
        runs = [path for path in self._runs() if path not in self._abandoned]
        return RunDirectory(runs[-1]) if runs else None

    def _runs(self) -> list[Path]:
        return sorted(file.parent for file in (self._folder / "runs").glob("*/config.yaml"))


def _finished(run: RunDirectory) -> Outcome:
    if not run.best_record.exists():
        return Outcome("failed", note=f"{run.path} has no evaluated model")
    best = json.loads(run.best_record.read_text(encoding="utf-8"))
    by_case = best.pop("by_case")
    return Outcome("complete", best["safety_score"], [best], by_case=by_case)


def _scores(run: RunDirectory) -> list[tuple[int, float]]:
    """Step and score of the evaluations so far; a line that is being written is left for later."""
    if not run.metrics_file.exists():
        return []
    *whole, _ = run.metrics_file.read_text(encoding="utf-8").split("\n")
    name = "evaluation/safety_score"
    return [(said["step"], said[name]) for said in map(json.loads, whole) if name in said]
