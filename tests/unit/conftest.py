"""Fixtures of the fast tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import tiny_convoys as tiny

from ml.training import train_convoy
from ml.training.session import Parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console

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

    def run(*argv: str, **parts: Any) -> int:
        chosen = {"build_environment": tiny.build_tiny, "close": _no_closing} | parts
        return train_convoy.main(argv, parts=Parts(**chosen))

    return run
