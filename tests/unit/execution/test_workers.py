"""Processes that work off jobs: what fails or dies is told, with what to do."""

import os
import signal
import subprocess
import sys

import pytest
from support import worker_jobs

from ml.errors import ConfigError, EvaluationError
from ml.execution.workers import WorkerPool


@pytest.fixture
def pool():
    """Two workers that do as `worker_jobs.work` says."""
    with WorkerPool(worker_jobs.work, 2) as opened:
        yield opened


def test_every_job_is_answered_once_by_processes_of_their_own(pool):
    """Five jobs, five answers, and none from this process."""
    answers = dict(pool.run(["1", "2", "3", "4", "5"]))
    assert {job: value for job, (value, _) in answers.items()} == {
        str(n): n * n for n in range(1, 6)
    }
    assert os.getpid() not in {pid for _, pid in answers.values()}


def test_a_users_mistake_stays_one(pool):
    """What a worker raises on purpose arrives as it was raised."""
    with pytest.raises(ConfigError, match="the user's mistake"):
        list(pool.run(["1", "mistake"]))


def test_anything_else_is_named_with_its_job(pool):
    """A bug says which job it was met in."""
    with pytest.raises(EvaluationError, match="bug: ZeroDivisionError"):
        list(pool.run(["bug"]))


def test_a_worker_that_is_killed_is_not_waited_for(pool):
    """Its job, its exit code and the way on are told."""
    with pytest.raises(
        EvaluationError, match=rf"die died .exit code -{signal.SIGKILL}.*same command"
    ):
        list(pool.run(["die"]))


_FIRST_WORKER = """
import signal
from support import worker_jobs
from ml.execution.workers import WorkerPool

with WorkerPool(worker_jobs.blocked, 2) as pool:
    print(*(blocked for _, blocked in pool.run(["first", "second"])))
"""


def test_ctrl_c_reaches_no_worker_from_its_first_instruction():
    """Nor the first one of a fresh process, which starts the tracker of multiprocessing, too."""
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_WORKER], capture_output=True, text=True, check=False,
        timeout=120, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert done.stdout.split() == ["True", "True"], done.stderr
