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
    evaluation/     figures of the best model (best.json), the closing table, and pages of an
                    episode as the newest models drive it (episode_000125000.html …)

What a run is made of beside its configuration are files: a road, a radio. `config.yaml` holds their
absolute paths, so that it means the same from every folder, and `inputs.json` a digest of each, so
that a run never goes on with other ones unnoticed.
"""

import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from ml.atomic_files import write_atomically, write_json
from ml.envs.config import EnvConfig
from ml.errors import CheckpointError, ConfigError
from ml.folders import expand_home
from ml.training.config import TrainConfig
from ml.training.config_files import to_yaml
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


def absolute_files(config: EnvConfig) -> dict[str, str]:
    """Return the absolute paths of what the configuration names by a path, by key.

    A link stays one: SUMO finds a network beside the link, not beside what it leads to. What is
    not there stays as it was typed, for the message that tells of it.
    """
    # Slow to import, and --help needs none.
    from ml.envs.episodes.critical_cases import CASE_SETS  # noqa: PLC0415
    from ml.parameters import PRESET_NAMES, split_boards  # noqa: PLC0415
    from ml.sumo.scenarios import BUILTIN_SCENARIOS  # noqa: PLC0415

    found = {}
    builtin = {"scenario": BUILTIN_SCENARIOS, "radio": PRESET_NAMES, "cases": CASE_SETS}
    for key, known in builtin.items():
        said = getattr(config, key)
        file, boards = split_boards(said) if key == "radio" else (said, None)
        path = expand_home(Path(file))
        if said not in known and path.is_file():
            found[key] = f"{path.absolute()}:{boards}" if boards else str(path.absolute())
    folder = expand_home(Path(config.episodes_from))
    if config.episodes_from and folder.is_dir():
        found["episodes_from"] = str(folder.absolute())
    return found


def digests(config: EnvConfig) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of each file, by key and absolute path; of a road, its network's, too.

    Of a folder of recordings those of all files in it.
    """
    listed = files_of(config).items()
    return {key: {str(file): _digest(file) for file in files} for key, files in listed}


def files_of(config: EnvConfig) -> dict[str, list[Path]]:
    """List all files that the configuration names, by key, with those that a sumocfg names."""
    from ml.parameters import split_boards  # noqa: PLC0415 (as above)
    from ml.sumo.scenarios import scenario_files  # noqa: PLC0415

    found = {}
    for key, name in absolute_files(config).items():
        files = [Path(split_boards(name)[0])]
        if key == "scenario":
            files = scenario_files(files[0])
        if key == "episodes_from":
            files = sorted(Path(name).rglob("*.csv"))
        found[key] = files
    return found


def require_same(recorded: Path, was: EnvConfig, now: EnvConfig) -> None:
    """Check that the files of a run are what they were when it began.

    What the user replaces by another file or name is not compared.

    Args:
        recorded: The run's `inputs.json`; a run that holds none is not compared.
        was: Its configuration.
        now: With what it is to go on.

    Raises:
        CheckpointError: A file is gone or has other content, with what to do.
    """
    if not recorded.is_file():
        return
    before: dict[str, dict[str, str]] = json.loads(recorded.read_text(encoding="utf-8"))
    for key, files in before.items():
        if getattr(was, key) != getattr(now, key):
            continue
        new = digests(now).get(key, {}) if key == "episodes_from" else {}
        for name, digest in (new | files).items():
            file = Path(name)
            if name in files and file.is_file() and _digest(file) == digest:
                continue
            happened = "has changed since the run began" if file.exists() else "is gone"
            if name not in files:
                happened = "was not there when the run began"
            raise CheckpointError(
                f"{recorded.parent} was trained with the {key} {getattr(was, key)}, and {file} "
                f"{happened}. Put it back as it was. To go on with something else on purpose, name "
                f"it: --resume {recorded.parent} --{key} ANOTHER. To begin a new run with what is "
                f"there now: --config {recorded.parent / 'config.yaml'}"
            )


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


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
    if not path.is_dir() and not path.is_file():
        runs = sorted(entry.name for entry in runs_dir.glob("*/") if entry.is_dir())[-3:]
        raise CheckpointError(
            f"cannot resume {resume}: no such file or directory. "
            f"Newest runs in {runs_dir}: {', '.join(runs) or 'none'}."
        )
    checkpoint = path if path.is_file() else None
    folder = path.parent if checkpoint else path
    # The checkpoints folder of a run stands for the run.
    run = RunDirectory(folder.parent if folder.name == "checkpoints" else folder)
    if not run.config_file.is_file():
        raise CheckpointError(
            f"cannot resume {resume}: {run.path} is not a run directory (it has no config.yaml). "
            "Give the run directory, or a checkpoint inside it."
        )
    return run, checkpoint
