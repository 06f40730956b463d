"""One interface for all that is done job by job; here: on this machine.

`run` is for jobs of about a minute that hold a simulation of their own, `run_watched` for whole
training runs and trials, which start processes themselves and report how far they are. On a cluster
both are tasks (`ml.execution.cluster`); rows are the same to the bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from ml.errors import ConfigError
from ml.execution.jobs import JobStopped, Link, OnReport
from ml.execution.workers import WorkerPool

Job = TypeVar("Job")
Answer = TypeVar("Answer")
_LOOK_S = 0.3
CLUSTER_HELP = (
    "Ray cluster to work on: auto (that of this machine, or RAY_ADDRESS), ray://HOST:10001 or "
    "HOST:6379; default: processes here. Needs roadsense[ray]; see docs/cluster.md."
)


class Executor(Protocol):
    """Does jobs in parallel; each is answered once, as it ends, in any order."""

    def run(
        self, work: Callable[[Job], Answer], jobs: Iterable[Job]
    ) -> Iterator[tuple[Job, Answer]]:
        """Do jobs, each on one core, in processes that each hold one simulation at most.

        Leaving the iterator early ends what runs.

        Args:
            work: A function that a fresh process can import.
            jobs: In the order in which they begin; portable (`Portable`) where they name files.

        Yields:
            Each job and its answer.

        Raises:
            RoadSenseError: What a job raised, or why it cannot be done.
        """

    def run_watched(
        self,
        work: Callable[[Job, Link], Answer],
        jobs: Iterable[Job],
        on_report: OnReport,
        *,
        cores: int = 1,
    ) -> Iterator[tuple[Job, Answer]]:
        """Do long jobs, which start processes themselves and report.

        A job is taken from `jobs` when there is room for it, and not before. Leaving the iterator
        early stops what runs, which may save first.

        Args:
            work: As in `run`; its link reports, and says whether to stop.
            jobs: See `run`.
            on_report: Called by whoever iterates.
            cores: That each of them takes.

        Yields:
            Each job and its answer.

        Raises:
            RoadSenseError: What a job raised, or why it cannot be done.
        """


class Local:
    """Processes on this machine.

    Args:
        workers: How many of `run`.
        watched: How many jobs of `run_watched` at once.
    """

    def __init__(self, workers: int, watched: int = 1) -> None:
        self._workers, self._watched = workers, watched

    def run(
        self, work: Callable[[Job], Answer], jobs: Iterable[Job]
    ) -> Iterator[tuple[Job, Answer]]:
        """Do jobs in a `WorkerPool`; see `Executor.run`."""
        todo = list(jobs)
        with WorkerPool(work, min(self._workers, len(todo))) as pool:
            yield from pool.run(todo)

    def run_watched(
        self,
        work: Callable[[Job, Link], Answer],
        jobs: Iterable[Job],
        on_report: OnReport,
        *,
        cores: int = 1,
    ) -> Iterator[tuple[Job, Answer]]:
        """Watch each job from a thread of its own; see `Executor.run_watched`."""
        del cores  # the user says how many, not the machine
        threads, source, at_work = _Threads(work), iter(jobs), 0
        try:
            while True:
                while at_work < self._watched and (job := next(source, None)) is not None:
                    threads.begin(job)
                    at_work += 1
                if not at_work:
                    return
                kind, job, said = threads.news.get()
                if kind == "report":
                    values, answers = said
                    answers.put(on_report(job, values))
                    continue
                at_work -= 1
                if kind == "failed":
                    raise said
                yield job, said
        finally:
            threads.end()


class _Threads:
    """A thread for each watched job; they speak through `news`: kind, job, content."""

    def __init__(self, work: Callable[[Any, Link], Any]) -> None:
        self._work = work
        self.news: SimpleQueue[tuple[str, Any, Any]] = SimpleQueue()
        self._stop = threading.Event()
        self._running: list[threading.Thread] = []

    def begin(self, job: Any) -> None:
        """Begin a job."""
        thread = threading.Thread(target=self._watch, args=(job,), daemon=True)
        self._running.append(thread)
        thread.start()

    def end(self) -> None:
        """Tell all to stop, and wait until they have saved."""
        self._stop.set()
        for thread in self._running:
            thread.join()

    def _watch(self, job: Any) -> None:
        try:
            answer = self._work(job, _ThreadLink(job, self.news, self._stop))
        except BaseException as error:  # noqa: BLE001 (whatever it was, it is raised again)
            self.news.put(("failed", job, error))
        else:
            self.news.put(("done", job, answer))


class _ThreadLink:
    """The link of a job that is watched from a thread."""

    def __init__(
        self, job: Any, news: SimpleQueue[tuple[str, Any, Any]], stop: threading.Event
    ) -> None:
        self._job, self._news, self._stop = job, news, stop
        self._answers: SimpleQueue[bool] = SimpleQueue()

    @property
    def stopped(self) -> bool:
        """Whether the iterator was left."""
        return self._stop.is_set()

    def __call__(self, *said: Any) -> bool:
        """Report, and wait for the answer."""
        self._news.put(("report", self._job, (said, self._answers)))
        while not self._stop.is_set():
            with suppress(Empty):
                return self._answers.get(timeout=_LOOK_S)
        raise JobStopped


def make_executor(
    cluster: str | None, *, workers: int, watched: int = 1, tell: Callable[[str], None]
) -> Executor:
    """Return what does the jobs.

    Args:
        cluster: Address of a Ray cluster; None for this machine.
        workers: Processes on this machine.
        watched: Long jobs at once on this machine.
        tell: Told, in words, what happens on the cluster.

    Raises:
        ConfigError: Ray is not installed, or the cluster is of another version.
        EvaluationError: No cluster answers.
    """
    if cluster is None:
        return Local(workers, watched)
    require_ray()
    from ml.execution.cluster import Cluster  # noqa: PLC0415 (only where it is asked for)

    executor = Cluster(cluster, tell)
    executor.connect()  # now: a mistake is told before anything is written
    return executor


def require_ray() -> None:
    """Check that Ray is installed.

    Raises:
        ConfigError: It is not; with how to install it.
    """
    if find_spec("ray") is None:
        raise ConfigError(
            "--cluster needs Ray, which is not installed. Install it: pip install "
            "'roadsense[ray]' (in a clone: pip install --requirement requirements-ray.txt; `make` "
            "does that). The nodes need the same version; see docs/cluster.md."
        )
