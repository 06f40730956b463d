"""One training of a trial, by `roadsense train` in a process of its own, watched from outside.

A training that dies costs its trial and nothing else, and one that is given up or interrupted saves
its state: the next run of the same trial goes on from there.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ml.errors import NotLearningError
from ml.installation import same_code
from ml.training.run_directory import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_POLL_S = 0.3
_SAVING_S = 60.0
"""How long a training may take to save once it is told to stop."""
_OVERRIDES = ("PRESET", "TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "RESUME")
"""Environment variables that would change the trial's configuration."""
_LONGEST_NOTE = 400


@dataclass(frozen=True, slots=True)
class Ended:
    """How a training ended.

    Attributes:
        state: As `Outcome.state`.
        best: Step, score and figures of its best model (`evaluation/best.json`).
        note: Why it is not complete.
    """

    state: Literal["complete", "pruned", "failed"]
    best: dict[str, float] = field(default_factory=dict)
    note: str = ""


class TrainingProcess:
    """A training in a folder of its own.

    Args:
        folder: Holds `config.yaml`; gets `train.log`, `runs/` and `models/`.
        preset: Named on the command line, for the run's name.
        worse: Told (number of the evaluation, best score so far); True ends the training.
    """

    def __init__(self, folder: Path, preset: str, worse: Callable[[int, float], bool]) -> None:
        self._folder = folder
        self._preset = preset
        self._worse = worse
        self._seen = self._judged = 0
        self._best = -math.inf
        self._abandoned: frozenset[Path] = frozenset()

    def run(self) -> Ended:
        """Train, or go on; where the training is finished only its results are read."""
        run = self._newest_run()
        if run is not None and run.final_model.exists():
            return self._given_up() if self._look() else self._finished(run)
        if run is not None and not (run.checkpoints / "latest").exists():
            self._abandoned = frozenset(self._runs())  # killed before it had saved anything
            run = None
        log = self._folder / "train.log"
        with log.open("a", encoding="utf-8") as stream:
            # A session of its own: Ctrl-C reaches us alone. A training is stopped once, by the end
            # of its input, since a second signal would end it before it has saved.
            process = subprocess.Popen(  # noqa: S603 (this program, with its own options)
                self._command(run),
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
            try:
                given_up = self._watch(process)
            finally:
                _end(process)
        run = self._newest_run()
        if given_up:
            return self._given_up()
        if process.returncode == NotLearningError.exit_code:
            return Ended("pruned", note=_last_line(log))
        if process.returncode != 0 or run is None:
            return Ended("failed", note=f"exit code {process.returncode} ({_last_line(log)})")
        return self._finished(run)

    def _watch(self, process: subprocess.Popen[bytes]) -> bool:
        while process.poll() is None:
            time.sleep(_POLL_S)
            if self._look():
                return True
        self._look()  # for the record; a training that is through is not given up any more
        return False

    def _look(self) -> bool:
        """Report evaluations that are new; returns whether to give the training up."""
        run = self._newest_run()
        scores = _scores(run) if run is not None else []
        for step, score in scores[self._seen :]:
            self._best = max(self._best, score)
            self._seen += 1
            if step == 0:
                continue  # a warm start, which not every training of a search has
            self._judged += 1
            if self._worse(self._judged - 1, self._best):
                return True
        return False

    def _given_up(self) -> Ended:
        return Ended("pruned", note=f"worse than most at evaluation {self._judged}")

    @staticmethod
    def _finished(run: RunDirectory) -> Ended:
        record = run.evaluation / "best.json"
        if not record.exists():
            return Ended("failed", note=f"{run.path} has no evaluated model")
        return Ended("complete", json.loads(record.read_text(encoding="utf-8")))

    def _newest_run(self) -> RunDirectory | None:
        runs = [path for path in self._runs() if path not in self._abandoned]
        return RunDirectory(runs[-1]) if runs else None

    def _runs(self) -> list[Path]:
        return sorted(file.parent for file in (self._folder / "runs").glob("*/config.yaml"))

    def _command(self, run: RunDirectory | None) -> list[str]:
        command = [sys.executable, "-P", "-m", "ml.tuning.training_child"]
        if run is not None:
            return [*command, "--resume", str(run.path)]
        return [*command, "--preset", self._preset, "--config", str(self._folder / "config.yaml")]

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in same_code().items() if key not in _OVERRIDES}
        places = {"RUNS_DIR": self._folder / "runs", "MODELS_DIR": self._folder / "models"}
        return kept | {name: str(path) for name, path in places.items()}


def _scores(run: RunDirectory) -> list[tuple[int, float]]:
    """Step and score of the evaluations so far; a line that is being written is left for later."""
    if not run.metrics_file.exists():
        return []
    *whole, _ = run.metrics_file.read_text(encoding="utf-8").split("\n")
    name = "evaluation/safety_score"
    return [(said["step"], said[name]) for said in map(json.loads, whole) if name in said]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a training save and stop; end it where it does not."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_SAVING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1][:_LONGEST_NOTE]}; {log} says more" if lines else f"{log} is empty"
