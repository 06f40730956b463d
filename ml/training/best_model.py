"""The best model so far by safety score in the periodic evaluation, and the record of all."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from ml.atomic_files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml.errors import EvaluationError
    from ml.training.evaluation_child import Evaluated
    from ml.training.loggers import JsonLinesWriter, TensorBoardWriter
    from ml.training.run_directory import RunDirectory

_ASIDE = "best_by_mean_return.zip"


class BestModel:
    """Keeps `best.zip`; its step, score and figures stand in `evaluation/best.json`.

    Runs of earlier versions kept the model with the largest mean return, and have no score of it.
    Such a one is set aside as `best_by_mean_return.zip` when the next model is evaluated: returns
    and scores cannot be compared.

    Args:
        run: The run's directory.
        writers: Where the figures of each evaluation go, at the step of the evaluated model.
        tell: Shows the user a line.
        least_gain: By how much a score must be higher than the best one's.
    """

    def __init__(
        self,
        run: RunDirectory,
        writers: tuple[TensorBoardWriter, JsonLinesWriter],
        tell: Callable[[str], None],
        *,
        least_gain: float = 0.0,
    ) -> None:
        self._run = run
        self._writers = writers
        self._tell = tell
        self._least_gain = least_gain
        self._warned = False
        self._record_file = run.evaluation / "best.json"
        self._best_score = float("-inf")
        self._set_aside = False
        if self._record_file.exists() and run.best_model.exists():
            record = json.loads(self._record_file.read_text(encoding="utf-8"))
            if "safety_score" in record:
                self._best_score = float(record["safety_score"])
            else:
                self._set_aside = True
                tell(
                    f"{run.best_model} was chosen by mean return, by an earlier version; the next "
                    f"model that is evaluated takes its place, and it stays as {_ASIDE}"
                )

    def consider(self, answer: Evaluated) -> None:
        """Write the figures down, and the model too if its score is higher by `least_gain`.

        Raises:
            OSError: The disk is full or the directory is gone.
        """
        # A rate over no episodes is not a number; it is no point of a curve either.
        figures = {name: value for name, value in answer.figures.items() if math.isfinite(value)}
        values = {f"evaluation/{name}": value for name, value in figures.items()}
        for writer in self._writers:
            writer.write(values, dict.fromkeys(values, ()), answer.step)
        score, mean = figures["safety_score"], figures["mean_return"]
        is_best = score > self._best_score + self._least_gain
        if is_best:
            self._best_score = score
            if self._set_aside:
                self._set_aside = False
                self._run.best_model.replace(self._run.path / _ASIDE)
            write_atomically(self._run.best_model, answer.content)
            record = {"step": answer.step, **figures}
            write_atomically(self._record_file, json.dumps(record, indent=2) + "\n")
        mark = " (best so far)" if is_best else ""
        self._tell(
            f"evaluation at step {answer.step:,}: safety score {score:.3f}, "
            f"mean return {mean:.1f}{mark}"
        )

    def warn_once(self, failure: EvaluationError) -> None:
        """Tell the user that no more evaluations come; training goes on."""
        if not self._warned:
            self._warned = True
            self._tell(f"warning: {failure}. Training goes on without periodic evaluation.")
