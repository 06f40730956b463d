"""The whole way on real SUMO: train, save, load, resume, stop."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from support.tiny_training import pictures
from support.training_runs import ROLLOUT, SMALL, Place

from ml.envs.config import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.errors import ScenarioError
from ml.onboard.observation.spec import MAX_PEERS
from ml.training.checkpoints import load_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.sumo, pytest.mark.slow]

STEPS = 4096
MODEL = "deep_sets_final.zip"
SHORT = (
    "--num-envs", "8", "--ppo.n-steps", "1024", "--ppo.batch-size", "128", "--ppo.n-epochs", "2",
    "--episode-s", "15", "--checkpoints.every-steps", "1024",
    "--evaluation.every-steps", "2048", "--evaluation.episodes", "8",
    "--evaluation.least-gain", "0",
    "--evaluation.closing-episodes", "8",
)  # fmt: skip


def _steps(place: Place) -> dict[str, list[int]]:
    """Steps of each curve."""
    return {tag: [step for step, _ in curve] for tag, curve in place.scalars().items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A short training that has ended well, started as most people do."""
    place = Place(tmp_path_factory.mktemp("trained"))
    place.program = ("ml.cli", "train")
    done = place.train(*SHORT, "--total-timesteps", str(STEPS))
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if not line.startswith("closing table")] == []
    return place


@pytest.fixture
def environment() -> Iterator[ConvoyVecEnv]:
    """A batch of four convoys on real SUMO."""
    env = ConvoyVecEnv(4, EnvConfig(num_peers=(2, 5)), seed=9)
    yield env
    env.close()


def test_observations_hold_the_peers(environment: ConvoyVecEnv):
    """The observation is a Dict with one row for each of N peers, whatever N, and their mask."""
    assert isinstance(environment.observation_space, spaces.Dict)
    observation = environment.reset()
    heard = []
    for _ in range(20):
        observation, *_ = environment.step(np.zeros((4, 1), dtype=np.float32))
        assert set(observation) == {"ego", "peers", "peer_mask"}
        assert observation["peers"].shape[:2] == observation["peer_mask"].shape == (4, MAX_PEERS)
        for row in range(4):
            one = {key: value[row] for key, value in observation.items()}
            assert environment.observation_space.contains(one)
        heard.append(observation["peer_mask"].sum(axis=1))
    most = np.max(heard, axis=0)
    np.testing.assert_array_equal(most, environment.batch.plan.num_peers)
    assert np.unique(most).size > 1  # N varies from convoy to convoy


def test_the_model_exists_and_plain_sb3_drives_with_it(trained: Place, environment: ConvoyVecEnv):
    """`PPO.load` needs the file alone; the model drives convoys of another size."""
    model = PPO.load(trained.models / MODEL, device="cpu")
    record = json.loads((trained.run / "evaluation" / "best.json").read_text())
    assert model.num_timesteps == record["step"]
    observation = environment.reset()
    for _ in range(50):
        action, _ = model.predict(observation, deterministic=True)
        observation, reward, *_ = environment.step(action)
        assert np.isfinite(reward).all()
    assert sum(p.numel() for p in model.policy.parameters()) < 20_000


def test_training_changed_the_policy(trained: Place):
    """The final weights are not those of an earlier checkpoint."""
    steps = sorted((trained.run / "checkpoints").glob("step_*.zip"))
    assert [path.name for path in steps] == [f"step_{n:09d}.zip" for n in (2048, 3072, 4096)]
    last = trained.run / "final.zip"
    assert load_model(last).num_timesteps == STEPS
    early, final = (load_model(p).get_parameters()["policy"] for p in (steps[0], last))
    assert any((early[name] != final[name]).any() for name in early)


