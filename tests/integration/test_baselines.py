"""`roadsense baselines` on real SUMO, with training runs so short that they teach nothing."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from stable_baselines3 import SAC
from support.training_runs import wait_until

from ml.baselines.algorithms import ALGORITHMS
from ml.baselines.units import Unit, make
from ml.cli import main
from ml.envs.config import EnvConfig, EpisodeMix
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.errors import EvaluationError
from ml.training.child import Child
from ml.training.config import TrainConfig

pytestmark = pytest.mark.sumo

HAZARDS = EpisodeMix(hazard=1.0, benign=0.0, free=0.0)
_DEADLINE_S = 600.0


class Watched(ConvoyVecEnv):
    """Keeps what ended: by tick and convoy, whether it was cut off, and the last observation."""

    def step_wait(self):
        """Step, and keep the infos of what ended."""
        self.ticks = getattr(self, "ticks", 0) + 1
        result = super().step_wait()
        self.ends = getattr(self, "ends", {})
        for row in np.flatnonzero(result[2]).tolist():
            self.ends[self.ticks - 1, row] = result[3][row]
        return result


def test_an_episode_that_is_cut_off_is_none_that_ended():
    """A replay buffer gets its last observation, not the next episode's first, and is told so."""
    config = EnvConfig(num_peers=(2, 2), episode_s=15.0, episode_mix=HAZARDS)
    env = Watched(8, config, seed=1)
    model = SAC(
        "MultiInputPolicy", env, buffer_size=8000, learning_starts=10_000, device="cpu", seed=1
    )
    model.learn(8 * 250)
    env.close()
    buffer = model.replay_buffer
    cut_off = {end for end, info in env.ends.items() if info["TimeLimit.truncated"]}
    assert cut_off
    assert set(env.ends) - cut_off  # crashes
    assert set(zip(*np.nonzero(buffer.dones), strict=True)) == set(env.ends)
    assert set(zip(*np.nonzero(buffer.timeouts), strict=True)) == cut_off
    for (tick, row), info in env.ends.items():
        for key, last in info["terminal_observation"].items():
            assert np.array_equal(buffer.next_observations[key][tick, row], last)
    seen, after = (it["ego"] for it in (buffer.observations, buffer.next_observations))
    ticks = np.arange(buffer.pos - 1)
    goes_on = (after[ticks] == seen[ticks + 1]).all(axis=2)
    assert (goes_on == (buffer.dones[ticks] == 0)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_is_trained_and_judged(tmp_path, name):
    """Each of them, in a process of its own; its curve leads to its last step."""
    config = TrainConfig(num_envs=4, total_timesteps=512, env=EnvConfig(episode_s=5.0))
    unit = Unit("algorithm", name, 0, config, 3, tmp_path)
    with Child(make) as child:
        child.ask(str(unit), unit, _DEADLINE_S)
        assert child.poll(_DEADLINE_S)
    assert [row.controller for row in unit.rows()] == [f"{name}, plain, seed 0"] * 3
    lines = (unit.folder / "metrics.jsonl").read_text("utf-8").splitlines()
    curve = [json.loads(line) for line in lines]
    assert "rollout/ep_rew_mean" in curve[-1]
    assert 512 - 8 < curve[-1]["step"] <= 2048
    assert unit.left_s == 0.0
    assert unit.share_trained() == 1.0


def command(folder, *more):
    """The command with runs of seconds."""
    small = ["--preset", "spec", "--algorithms", "SAC", "--seeds", "0", "--steps", "512"]
    return ["baselines", "--out", str(folder), *small, "--episodes", "4", *more]


def stamps(folder):
    """When each model and each judged episode was written."""
    files = [*folder.rglob("*.zip"), *folder.rglob("judged-4.jsonl")]
    return {file: file.stat().st_mtime_ns for file in files}


@pytest.mark.slow
def test_a_comparison_that_is_stopped_goes_on_and_is_mixed_with_nothing_else(tmp_path, capsys):
    """Ctrl-C keeps what is finished; another call makes the rest; another one adds an algorithm."""
    line = [sys.executable, "-m", "ml.cli", *command(tmp_path, "--workers", "1")]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        wait_until(lambda: list(tmp_path.rglob("judged-4.jsonl")), "judged driver")
        os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=_DEADLINE_S)
    assert run.returncode == 130
    assert "the same command with --out" in said
    made = stamps(tmp_path)
    assert len([file for file in made if file.suffix == ".jsonl"]) < 4

    assert main(command(tmp_path)) == 0
    assert stamps(tmp_path).items() > made.items()
    table = (tmp_path / "baselines.md").read_text("utf-8")
    for driver in ("preset spec", "SAC, plain", "predictive:0.5", "do-nothing"):
        assert f"| {driver} |" in table
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")

    made = stamps(tmp_path)
    capsys.readouterr()
    assert main(command(tmp_path, "--algorithms", "SAC", "TQC")) == 0
    assert "4 of them done already" in capsys.readouterr().err
    assert stamps(tmp_path).items() > made.items()
    drivers = json.loads((tmp_path / "baselines.json").read_text("utf-8"))["drivers"]
    assert {of["group"] for of in drivers} >= {"TQC, plain", "SAC, plain"}

    made = stamps(tmp_path)
    assert main(command(tmp_path, "--steps", "1024")) == 2
    assert "steps (512 there, 1024 asked for)" in capsys.readouterr().err
    assert main(command(tmp_path, "--preset", "ppo")) == 2
    assert "preset (spec there, ppo asked for)" in capsys.readouterr().err
    assert stamps(tmp_path) == made


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--algorithms", "SAK"), "there is no such algorithm. Did you mean 'SAC'"),
        (("--seeds", "1", "1"), "--seeds 1 1: name at least one, each once"),
        (("--seeds", "9000011"), "this is the test seed"),
        (("--steps", "0"), "--steps must be ≥ 1, got 0"),
        (("--preset", "pop"), "there is no preset 'pop'. Did you mean 'ppo'"),
    ],
)
def test_what_cannot_be_compared_is_told_before_anything_is_written(tmp_path, capsys, more, said):
    """With what there is, or what is allowed."""
    assert main(command(tmp_path / "out", *more)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_stays_as_it_is(tmp_path, capsys):
    """Also where a file of settings is no JSON."""
    (tmp_path / "thesis.tex").write_text("dear", "utf-8")
    assert main(command(tmp_path)) == 2
    assert "is not empty and holds no comparison" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "settings.json").write_text('{"steps', "utf-8")
    assert main(command(tmp_path)) == 2
    assert "is damaged" in capsys.readouterr().err


