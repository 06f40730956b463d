"""What the trainer takes from environment variables, read in one place.

| Variable | Meaning | Default |
|---|---|---|
| `PRESET` | preset to start from | convoy |
| `TOTAL_TIMESTEPS` `NUM_ENVS` `SEED` | as the options of the same name | the preset's |
| `RESUME` | `latest`, a run directory or a checkpoint | a new run |
| `RUNS_DIR` | where run directories go | runs |
| `MODELS_DIR` | where the finished model goes, too | ml/models/saved in the checkout, else models |
| `SUMO_HOST` | a SUMO to connect to; makes `traci` the backend | none: SUMO in the process |
| `SUMO_PORT` | its port | 8813 |

An empty variable counts as unset: that is how Compose passes what the user did not set.
(`ROADSENSE_CACHE_DIR` is the simulator's own: see `ml/folders.py`.)
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ml.errors import ConfigError
from ml.folders import expand_home
from ml.installation import code_folder

FINAL_MODEL_NAME = "deep_sets_final.zip"

_DEFAULT_SUMO_PORT = "8813"
_HIGHEST_PORT = 65535


class Deployment(NamedTuple):
    """Where things are on this machine, by variable; no part of what a run is.

    `overrides` holds the text of `TOTAL_TIMESTEPS`, `NUM_ENVS` and `SEED`, where set.
    """

    preset: str | None
    resume: str | None
    overrides: dict[str, str]
    runs_dir: Path
    models_dir: Path
    sumo_host: str | None
    sumo_port: int


def read_deployment(environ: Mapping[str, str] = os.environ) -> Deployment:
    """Read the environment variables.

    Raises:
        ConfigError: A port is not a port. (The other values are checked where they are used.)
    """

    def get(name: str) -> str | None:
        return environ.get(name, "").strip() or None

    port = get("SUMO_PORT") or _DEFAULT_SUMO_PORT
    if not is_port(port):
        raise ConfigError(
            f"environment variable SUMO_PORT = {port!r}: it must be a whole number from 1 to "
            f"{_HIGHEST_PORT}. Unset it for {_DEFAULT_SUMO_PORT}."
        )
    names = ("TOTAL_TIMESTEPS", "NUM_ENVS", "SEED")
    return Deployment(
        preset=get("PRESET"),
        resume=get("RESUME"),
        overrides={name: value for name in names if (value := get(name)) is not None},
        runs_dir=expand_home(Path(get("RUNS_DIR") or "runs")),
        models_dir=expand_home(Path(get("MODELS_DIR") or default_models_dir())),
        sumo_host=get("SUMO_HOST"),
        sumo_port=int(port),
    )


def is_port(text: str) -> bool:
    """Whether this is the number of a port."""
    return text.isascii() and text.isdigit() and 1 <= int(text) <= _HIGHEST_PORT


def default_models_dir() -> Path:
    """Return `ml/models/saved` in the checkout that this code is of, and `models` elsewhere.

    A folder called `ml` in somebody's own folder would hide this package there: Python looks into
    the current folder first.
    """
    return Path("ml/models/saved") if Path.cwd() == code_folder() else Path("models")
