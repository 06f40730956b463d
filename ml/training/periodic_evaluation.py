"""Evaluation now and then while training goes on, in a process of its own; the best model is kept.

libsumo holds one simulation per process, so the evaluation cannot share the trainer's. Its process
has libsumo on both ways of running. It cannot hang the training: an answer has a deadline, and
a failure is told of once and ends the evaluations, not the training.
"""

import hashlib
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch

from ml.atomic_files import finite, write_atomically, write_json
from ml.envs.prices import PRICES
from ml.errors import EvaluationError
from ml.evaluation.closing import figures_of
from ml.evaluation.drivers import PolicyDriver
from ml.evaluation.episodes import run_validation
from ml.evaluation.safety_score import INVALID, as_figures, in_words, paired_gain, score_of
from ml.training.callbacks import Bystander
from ml.training.checkpoints import load_model, model_bytes
from ml.training.child import Child
from ml.training.config import EvaluationConfig, TrainConfig
from ml.training.deployment import FINAL_MODEL_NAME
from ml.training.episode_pages import write_page
from ml.training.episode_picture import picture_of
from ml.training.evaluated import Draw, Evaluated
from ml.training.loggers import JsonLinesWriter, TensorBoardWriter
from ml.training.run_directory import RunDirectory
from ml.training.stop_signals import StopSignals

EvaluationChild: TypeAlias = Child[bytes, Evaluated]

REMEDY = (
    "Raise --evaluation.deadline-s, or ask for fewer --evaluation.episodes: memory may have run out"
)
PICTURE_TAG = "evaluation/episode"
_POLL_S = 0.2
_NORMAL_95 = 1.96
_DECIDES_NO_CASE = {
    *("reward", "backend", "audit_causality"),
    *("cases", "cases_share", "episodes_from", "episodes_from_share"),
}
"""Of the environment, what neither draws an evaluation's cases nor enters a safety score."""


def evaluate_policy(content: bytes, config: TrainConfig, draw: Draw | None = None) -> Evaluated:
    """Drive the evaluation's episodes with a model, deterministically, on an embedded SUMO.

    Args:
        content: The model, as `model_bytes` returns it.
        config: The run's configuration; episodes and seed are its evaluation section's.
        draw: Draws one of the episodes; None for no picture.

    Returns:
        Figures, the picture and the page. Where drawing fails the answer says why, and has the
        figures.

    Raises:
        RoadSenseError: SUMO failed, or no episode was valid.
    """
    torch.set_num_threads(1)
    model = load_model(io.BytesIO(content))
    driver = PolicyDriver(model)
    rows = run_validation(
        driver, config.env, episodes=config.evaluation.episodes, seed=config.evaluation.seed
    )
    found, score = figures_of(driver.name, rows), score_of(rows)
    figures = {
        "mean_return": found.mean_return,
        "return_se": found.return_se,
        "return_low": found.mean_return - _NORMAL_95 * found.return_se,
        "return_high": found.mean_return + _NORMAL_95 * found.return_se,
        "hazard_collision_rate": found.hazard_crashes.share,
        "other_collision_rate": found.other_crashes.share,
        "false_brakes_per_km": found.false_brakes_per_km,
        "time_headway_s": found.time_headway_s,
        "episodes": float(found.episodes),
        "invalid_episodes": float(found.invalid),
        **as_figures(score),
    }
    answer = Evaluated(figures, score.by_case)
    if draw is None:
        return answer
    try:
        drawn = picture_of(driver, config, rows, draw, step=model.num_timesteps)
        return answer._replace(picture=drawn.picture, page=drawn.page)
    except Exception as error:  # noqa: BLE001 (whatever it was, the figures are worth having)
        return answer._replace(complaint=f"{type(error).__name__}: {error}")


