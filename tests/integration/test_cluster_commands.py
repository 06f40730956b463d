"""Commands on a real Ray cluster of which a node is killed: the same rows, to the bit."""

from __future__ import annotations

import json
import threading
import zipfile
from typing import TYPE_CHECKING

import pytest
import yaml
from support.training_runs import wait_until
from support.untrained import untrained_model

from ml.cli import main
from ml.errors import EvaluationError
from ml.parameters import load_parameters
from ml.training.checkpoints import model_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.ray_cluster import RayCluster

pytest.importorskip("ray")

from ml.execution.cluster import Cluster

pytestmark = [pytest.mark.sumo, pytest.mark.slow]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A policy that has learnt nothing."""
    file = tmp_path_factory.mktemp("model") / "model.zip"
    file.write_bytes(model_bytes(untrained_model(0, peer_embed_dim=16)))
    return str(file)


def run_and_kill(
    cluster: RayCluster, arguments: list[str], when: Callable[[], object], what: str
) -> None:
    """Run a command on the head and a node that is killed as soon as something is there."""
    number = cluster.join()

    def kill() -> None:
        wait_until(when, what)
        cluster.kill(number)

    killer = threading.Thread(target=kill)
    killer.start()
    assert main([*arguments, "--cluster", cluster.address]) == 0
    in_mid_run = not killer.is_alive()
    killer.join()
    assert in_mid_run


def parts(out: Path) -> dict[str, bytes]:
    """Rows of every part."""
    return {file.name: file.read_bytes() for file in (out / "parts").glob("*.jsonl")}


def figures(out: Path) -> dict:
    """What the acceptance tests found; without the command, and when it ran."""
    found = json.loads((out / "targets.json").read_text())
    return {name: found[name] for name in ("rows", "benchmarks", "summary")}


def test_acceptance_has_the_same_rows(
    cluster: RayCluster,
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """By one process, by two, and by two nodes of which one dies: two parts of seven."""
    plan = ["targets", model, "--quick", "--only", "ncap", "plexe"]
    one, two, there = (tmp_path / name / "targets" for name in ("one", "two", "there"))
    for out, workers in ((one, "1"), (two, "2")):
        out.parent.mkdir()
        monkeypatch.chdir(out.parent)  # rows name radios by their path under --out
        assert main([*plan, "--workers", workers]) == 0
    there.parent.mkdir()
    monkeypatch.chdir(there.parent)
    run_and_kill(cluster, plan, lambda: parts(there), "part")
    assert len(parts(one)) == 4 * 3
    assert parts(one) == parts(two) == parts(there)
    assert figures(one) == figures(two) == figures(there)


def test_an_evaluation_has_the_same_rows(cluster: RayCluster, model: str, tmp_path: Path):
    """By one process, by two, and by two nodes of which one dies; with files that travel."""
    radio = tmp_path / "mine.json"
    radio.write_text(load_parameters("bursty").model_dump_json())
    plan = ["evaluate", model, "--suite", "plexe:1", "--worst", "0", "--radio", "clean"]
    plan += [str(radio), "--controllers", "cth:1.1"]
    for name, workers in {"one": "1", "two": "2"}.items():
        assert main([*plan, "--workers", workers, "--out", str(tmp_path / name)]) == 0
    out = tmp_path / "cluster"
    run_and_kill(cluster, [*plan, "--out", str(out)], lambda: parts(out), "part")
    assert len(parts(out)) == 2 * 3
    assert parts(tmp_path / "one") == parts(tmp_path / "two") == parts(out)


def test_a_search_has_the_same_trials(cluster: RayCluster, tmp_path: Path):
    """Eight, one after the other here, two at once, and on two nodes of which one dies."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"env": {"episode_s": 10.0}}))
    plan = ["tune", "--controller", "predictive", "--config", str(recipe), "--episodes", "8"]
    plan += ["--trials", "8"]

    def trials(out: Path) -> list[dict]:
        found = json.loads((out / "tuning.json").read_text())["trials"]
        return [{k: v for k, v in trial.items() if k != "progress"} for trial in found]

    for name, workers in {"one": "1", "two": "2"}.items():
        assert main([*plan, "--workers", workers, "--out", str(tmp_path / name)]) == 0
    out = tmp_path / "cluster"
    journal = out / "trials.log"
    run_and_kill(
        cluster,
        [*plan, "--out", str(out)],
        lambda: journal.exists() and '"outcome"' in journal.read_text(),
        "first trial",
    )
    assert [trial["trial"] for trial in trials(out)] == list(range(8))
    assert trials(tmp_path / "one") == trials(tmp_path / "two") == trials(out)


def test_training_runs_come_home(
    cluster: RayCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """With several seeds: the models of this machine; the same command does nothing again."""
    recipe = tmp_path / "recipe.yaml"
    config = {
        "num_envs": 8,
        "total_timesteps": 1024,
        "env": {"episode_s": 10.0},
        "imitation": {"rounds": 0},
        "ppo": {"n_steps": 64, "batch_size": 64, "n_epochs": 1},
        "evaluation": {"every_steps": 0, "closing_episodes": 0},
    }
    recipe.write_text(yaml.safe_dump(config))
    plan = ["train", "--config", str(recipe), "--seeds"]
    monkeypatch.setenv("COLUMNS", "160")  # so that no cell of the table is folded

    def models(runs: Path) -> dict[str, bytes]:
        found = {}
        for file in sorted(runs.glob("*/seed*/models/*.zip")):
            with zipfile.ZipFile(file) as archive:  # which notes the time, too
                found[str(file.relative_to(runs))] = archive.read("policy.pth")
        return found

    on_cluster = [*plan, "3", "4", "--cluster", cluster.address]
    for name, arguments in {"here": [*plan, "3"], "there": on_cluster}.items():
        monkeypatch.setenv("RUNS_DIR", str(tmp_path / name))
        assert main(arguments) == 0
    assert capfd.readouterr().out.count("1,024 of 1,024") == 1 + 2
    here, there = models(tmp_path / "here"), models(tmp_path / "there")
    assert len(there) == 2
    assert len(here) == 1
    assert here.items() <= there.items()
    (first, second) = sorted((tmp_path / "there").glob("*/seed*/runs/*"))
    for run_directory in (first, second):
        assert (run_directory / "metrics.jsonl").exists()
        assert str(tmp_path) not in (run_directory / "config.yaml").read_text()
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "there").rglob("*")}
    assert main(on_cluster) == 0
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "there").rglob("*")} == before


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "--suite", "plexe:1", "--out", "out"],
        ["targets", "MODEL", "--quick", "--out", "out"],
        ["ablate", "--out", "out"],
        ["tune", "--controller", "predictive", "--out", "out"],
        ["train", "--seeds", "0", "1"],
    ],
    ids=lambda command: command[0],
)
def test_where_no_cluster_answers_nothing_is_written(
    command: list[str],
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """The cluster is asked first; what it says then is in test_cluster_jobs.py."""

    def connect(_: Cluster) -> None:
        raise EvaluationError("no Ray cluster answers")

    monkeypatch.setattr(Cluster, "connect", connect)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    command = [model if word == "MODEL" else word for word in command]
    assert main([*command, "--cluster", "127.0.0.1:1"]) == 1
    assert "no Ray cluster answers" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
