"""A cache directory whose entries appear whole or not at all.

An entry is built in a directory of its own beside its place and renamed into it, so several
processes may build the same entry at once and none ever sees half of one.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

from ml.atomic_files import sync
from ml.errors import SimulatorError
from ml.folders import CACHE_DIR_VARIABLE, expand_home

_LAYOUT = 2  # raise it when the files of an entry change


def content_key(*parts: bytes | str | int) -> str:
    """Return a name for what is derived from these parts by this version of SUMO."""
    digest = blake2b(digest_size=12)
    for part in (_LAYOUT, version("eclipse-sumo"), *parts):
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def require_whole(file: Path, end: str) -> None:
    """Check that a cached text file is as long as it was written.

    SUMO takes its process along on some networks that are cut short.

    Raises:
        SimulatorError: It does not end with `end`.
    """
    try:
        with file.open("rb") as stream:
            stream.seek(-min(len(end) + 2, file.stat().st_size), os.SEEK_END)
            whole = stream.read().decode(errors="replace").rstrip().endswith(end)
    except OSError as error:
        raise SimulatorError(f"The cached file {file} cannot be read: {error}.") from error
    if not whole:
        raise SimulatorError(
            f"The cached file {file} is cut short; a power cut or a full disk may have done that. "
            f"It is made again after: rm -r {file.parent}"
        )


def publish(entry: Path, build: Callable[[Path], None]) -> Path:
    """Return a cache entry's absolute path, built first if it does not exist.

    Args:
        entry: The directory that the entry is, or will be.
        build: Writes the entry's files into the empty directory that it is given.

    Raises:
        SimulatorError: The cache directory cannot be written.
    """
    entry = expand_home(entry).absolute()
    if entry.is_dir():
        return entry
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    except OSError as error:
        raise SimulatorError(
            f"The cache directory {entry.parent} cannot be written: {error}. "
            f"Set {CACHE_DIR_VARIABLE} to a directory that can."
        ) from error
    try:
        build(work)
        for file in work.iterdir():
            sync(file)  # a name must not reach the disk before its content does
        work.chmod(0o755)  # mkdtemp makes it private; a SUMO under another user reads it too
        try:
            work.rename(entry)
        except OSError:
            if not entry.is_dir():  # otherwise somebody else was faster; theirs is the same
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return entry
