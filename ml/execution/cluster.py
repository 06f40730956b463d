"""Jobs as tasks of a Ray cluster: see `ml.execution.executor` for what is promised.

All that decides what is done next is here, in the process of whoever asked; the process that speaks
with Ray (`ray_driver`) is told one job after the other and may die.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Self, TypeVar

from ml.atomic_files import write_atomically
from ml.errors import EvaluationError
from ml.execution import ray_driver
from ml.execution.jobs import Link, OnReport, Portable
from ml.execution.workers import deaf_to_ctrl_c

Job = TypeVar("Job")
Answer = TypeVar("Answer")
_GOODBYE_S = 15.0
_MOST_LOSSES_IN_A_ROW = 3


class Cluster:
    """The nodes of a Ray cluster.

    Args:
        address: As `ray.init` takes it: auto, ray://HOST:10001 or HOST:6379.
        tell: Told, in words, of nodes that are left out and jobs that are done again.
    """

    def __init__(self, address: str, tell: Callable[[str], None]) -> None:
        self._address, self._tell = address, tell
        self._ready: _Speaker | None = None

    def connect(self) -> None:
        """Connect now instead of with the first jobs, so that a mistake is told before them.

        Raises:
            RoadSenseError: Nothing answers there, or it is of another version.
        """
        speaker = _Speaker(self._address, again=False)
        match speaker.hear():
            case ("ready",):
                self._ready = speaker
            case ("failed", error):
                speaker.close()
                raise error
            case _:  # it is tried again with the first jobs
                speaker.close()

    def run(
        self, work: Callable[[Job], Answer], jobs: Iterable[Job]
    ) -> Iterator[tuple[Job, Answer]]:
        """Do each job as a task on one core; see `Executor.run`."""
        yield from self._run(work, iter(jobs), lambda *_: False, 0)

    def run_watched(
        self,
        work: Callable[[Job, Link], Answer],
        jobs: Iterable[Job],
        on_report: OnReport,
        *,
        cores: int = 1,
    ) -> Iterator[tuple[Job, Answer]]:
        """Do each job as a task whose folder comes home; see `Executor.run_watched`."""
        yield from self._run(work, iter(jobs), on_report, cores)

    def _run(
        self, work: Callable[..., Any], source: Iterator[Any], on_report: OnReport, cores: int
    ) -> Iterator[tuple[Any, Any]]:
        """Start processes that speak with Ray until one has done all."""
        why = ""
        losses, jobs = 0, _Jobs(source, on_report, self._tell)
        while losses < _MOST_LOSSES_IN_A_ROW:
            jobs.begin_again()
            ready, self._ready = self._ready, None
            with ready or _Speaker(self._address, again=losses > 0) as speaker:
                if ready:
                    speaker.say((work, cores))
                while (said := speaker.hear()) is not None:
                    match said:
                        case ("ready",):
                            speaker.say((work, cores))
                        case ("done", number, answer):
                            losses = 0
                            yield jobs.done(number), answer
                        case ("failed", error):
                            raise error
                        case ("end",):
                            return
                        case ("lost", text):
                            why = f"({text})"
                        case _:
                            speaker.say(jobs.reply(said))
            losses += 1
            self._tell(f"the cluster {self._address} is lost {why}; connecting again")
        raise EvaluationError(
            f"the cluster {self._address} was lost {losses} times {why}. What was finished is "
            "kept: see to the head (ray status), and run the same command again."
        )


class _Jobs:
    """The jobs that are out, by number, and the rest of them."""

    def __init__(
        self, source: Iterator[Any], on_report: OnReport, tell: Callable[[str], None]
    ) -> None:
        self._source, self._on_report, self._tell = source, on_report, tell
        self._out: dict[int, Any] = {}
        self._todo: list[int] = []
        self._count = 0

    def begin_again(self) -> None:
        """Hand out first what is out: whoever had it is gone."""
        self._todo = sorted(self._out)

    def done(self, number: int) -> Any:
        """Return the job that is answered, once."""
        return self._out.pop(number)

    def reply(self, said: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Answer what the process that speaks with Ray said; None where it waits for nothing."""
        match said:
            case ("want",):
                return self._next()
            case ("report", number, values):
                return "answer", self._on_report(self._out[number], values)
            case ("files", number, changed):
                _bring_home(self._out[number], changed)
            case ("say", text):
                self._tell(text)
        return None

    def _next(self) -> tuple[Any, ...]:
        if self._todo:
            number = self._todo.pop(0)
        else:
            job = next(self._source, None)
            if job is None:
                return ("end",)
            number = self._count
            self._count += 1
            self._out[number] = job
        return "job", number, self._out[number]


def _bring_home(job: Any, changed: Mapping[str, bytes | None]) -> None:
    """Write what changed in the folder of a job that is done elsewhere."""
    if not isinstance(job, Portable) or job.home is None:
        return
    for name, data in changed.items():
        file = job.home / name
        if data is None:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, data)


class _Speaker:
    """The process that speaks with Ray, and the pipe to it; a context that ends it."""

    def __init__(self, address: str, *, again: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        main = partial(ray_driver.main, theirs, address, again=again)
        self._process = context.Process(target=main, daemon=True)
        with deaf_to_ctrl_c():
            self._process.start()
        theirs.close()  # so that its death reads as the end of the pipe

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it; what runs is cancelled first."""
        self._connection.close()
        self._process.join(_GOODBYE_S)
        self._process.kill()
        self._process.join()

    def hear(self) -> tuple[Any, ...] | None:
        """Wait for what it says; None where it died."""
        try:
            said: tuple[Any, ...] = self._connection.recv()
        except (EOFError, OSError):
            return None
        return said

    def say(self, said: tuple[Any, ...] | None) -> None:
        """Tell it; that it died is heard."""
        if said is not None:
            with suppress(OSError):
                self._connection.send(said)
