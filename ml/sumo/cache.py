"""A cache directory whose entries appear whole or not at all.

An entry is built in a directory of its own beside its place and renamed into it, so several
processes may build the same entry at once and none ever sees half of one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Callable

CACHE_DIR_VARIABLE = "ROADSENSE_CACHE_DIR"
_LAYOUT = 1  # raise it when the files of an entry change


def default_cache_dir() -> Path:
    """Return ROADSENSE_CACHE_DIR, or ``~/.cache/roadsense``."""
    named = os.environ.get(CACHE_DIR_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "roadsense"


def content_key(*parts: bytes | str | int) -> str:
    """Return a name for what is derived from these parts by this version of SUMO."""
    digest = blake2b(digest_size=12)
    for part in (_LAYOUT, version("eclipse-sumo"), *parts):
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def publish(entry: Path, build: Callable[[Path], None]) -> Path:
    """Return a cache entry's absolute path, built first if it does not exist.

    Args:
        entry: The directory that the entry is, or will be.
        build: Writes the entry's files into the empty directory that it is given.

    Raises:
        SimulatorError: The cache directory cannot be written.
    """
    entry = entry.expanduser().absolute()
    if entry.is_dir():
        return entry
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    except OSError as error:
        raise SimulatorError(
            f"The cache directory {entry.parent} cannot be written: {error}. "
            f"Set {CACHE_DIR_VARIABLE} to a directory that can.",
        ) from error
    try:
        build(work)
        work.chmod(0o755)  # mkdtemp makes it private; a SUMO under another user reads it too
        try:
            work.rename(entry)
        except OSError:
            if not entry.is_dir():  # otherwise somebody else was faster; theirs is the same
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return entry
