"""What a job says of itself, so that it can be done on another machine: its files and its folder.

A path means nothing elsewhere. A job therefore lists the files that it names (`Files`); an executor
that sends it away sends their content along, and asks for the same job with the places where that
lies there (`at`).
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self


@dataclass(frozen=True, slots=True)
class Files:
    """Files behind one path of a job.

    Attributes:
        path: As the job names it: a file or a folder.
        root: Folder that all of them lie under.
        names: Their paths under it.
    """

    path: str
    root: Path
    names: tuple[str, ...]

    @classmethod
    def of(cls, path: str, files: Iterable[Path]) -> Self:
        """List files by their absolute paths; where they lie to each other is kept."""
        # Without the links resolved: SUMO finds a network beside a link, not beside its end.
        places = [os.path.abspath(file) for file in files]  # noqa: PTH100
        named = os.path.abspath(path)  # noqa: PTH100
        root = os.path.commonpath([*map(os.path.dirname, places), _folder(named)])
        return cls(path, Path(root), tuple(sorted(os.path.relpath(p, root) for p in set(places))))

    @property
    def inside(self) -> str:
        """Where what the job names lies under the root."""
        return os.path.relpath(Path(self.path).absolute(), self.root)


def _folder(path: str) -> str:
    return path if Path(path).is_dir() else os.path.dirname(path)  # noqa: PTH120


class Portable:
    """A job, without files and without a folder of its own; jobs with them say so."""

    __slots__ = ()

    @property
    def home(self) -> Path | None:
        """Folder that it works in, whose content it goes on from; None without one."""
        return None

    def files(self) -> list[Files]:
        """List all files that it reads."""
        return []

    def at(self, places: Mapping[str, str]) -> Self:
        """Return the same job with its files, and its folder, elsewhere.

        Args:
            places: By the path that the job names; of its folder, too.
        """
        del places
        return self


class Link(Protocol):
    """How a long job speaks with whoever asked for it."""

    @property
    def stopped(self) -> bool:
        """Whether it is to end now; what it has saved is kept."""

    def __call__(self, *said: Any) -> bool:
        """Report something; returns whether to give up."""


OnReport = Callable[[Any, tuple[Any, ...]], bool]
"""Told a job and what it reported; returns whether it shall give up."""


class JobStopped(BaseException):
    """A job ended since it was told to; not an `Exception`, so that nobody handles it away."""
