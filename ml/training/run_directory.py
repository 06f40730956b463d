"""A run's own directory; it explains itself.

runs/20260101T120000Z-spec-s0/
    config.yaml     the effective configuration
    inputs.json     files that it names, with their SHA-256
    command.txt     each command that worked on this run
    versions.json   Python, packages, SUMO, commit, platform
    metrics.jsonl   one line per rollout and per evaluation
    tb/             TensorBoard events
    checkpoints/    step_000010000.zip …, latest (names the newest)
    best.zip        best safety score in the periodic evaluation
    final.zip       the weights at the end
    evaluation/     figures of the best model (best.json) and the closing table
"""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ml.atomic_files import write_atomically, write_json
from ml.errors import CheckpointError, ConfigError
from ml.training.config import TrainConfig
from ml.training.config_files import to_yaml
from ml.training.inputs import digests
from ml.training.versions import read_versions

_MOST_RUNS_OF_ONE_SECOND = 1000


class RunDirectory:
    """Paths inside a run directory, as this module's description names them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.inputs_file = path / "inputs.json"
        self.metrics_file = path / "metrics.jsonl"
        self.tensorboard = path / "tb"
        self.checkpoints = path / "checkpoints"
        self.best_model = path / "best.zip"
        self.final_model = path / "final.zip"
        self.evaluation = path / "evaluation"
        self.best_record = path / "evaluation" / "best.json"

    def write_start(self, config: TrainConfig, argv: Sequence[str], step: int) -> None:
        """Write down what starts here: configuration, command and versions.

        Raises:
            OSError: The disk is full, or the directory cannot be written.
        """
        for folder in (self.tensorboard, self.checkpoints, self.evaluation):
            folder.mkdir(exist_ok=True)
        write_atomically(self.config_file, to_yaml(config))
        write_json(self.inputs_file, digests(config.env))
        with (self.path / "command.txt").open("a", encoding="utf-8") as file:
            file.write(shlex.join(["roadsense", "train", *argv]) + "\n")
        write_json(self.path / "versions.json", {"started_at_step": step, **read_versions()})


def create_run(
    runs_dir: Path, preset: str, seed: int, *, now: datetime | None = None
) -> RunDirectory:
    """Make a new directory `<UTC>-<preset>-s<seed>`, with a suffix where that name is taken.

    Raises:
        ConfigError: No free name was found.
        OSError: It cannot be created.
    """
    stamp = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{stamp}-{preset}-s{seed}"
    for number in range(1, _MOST_RUNS_OF_ONE_SECOND):
        path = runs_dir / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return RunDirectory(path)
    raise ConfigError(f"{runs_dir}/{name} and all its numbered neighbours exist. Clear them up.")


def find_run(resume: str, runs_dir: Path) -> tuple[RunDirectory, Path | None]:
    """Find what `--resume` means.

    Args:
        resume: `latest` (the run in `runs_dir` whose checkpoint is the newest), a run directory,
            or a checkpoint file inside a run directory.
        runs_dir: Where runs are.

    Returns:
        The run, and the checkpoint if one was named.

    Raises:
        CheckpointError: There is no such thing; the message lists what there is.
    """
    if resume == "latest":
        pointers = list(runs_dir.glob("*/checkpoints/latest"))
        if not pointers:
            raise CheckpointError(
                f"nothing to resume: no run in {runs_dir.absolute()} has a checkpoint. "
                "Start without --resume (or RESUME), or set RUNS_DIR."
            )
        newest = max(pointers, key=lambda pointer: pointer.stat().st_mtime_ns)
        return RunDirectory(newest.parent.parent), None
    path = Path(resume)
    if path.is_dir():
        # The checkpoints folder of a run stands for the run.
        path = path.parent if path.name == "checkpoints" else path
        run, checkpoint = RunDirectory(path), None
    elif path.is_file():
        inside = path.parent.parent if path.parent.name == "checkpoints" else path.parent
        run, checkpoint = RunDirectory(inside), path
    else:
        runs = sorted(entry.name for entry in runs_dir.glob("*/") if entry.is_dir())[-3:]
        raise CheckpointError(
            f"cannot resume {resume}: no such file or directory. "
            f"Newest runs in {runs_dir}: {', '.join(runs) or 'none'}."
        )
    if not run.config_file.is_file():
        raise CheckpointError(
            f"cannot resume {resume}: {run.path} is not a run directory (it has no config.yaml). "
            "Give the run directory, or a checkpoint inside it."
        )
    return run, checkpoint
