"""What the trainer takes from environment variables, read in one place.

| Variable | Meaning | Default |
|---|---|---|
| `PRESET` | preset to start from | convoy |
| `TOTAL_TIMESTEPS` `NUM_ENVS` `SEED` `WORKERS` | as the options of the same name | the preset's |
| `RESUME` | `latest`, a run directory or a checkpoint | a new run |
| `RUNS_DIR` | where run directories go | runs |
| `MODELS_DIR` | where the finished model goes, too | ml/models/saved in the checkout, else models |
| `SUMO_HOST` | SUMOs to connect to, as `--sumo-hosts`; makes `traci` the backend | none: embedded |
| `SUMO_PORT` | their port, where none is named | 8813 |

An empty variable counts as unset: that is how Compose passes what the user did not set.
(`ROADSENSE_CACHE_DIR` is the simulator's own: see `ml/folders.py`.)
"""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ml.errors import ConfigError
from ml.folders import expand_home
from ml.installation import code_folder

FINAL_MODEL_NAME = "deep_sets_final.zip"

_DEFAULT_SUMO_PORT = 8813
_HIGHEST_PORT = 65535

Address = tuple[str, int]
"""Host and port."""


class Deployment(NamedTuple):
    """Where things are on this machine, by variable; no part of what a run is.

    `overrides` holds the text of `TOTAL_TIMESTEPS`, `NUM_ENVS`, `SEED` and `WORKERS`, where set.
    `sumo_hosts` are the names of SUMOs to connect to, each with its port.
    """

    preset: str | None
    resume: str | None
    overrides: dict[str, str]
    runs_dir: Path
    models_dir: Path
    sumo_hosts: tuple[Address, ...]


def read_deployment(environ: Mapping[str, str] = os.environ) -> Deployment:
    """Read the environment variables.

    Raises:
        ConfigError: A port is not a port. (The other values are checked where they are used.)
    """

    def get(name: str) -> str | None:
        return environ.get(name, "").strip() or None

    port = get("SUMO_PORT") or str(_DEFAULT_SUMO_PORT)
    if not is_port(port):
        raise ConfigError(
            f"environment variable SUMO_PORT = {port!r}: it must be a whole number from 1 to "
            f"{_HIGHEST_PORT}. Unset it for {_DEFAULT_SUMO_PORT}."
        )
    names = ("TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "WORKERS")
    return Deployment(
        preset=get("PRESET"),
        resume=get("RESUME"),
        overrides={name: value for name in names if (value := get(name)) is not None},
        runs_dir=expand_home(Path(get("RUNS_DIR") or "runs")),
        models_dir=expand_home(Path(get("MODELS_DIR") or default_models_dir())),
        sumo_hosts=read_hosts(get("SUMO_HOST") or "", "environment variable SUMO_HOST", int(port)),
    )


def read_hosts(text: str, place: str, port: int = _DEFAULT_SUMO_PORT) -> tuple[Address, ...]:
    """Read a list such as `a:8813,b`.

    Args:
        text: The list.
        place: Where it was given, for messages.
        port: Port of those that name none.

    Raises:
        ConfigError: One of them is no host with a port.
    """
    found = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        host, colon, number = part.partition(":")
        if not host or (colon and not is_port(number)):
            raise ConfigError(
                f"{place}: {part!r} is no host with a port from 1 to {_HIGHEST_PORT}. Write "
                "HOST:PORT, several of them with commas, as a:8813,b:8813."
            )
        found.append((host, int(number) if colon else port))
    return tuple(found)


def servers(hosts: Sequence[Address]) -> list[Address]:
    """Return the addresses behind names; one name may have many, as a service that is scaled.

    A name with a single address stays a name, since the address may change when its SUMO starts
    again. One that is not known yet stays, too: connecting says what is wrong.
    """
    found: list[Address] = []
    for host, port in hosts:
        try:
            answers = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            answers = []
        addresses = sorted({str(answer[4][0]) for answer in answers})
        several = len(addresses) > 1
        found += [(address, port) for address in addresses] if several else [(host, port)]
    return found


def is_port(text: str) -> bool:
    """Whether this is the number of a port."""
    return text.isascii() and text.isdigit() and 1 <= int(text) <= _HIGHEST_PORT


def default_models_dir() -> Path:
    """Return `ml/models/saved` in the checkout that this code is of, and `models` elsewhere.

    A folder called `ml` in somebody's own folder would hide this package there: Python looks into
    the current folder first.
    """
    return Path("ml/models/saved") if Path.cwd() == code_folder() else Path("models")
