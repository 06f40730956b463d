"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from ml.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PARTIAL_SUFFIX = ".partial"


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write aside, flush to the disk, rename, flush the directory.

    Readers see the old content or the new one, never a part. The name aside is fixed, so that
    what a killed process left there is overwritten by the next.

    Raises:
        OSError: The disk is full, or the directory cannot be written.
    """
    aside = path.with_name(f".{path.name}{PARTIAL_SUFFIX}")
    data = content.encode() if isinstance(content, str) else content
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames inside a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(directory: Path, variable: str) -> None:
    """Create a directory and prove that a file can be written in it.

    Args:
        directory: The directory.
        variable: The environment variable that names it, for the remedy.

    Raises:
        ConfigError: With the user, the path, the reason and what to do.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".writable-") as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        existing = next((p for p in (directory, *directory.parents) if p.exists()), directory)
        owner = existing.stat().st_uid if existing.exists() else "nobody"
        raise ConfigError(
            f"cannot write in {directory.absolute()}: {error.strerror} (this process runs as uid "
            f"{os.getuid()}; {existing.absolute()} belongs to uid {owner}). "
            f"Run `sudo chown -R {os.getuid()} {existing.absolute()}`, free some space, or point "
            f"{variable} to another directory."
        ) from error
