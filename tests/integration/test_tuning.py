"""`roadsense tune` on real SUMO: its scores are what it says, and it goes on after anything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from multiprocessing import active_children
from statistics import fmean
from typing import TYPE_CHECKING

import pytest
import yaml
from support.training_runs import wait_until

from ml.cli import main
from ml.controllers.registry import make_controller
from ml.evaluation.drivers import ControllerDriver
from ml.evaluation.episodes import run_validation
from ml.evaluation.safety_score import score_of
from ml.evaluation.seeds import VALIDATION_SEED
from ml.training.checkpoints import load_model
from ml.training.command_line import parse_command_line
from ml.training.deployment import read_deployment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sumo

RECIPE = {
    "num_envs": 8,
    "env": {"episode_s": 10.0, "episode_mix": {"hazard": 0.8, "benign": 0.2, "free": 0.0}},
    "imitation": {"rounds": 0},
    "ppo": {"n_steps": 512, "batch_size": 128, "n_epochs": 1},
    "checkpoints": {"every_steps": 512},
}
SPACE = {
    "ppo.learning_rate": {"low": 1.0e-5, "high": 1.0e-3, "log": True},
    "policy.log_std_init": {"choices": [-2.5, -1.0]},
}
UNSET = ("PRESET", "TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "RESUME", "SUMO_HOST", "SUMO_PORT")
ENVIRON = {k: v for k, v in os.environ.items() if k not in UNSET} | {"PYTHONWARNINGS": "error"}


class _Place:
    """A folder to search in."""

    def __init__(self, path: Path) -> None:
        self.out = path / "out"
        self.recipe, self.space = path / "recipe.yaml", path / "space.yaml"
        self.recipe.write_text(yaml.safe_dump(RECIPE))
        self.space.write_text(yaml.safe_dump(SPACE))

    def command(self, *argv: str) -> list[str]:
        given = ("--config", str(self.recipe), "--out", str(self.out), "--episodes", "8")
        return [sys.executable, "-m", "ml.cli", "tune", *given, *argv]

    def tune(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*argv), env=ENVIRON, capture_output=True, text=True, check=False,
            timeout=900.0,
        )  # fmt: skip

    def policy(self, *argv: str) -> tuple[str, ...]:
        """Three rollouts, each evaluated: the third waits until the first has been."""
        return ("--space", str(self.space), "--steps", "1536", "--evaluations", "3", *argv)

    def stop(self, options: tuple[str, ...], by: signal.Signals) -> None:
        """Start a search, end it in its first training, and wait until that has saved."""
        with subprocess.Popen(
            self.command(*options), env=ENVIRON, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        ) as search:  # fmt: skip
            wait_until(
                lambda: list(self.out.glob("trials/*/seed0/runs/*/checkpoints/latest")),
                "checkpoint",
            )
            search.send_signal(by)
            _, errors = search.communicate(timeout=300.0)
        if by == signal.SIGTERM:
            assert search.returncode == 143, errors
            assert "the same command resumes" in errors
            assert self.found == []
        (log,) = self.out.glob("trials/*/seed0/train.log")
        wait_until(lambda: "saved. Continue with" in log.read_text(), "end of the training")

    @property
    def found(self) -> list[dict]:
        return json.loads((self.out / "tuning.json").read_text())["trials"]


@pytest.fixture
def place(tmp_path: Path) -> _Place:
    """A folder to search in, with a small recipe."""
    return _Place(tmp_path)


def test_a_controller_is_searched_and_its_winner_drives_as_scored(
    place: _Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """The winner's file, driven through the validation cases, has the score that was told."""
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    given = place.command("--controller", "predictive")[3:]
    assert main([*given, "--trials", "2"]) == 0
    assert not active_children()  # which trials leave to each other
    said = capfd.readouterr().err.splitlines()
    assert [line for line in said if not line.startswith("tuning ")] == []
    assert main([*given, "--trials", "3"]) == 0
    assert capfd.readouterr().out.count("safety score") == 1  # two of three were there
    assert [trial["state"] for trial in place.found] == ["complete"] * 3
    assert place.found[0]["values"]["SPEED_GAIN"] == 0.8  # the usual values come first
    best = max(place.found, key=lambda trial: trial["score"])
    config = parse_command_line(["--config", str(place.recipe)], read_deployment({})).config
    driver = ControllerDriver(make_controller(f"predictive@{place.out / 'best.yaml'}"))
    rows = run_validation(driver, config.env, episodes=8, seed=VALIDATION_SEED)
    assert score_of(rows).score == pytest.approx(best["score"], abs=1e-12)
    assert main([*given, "--trials", "4", "--radio", "clean"]) == 2
    assert "environment.radio: varied there, clean here" in capfd.readouterr().err


