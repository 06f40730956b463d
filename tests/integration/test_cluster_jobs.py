"""Jobs on a real Ray cluster of two nodes on this machine: whatever dies, each is answered once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import worker_jobs
from support.ray_cluster import PATHS, ray_cluster
from support.training_runs import wait_until
from support.worker_jobs import Errand

from ml.errors import ConfigError, EvaluationError

pytest.importorskip("ray")

from ml.execution.cluster import Cluster
from ml.execution.executor import make_executor


@pytest.fixture(scope="module")
def node(cluster):
    """Number of a node beside the head."""
    return cluster.join()


@pytest.mark.usefixtures("node")
def test_files_travel_as_content_and_a_mistake_stays_one(cluster, tmp_path):
    """A path of this machine means nothing there; what is sent is read from elsewhere."""
    file = tmp_path / "radio.json"
    file.write_text("{}")
    executor = Cluster(cluster.address, tell=lambda _: None)
    answers = list(executor.run(worker_jobs.run_errand, [Errand("a", file), Errand("b")]))
    found = {job.name: answer for job, answer in answers}
    content, path, _ = found["a"]
    assert content == "{}"
    assert Path(path).name == "radio.json"
    assert path != str(file)
    assert found["b"][0] == ""
    with pytest.raises(ConfigError, match="the user's mistake"):
        list(executor.run(worker_jobs.run_errand, [Errand("mistake")]))


@pytest.mark.usefixtures("node")
def test_a_watched_job_reports_and_its_folder_comes_home(cluster, tmp_path):
    """It goes on from what is in its folder; paths in what comes back are those of this machine."""
    file, folder = tmp_path / "radio.json", tmp_path / "run"
    file.write_text("{}")
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    told = []

    def on_report(job, said):
        told.append((job.name, said))
        return True

    executor = Cluster(cluster.address, tell=lambda _: None)
    jobs = [Errand("run", file, folder)]
    ((_, gave_up),) = executor.run_watched(worker_jobs.watched_errand, jobs, on_report)
    assert gave_up is True
    assert told == [("run", ("found", "{}"))]
    assert {f.name: f.read_text() for f in folder.iterdir()} == {
        "new.txt": "new",
        "config.yaml": f"file: {file}\n",
    }


@pytest.mark.usefixtures("node")
def test_what_a_killed_process_was_doing_is_done_again(cluster, tmp_path):
    """Elsewhere, and told with the node's name; a job that always dies is given up."""
    told = []
    executor = Cluster(cluster.address, tell=told.append)
    names = [f"die-once:{tmp_path / 'died'}", "a", "b"]
    answers = list(executor.run(worker_jobs.run_errand, map(Errand, names)))
    assert sorted(job.name for job, _ in answers) == sorted(names)
    (line,) = told
    assert re.search(r"die-once:.*lost on node .* \(its process died; .*done again", line)
    with pytest.raises(EvaluationError, match=r"die was lost 4 times, the last time on node"):
        list(executor.run(worker_jobs.run_errand, [Errand("die")]))


def what_leaves_out(cluster, **environ):
    """Add such a node, and return what is told of it while the others do the work."""
    told = []
    number = cluster.join(**environ)
    executor = Cluster(cluster.address, tell=told.append)
    for _ in executor.run(worker_jobs.run_errand, map(Errand, ["sleep:3"] * 40)):
        if any("left out" in line for line in told):
            break
    cluster.kill(number)
    return " ".join(told)


@pytest.mark.usefixtures("node")
def test_a_node_with_other_code_is_left_out(cluster, tmp_path):
    """By its name, with what mends it; the others do the work."""
    (tmp_path / "ml").symlink_to(Path(__file__).parents[2] / "ml")
    (tmp_path / "sitecustomize.py").write_text(
        "import ml.execution.nodes as nodes\nnodes.code_digest = lambda: 'other'\n"
    )
    told = what_leaves_out(cluster, PYTHONPATH=f"{tmp_path}:{tmp_path}/tests")
    assert re.search(r"node .* is left out: .*code .*\(digest other, here ", told)


@pytest.mark.usefixtures("node")
def test_a_node_without_memory_is_left_out(cluster):
    """Ray ends whatever begins there; what is told are its name and what mends it."""
    told = what_leaves_out(cluster, RAY_memory_usage_threshold="0.01")
    assert re.search(r"node .* is left out: .*its memory ran out: .*ray start --num-cpus=N", told)


def test_a_node_that_dies_loses_nothing(cluster, node):
    """Killed while it works, with all its processes: each job is answered, none twice."""
    told = []
    executor = Cluster(cluster.address, tell=told.append)
    names = [f"sleep:1.{k}" for k in range(8)]
    answers, killed = [], False
    for job, (*_, pid) in executor.run(worker_jobs.run_errand, map(Errand, names)):
        answers.append((job.name, pid))
        if not killed and len({pid for _, pid in answers}) == 2:  # both work, and on another job
            cluster.kill(node)
            killed = True
    assert killed
    assert sorted(name for name, _ in answers) == sorted(names)
    assert any("lost on node" in line or "is gone" in line for line in told)


def test_ctrl_c_ends_what_runs_and_keeps_what_ended(cluster, tmp_path):
    """Of the whole process group, as a shell sends it."""
    code = (
        "import sys, pathlib\nfrom support.worker_jobs import keep_answers\n"
        "if __name__ == '__main__': keep_answers(sys.argv[1], pathlib.Path(sys.argv[2]))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    pid_file = tmp_path / "pid"
    with subprocess.Popen(
        [sys.executable, script, cluster.address, tmp_path],
        env={**os.environ, "PYTHONPATH": PATHS}, start_new_session=True, stderr=subprocess.PIPE,
    ) as asking:  # fmt: skip
        wait_until(lambda: (tmp_path / "kept").exists() and pid_file.exists(), "running job")
        pid = int(pid_file.read_text())
        assert Path(f"/proc/{pid}").exists()
        stopped_s = time.monotonic()
        os.killpg(asking.pid, signal.SIGINT)
        assert b"KeyboardInterrupt" in asking.communicate(timeout=60.0)[1]
    assert time.monotonic() - stopped_s < 15.0  # after which patience ends, and Ray finds out
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "end of the job")
    assert (tmp_path / "kept").read_text() == "first"


def test_an_address_where_nobody_listens_is_told():
    """With what to do, in words, and before anything is done."""
    with pytest.raises(EvaluationError, match=r"no Ray cluster answers.*ray start --head"):
        make_executor("127.0.0.1:1", workers=1, tell=lambda _: None)


@pytest.mark.slow
def test_a_head_that_restarts_loses_nothing():
    """What was out is handed out again; what had ended is not."""
    told, answers = [], []
    with ray_cluster() as cluster:
        executor = Cluster(cluster.address, tell=told.append)
        names = [f"sleep:2.{k}" for k in range(4)]
        for job, _ in executor.run(worker_jobs.run_errand, map(Errand, names)):
            answers.append(job.name)
            if len(answers) == 1:
                cluster.kill(0)
                cluster.start_head()
    assert sorted(answers) == sorted(names)
    assert any("lost" in line and "connecting again" in line for line in told)
