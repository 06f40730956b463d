"""A process of ours at the other end of a pipe: it is asked, and never outlives whoever asks.

It is spawned, so that it may hold an embedded SUMO of its own, and may have children itself.
"""

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Generic, Self, TypeVar

from ml.errors import EvaluationError, RoadSenseError
from ml.execution.workers import deaf_to_ctrl_c

_GOODBYE_S = 2.0

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Child(Generic[Question, Answer]):
    """A process that answers one question at a time; to be entered, and left ended.

    Where the pipe ends, since we close it or are killed, an idle child ends by itself, and one that
    works gets a SIGTERM, which its work may handle to save first.

    Args:
        work: Its answer to a question, other than None; a function that a fresh process can import.
        remedy: What to do where it dies or is late, for messages.
        error: What is raised then.
    """

    def __init__(
        self,
        work: Callable[[Question], Answer],
        remedy: str = "",
        error: type[RoadSenseError] = EvaluationError,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work))
        self._remedy, self._error = remedy, error
        self._asked = ""
        self._limit_s = self._deadline_s = math.inf
        with deaf_to_ctrl_c():
            self._process.start()
        theirs.close()  # so that the child's death reads as the end of the pipe

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def busy(self) -> bool:
        """Whether an answer is outstanding."""
        return bool(self._asked)

    def ask(self, what: str, question: Question, deadline_s: float = math.inf) -> None:
        """Ask; that the child has died meanwhile is told by `poll`.

        Args:
            what: The question's name, for messages.
            question: Passed on to `work`.
            deadline_s: An answer that takes longer counts as failed.

        Raises:
            EvaluationError: An answer is still outstanding.
        """
        if self._asked:
            raise EvaluationError(f"{self._asked} is still going on; wait for its answer first")
        self._asked = what
        self._limit_s, self._deadline_s = deadline_s, time.monotonic() + deadline_s
        with suppress(OSError):
            self._connection.send(question)

    def poll(self, timeout_s: float = 0.0) -> Answer | None:
        """Return the answer if it is there within `timeout_s`; None otherwise.

        Raises:
            RoadSenseError: The child failed, died or is late (see `error`). It is ended then.
        """
        if not self._asked:
            return None
        answer: Answer | None = None
        try:
            if self._connection.poll(timeout_s):
                failure, answer = self._connection.recv()
            elif time.monotonic() <= self._deadline_s:
                return None
            else:
                failure = f"did not answer within {self._limit_s:g} s. {self._remedy}"
        except (EOFError, OSError):
            self._process.join(_GOODBYE_S)
            failure = f"died (exit code {self._process.exitcode}). {self._remedy}"
        what, self._asked = self._asked, ""
        if failure:
            self._process.kill()
            raise self._error(f"{what} {failure.rstrip()}")
        return answer

    def close(self, patience_s: float = _GOODBYE_S) -> None:
        """Let the child end, by force where it takes longer than `patience_s`; also twice."""
        self._connection.close()
        self._process.join(patience_s)
        self._process.kill()
        self._process.join(_GOODBYE_S)
        self._asked = ""


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """Answer questions until the pipe ends."""
    questions: SimpleQueue[tuple[Any] | None] = SimpleQueue()
    working = threading.Event()

    def listen() -> None:
        with suppress(EOFError, OSError):
            while True:
                question = connection.recv()
                working.set()
                questions.put((question,))
        questions.put(None)
        if working.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
    while (question := questions.get()) is not None:
        try:
            answer = "", work(*question)
        except Exception as error:  # noqa: BLE001 (whatever it was, the parent is told)
            answer = f"failed: {type(error).__name__}: {error}", None
        working.clear()
        with suppress(OSError):
            connection.send(answer)
