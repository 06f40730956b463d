"""What a night brings: SUMO lost, the trainer killed, the disk full."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.training_runs import ROLLOUT, SMALL, Place, wait_until

from ml.training.checkpoints import load_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.sumo_service import Service

pytestmark = [pytest.mark.sumo, pytest.mark.slow]


def _as_root(*command: str) -> bool:
    """Run a command as root, if there is a way that asks nothing; tell whether it worked."""
    prefix = [] if os.getuid() == 0 else ["sudo", "-n"]
    try:
        return subprocess.run([*prefix, *command], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 MB, empty."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not _as_root("mount", "-t", "tmpfs", "-o", "size=40m,mode=777", "tmpfs", str(disk)):
        pytest.skip("needs root, or sudo without a password, to mount a small disk")
    try:
        yield disk
    finally:
        assert _as_root("umount", str(disk))


def _fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"\0" * 4096)
        except OSError:
            pass


def test_a_training_outlives_its_sumo(tmp_path: Path, service: Service):
    """SIGKILL in mid-rollout: training goes on to its end, and the curves tell of it."""
    place = Place(tmp_path)
    total = 8 * ROLLOUT
    trainer = place.start(
        *SMALL, "--total-timesteps", str(total),
        SUMO_HOST="127.0.0.1", SUMO_PORT=str(service.port),
    )  # fmt: skip
    wait_until(lambda: place.metrics().count("\n") >= 2, "second rollout")
    pid = service.sumo_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    out, err = trainer.communicate(timeout=900.0)
    assert trainer.returncode == 0, out + err
    assert "SUMO is lost" in err
    assert "SUMO runs again after" in err
    assert "Traceback" not in err
    curves = place.scalars()
    assert [step for step, _ in curves["train/value_loss"]] == list(
        range(ROLLOUT, total + 1, ROLLOUT)
    )
    assert curves["simulator/restarts"][0][1] == 0.0
    assert curves["simulator/restarts"][-1][1] == 1.0
    # None where it was lost while all convoys began new ones.
    assert curves["simulator/truncated_episodes"][-1][1] <= 8.0
    assert load_model(place.run / "final.zip").num_timesteps == total


def test_a_killed_trainer_loses_one_interval_at_most(tmp_path: Path):
    """SIGKILL, no chance to save: the last checkpoint is whole and the curve has no gap."""
    place = Place(tmp_path)
    trainer = place.start(*SMALL, "--total-timesteps", str(1000 * ROLLOUT))
    wait_until(lambda: place.metrics().count("\n") >= 3, "third rollout")
    trainer.kill()
    trainer.communicate()
    reached = ROLLOUT * place.metrics().count("\n")
    saved = place.saved_step()
    assert reached - ROLLOUT <= saved <= reached
    total = saved + ROLLOUT
    done = place.train("--resume", "latest", "--total-timesteps", str(total))
    assert done.returncode == 0, done.stderr
    for tag in ("train/value_loss", "reward/headway", "simulator/restarts"):
        assert [step for step, _ in place.scalars()[tag]] == list(
            range(ROLLOUT, total + 1, ROLLOUT)
        ), tag


def _descendants(pid: int) -> set[int]:
    """Processes that a process has started, and those that they have."""
    try:
        mine = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return set()
    found = {int(child) for child in mine}
    return found.union(*(_descendants(child) for child in found))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_trainer(tmp_path: Path, how: signal.Signals):
    """However it ends, no process is left; and a signal that can be handled saves first."""
    place = Place(tmp_path)
    trainer = place.start(*SMALL, "--total-timesteps", "1000000", WORKERS="2")
    try:
        wait_until(lambda: len(place.metrics().splitlines()) > 1, "second rollout")
        started = _descendants(trainer.pid)
        assert len(started) >= 2
        trainer.send_signal(how)
        out, err = trainer.communicate(timeout=120)
    finally:
        trainer.kill()
        trainer.communicate()
    if how is signal.SIGKILL:
        assert trainer.returncode == -how
    else:
        assert trainer.returncode == 128 + how, err
        assert "saved. Continue with" in out
    wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in started), "end of all")


def test_a_disk_that_fills_up_costs_nothing(small_disk: Path, tmp_path: Path):
    """The state is saved in room that was set aside; with new room, training goes on."""
    place = Place(small_disk)
    interval = ("--checkpoints.every-steps", "1000000")
    trainer = place.start(
        *SMALL, *interval, "--total-timesteps", str(1000 * ROLLOUT), MODELS_DIR=str(tmp_path)
    )
    wait_until(lambda: place.metrics().count("\n") >= 2, "second rollout")
    _fill(small_disk)
    out, err = trainer.communicate(timeout=900.0)
    assert trainer.returncode == 1, out + err
    assert "No space left on device" in err
    assert "--resume latest" in err
    assert "Traceback" not in err
    saved = place.saved_step()
    assert saved >= 2 * ROLLOUT
    (small_disk / "filler").unlink()
    total = saved + ROLLOUT
    done = place.train(
        "--resume", "latest", "--total-timesteps", str(total), MODELS_DIR=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    steps = [step for step, _ in place.scalars()["train/value_loss"]]
    assert steps == list(range(ROLLOUT, total + 1, ROLLOUT))


def test_a_disk_that_is_full_is_told_before_training(small_disk: Path, tmp_path: Path):
    """Exit code 2 within seconds, with the path, what is left and what is needed."""
    _fill(small_disk)
    done = Place(small_disk).train(*SMALL, MODELS_DIR=str(tmp_path))
    assert done.returncode == 2
    assert str(small_disk) in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((small_disk / "runs").glob("*"))


def test_a_disk_that_is_read_only_is_told_before_training(small_disk: Path, tmp_path: Path):
    """Exit code 2, the system's own reason, the remedy, and no directory."""
    assert _as_root("mount", "-o", "remount,ro", str(small_disk))
    done = Place(small_disk).train(*SMALL, MODELS_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "Read-only file system" in done.stderr
    assert "RUNS_DIR" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (small_disk / "runs").exists()