def test_a_recipe_is_searched_over_several_seeds(place: _Place):
    """A trial's score is the mean of its seeds' best models; training takes the winner's file.

    One trial is enough: that the best of several wins is seen where a controller is searched.

    Also where the search was stopped in its first training, which the same command takes up again.
    """
    options = place.policy("--seeds", "0", "5", "--trials", "1")
    place.stop(options, signal.SIGTERM)
    done = place.tune(*options)
    assert done.returncode == 0, done.stderr
    assert "trial 0 was interrupted; it is taken up again" in done.stdout
    runs = list(place.out.glob("trials/*/seed*/runs/*"))
    commands = [len((run / "command.txt").read_text().splitlines()) for run in runs]
    assert sorted(commands) == [1, 2]
    assert all(load_model(run / "final.zip").num_timesteps == 1536 for run in runs)
    assert [line for line in done.stderr.splitlines() if not line.startswith("tuning ")] == []
    (trial,) = place.found
    assert [run["seed"] for run in trial["runs"]] == [0.0, 5.0]
    assert trial["score"] == pytest.approx(fmean(r["safety_score"] for r in trial["runs"]))
    assert trial["state"] == "complete"
    # What was asked last before the stop may go unanswered; the second seed was not stopped.
    assert {"3", "4", "5"} <= trial["progress"].keys()
    for record in place.out.glob("trials/*/seed*/runs/*/evaluation/best.json"):
        said = json.loads(record.read_text())
        assert load_model(record.parents[1] / "best.zip").num_timesteps == said["step"]
        assert said["safety_score"] in {run["safety_score"] for run in trial["runs"]}
    assert len(list(place.out.glob("trials/*/seed*/runs/*/best.zip"))) == 2
    winner = ["--preset", "convoy", "--config", str(place.out / "best.yaml")]
    config = parse_command_line(winner, read_deployment({})).config
    assert config.ppo.learning_rate == trial["values"]["ppo.learning_rate"]
    assert config.policy.log_std_init == trial["values"]["policy.log_std_init"]
    assert config.ppo.n_steps == 512
    assert config.total_timesteps == 500_000  # the recipe's, not the search's


def test_a_killed_search_goes_on_with_the_training_that_was_running(place: _Place):
    """The training saves, though nothing told it to; the same command takes it up again."""
    options = place.policy("--seeds", "0", "--trials", "1")
    place.stop(options, signal.SIGKILL)
    done = place.tune(*options)
    assert done.returncode == 0, done.stderr
    assert "trial 0 was interrupted; it is taken up again" in done.stdout
    (trial,) = place.found
    assert trial["state"] == "complete"
    (run,) = place.out.glob("trials/*/seed0/runs/*")
    assert len((run / "command.txt").read_text().splitlines()) == 2
    assert load_model(run / "final.zip").num_timesteps == 1536


def test_a_training_that_does_not_learn_is_given_up(place: _Place):
    """What the health callback ends is no failure of the search, and its words are kept."""
    recipe = RECIPE | {
        "ppo": {"n_steps": 64, "batch_size": 32, "n_epochs": 1},
        "health": {"least_explained_variance": 1.0, "patience": 1},
    }
    place.recipe.write_text(yaml.safe_dump(recipe))
    done = place.tune(*place.policy("--seeds", "0", "--trials", "1", "--evaluations", "1"))
    assert done.returncode == 0, done.stderr
    (trial,) = place.found
    assert trial["state"] == "pruned"
    assert "the critic explains less than" in trial["note"]
    assert not (place.out / "best.yaml").exists()
