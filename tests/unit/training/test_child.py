"""The child process: it answers, and its troubles never become those of whoever asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import tiny_convoys as tiny
from support import told_evaluations as told

from ml.errors import EvaluationError
from ml.training.checkpoints import model_bytes
from ml.training.child import Child
from ml.training.config import EvaluationConfig, TrainConfig
from ml.training.environment import build_learner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml.training.periodic_evaluation import EvaluationChild


@pytest.fixture
def content() -> bytes:
    """A fresh model."""
    return model_bytes(build_learner(TrainConfig(num_envs=4), tiny.TinyConvoys(4), seed=0))


@pytest.fixture
def start() -> Iterator[Callable[..., EvaluationChild]]:
    """Start children, and end them after the test."""
    children = []

    def start(evaluator: Callable[..., dict[str, float]], episodes: int = 1) -> EvaluationChild:
        config = TrainConfig(evaluation=EvaluationConfig(episodes=episodes))
        children.append(Child(partial(evaluator, config=config), "Ask for less"))
        return children[-1]

    yield start
    for child in children:
        child.close()


def _wait(child: EvaluationChild) -> dict[str, float]:
    while (answer := child.poll(0.1)) is None:
        assert child.busy
    return answer


@pytest.mark.slow
def test_it_answers_what_the_same_process_would(
    content: bytes, start: Callable[..., EvaluationChild]
):
    """The figures are those of an evaluation here, twice."""
    child = start(tiny.evaluate_tiny, episodes=3)
    expected = tiny.evaluate_tiny(content, TrainConfig(evaluation=EvaluationConfig(episodes=3)))
    for _ in range(2):
        child.ask("it", content)
        assert child.busy
        answer = _wait(child)
        assert answer.figures == pytest.approx(expected.figures, nan_ok=True, rel=1e-6)
        assert answer.by_case == pytest.approx(expected.by_case, rel=1e-6)
        assert not child.busy
        assert child.poll() is None


def test_one_question_at_a_time(content: bytes, start: Callable[..., EvaluationChild]):
    """A second question before the answer is a mistake of the caller."""
    child = start(told.evaluate_for_ever)
    child.ask("the first", content)
    with pytest.raises(EvaluationError, match="the first is still going on"):
        child.ask("the second", content)


def test_a_child_that_dies_is_a_failure_not_a_hang(
    content: bytes, start: Callable[..., EvaluationChild]
):
    """Killed in mid-work: the wait ends, and the message says so with a remedy."""
    child = start(told.evaluate_and_die)
    child.ask("step 7", content)
    with pytest.raises(EvaluationError, match=r"^step 7 died \(exit code -9\)\. Ask for less$"):
        _wait(child)
    assert not child.busy


def test_a_child_killed_while_idle_is_a_failure(
    content: bytes, start: Callable[..., EvaluationChild]
):
    """Death between two questions is noticed after the next."""
    child = start(told.evaluate_uphill)
    child.ask("step 1", content)
    _wait(child)
    child._process.kill()
    child._process.join(10.0)
    child.ask("step 2", content)
    with pytest.raises(EvaluationError, match="step 2 died"):
        _wait(child)


def test_an_error_in_the_child_is_told(content: bytes, start: Callable[..., EvaluationChild]):
    """The child's own words reach whoever asked."""
    child = start(told.evaluate_and_fail, episodes=5)
    child.ask("step 9", content)
    with pytest.raises(EvaluationError, match="step 9 failed: EvaluationError: no valid episode"):
        _wait(child)


def test_an_answer_has_a_deadline(content: bytes, start: Callable[..., EvaluationChild]):
    """A child that never answers is given up and ended, with the remedy."""
    child = start(told.evaluate_for_ever)
    child.ask("step 5", content, 0.3)
    with pytest.raises(EvaluationError, match=r"did not answer within 0\.3 s\. Ask for less"):
        _wait(child)
    child._process.join(10.0)
    assert not child._process.is_alive()


def test_closing_ends_a_busy_child(content: bytes, start: Callable[..., EvaluationChild]):
    """It does not wait for the answer; closing twice is closing."""
    child = start(told.evaluate_for_ever)
    child.ask("step 5", content)
    assert child.poll(0.1) is None
    child.close()
    child.close()
    assert not child._process.is_alive()


def test_ctrl_c_does_not_reach_the_child(content: bytes, start: Callable[..., EvaluationChild]):
    """An interrupt of the whole process group leaves the child answering, even while it starts."""
    child = start(told.evaluate_uphill)
    for _ in range(2):
        os.kill(child._process.pid or 0, signal.SIGINT)
        child.ask("it", content)
        _wait(child)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_the_child_does_not_outlive_a_killed_parent(
    tmp_path: Path,
    busy: bool,  # noqa: FBT001 (a parameter of the test)
):
    """Killed with -9, the parent leaves no process behind, whatever that is doing."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import time\n"
        "from ml.training.child import Child\n"
        "if __name__ == '__main__':\n"
        "    child = Child(time.sleep)\n"
        f"    child.ask('a nap', {3600.0 if busy else 0.0})\n"
        f"    time.sleep({2.0 if busy else 0.0})\n"
        f"    {'' if busy else 'child._connection.poll(60.0)'}\n"
        "    print(child._process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))
    }
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environ
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _is_running(child)
        parent.kill()
    deadline = time.monotonic() + 30.0
    while _is_running(child):
        assert time.monotonic() < deadline, "the child is still running"
        time.sleep(0.1)


def _is_running(process: int) -> bool:
    """Whether a process exists and is not merely waiting to be reaped."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
