"""What runs on a node of a Ray cluster: a job, its files beside it, its folder on the way home."""

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from ml.atomic_files import PARTIAL_SUFFIX
from ml.errors import EvaluationError
from ml.execution.jobs import JobStopped, Portable
from ml.execution.shipping import Content, Parcel, lay_down, renamed, write_folder

_SYNC_S = 5.0
_LOOK_S = 2.0
_GRACE_S = 30.0


class Mailbox:
    """Where watched jobs say how far they are, and hear whether to go on; an actor of Ray."""

    def __init__(self) -> None:
        self._news: list[tuple[str, int, Any]] = []
        self._answers: dict[int, asyncio.Future[bool]] = {}
        self._looked_s = time.monotonic()

    async def report(self, number: int, said: tuple[Any, ...]) -> bool:
        """Take a report of a job, and answer when whoever asked for the job has."""
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._news.append(("report", number, said))
        return bool(await answer)

    async def send(self, number: int, changed: dict[str, bytes | None]) -> None:
        """Take files of a job's folder; None for one that is gone."""
        self._news.append(("files", number, changed))

    async def news(self) -> list[tuple[str, int, Any]]:
        """Hand out all that came in."""
        self._looked_s = time.monotonic()
        news, self._news = self._news, []
        return news

    async def answer(self, number: int, *, give_up: bool) -> None:
        """Answer a job's report."""
        waiting = self._answers.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(give_up)

    async def deserted(self) -> bool:
        """Whether nobody has looked for long."""
        return time.monotonic() - self._looked_s > _GRACE_S


@dataclass(frozen=True, slots=True)
class Errand:
    """What a task needs beside the job.

    Attributes:
        number: Of the job.
        parcels: What it reads.
        folder: Digest of its folder's content; empty for a job without a folder.
        mailbox: Of watched jobs; None for others.
        cores: That it may use.
    """

    number: int
    parcels: Sequence[Parcel]
    folder: str
    mailbox: Any
    cores: int


def perform(
    work: Callable[..., Any], job: Any, errand: Errand, *contents: Content
) -> tuple[Any, Exception | None, str]:
    """Do a job (called in a task).

    Returns:
        The answer, what was raised instead, and this machine's name.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    try:
        return _perform(work, job, errand, contents), None, socket.gethostname()
    except JobStopped:
        return None, EvaluationError(f"{job} was stopped"), socket.gethostname()
    except Exception as error:  # noqa: BLE001 (whatever it was, whoever asked is told)
        return None, error, socket.gethostname()


def _perform(
    work: Callable[..., Any], job: Any, errand: Errand, contents: Sequence[Content]
) -> Any:
    if not isinstance(job, Portable):
        return work(job)
    places = {
        parcel.path: lay_down(parcel, content)
        for parcel, content in zip(errand.parcels, contents, strict=False)
    }
    if errand.mailbox is None:
        return work(job.at(places))
    os.environ.setdefault("WORKERS", str(errand.cores))
    with TemporaryDirectory(prefix="roadsense-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch).resolve()
        if job.home is not None:
            places[str(job.home)] = str(folder)
            before = {n: renamed(n, data, places) for n, data in contents[-1].items()}
            write_folder(folder, before)
        away = _Away(folder, errand, places)
        with away:
            return work(job.at(places), away)


class _Away:
    """A job's link through the mailbox, which also sends home what changes in its folder."""

    def __init__(self, folder: Path, errand: Errand, places: dict[str, str]) -> None:
        import ray  # noqa: PLC0415 (this module is imported without it, too)

        self._ray, self._mailbox, self._number = ray, errand.mailbox, errand.number
        self._folder, self._back = folder, {there: here for here, there in places.items()}
        self._seen = self._state() if errand.folder else {}
        self._sends = bool(errand.folder)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_sending, daemon=True)
        self._looked_s, self._deserted = time.monotonic(), False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._send()

    @property
    def stopped(self) -> bool:
        """Whether whoever asked is gone."""
        now_s = time.monotonic()
        if now_s - self._looked_s > _LOOK_S:
            self._looked_s = now_s
            self._deserted = bool(self._ray.get(self._mailbox.deserted.remote()))
        return self._deserted

    def __call__(self, *said: Any) -> bool:
        """Report, and wait for the answer."""
        return bool(self._ray.get(self._mailbox.report.remote(self._number, said)))

    def _keep_sending(self) -> None:
        while not self._ended.wait(_SYNC_S):
            with suppress(OSError):  # a file that went away meanwhile is told of next time
                self._send()

    def _send(self) -> None:
        if not self._sends:
            return
        state = self._state()
        changed: dict[str, bytes | None] = {
            name: renamed(name, (self._folder / name).read_bytes(), self._back)
            for name, stamp in state.items()
            if self._seen.get(name) != stamp
        }
        changed |= dict.fromkeys(self._seen.keys() - state.keys())
        if changed:
            self._ray.get(self._mailbox.send.remote(self._number, changed))
        self._seen = state

    def _state(self) -> dict[str, tuple[int, int]]:
        """Return size and time of each file; the pointer to the newest checkpoint comes last."""
        found = {}
        for file in self._folder.rglob("*"):
            if file.is_file() and not file.name.endswith(PARTIAL_SUFFIX):
                status = file.stat()
                found[str(file.relative_to(self._folder))] = status.st_size, status.st_mtime_ns
        return dict(sorted(found.items(), key=lambda item: item[0].endswith("latest")))