def test_a_damaged_record_of_a_training_is_told_with_the_way_on(tmp_path):
    """What it took is part of the table; the other drivers stay."""
    unit = Unit("algorithm", "PPO", 0, TrainConfig(), 1, tmp_path)
    unit.folder.mkdir(parents=True)
    unit.trained.write_text('{"cpu_s": ', "utf-8")
    with pytest.raises(EvaluationError, match=r"trained.json is damaged .*Delete the folder"):
        unit.training_cpu_s()


def test_a_training_that_is_begun_anew_has_done_nothing_yet(tmp_path):
    """Whatever the one before that was stopped had reached; a finished one stays."""
    config = TrainConfig(total_timesteps=1000)
    unit = Unit("algorithm", "PPO", 0, config, 1, tmp_path)
    unit.folder.mkdir(parents=True)
    (unit.folder / "metrics.jsonl").write_text('{"step": 500}\n', "utf-8")
    assert unit.share_trained() == 0.5
    unit.begin_anew()
    assert unit.share_trained() == 0.0
    (unit.folder / "metrics.jsonl").write_text('{"step": 500}\n', "utf-8")
    unit.trained.write_text('{"cpu_s": 1.0}', "utf-8")
    unit.begin_anew()
    assert unit.share_trained() == 1.0
    assert unit.run() == unit.folder
