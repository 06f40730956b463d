"""Training runs in processes of their own, as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = (
    "--num-envs", "8", "--ppo.n-steps", "1024", "--ppo.batch-size", "128", "--ppo.n-epochs", "2",
    "--episode-s", "15", "--imitation.rounds", "0", "--checkpoints.every-steps", "1024",
    "--evaluation.every-steps", "0", "--evaluation.closing-episodes", "0",
)  # fmt: skip
ROLLOUT = 1024
_UNSET = ("PRESET", "TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "RESUME", "SUMO_HOST", "SUMO_PORT")
_DEADLINE_S = 900.0


class Place:
    """A place of its own to train in."""

    program: tuple[str, ...] = ("ml.training.train_convoy",)
    """Module that trains, and what comes before a run's options."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.models = path / "models"
        self.environ = {key: value for key, value in os.environ.items() if key not in _UNSET} | {
            "RUNS_DIR": str(path / "runs"),
            "MODELS_DIR": str(self.models),
            "PYTHONWARNINGS": "error",
        }

    @property
    def run(self) -> Path:
        """The only run."""
        (run,) = (self.path / "runs").iterdir()
        return run

    def start(self, *argv: str, **environ: str) -> subprocess.Popen[str]:
        """Start a training run."""
        return subprocess.Popen(
            [sys.executable, "-m", *self.program, *argv],
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def train(self, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Train to the end."""
        trainer = self.start(*argv, **environ)
        try:
            out, err = trainer.communicate(timeout=_DEADLINE_S)
        finally:
            trainer.kill()  # does nothing where it has ended
            trainer.communicate()
        return subprocess.CompletedProcess(argv, trainer.returncode, out, err)

    def metrics(self) -> str:
        """What metrics.jsonl holds; empty before it exists."""
        found = list((self.path / "runs").glob("*/metrics.jsonl"))
        return found[0].read_text(encoding="utf-8") if found else ""

    def saved_step(self) -> int:
        """Step of the newest checkpoint."""
        named = (self.run / "checkpoints" / "latest").read_text(encoding="utf-8")
        return int(named.removeprefix("step_").split(".")[0])

    def scalars(self) -> dict[str, list[tuple[int, float]]]:
        """Steps and values of each curve."""
        events = EventAccumulator(str(self.run / "tb"))
        events.Reload()
        return {
            tag: [(e.step, e.value) for e in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }


def wait_until(probe: Callable[[], object], what: str) -> None:
    """Wait for a true result of `probe`."""
    deadline = time.monotonic() + _DEADLINE_S
    while not probe():
        assert time.monotonic() < deadline, f"no {what} within {_DEADLINE_S:.0f} s"
        time.sleep(0.05)
