"""Commands on a real Ray cluster of which a node is killed: the same rows, to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
import yaml
from support.ray_cluster import RayCluster, ray_cluster
from support.training_runs import wait_until
from support.untrained import untrained_model

from ml.parameters import load_parameters
from ml.training.checkpoints import model_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.importorskip("ray")

pytestmark = [pytest.mark.sumo, pytest.mark.slow]

UNSET = ("PRESET", "TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "RESUME", "SUMO_HOST", "SUMO_PORT")
ENVIRON = {k: v for k, v in os.environ.items() if k not in UNSET} | {"COLUMNS": "120"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A head, which outlives the nodes that tests add and kill."""
    with ray_cluster() as running:
        yield running


def run(*arguments: str, meanwhile: Callable[[], None] = lambda: None) -> str:
    """Run a command, and do something while it runs; returns what it printed."""
    with subprocess.Popen(
        [sys.executable, "-m", "ml.cli", *arguments], env=ENVIRON, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        meanwhile()
        said, _ = process.communicate(timeout=900.0)
    assert process.returncode == 0, said
    return said


def killing(cluster: RayCluster, when: Callable[[], object], what: str) -> Callable[[], None]:
    """Add a node, and return what kills it as soon as something is there."""
    number = cluster.join()

    def kill() -> None:
        wait_until(when, what)
        cluster.kill(number)

    return kill


def test_an_evaluation_has_the_same_rows(cluster: RayCluster, tmp_path: Path):
    """By one process, by two, and by two nodes of which one dies; with files that travel."""
    model, radio = tmp_path / "model.zip", tmp_path / "mine.json"
    model.write_bytes(model_bytes(untrained_model(0, peer_embed_dim=16)))
    radio.write_text(load_parameters("bursty").model_dump_json())
    plan = ["evaluate", str(model), "--suite", "plexe:1", "--worst", "0", "--radio", "clean"]
    plan += ["shadowed", "varied", str(radio), "--controllers", "cth:1.1"]

    def parts(out: Path) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in (out / "parts").glob("*.jsonl")}

    found = []
    for name, where in {"one": ["--workers", "1"], "two": ["--workers", "2"]}.items():
        run(*plan, *where, "--out", str(tmp_path / name))
        found.append(parts(tmp_path / name))
    out = tmp_path / "cluster"
    kill = killing(cluster, lambda: parts(out), "part")
    said = run(*plan, "--cluster", cluster.address, "--out", str(out), meanwhile=kill)
    assert "is gone" in said or "lost on node" in said
    assert len(found[0]) == 4 * 3
    assert found[0] == found[1] == parts(out)


def test_a_search_has_the_same_trials(cluster: RayCluster, tmp_path: Path):
    """Eight, one after the other here, and on two nodes of which one dies."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"env": {"episode_s": 10.0}}))
    plan = ["tune", "--controller", "predictive", "--config", str(recipe), "--episodes", "8"]
    plan += ["--trials", "8"]

    def trials(out: Path) -> list[dict]:
        found = json.loads((out / "tuning.json").read_text())["trials"]
        return [{k: v for k, v in trial.items() if k != "progress"} for trial in found]

    run(*plan, "--out", str(tmp_path / "here"))
    found = trials(tmp_path / "here")
    out = tmp_path / "cluster"
    journal = out / "trials.log"
    kill = killing(
        cluster, lambda: journal.exists() and '"outcome"' in journal.read_text(), "first trial"
    )
    run(*plan, "--cluster", cluster.address, "--out", str(out), meanwhile=kill)
    assert [trial["trial"] for trial in found] == list(range(8))
    assert found == trials(out)


def test_training_runs_come_home(cluster: RayCluster, tmp_path: Path):
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
    plan = ["train", "--config", str(recipe), "--seeds", "3", "4"]

    def models(runs: Path) -> dict[str, bytes]:
        found = {}
        for file in sorted(runs.glob("*/seed*/models/*.zip")):
            with zipfile.ZipFile(file) as archive:  # which notes the time, too
                found[str(file.relative_to(runs))] = archive.read("policy.pth")
        return found

    found = []
    for name, where in {"here": [], "there": ["--cluster", cluster.address]}.items():
        ENVIRON["RUNS_DIR"] = str(tmp_path / name)
        said = run(*plan, *where)
        found.append(models(tmp_path / name))
        assert said.count("1,024 of 1,024") == 2
    assert len(found[0]) == 2
    assert found[0] == found[1]
    (first, second) = sorted((tmp_path / "there").glob("*/seed*/runs/*"))
    for run_directory in (first, second):
        assert (run_directory / "metrics.jsonl").exists()
        assert str(tmp_path) not in (run_directory / "config.yaml").read_text()
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "there").rglob("*")}
    run(*plan, "--cluster", cluster.address)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "there").rglob("*")} == before
