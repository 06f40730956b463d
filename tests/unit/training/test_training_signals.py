"""A signal saves and stops the trainer, whenever it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import tiny_convoys as tiny
from support.tiny_training import NO_EVALUATION, SMALL, only_run, scalars, stop_at

from ml.training.checkpoints import load_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from ml.training.config import TrainConfig
    from ml.training.run_directory import RunDirectory


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_saves_and_stops(
    trainer: Callable[..., int], tmp_path: Path, number: signal.Signals, code: int
):
    """In mid-rollout: the state after the last update is saved, and the rest can be resumed."""
    arguments = (*SMALL, *NO_EVALUATION, "--total-timesteps", "640")
    assert trainer(*arguments, build_environment=stop_at(400, number)) == code
    run = only_run(tmp_path)
    assert (run / "checkpoints" / "latest").read_text() == "step_000000320.zip\n"
    assert not (run / "final.zip").exists()
    assert trainer("--resume", "latest") == 0
    assert scalars(run)["rollout/ep_rew_mean"] == [160, 320, 480, 640]
    assert scalars(run)["train/value_loss"] == [160, 320, 480, 640]


def test_a_signal_in_the_first_rollout(trainer: Callable[..., int], tmp_path: Path):
    """Nothing is learnt yet, but the run can be resumed all the same."""
    stopping = stop_at(40, signal.SIGTERM)
    arguments = (*SMALL, *NO_EVALUATION, "--total-timesteps", "320")
    assert trainer(*arguments, build_environment=stopping) == 143
    assert trainer("--resume", "latest") == 0
    assert load_model(only_run(tmp_path) / "final.zip").num_timesteps == 320


def test_a_signal_before_training_stops_at_once(trainer: Callable[..., int], tmp_path: Path):
    """While the environment is being built there is nothing to save: no run is left."""
    survived = []

    def build(config: TrainConfig, deployment: object, seed: int) -> tiny.TinyConvoys:
        del deployment
        os.kill(os.getpid(), signal.SIGTERM)
        survived.append(True)
        return tiny.TinyConvoys(config.num_envs, seed)

    assert trainer(*SMALL, *NO_EVALUATION, build_environment=build) == 143
    assert not survived
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_signal_during_the_closing_table(trainer: Callable[..., int], tmp_path: Path):
    """The models are saved by then; resuming writes the table alone."""
    closed = []

    def close(run: RunDirectory, config: TrainConfig, console: Console) -> None:
        del run, config, console
        if not closed:
            closed.append("interrupted")
            os.kill(os.getpid(), signal.SIGINT)
        closed.append("written")

    assert trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "160", close=close) == 130
    assert (only_run(tmp_path) / "final.zip").exists()
    assert trainer("--resume", "latest", close=close) == 0
    assert closed == ["interrupted", "written"]


@pytest.mark.slow
def test_a_second_signal_ends_at_once(tmp_path: Path):
    """A trainer that hangs while saving is ended by the second signal, with the same exit code."""
    script = tmp_path / "trainer.py"
    script.write_text(
        "import os, signal, sys, time\n"
        "from support import tiny_convoys as tiny\n"
        "from ml.training import session, train_convoy\n"
        "class Hanging(tiny.TinyConvoys):\n"
        "    def step_wait(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(3600)\n"
        "if __name__ == '__main__':\n"
        "    session.build_environment = lambda c, d, s: Hanging(c.num_envs, s)\n"
        "    sys.exit(train_convoy.main(['--evaluation.every-steps', '0']))\n"
    )
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path])),
        "RUNS_DIR": str(tmp_path / "runs"),
        "MODELS_DIR": str(tmp_path / "models"),
        "PRESET": "spec",
    }
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environ, check=False, capture_output=True, text=True, timeout=600.0,
    )  # fmt: skip
    assert done.returncode == 143, done.stderr
    assert "SIGTERM: saving and stopping; a second signal ends at once" in done.stderr


def test_signal_handlers_are_given_back(trainer: Callable[..., int]):
    """After the training the process answers Ctrl-C as before."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert trainer("--preset", "none") == 2
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
