"""A few processes that work off a list of jobs; a process that dies is told of, never waited for.

Each is spawned, so that it may hold an embedded SUMO of its own.
"""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Generic, TypeVar

from ml.errors import EvaluationError, RoadSenseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

_GOODBYE_S = 2.0

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class WorkerPool(Generic[Job, Answer]):
    """Processes that are asked over pipes.

    Args:
        work: What they do; a function that a fresh process can import.
        workers: How many.
    """

    def __init__(self, work: Callable[[Job], Answer], workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes: dict[Connection, BaseProcess] = {}
        # Ctrl-C reaches the whole process group, but the parent decides when a worker ends. A
        # blocked signal stays blocked in the child, from its first instruction.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, work), daemon=True)
                process.start()
                theirs.close()  # so that the worker's death reads as the end of the pipe
                self._processes[ours] = process
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Answer]]:
        """Yield each job and its answer as it comes.

        Raises:
            RoadSenseError: What a worker raised.
            EvaluationError: A worker failed otherwise, or died.
        """
        todo = list(reversed(jobs))
        busy: dict[Connection, Job] = {}
        for connection in self._processes:
            if todo:
                busy[connection] = self._ask(connection, todo.pop())
        while busy:
            for ready in wait(list(busy)):
                connection = next(c for c in busy if c is ready)
                job = busy.pop(connection)
                answer = self._answer(connection, job)
                if todo:
                    busy[connection] = self._ask(connection, todo.pop())
                yield job, answer

    def _ask(self, connection: Connection, job: Job) -> Job:
        try:
            connection.send(job)
        except OSError as error:
            raise self._died(connection, job) from error
        return job

    def _answer(self, connection: Connection, job: Job) -> Answer:
        try:
            ok, answer = connection.recv()
        except (EOFError, OSError) as error:
            raise self._died(connection, job) from error
        if ok:
            result: Answer = answer
            return result
        if isinstance(answer, RoadSenseError):
            raise answer
        raise EvaluationError(f"{job}: {answer}")

    def _died(self, connection: Connection, job: Job) -> EvaluationError:
        process = self._processes[connection]
        process.join(_GOODBYE_S)
        return EvaluationError(
            f"the process that worked on {job} died (exit code {process.exitcode}). If it was "
            "killed, memory may have run out: use fewer --workers. Run the same command again: "
            "what was finished is kept."
        )

    def close(self) -> None:
        """End the processes; at once if they are busy. May be called twice."""
        for connection in self._processes:
            connection.close()
        for process in self._processes.values():
            process.kill()
            process.join(_GOODBYE_S)


def _serve(connection: Connection, work: Callable[[Job], Answer]) -> None:
    """Do jobs until the pipe ends, which it does when the parent does."""
    import torch  # noqa: PLC0415 (only the workers need it here)

    torch.set_num_threads(1)
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        answer: tuple[bool, object]
        try:
            answer = True, work(job)
        except RoadSenseError as error:
            answer = False, error
        except Exception as error:  # noqa: BLE001 (whatever it was, the parent is told)
            answer = False, f"{type(error).__name__}: {error}"
        try:
            connection.send(answer)
        except OSError:
            return
