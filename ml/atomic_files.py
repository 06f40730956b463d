"""Files that are there whole or not at all, also after a power cut."""

import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ml.errors import ConfigError

PARTIAL_SUFFIX = ".partial"
_LEAST_FREE_BYTES = 32 * 2**20  # checkpoints and curves of a run take some five megabytes


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
    except OSError as error:
        aside.unlink(missing_ok=True)
        error.filename = error.filename or str(path)  # a write that fails does not say where
        raise
    sync(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people to read, atomically; see `write_atomically`."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def finite(value: Any, digits: int = 17) -> Any:
    """Return what JSON can hold: numbers of so many digits, and None for those not finite."""
    if isinstance(value, dict):
        return {name: finite(inner, digits) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner, digits) for inner in value]
    if isinstance(value, float):  # numpy's float64 is one
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value


def sync(path: Path) -> None:
    """Make a file's content durable, or renames inside a directory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(directory: Path, variable: str) -> None:
    """Create a directory and prove that files can be written in it, and that there is room.

    Args:
        directory: The directory.
        variable: The environment variable or option that names it, for the remedy.

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
    free = shutil.disk_usage(directory).free
    if free < _LEAST_FREE_BYTES:
        raise ConfigError(
            f"{directory.absolute()} is on a disk with {free / 2**20:.0f} MB left; at least "
            f"{_LEAST_FREE_BYTES / 2**20:.0f} MB are needed. Free some space (`du -sh "
            f"{directory.absolute()}/*` shows what is large), or point {variable} to another disk."
        )


def check_output(option: str, file: Path) -> None:
    """Prove that a file can be written, before anything is done for it.

    Args:
        option: The option that names it, for the message.
        file: The file; it stays as it is.

    Raises:
        ConfigError: Its folder is not there or cannot be written, or it is a folder itself.
    """
    if not file.parent.is_dir():
        raise ConfigError(f"{option} = {file}: there is no folder {file.parent}. Create it first.")
    if file.is_dir():
        raise ConfigError(f"{option} = {file}: this is a folder. Name a file in it.")
    if file.exists() and not file.is_file() and os.access(file, os.W_OK):
        return  # a device, such as /dev/null
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".writable-"):
            pass
    except OSError as error:
        raise ConfigError(
            f"{option} = {file}: cannot write in {file.parent.absolute()} ({error.strerror}; this "
            f"process runs as uid {os.getuid()}). Name a file in another folder."
        ) from error
