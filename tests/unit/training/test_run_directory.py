"""The run directory: its name, what it explains, and what `--resume` finds in it."""

from __future__ import annotations

import json
import os
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml import atomic_files
from ml.atomic_files import check_writable, write_atomically
from ml.errors import CheckpointError, ConfigError
from ml.training.config import TrainConfig
from ml.training.config_files import Layers
from ml.training.run_directory import RunDirectory, create_run, find_run

NOON = datetime(2026, 1, 2, 12, 0, 5, tzinfo=UTC)


def _run_with_checkpoint(runs: Path, name: str, mtime_s: int) -> RunDirectory:
    run = RunDirectory(runs / name)
    run.checkpoints.mkdir(parents=True)
    run.config_file.write_text("seed: 1\n")
    pointer = run.checkpoints / "latest"
    pointer.write_text("step_000000010.zip\n")
    os.utime(pointer, (mtime_s, mtime_s))
    return run


def test_the_name_says_when_what_and_which_seed(tmp_path: Path):
    """A run is called <UTC>-<preset>-s<seed>."""
    assert create_run(tmp_path, "fast", 7, now=NOON).path.name == "20260102T120005Z-fast-s7"


def test_a_taken_name_gets_a_number(tmp_path: Path):
    """Two runs of one second never share a directory."""
    runs = [create_run(tmp_path, "spec", 0, now=NOON) for _ in range(3)]
    assert [run.path.name for run in runs] == [
        "20260102T120005Z-spec-s0",
        "20260102T120005Z-spec-s0-2",
        "20260102T120005Z-spec-s0-3",
    ]


def test_a_run_explains_itself(tmp_path: Path):
    """Configuration, command and versions are there, and read back."""
    run = create_run(tmp_path, "spec", 3)
    config = TrainConfig(seed=3)
    run.write_start(config, ["--seed", "3", "--config", "my file.yaml"], step=0)
    run.write_start(config, ["--resume", "latest"], step=10)
    layers = Layers()
    layers.put_file(run.config_file)
    assert layers.build() == config
    assert (run.path / "command.txt").read_text().splitlines() == [
        "roadsense train --seed 3 --config 'my file.yaml'",
        "roadsense train --resume latest",
    ]
    versions = json.loads((run.path / "versions.json").read_text())
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["sumo"] == versions["packages"]["eclipse-sumo"]
    assert versions["started_at_step"] == 10
    assert {"platform", "git_commit", "started_utc"} <= versions.keys()
    assert run.tensorboard.is_dir()
    assert run.evaluation.is_dir()


def _found(resume: Path | str, runs: Path) -> tuple[Path, Path | None]:
    run, checkpoint = find_run(str(resume), runs)
    return run.path, checkpoint


def test_latest_is_the_run_saved_last(tmp_path: Path):
    """`latest` goes by the newest checkpoint, not by the names of the runs."""
    _run_with_checkpoint(tmp_path, "20260103T000000Z-spec-s0", mtime_s=1000)
    saved_last = _run_with_checkpoint(tmp_path, "20260101T000000Z-spec-s0", mtime_s=2000)
    (tmp_path / "20260104T000000Z-spec-s0").mkdir()  # a run without a checkpoint
    assert _found("latest", tmp_path) == (saved_last.path, None)


def test_a_directory_or_a_checkpoint_can_be_named(tmp_path: Path):
    """The run, its checkpoints folder, a checkpoint, best.zip: all lead to the run."""
    run = _run_with_checkpoint(tmp_path, "some-run", mtime_s=1)
    checkpoint = run.checkpoints / "step_000000010.zip"
    checkpoint.touch()
    run.best_model.touch()
    assert _found(run.path, tmp_path) == (run.path, None)
    assert _found(run.checkpoints, tmp_path) == (run.path, None)
    assert _found(checkpoint, tmp_path) == (run.path, checkpoint)
    assert _found(run.best_model, tmp_path) == (run.path, run.best_model)


def test_nothing_to_resume(tmp_path: Path):
    """Each way of finding nothing says what is there and what to do."""
    with pytest.raises(CheckpointError, match="Start without --resume"):
        find_run("latest", tmp_path)
    (tmp_path / "a-run").mkdir()
    with pytest.raises(CheckpointError, match=r"no such file or directory.*a-run"):
        find_run("b-run", tmp_path)
    with pytest.raises(CheckpointError, match=r"not a run directory.*config\.yaml"):
        find_run(str(tmp_path / "a-run"), tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A disk that fills up in mid-write costs the new content, not the old, and leaves no rest."""
    target = tmp_path / "latest"
    write_atomically(target, "old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_content_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The order is: flush the content, rename, flush the directory."""
    events = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(handle: int) -> None:
        events.append("directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "content")
        fsync(handle)

    def watched_replace(path: Path, target: Path) -> Path:
        events.append("rename")
        return replace(path, target)

    monkeypatch.setattr(atomic_files.os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    write_atomically(tmp_path / "file", b"content")
    assert events == ["content", "rename", "directory"]


def test_an_output_directory_is_created_and_left_clean(tmp_path: Path):
    """Probing for permission leaves nothing behind."""
    check_writable(tmp_path / "deep" / "runs", "RUNS_DIR")
    assert list((tmp_path / "deep" / "runs").iterdir()) == []


def test_an_output_directory_that_cannot_be_written(tmp_path: Path):
    """The message names path, uid, reason, and the variable that points elsewhere."""
    blocked = tmp_path / "runs"
    blocked.write_text("a file where the directory should be")
    with pytest.raises(ConfigError) as caught:
        check_writable(blocked, "RUNS_DIR")
    for part in (str(blocked), f"uid {os.getuid()}", "RUNS_DIR", "chown"):
        assert part in str(caught.value)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_foreign_directory_is_refused(tmp_path: Path):
    """A directory that belongs to root is refused to another user, with both uids."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    foreign = tmp_path / "runs"
    foreign.mkdir(mode=0o755)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            check_writable(foreign, "RUNS_DIR")
            message = "accepted"
        except ConfigError as error:
            message = str(error)
        os.write(writer, message.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        message = pipe.read()
    os.waitpid(child, 0)
    assert "uid 65534" in message
    assert "belongs to uid 0" in message
