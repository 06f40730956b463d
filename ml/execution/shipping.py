"""Files as content: read where a job comes from, checked and laid down where it is done."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

from ml.errors import ConfigError, EvaluationError
from ml.execution.jobs import Files
from ml.folders import default_cache_dir, expand_home

Content = Mapping[str, bytes]
"""Bytes by relative path."""
FOLDER = "shipped"
_WITH_PATHS = ("config.yaml", "inputs.json", "command.txt")
"""Files of a training run that name other files by their paths."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """The content behind a path of a job.

    Attributes:
        path: As the job names it.
        inside: Where that lies in the content; "." for all of it.
        digest: SHA-256 over names and bytes.
    """

    path: str
    inside: str
    digest: str


def digest_of(content: Content) -> str:
    """Return the SHA-256 of names and bytes."""
    digest = sha256()
    for name, data in sorted(content.items()):
        for piece in (os.fsencode(name), data):
            digest.update(len(piece).to_bytes(8, "little") + piece)
    return digest.hexdigest()


def pack(files: Files) -> tuple[Parcel, Content]:
    """Read files.

    Raises:
        ConfigError: One cannot be read.
    """
    try:
        content = {name: (files.root / name).read_bytes() for name in files.names}
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be read ({error.strerror}), so it cannot be sent to the "
            "cluster. Put it back, or name another."
        ) from error
    return Parcel(files.path, files.inside, digest_of(content)), content


def lay_down(parcel: Parcel, content: Content) -> str:
    """Write a parcel's content into this machine's cache, once; return where its path lies now.

    Raises:
        EvaluationError: What arrived is not what was sent, or the cache cannot be written.
    """
    if digest_of(content) != parcel.digest:
        raise EvaluationError(f"what arrived of {parcel.path} is not what was sent. Run it again.")
    cache = expand_home(default_cache_dir()).absolute() / FOLDER
    place = cache / parcel.digest[:32]
    if place.is_dir() and digest_of(read_folder(place)) == parcel.digest:
        return str(place / parcel.inside)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        aside = Path(mkdtemp(prefix=".aside-", dir=cache))
        write_folder(aside, content)
        if place.is_dir():  # damaged, or another worker was faster
            shutil.rmtree(place, ignore_errors=True)
        try:
            aside.rename(place)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            if not place.is_dir():
                raise
    except OSError as error:
        raise EvaluationError(f"{cache} cannot be written ({error.strerror}).") from error
    return str(place / parcel.inside)


def read_folder(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder by their relative paths."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def write_folder(folder: Path, content: Content) -> None:
    """Write files by their relative paths.

    Raises:
        OSError: The disk is full, say.
    """
    for name, data in content.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def renamed(name: str, data: bytes, places: Mapping[str, str]) -> bytes:
    """Return a file of a training run's with the paths in it as they are elsewhere."""
    if os.path.basename(name) not in _WITH_PATHS:  # noqa: PTH119
        return data
    for here, there in sorted(places.items(), key=lambda pair: -len(pair[0])):
        data = data.replace(os.fsencode(here), os.fsencode(there))
    return data
