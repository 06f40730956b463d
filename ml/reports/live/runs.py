"""What a folder of training runs holds at this moment; it is read, never written.

A run is a folder with a `metrics.jsonl` or a `config.yaml`. Links are not followed: whatever is
found lies in the folder itself.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ml.errors import ConfigError

_DEEPEST = 4
"""Folders below the one that is served: those of several seeds and of a search hold runs, too."""
_MOST_RUNS = 200
_TAIL_BYTES = 2**18
"""Of a file of figures: a few hundred lines, among them the last evaluation's."""
_LARGEST_PAGE_BYTES = 2**24
_BEGUN = "has begun; no figures yet"
_PAGE = re.compile(r"episode_(\d{9,18})\.html", re.ASCII)
_NAME = re.compile(r"\d{8}T\d{6}Z-(.+?)-s\d+(?:-\d+)?")


@dataclass(frozen=True, slots=True)
class Run:
    """A run, as the page lists it.

    Attributes:
        name: Its folder, below the one that is served.
        preset: Of its name; empty where the folder is named otherwise.
        step: Environment steps on the last line of its figures.
        changed_s: When something was last written to it, in seconds since 1970.
        values: The last value of each curve that is finite, by name.
        episode: File of the newest episode; empty where there is none.
        note: What is wrong with it, in words; empty where nothing is.
    """

    name: str
    preset: str
    step: int = 0
    changed_s: float = 0.0
    values: dict[str, float] = field(default_factory=dict)
    episode: str = ""
    note: str = ""


class RunsFolder:
    """Reads a folder of runs, again and again; what has not changed is not read anew.

    Args:
        path: The folder.

    Raises:
        ConfigError: It is not there, or is no folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if not self.path.is_dir():
            raise ConfigError(
                f"--serve {path}: there is no such folder. Train first (roadsense train writes "
                "runs/), or name the folder that holds the runs."
            )
        self._known: dict[str, tuple[tuple[int, int], Run]] = {}

    def as_json(self) -> dict[str, Any]:
        """Return the runs, the newest first, and the folder's name."""
        runs = sorted(self._runs(), key=lambda run: -run.changed_s)
        return {"folder": self.path.name, "runs": [asdict(run) for run in runs[:_MOST_RUNS]]}

    def episode(self, name: str, file: str) -> bytes | None:
        """Return the page of an episode; None where this folder has none of that name."""
        # Names are compared with what is there, never joined to a path unseen.
        if not _PAGE.fullmatch(file) or name not in {it.as_posix() for it in self._folders()}:
            return None
        try:
            return read_plain(self.path / name / "evaluation" / file, self.path)
        except OSError:
            return None

    def _folders(self) -> Iterator[Path]:
        """List the runs' folders, relative to this one."""
        for folder, inner, files in os.walk(self.path):
            below = Path(folder).relative_to(self.path)
            if below.parts and {"metrics.jsonl", "config.yaml"} & set(files):
                inner.clear()
                yield below
            elif len(below.parts) >= _DEEPEST:
                inner.clear()

    def _runs(self) -> Iterator[Run]:
        for below in self._folders():
            name, named = below.as_posix(), _NAME.fullmatch(below.name)
            preset = named[1] if named else ""
            try:
                yield self._run(below, preset)
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or str(error)
                yield Run(name, preset, note=f"cannot be read: {why}")

    def _run(self, below: Path, preset: str) -> Run:
        name = below.as_posix()
        metrics = self.path / below / "metrics.jsonl"
        episode = _newest_page(self.path / below / "evaluation")
        if not metrics.exists() and not metrics.is_symlink():
            begun_s = (self.path / below).stat().st_mtime
            return Run(name, preset, changed_s=begun_s, episode=episode, note=_BEGUN)
        state = metrics.lstat()
        mark = (state.st_mtime_ns, state.st_size)
        if self._known.get(name, (None,))[0] != mark:
            text = read_plain(metrics, self.path, tail=_TAIL_BYTES).decode(errors="replace")
            step, values, note = last_values(text, whole=state.st_size <= _TAIL_BYTES)
            note = note or ("" if values else _BEGUN)
            self._known[name] = mark, Run(name, preset, step, state.st_mtime, values, note=note)
        known = self._known[name][1]
        return Run(name, preset, known.step, known.changed_s, known.values, episode, known.note)


def last_values(text: str, *, whole: bool = True) -> tuple[int, dict[str, float], str]:
    """Read the end of a `metrics.jsonl`.

    Args:
        text: Its end.
        whole: Whether it is all of the file; else its first line may be cut.

    Returns:
        The last step, the last finite value of each curve, and what is wrong with it: a last line
        without its end is being written, and is left out without a word.
    """
    lines = text.split("\n")[:-1]
    step, values, skipped = 0, dict[str, float](), 0
    for line in lines if whole else lines[1:]:
        try:
            row = json.loads(line)
            step = max(step, int(row.pop("step")))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            skipped += 1
            continue
        values |= {
            curve: value
            for curve, value in row.items()
            if isinstance(value, float | int) and abs(value) <= sys.float_info.max
        }
    lines_are = "line of metrics.jsonl is" if skipped == 1 else "lines of metrics.jsonl are"
    return step, values, f"{skipped} {lines_are} damaged, and left out" if skipped else ""


def read_plain(file: Path, root: Path, *, tail: int | None = None) -> bytes:
    """Read a file that really lies below a folder, and is neither link, pipe nor device.

    Args:
        file: The file.
        root: The folder, resolved.
        tail: How many bytes of its end; None for all of it.

    Raises:
        OSError: It is none, or cannot be read.
    """
    if not file.parent.resolve().is_relative_to(root):
        raise OSError(f"{file.name} lies outside the folder that is served")
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, "rb") as opened:  # noqa: PTH123 (of a handle)
        state = os.fstat(opened.fileno())
        if not os.path.samestat(state, file.lstat()) or not file.is_file():
            raise OSError(f"{file.name} is no plain file")
        if tail is not None:
            opened.seek(max(0, state.st_size - tail))
        elif state.st_size > _LARGEST_PAGE_BYTES:
            raise OSError(f"{file.name} is larger than any page")
        return opened.read(tail if tail is not None else _LARGEST_PAGE_BYTES)


def _newest_page(folder: Path) -> str:
    if folder.is_symlink() or not folder.is_dir():
        return ""
    pages = [(_PAGE.fullmatch(it.name), it) for it in folder.iterdir() if not it.is_symlink()]
    found = [(int(name[1]), it.name) for name, it in pages if name]
    return max(found, default=(0, ""))[1]
