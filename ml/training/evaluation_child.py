"""Periodic evaluation in a process of its own, while training goes on.

libsumo holds one simulation per process, so the evaluation cannot share the trainer's. The child
is spawned once, with libsumo on both ways of running, and is asked over a pipe. Nothing here can
hang the training: answers have a deadline, and a child that dies or fails is told of once and not
asked again.
"""

from __future__ import annotations

import io
import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ml.errors import EvaluationError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from ml.training.config import TrainConfig

Evaluator: TypeAlias = Callable[[bytes, "TrainConfig"], dict[str, float]]
"""Evaluates a model, given as the content of its zip file; returns figures, `mean_return` and
`safety_score` among them."""

_POLL_S = 0.2
_GOODBYE_S = 2.0


def evaluate_policy(content: bytes, config: TrainConfig) -> dict[str, float]:
    """Drive the evaluation's episodes with a model, deterministically, on an embedded SUMO.

    Args:
        content: The model, as `model_bytes` returns it.
        config: The run's configuration; episodes and seed are its evaluation section's.

    Returns:
        Figures by name; `mean_return` and `safety_score` among them.

    Raises:
        RoadSenseError: SUMO failed, or no episode was valid.
    """
    from ml.evaluation.closing import figures_of  # noqa: PLC0415 (the parent needs none of it)
    from ml.evaluation.drivers import PolicyDriver  # noqa: PLC0415
    from ml.evaluation.safety_score import as_figures, score_of  # noqa: PLC0415
    from ml.evaluation.validation import run_validation  # noqa: PLC0415
    from ml.training.checkpoints import load_model  # noqa: PLC0415

    driver = PolicyDriver(load_model(io.BytesIO(content)))
    rows = run_validation(
        driver, config.env, episodes=config.evaluation.episodes, seed=config.evaluation.seed
    )
    found = figures_of(driver.name, rows)
    return {
        "mean_return": found.mean_return,
        "return_se": found.return_se,
        "hazard_collision_rate": found.hazard_crashes.share,
        "other_collision_rate": found.other_crashes.share,
        "false_brakes_per_km": found.false_brakes_per_km,
        "time_headway_s": found.time_headway_s,
        "episodes": float(found.episodes),
        "invalid_episodes": float(found.invalid),
        **as_figures(score_of(rows)),
    }


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An answer.

    Attributes:
        step: Environment steps before the evaluated model.
        content: The model, as the content of its zip file.
        figures: What was found.
    """

    step: int
    content: bytes
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Pending:
    step: int
    content: bytes
    deadline: float


class EvaluationChild:
    """The child process, one question at a time.

    Args:
        config: The run's configuration.
        evaluator: What the child calls; a function that a fresh process can import.

    Attributes:
        failure: Why no more evaluations come; None while all is well.
    """

    def __init__(self, config: TrainConfig, evaluator: Evaluator = evaluate_policy) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._deadline_s = config.evaluation.deadline_s
        self._process = context.Process(
            target=_serve, args=(theirs, evaluator, config), name="evaluation", daemon=True
        )
        # Ctrl-C reaches the whole process group, but the trainer decides when the child ends. A
        # blocked signal stays blocked in the child, from its first instruction.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()  # so that the child's death reads as the end of the pipe
        self._pending: _Pending | None = None
        self.failure: EvaluationError | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is outstanding."""
        return self._pending is not None

    def request(self, step: int, content: bytes) -> None:
        """Ask for the evaluation of a model; does nothing after a failure.

        Raises:
            EvaluationError: An answer is still outstanding.
        """
        if self.failure is not None:
            return
        if self._pending is not None:
            raise EvaluationError("the evaluation child is still busy; wait for its answer first")
        try:
            self._connection.send_bytes(content)
        except OSError as error:
            self._fail(f"the evaluation process has ended{self._exit_text()} ({error})")
            return
        self._pending = _Pending(step, content, time.monotonic() + self._deadline_s)

    def poll(self, timeout_s: float = 0.0) -> Evaluated | None:
        """Return the answer if it is there within `timeout_s`; None otherwise."""
        pending = self._pending
        if pending is None:
            return None
        try:
            if not self._connection.poll(timeout_s):
                if time.monotonic() > pending.deadline:
                    self._fail(
                        f"the evaluation at step {pending.step} did not answer within "
                        f"{self._deadline_s:g} s. Raise --evaluation.deadline-s or ask for fewer "
                        "--evaluation.episodes"
                    )
                return None
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(_GOODBYE_S)
            self._fail(
                f"the evaluation process died at step {pending.step}{self._exit_text()}. "
                "If it was killed, memory may have run out: use fewer --evaluation.episodes"
            )
            return None
        self._pending = None
        if isinstance(answer, str):
            self._fail(f"the evaluation at step {pending.step} failed: {answer}")
            return None
        return Evaluated(pending.step, pending.content, answer)

    def wait(self, interrupted: Callable[[], bool]) -> Evaluated | None:
        """Wait for the outstanding answer, until its deadline or until told to stop."""
        while self._pending is not None and not interrupted():
            answer = self.poll(_POLL_S)
            if answer is not None:
                return answer
        return None

    def kill(self) -> None:
        """End the child at once."""
        self._process.kill()

    def close(self) -> None:
        """End the child; at once if it is busy. May be called twice."""
        self._connection.close()
        if self._pending is None:
            self._process.join(_GOODBYE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_GOODBYE_S)
        self._pending = None

    def _exit_text(self) -> str:
        code = self._process.exitcode
        return "" if code is None else f" (exit code {code})"

    def _fail(self, reason: str) -> None:
        self._pending = None
        self.failure = EvaluationError(reason)
        self._process.kill()


def _serve(connection: Connection, evaluator: Evaluator, config: TrainConfig) -> None:
    """Answer questions until the pipe ends, which it does when the trainer does."""
    import torch  # noqa: PLC0415 (only the child needs it here)

    torch.set_num_threads(1)
    while True:
        try:
            content = connection.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            answer: dict[str, float] | str = evaluator(content, config)
        except Exception as error:  # noqa: BLE001 (whatever it was, the trainer is told)
            answer = f"{type(error).__name__}: {error}"
        try:
            connection.send(answer)
        except OSError:
            return
