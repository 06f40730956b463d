"""Which model of a finished run goes to MODELS_DIR."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ml.atomic_files import write_atomically
from ml.training.deployment import FINAL_MODEL_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from ml.training.config import TrainConfig
    from ml.training.run_directory import RunDirectory


def publish_model(
    run: RunDirectory, config: TrainConfig, models_dir: Path, *, evaluated: bool
) -> str:
    """Copy the model that `config.keep` asks for to `models_dir`.

    Args:
        run: A finished run; its `final.zip` is there.
        config: The run's.
        models_dir: Where the model goes, as `deep_sets_final.zip`.
        evaluated: Whether every periodic evaluation that was asked for has answered. Where one
            failed the best of those before is no choice, and the final model is taken.

    Returns:
        A line that says which model this is.

    Raises:
        OSError: The disk is full or a directory is gone.
    """
    target = models_dir / FINAL_MODEL_NAME
    best = config.keep == "best" and evaluated and run.best_model.exists()
    source = run.best_model if best else run.final_model
    write_atomically(target, source.read_bytes())
    if best:
        return f"model: {target}, {_how_chosen(run, config)}; the last weights: {run.final_model}"
    if config.keep == "final":
        return f"model: {target}, the last weights (--keep final)"
    why = "without periodic evaluation" if evaluated else "as an evaluation failed"
    return f"model: {target}, the last weights: {why} there is no best model to keep"


def _how_chosen(run: RunDirectory, config: TrainConfig) -> str:
    record = json.loads((run.evaluation / "best.json").read_text(encoding="utf-8"))
    if "safety_score" not in record:
        return f"the best by mean return, of step {record['step']:,} (chosen by an earlier version)"
    score = f"the best by safety score ({record['safety_score']:.3f})"
    if record["step"]:
        return f"{score}, of step {record['step']:,}"
    gain = config.evaluation.least_gain
    return (
        f"the warm start, as it was before PPO's first step: {score}, which PPO's "
        f"{config.total_timesteps:,} steps did not better" + (f" by {gain:g}" if gain else "")
    )
