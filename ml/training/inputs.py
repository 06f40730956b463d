"""The files that a run is made of beside its configuration: road and radio, by path and content.

A run's `config.yaml` holds their absolute paths, so that it means the same from every folder, and
`inputs.json` a SHA-256 of each, so that a run never goes on with other ones unnoticed.
"""

import json
from hashlib import sha256
from pathlib import Path

from ml.envs.config import EnvConfig
from ml.errors import CheckpointError, ScenarioError
from ml.folders import expand_home

_NAMED_IN_A_SUMOCFG = ("net-file", "route-files", "additional-files")


def absolute_files(config: EnvConfig) -> dict[str, str]:
    """Return the absolute paths of what the configuration names by a path, by key.

    A link stays one: SUMO finds a network beside the link, not beside what it leads to. What is
    not there stays as it was typed, for the message that tells of it.
    """
    from ml.parameters import PRESET_NAMES  # noqa: PLC0415 (slow to import, and --help needs none)
    from ml.sumo.scenarios import BUILTIN_SCENARIOS  # noqa: PLC0415

    found = {}
    for key, known in (("scenario", BUILTIN_SCENARIOS), ("radio", PRESET_NAMES)):
        said = getattr(config, key)
        path = expand_home(Path(said))
        if said not in known and path.is_file():
            found[key] = str(path.absolute())
    return found


def digests(config: EnvConfig) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of each file, by key and absolute path; of a road, its network's, too."""
    found = {}
    for key, name in absolute_files(config).items():
        files = [Path(name)]
        if key == "scenario":
            files += _named_in(files[0])
        found[key] = {str(file): _digest(file) for file in files}
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
        for name, digest in files.items():
            file = Path(name)
            if file.is_file() and _digest(file) == digest:
                continue
            happened = "has changed since the run began" if file.exists() else "is gone"
            raise CheckpointError(
                f"{recorded.parent} was trained with the {key} {getattr(was, key)}, and {file} "
                f"{happened}. Put it back as it was. To go on with something else on purpose, name "
                f"it: --resume {recorded.parent} --{key} ANOTHER. To begin a new run with what is "
                f"there now: --config {recorded.parent / 'config.yaml'}"
            )


def _named_in(file: Path) -> list[Path]:
    """List the files that a sumocfg names; those that it misses are told of when it is loaded."""
    from ml.sumo.sumocfg import files_named, parse_xml  # noqa: PLC0415 (as above)

    try:
        root = parse_xml(file)
    except ScenarioError:
        return []
    places = [place for option in _NAMED_IN_A_SUMOCFG for place in files_named(root, option, file)]
    return [place for place in places if place.is_file()]


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()