def test_the_curves_of_a_real_training(trained: Place):
    """Rollout, losses, each reward term, radio, crashes, speed and evaluation: all are there.

    The warm start is evaluated, too, before PPO changes anything.
    """
    curves = _steps(trained)
    for tag in ("rollout/ep_rew_mean", "train/value_loss", "reward/headway", "reward/safety",
                "reward/collision", "reward/comfort", "reward/false_braking",
                "radio/delivery_ratio", "radio/age_p50_s", "radio/age_p95_s",
                "time/steps_per_second", "evaluation/mean_return"):  # fmt: skip
        assert tag in curves, sorted(curves)
    assert "episodes/collision_rate" in curves
    assert curves["evaluation/mean_return"] == [0, 2048, 4096]
    assert curves["evaluation/safety_score"] == [0, 2048, 4096]
    assert sorted(pictures(trained.run)) == [0, 2048, 4096]
    lines = (trained.run / "metrics.jsonl").read_text().splitlines()
    for line in lines:
        said = json.loads(line)
        if "radio/age_max_s" in said:
            assert (
                0.0 < said["radio/age_p50_s"] < said["radio/age_p95_s"] <= said["radio/age_max_s"]
            )
            assert 1.0 <= said["radio/burst_mean"] <= said["radio/burst_max"]
        if "radio/delivery_ratio_relayed" in said:  # few convoys: much depends on their boards
            direct = said["radio/delivery_ratio"]
            assert 0.05 < direct < said["radio/delivery_ratio_relayed"] <= 1.0
    for tag in ("delivery_ratio_relayed", "airtime_share", "collision_share", "burst_mean",
                "burst_max", "age_max_s"):  # fmt: skip
        assert f"radio/{tag}" in curves, sorted(curves)


def test_best_model_and_closing_table(trained: Place):
    """The best model loads, and the table has the policy beside its baselines."""
    found = {
        line["step"]: line["evaluation/safety_score"]
        for line in map(json.loads, (trained.run / "metrics.jsonl").read_text().splitlines())
        if "evaluation/safety_score" in line
    }
    best = max(found, key=lambda step: found[step])
    assert load_model(trained.run / "best.zip").num_timesteps == best
    record = json.loads((trained.run / "evaluation" / "best.json").read_text())
    assert record["safety_score"] == found[best]
    assert record["episodes"] + record["invalid_episodes"] == 8
    assert 0 <= record["avoidable_crashes"] <= record["avoidable_episodes"] <= 8
    rows = json.loads((trained.run / "evaluation" / "closing.json").read_text())
    drivers = [row["driver"] for row in rows]
    assert {"trained policy (final)", "do-nothing", "always-brake"} <= set(drivers)
    table = (trained.run / "evaluation" / "closing.md").read_text()
    assert all(driver in table for driver in drivers)


def test_stop_and_resume(tmp_path: Path):
    """SIGTERM in mid-training exits with 143; resuming continues the same run to its end."""
    place = Place(tmp_path)
    with place.start(*SMALL, "--total-timesteps", "1000000") as trainer:
        assert trainer.stdout is not None
        for line in trainer.stdout:
            if line.startswith("step ") and "return" in line:
                break
        trainer.send_signal(signal.SIGTERM)
        _, errors = trainer.communicate(timeout=60.0)
    assert trainer.returncode == 143, errors
    saved = (place.run / "checkpoints" / "latest").read_text()
    step = int(saved.removeprefix("step_").split(".")[0])
    total = step + ROLLOUT
    done = place.train(TOTAL_TIMESTEPS=str(total), RESUME="latest")
    assert done.returncode == 0, done.stderr
    assert f"at step {step:,}" in done.stdout
    assert PPO.load(place.run / "final.zip", device="cpu").num_timesteps == total
    steps = _steps(place)["train/value_loss"]
    assert steps == list(range(ROLLOUT, total + 1, ROLLOUT))


def test_a_scenario_that_is_missing_costs_seconds(tmp_path: Path):
    """Exit code 2, one message without a traceback, and no run directory."""
    place = Place(tmp_path)
    done = place.train("--scenario", "nowhere.sumocfg")
    assert done.returncode == 2
    assert "nowhere.sumocfg" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ScenarioError):
        ConvoyVecEnv(1, EnvConfig(scenario="nowhere.sumocfg"))


def test_traci_trains_to_the_same_weights(tmp_path: Path):
    """The backend changes nothing: the same seed gives the same policy over TraCI."""
    weights = []
    for backend in ("libsumo", "traci"):
        place = Place(tmp_path / backend)
        done = place.train(*SMALL, "--total-timesteps", "2048", "--backend", backend)
        assert done.returncode == 0, done.stderr
        weights.append(load_model(place.models / MODEL).get_parameters()["policy"])
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
