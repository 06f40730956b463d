"""Fixtures of the fast tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import tiny_convoys as tiny

from ml.training import session, train_convoy
from ml.training.periodic_evaluation import evaluate_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console
    from stable_baselines3.common.vec_env import VecEnv

    from ml.training.config import TrainConfig
    from ml.training.run_directory import RunDirectory


@pytest.fixture
def tiny_convoys() -> type[tiny.TinyConvoys]:
    """The class of the small environment (see tiny_convoys.py)."""
    return tiny.TinyConvoys


def _no_closing(run: RunDirectory, config: TrainConfig, console: Console) -> None:
    """Leave out the closing table, which needs SUMO."""


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the trainer with its outputs in `tmp_path`, on the small environment."""
    for name in ("TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "RESUME", "SUMO_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PRESET", "spec")  # the small environment has no driver to imitate
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))

    def run(
        *argv: str,
        build_environment: Callable[..., VecEnv] = tiny.build_tiny,
        evaluator: Callable[..., dict[str, float]] = evaluate_policy,
        close: Callable[..., None] = _no_closing,
    ) -> int:
        monkeypatch.setattr(session, "build_environment", build_environment)
        monkeypatch.setattr(session, "evaluate_policy", evaluator)
        monkeypatch.setattr(session, "write_closing_table", close)
        return train_convoy.main(argv)

    return run