def cases_of(config: TrainConfig) -> str:
    """Name an evaluation's cases and what they are priced at: a digest.

    Two models whose scores have the same one can be paired, case by case.
    """
    evaluation = config.evaluation
    decides = {
        "env": config.env.model_dump(mode="json", exclude=_DECIDES_NO_CASE),
        "episodes": evaluation.episodes,
        "seed": evaluation.seed,
        "time_gap_s": config.interface.time_gap_s,
        "prices": PRICES,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(slots=True)
class BestModel:
    """Keeps `best.zip`; its step, score and figures stand in `evaluation/best.json`.

    Attributes:
        cases: What it is judged on, see `cases_of`.
        outdated: `best.zip` is of an earlier part of the run, which judged by other cases or
            prices, so that nothing can be paired with it until it is judged again (`renew`).
    """

    run: RunDirectory
    writers: tuple[TensorBoardWriter, JsonLinesWriter]
    tell: Callable[[str], None]
    least_gain: float
    cases: str = ""
    best_by_case: tuple[float, ...] = ()
    outdated: bool = False

    def __post_init__(self) -> None:
        """Take over what an earlier part of the run has found."""
        if self.run.best_record.exists() and self.run.best_model.exists():
            record = json.loads(self.run.best_record.read_text(encoding="utf-8"))
            self.outdated = record.get("cases") != self.cases
            if not self.outdated:
                self.best_by_case = tuple(
                    INVALID if score is None else score for score in record["by_case"]
                )

    def renew(self, found: Evaluated) -> None:
        """Take over `best.zip` as it was judged again.

        Raises:
            OSError: The disk is full or the directory is gone.
        """
        record = json.loads(self.run.best_record.read_text(encoding="utf-8"))
        self._record(record["step"], found)
        self.outdated = False
        self.tell(
            f"best.zip, of step {record['step']:,}, judged again: safety score "
            f"{found.figures['safety_score']:.2f}"
        )

    def _record(self, step: int, found: Evaluated) -> None:
        self.best_by_case = found.by_case
        figures = _known(found.figures)
        record = {"step": step, "cases": self.cases, **figures, "by_case": found.by_case}
        write_json(self.run.best_record, finite(record))

    def consider(self, step: int, content: bytes, found: Evaluated) -> None:
        """Write the figures down, and the model too if it is shown to be better.

        It is where the 95 % interval of the gain in safety score over the best one so far, paired
        by case, lies above `least_gain`.

        Raises:
            OSError: The disk is full or the directory is gone.
        """
        figures = _known(found.figures)
        values = {f"evaluation/{name}": value for name, value in figures.items()}
        for writer in self.writers:
            writer.write(values, dict.fromkeys(values, ()), step)
        gain = paired_gain(found.by_case, self.best_by_case) if self.best_by_case else None
        is_best = not self.best_by_case or (gain is not None and gain.low > self.least_gain)
        if is_best:
            write_atomically(self.run.best_model, content)
            self._record(step, found)
        told = f", {in_words(gain)} to the best before" if gain is not None else ""
        mark = " (best so far)" if is_best else " (not shown to be better)"
        self.tell(
            f"evaluation at step {step:,}: safety score {figures['safety_score']:.2f}, mean return "
            f"{figures['mean_return']:.1f}{told}{mark}"
        )


def _known(figures: dict[str, float]) -> dict[str, float]:
    """Leave out what is not a number, as a rate over no episodes: it is no point of a curve."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


class EvaluationCallback(Bystander):
    """Asks for an evaluation every `every_steps`, and keeps the best model.

    Training goes on while the child works. Should the next evaluation be due before the last one
    answered, training waits for it: which models are evaluated does not depend on the machine.

    The weights to begin with are evaluated, too, if `from_start`: those of a warm start. So is a
    `best.zip` that an earlier part of the run has chosen on other cases (`BestModel.outdated`).

    Attributes:
        failure: Why no more evaluations come; None while all is well.
    """

    def __init__(
        self,
        child: EvaluationChild,
        best: BestModel,
        config: EvaluationConfig,
        stop: StopSignals,
        *,
        from_start: bool = False,
    ) -> None:
        super().__init__()
        self._child, self._best, self._config, self._stop = child, best, config, stop
        self._from_start = from_start
        self._asked_step = -1
        self._content = b""
        self._renewing = self._has_complained = False
        self.failure: EvaluationError | None = None

    def _on_training_start(self) -> None:
        if self._best.outdated:
            self._best.tell(
                "best.zip was chosen on other validation cases, or by another score, than this "
                "part of the run chooses by: it is judged again first"
            )
            self._renewing = True
            content = self._best.run.best_model.read_bytes()
            self._child.ask("the evaluation of best.zip", content, self._config.deadline_s)
            self.collect()
        if self._from_start:
            self.ask()
            # A stop in a later rollout would lose these weights: no checkpoint holds them.
            self.collect()
        self._asked_step = self.num_timesteps

    def _on_rollout_start(self) -> None:
        every = self._config.every_steps
        if self.num_timesteps // every > self._asked_step // every:
            self.ask()

    def _on_rollout_end(self) -> None:
        self._take(0.0)

    def ask(self) -> None:
        """Ask for an evaluation of the present weights, after the outstanding answer."""
        step = self.num_timesteps
        if step == self._asked_step:
            return
        self.collect()
        if self._stop.received is None and self.failure is None:
            self._asked_step, self._content = step, model_bytes(self.model)
            what = f"the evaluation at step {step}"
            self._child.ask(what, self._content, self._config.deadline_s)

    def collect(self) -> None:
        """Wait for the outstanding answer, if there is one."""
        while self._child.busy and self._stop.received is None:
            self._take(_POLL_S)

    def _take(self, timeout_s: float) -> None:
        try:
            found = self._child.poll(timeout_s)
        except EvaluationError as error:
            self.failure = error
            self._best.tell(f"warning: {error}. Training continues without periodic evaluation.")
            return
        if found is None:
            return
        if self._renewing:
            self._renewing = False
            self._best.renew(found)
            return
        self._best.consider(self._asked_step, self._content, found)
        self._show(found)

    def _show(self, found: Evaluated) -> None:
        if found.picture:
            self._best.writers[0].add_picture(PICTURE_TAG, found.picture, self._asked_step)
        if found.page:
            write_page(self._best.run.evaluation, self._asked_step, found.page)
        if found.complaint and not self._has_complained:
            self._has_complained = True
            self._best.tell(
                f"warning: no picture of an episode in TensorBoard ({found.complaint}). Training "
                "and evaluation go on; this is said once."
            )


def publish_model(
    run: RunDirectory, config: TrainConfig, models_dir: Path, *, evaluated: bool
) -> str:
    """Copy the model that `config.keep` asks for to `models_dir`; return a line that says which.

    Args:
        run: A finished run; its `final.zip` is there.
        config: The run's.
        models_dir: Where the model goes, as `deep_sets_final.zip`.
        evaluated: Whether every periodic evaluation that was asked for has answered. Where one
            failed the best of those before is no choice, and the final model is taken.

    Raises:
        OSError: The disk is full or a directory is gone.
    """
    target = models_dir / FINAL_MODEL_NAME
    best = config.keep == "best" and evaluated and run.best_model.exists()
    write_atomically(target, (run.best_model if best else run.final_model).read_bytes())
    if config.keep == "final":
        return f"model: {target}, the last weights (--keep final)"
    if not best:
        why = "without periodic evaluation" if evaluated else "as an evaluation failed"
        return f"model: {target}, the last weights: {why} there is no best model to keep"
    record = json.loads(run.best_record.read_text(encoding="utf-8"))
    score = f"the best by safety score ({record['safety_score']:.2f})"
    if record["step"]:
        how = f"{score}, of step {record['step']:,}"
    else:
        how = (
            f"the warm start, as it was before PPO's first step: {score}; none of PPO's "
            f"{config.total_timesteps:,} steps is shown to have bettered it"
        )
    return f"model: {target}, {how}; the last weights: {run.final_model}"
