"""A training run of a trial: judged on the way, given up or finished, gone on with."""

import json
import math
from collections.abc import Callable
from pathlib import Path

from ml.errors import EvaluationError, NotLearningError
from ml.execution.jobs import JobStopped
from ml.training.apart import last_line, runs_in, scores_in, train_apart
from ml.training.run_directory import RunDirectory
from ml.tuning.objective import Outcome


class TrainingProcess:
    """A training run in a folder of its own.

    Args:
        folder: Holds `config.yaml`; gets `train.log`, `runs/` and `models/`.
        preset: Named on the command line, for the run's name.
        worse: Told (number of the evaluation, best score so far); True ends the run.
        stopped: Whether to end now.
    """

    def __init__(
        self,
        folder: Path,
        preset: str,
        worse: Callable[[int, float], bool],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._folder, self._preset, self._worse = folder, preset, worse
        self._stopped = stopped
        self._seen = self._judged = 0
        self._best = -math.inf
        self._abandoned: frozenset[Path] = frozenset()

    def run(self) -> Outcome:
        """Train, or go on; where the run is finished only its results are read.

        Returns:
            What became of it, with the figures of its best model (`evaluation/best.json`).

        Raises:
            JobStopped: It was told to stop, and has saved.
        """
        run = self._newest_run()
        if run is not None and run.final_model.exists():
            return self._given_up() if self._look() else _finished(run)
        if run is not None and not (run.checkpoints / "latest").exists():
            self._abandoned = frozenset(
                of.path for of in runs_in(self._folder)
            )  # killed before it had saved anything
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
        if self._stopped():
            raise JobStopped
        run = self._newest_run()
        scores = scores_in(run) if run is not None else []
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
        runs = [run for run in runs_in(self._folder) if run.path not in self._abandoned]
        return runs[-1] if runs else None


def _finished(run: RunDirectory) -> Outcome:
    if not run.best_record.exists():
        return Outcome("failed", note=f"{run.path} has no evaluated model")
    best = json.loads(run.best_record.read_text(encoding="utf-8"))
    by_case = best.pop("by_case")
    return Outcome("complete", best["safety_score"], [best], by_case=by_case)
