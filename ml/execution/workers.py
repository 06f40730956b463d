"""A few processes that work off a list of jobs; a process that dies is told of, never waited for.

Each is spawned, so that it may hold an embedded SUMO of its own. `concurrent.futures` would do, if
its pool said which job a process died of and with what exit code, and ended one that is busy.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Self, TypeVar, cast

from ml.errors import EvaluationError, RoadSenseError

_GOODBYE_S = 2.0

Job = TypeVar("Job")
Answer = TypeVar("Answer")


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Start processes that a Ctrl-C does not reach: the parent decides when they end.

    It goes to the whole process group. A signal that is blocked here stays blocked in the child,
    from its first instruction. The resource tracker of `multiprocessing` unblocks it while it
    starts, which the first child would else be in the middle of: so the tracker comes before.
    """
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class WorkerPool(Generic[Job, Answer]):
    """Processes that are asked over pipes; a context that ends them, at once if they are busy.

    Args:
        work: What they do; a function that a fresh process can import.
        workers: How many.
    """

    def __init__(self, work: Callable[[Job], Answer], workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes: dict[Connection, BaseProcess] = {}
        with deaf_to_ctrl_c():
            for _ in range(workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, work), daemon=True)
                process.start()
                theirs.close()  # so that the worker's death reads as the end of the pipe
                self._processes[ours] = process

    @property
    def alive(self) -> bool:
        """Whether all of its processes are."""
        return all(process.is_alive() for process in self._processes.values())

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Answer]]:
        """Yield each job and its answer as it comes.

        Raises:
            RoadSenseError: What a worker raised.
            EvaluationError: A worker failed otherwise, or died.
        """
        todo, idle = list(reversed(jobs)), list(self._processes)
        busy: dict[Connection, Job] = {}
        while todo or busy:
            while todo and idle:
                connection, job = idle.pop(), todo.pop()
                busy[connection] = job
                self._talk(connection, job, partial(connection.send, job))
            for ready in cast("list[Connection]", wait(list(busy))):
                job = busy.pop(ready)
                answer, failure = self._talk(ready, job, ready.recv)
                if failure is not None:
                    raise failure
                idle.append(ready)
                yield job, answer

    def _talk(self, connection: Connection, job: Job, speak: Callable[[], Any]) -> Any:
        try:
            return speak()
        except (EOFError, OSError) as error:
            process = self._processes[connection]
            process.join(_GOODBYE_S)
            raise EvaluationError(
                f"the process that worked on {job} died (exit code {process.exitcode}). If it was "
                "killed, memory may have run out: use fewer --workers. Run the same command again: "
                "what was finished is kept."
            ) from error

    def close(self) -> None:
        """End the processes; may be called twice."""
        for connection in self._processes:
            connection.close()
        for process in self._processes.values():
            process.kill()
            process.join(_GOODBYE_S)

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self.close()


def _serve(connection: Connection, work: Callable[[Job], Answer]) -> None:
    """Do jobs until the pipe ends, which it does when the parent does."""
    # One thread of torch for a process, which imports it where a policy drives, and not before:
    # that takes longer than all else of its start.
    os.environ["OMP_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    with suppress(EOFError, OSError):
        while True:
            job = connection.recv()
            answer: Answer | None = None
            failure: RoadSenseError | None = None
            try:
                answer = work(job)
            except RoadSenseError as error:
                failure = error
            except Exception as error:  # noqa: BLE001 (whatever it was, the parent is told)
                failure = EvaluationError(f"{job}: {type(error).__name__}: {error}")
            connection.send((answer, failure))
