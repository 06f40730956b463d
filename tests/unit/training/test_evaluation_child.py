"""The evaluation child: it answers, and its troubles never become the trainer's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import tiny_convoys as tiny

from ml.errors import EvaluationError
from ml.training.checkpoints import model_bytes
from ml.training.config import EvaluationConfig, TrainConfig
from ml.training.environment import build_learner
from ml.training.evaluation_child import EvaluationChild, Evaluator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def content() -> bytes:
    """A fresh model."""
    return model_bytes(build_learner(TrainConfig(num_envs=4), tiny.TinyConvoys(4), seed=0))


@pytest.fixture
def start() -> Iterator[Callable[..., EvaluationChild]]:
    """Start children, and end them after the test."""
    children = []

    def start(evaluator: Evaluator, **evaluation: float) -> EvaluationChild:
        config = TrainConfig(evaluation=EvaluationConfig.model_validate(evaluation))
        children.append(EvaluationChild(config, evaluator))
        return children[-1]

    yield start
    for child in children:
        child.close()


def _never() -> bool:
    return False


def test_it_answers_what_the_same_process_would(
    content: bytes, start: Callable[..., EvaluationChild]
):
    """The figures are those of an evaluation here, twice, and belong to the step asked for."""
    child = start(tiny.evaluate_tiny, episodes=3)
    expected = tiny.evaluate_tiny(content, TrainConfig(evaluation=EvaluationConfig(episodes=3)))
    for step in (100, 200):
        child.request(step, content)
        assert child.busy
        answer = child.wait(_never)
        assert answer is not None
        assert (answer.step, answer.content) == (step, content)
        assert answer.figures == pytest.approx(expected, nan_ok=True, rel=1e-6)
        assert not child.busy


def test_one_question_at_a_time(content: bytes, start: Callable[..., EvaluationChild]):
    """A second question before the answer is a mistake of the caller."""
    child = start(tiny.evaluate_for_ever)
    child.request(1, content)
    with pytest.raises(EvaluationError, match="still busy"):
        child.request(2, content)


def test_a_child_that_dies_is_a_failure_not_a_hang(
    content: bytes, start: Callable[..., EvaluationChild]
):
    """Killed in mid-evaluation: the wait ends, the failure says so, later questions are ignored."""
    child = start(tiny.evaluate_and_die)
    child.request(7, content)
    assert child.wait(_never) is None
    assert "died at step 7 (exit code -9)" in str(child.failure)
    child.request(8, content)
    assert not child.busy


def test_a_child_killed_while_idle_is_a_failure(
    content: bytes, start: Callable[..., EvaluationChild]
):
    """Death between two questions is noticed at the next."""
    child = start(tiny.evaluate_tiny, episodes=1)
    child.request(1, content)
    assert child.wait(_never) is not None
    child.kill()
    child._process.join(10.0)
    child.request(2, content)
    assert child.wait(_never) is None
    assert child.failure is not None


def test_an_error_in_the_child_is_told(content: bytes, start: Callable[..., EvaluationChild]):
    """The child's own words reach the trainer."""
    child = start(tiny.evaluate_and_fail, episodes=5)
    child.request(9, content)
    assert child.wait(_never) is None
    assert "step 9 failed: EvaluationError: no valid episode in 5" in str(child.failure)


def test_an_answer_has_a_deadline(content: bytes, start: Callable[..., EvaluationChild]):
    """A child that never answers is given up, with the remedy."""
    child = start(tiny.evaluate_for_ever, deadline_s=0.3)
    child.request(5, content)
    assert child.wait(_never) is None
    assert "did not answer within 0.3 s" in str(child.failure)
    child._process.join(10.0)
    assert not child._process.is_alive()


def test_waiting_ends_when_the_user_wants_to_stop(
    content: bytes, start: Callable[..., EvaluationChild]
):
    """A stop signal does not wait for an evaluation, and closing ends a busy child."""
    child = start(tiny.evaluate_for_ever)
    child.request(5, content)
    asked = iter([False, True])
    assert child.wait(lambda: next(asked)) is None
    child.close()
    assert not child._process.is_alive()


def test_ctrl_c_does_not_reach_the_child(content: bytes, start: Callable[..., EvaluationChild]):
    """An interrupt of the whole process group leaves the child answering, even while it starts."""
    child = start(tiny.evaluate_tiny, episodes=1)
    for _ in range(2):
        os.kill(child._process.pid or 0, signal.SIGINT)
        child.request(1, content)
        assert child.wait(_never) is not None, child.failure
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_the_child_does_not_outlive_a_killed_trainer(tmp_path: Path):
    """Killed with -9, the trainer leaves no process behind."""
    script = tmp_path / "trainer.py"
    script.write_text(
        "import sys, time\n"
        "from support import tiny_convoys\n"
        "from ml.training.config import TrainConfig\n"
        "from ml.training.evaluation_child import EvaluationChild\n"
        "if __name__ == '__main__':\n"
        "    child = EvaluationChild(TrainConfig(), tiny_convoys.evaluate_tiny)\n"
        "    print(child._process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))
    }
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environ
    ) as trainer:
        assert trainer.stdout is not None
        evaluator = int(trainer.stdout.readline())
        assert _is_running(evaluator)
        trainer.kill()
    deadline = time.monotonic() + 30.0
    while _is_running(evaluator):
        assert time.monotonic() < deadline, "the evaluation child is still running"
        time.sleep(0.1)


def _is_running(process: int) -> bool:
    """Whether a process exists and is not merely waiting to be reaped."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
