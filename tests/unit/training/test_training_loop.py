"""The whole trainer on a small environment: learn, save, resume, tell."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from stable_baselines3 import PPO
from support import tiny_convoys as tiny
from support.tiny_training import NO_EVALUATION, SMALL, fail_at, metrics, only_run, scalars
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ml.training.checkpoints import CheckpointStore, load_model, read_checkpoint
from ml.training.config import EvaluationConfig, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml.envs.config import RewardWeights


@pytest.mark.slow
def test_it_learns(trainer: Callable[..., int], tmp_path: Path):
    """The small game, which needs mask and set, is learnt in a fixed budget."""
    code = trainer(*NO_EVALUATION, "--num-envs", "16", "--ppo.n-steps", "640",
                   "--ppo.batch-size", "160", "--ppo.n-epochs", "6", "--ppo.ent-coef", "0",
                   "--ppo.gamma", "0.1", "--ppo.learning-rate", "0.003",
                   "--total-timesteps", "16000")  # fmt: skip
    assert code == 0
    judge = TrainConfig(evaluation=EvaluationConfig(episodes=200))
    final = (only_run(tmp_path) / "final.zip").read_bytes()
    assert tiny.evaluate_tiny(final, judge).figures["mean_return"] > 8.5  # a constant action: 5


def test_the_spread_of_actions_falls_as_told(trainer: Callable[..., int], tmp_path: Path):
    """From one logarithm to the other over the whole run, and on along that line when resumed."""
    spread = ("--policy.log-std-init", "-0.5", "--policy.log-std-final", "-2.5")
    assert trainer(*SMALL, *NO_EVALUATION, *spread, "--total-timesteps", "320") == 0
    assert trainer("--resume", "latest", "--total-timesteps", "640") == 0
    found = [math.log(line["train/std"]) for line in metrics(only_run(tmp_path))]
    # Each rollout's is set; its update, whose figure this is, moves it a little.
    assert found == pytest.approx([-0.5, -1.5, -1.5, -2.0], abs=0.1)


def test_penalties_grow_as_told(trainer: Callable[..., int], monkeypatch: pytest.MonkeyPatch):
    """From the curriculum's weight to the reward's over the run, and on when it is resumed."""
    weights: list[RewardWeights] = []
    monkeypatch.setattr(tiny.TinyConvoys, "weights", weights)
    grows = ("--reward.comfort", "0.2", "--curriculum.comfort", "0", "--curriculum.share", "1")
    assert trainer(*SMALL, *NO_EVALUATION, *grows, "--total-timesteps", "320") == 0
    assert trainer("--resume", "latest", "--total-timesteps", "640") == 0
    assert [w.comfort for w in weights] == pytest.approx([0.0, 0.1, 0.1, 0.15])


def test_a_run_without_a_curriculum_leaves_the_weights_alone(
    trainer: Callable[..., int], monkeypatch: pytest.MonkeyPatch
):
    """The reward's own hold from the first tick."""
    weights: list[RewardWeights] = []
    monkeypatch.setattr(tiny.TinyConvoys, "weights", weights)
    assert trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "160") == 0
    assert weights == []


def test_the_run_directory_and_the_models(trainer: Callable[..., int], tmp_path: Path):
    """Everything is where the run directory's description says, and the models load."""
    assert trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "480", "--seed", "3") == 0
    run = only_run(tmp_path)
    assert run.name.endswith("-spec-s3")
    for name in ("config.yaml", "command.txt", "versions.json", "metrics.jsonl", "tb",
                 "checkpoints/latest", "final.zip", "evaluation"):  # fmt: skip
        assert (run / name).exists(), name
    final = tmp_path / "models" / "deep_sets_final.zip"
    assert final.read_bytes() == (run / "final.zip").read_bytes()
    assert PPO.load(final, device="cpu").num_timesteps == 480
    assert load_model(final).num_timesteps == 480
    assert (run / "checkpoints" / "latest").read_text() == "step_000000480.zip\n"


def test_the_curves(trainer: Callable[..., int], tmp_path: Path):
    """Returns, losses, reward terms, crash rates by kind, radio, speed and hyperparameters."""
    assert trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "480") == 0
    run = only_run(tmp_path)
    curves = scalars(run)
    steps = [160, 320, 480]
    for tag in ("rollout/ep_rew_mean", "rollout/ep_len_mean", "reward/headway",
                "radio/age_p50_s", "radio/delivery_ratio", "time/steps_per_second",
                "episodes/collision_rate"):  # fmt: skip
        assert curves[tag] == steps, tag
    assert {f"episodes/collision_rate_{kind}" for kind in tiny.KINDS} <= curves.keys()
    assert curves["train/value_loss"] == steps  # the last update's, too
    events = EventAccumulator(str(run / "tb"))
    events.Reload()
    assert "hyperparameters/text_summary" in events.Tags()["tensors"]
    assert [line["step"] for line in metrics(run)] == steps  # one line per rollout


def test_a_killed_process_loses_at_most_the_interval(trainer: Callable[..., int], tmp_path: Path):
    """Two checkpoints are never further apart than asked, the end included."""
    code = trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "1600",
                   "--checkpoints.every-steps", "500", "--checkpoints.keep", "99")  # fmt: skip
    assert code == 0
    store = CheckpointStore(only_run(tmp_path) / "checkpoints", 99)
    steps = [read_checkpoint(path).step for path in store._by_step()]
    assert steps == [480, 960, 1440, 1600]


def test_resume_continues_count_curves_and_weights(trainer: Callable[..., int], tmp_path: Path):
    """A finished run is prolonged: one curve, no step twice, one more command."""
    assert trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "320") == 0
    run = only_run(tmp_path)
    before = metrics(run)
    assert trainer("--resume", "latest", "--total-timesteps", "640") == 0
    assert only_run(tmp_path) == run
    for tag, steps in scalars(run).items():
        assert steps == sorted(set(steps)), tag
    assert scalars(run)["rollout/ep_rew_mean"] == [160, 320, 480, 640]
    assert metrics(run)[: len(before)] == before
    assert load_model(run / "final.zip").num_timesteps == 640
    assert len((run / "command.txt").read_text().splitlines()) == 2
    assert "total_timesteps: 640" in (run / "config.yaml").read_text()


def test_resume_starts_from_the_saved_weights(trainer: Callable[..., int], tmp_path: Path):
    """With nothing left to learn, resuming gives the same model again."""
    assert trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "320") == 0
    run = only_run(tmp_path)
    before = load_model(run / "final.zip").get_parameters()["policy"]
    (run / "final.zip").unlink()
    assert trainer("--resume", str(run)) == 0
    after = load_model(run / "final.zip").get_parameters()["policy"]
    assert all((before[name] == after[name]).all() for name in before)


def test_a_failing_simulator_leaves_a_checkpoint(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """An error in mid-run: exit code 1, its message, no traceback, and the state is saved."""
    arguments = (*SMALL, *NO_EVALUATION, "--total-timesteps", "640")
    assert trainer(*arguments, build_environment=fail_at(400)) == 1
    errors = capsys.readouterr().err
    assert "SUMO is gone" in errors
    assert "Traceback" not in errors
    assert (only_run(tmp_path) / "checkpoints" / "latest").read_text() == "step_000000320.zip\n"
    assert trainer("--resume", "latest") == 0


def test_a_truncated_checkpoint_is_skipped_aloud(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Resuming over a half-written file uses the one before and says so."""
    arguments = ("--total-timesteps", "480", "--checkpoints.every-steps", "160")
    assert trainer(*SMALL, *NO_EVALUATION, *arguments) == 0
    run = only_run(tmp_path)
    newest = run / "checkpoints" / "step_000000480.zip"
    newest.write_bytes(newest.read_bytes()[:5000])
    capsys.readouterr()
    assert trainer("--resume", str(run), "--total-timesteps", "640") == 0
    shown = capsys.readouterr().out
    assert "step_000000480.zip is truncated" in shown
    assert "step_000000320.zip" in shown
    assert scalars(run)["rollout/ep_rew_mean"] == [160, 320, 480, 640]


def test_resume_from_an_earlier_checkpoint(trainer: Callable[..., int], tmp_path: Path):
    """A named checkpoint rewinds the run: later files are set aside, later points replaced."""
    arguments = ("--total-timesteps", "480", "--checkpoints.every-steps", "160")
    assert trainer(*SMALL, *NO_EVALUATION, *arguments) == 0
    run = only_run(tmp_path)
    earlier = run / "checkpoints" / "step_000000160.zip"
    assert trainer("--resume", str(earlier), "--total-timesteps", "320") == 0
    assert (run / "checkpoints" / "latest").read_text() == "step_000000320.zip\n"
    assert (run / "checkpoints" / "step_000000480.zip.superseded").exists()
    assert scalars(run)["rollout/ep_rew_mean"] == [160, 320]


def test_resume_does_not_repeat_the_episodes(trainer: Callable[..., int]):
    """Each part of a run has a seed of its own, and the same one whenever it is repeated."""
    seeds = []

    def build(config: TrainConfig, deployment: object, seed: int) -> tiny.TinyConvoys:
        del deployment
        seeds.append(seed)
        return tiny.TinyConvoys(config.num_envs, seed)

    trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "160", "--seed", "5",
            build_environment=build)  # fmt: skip
    trainer("--resume", "latest", "--total-timesteps", "320", build_environment=build)
    trainer("--resume", "latest", "--total-timesteps", "480", build_environment=build)
    assert seeds[0] == 5
    assert len(set(seeds)) == 3


def test_another_network_is_refused_before_anything_changes(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Resuming with another width: exit code 2, and the run directory is as it was."""
    assert trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "160") == 0
    run = only_run(tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert trainer("--resume", str(run), "--policy.peer-embed-dim", "8") == 2
    assert "does not fit this policy" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_the_same_seed_gives_the_same_weights(trainer: Callable[..., int], tmp_path: Path):
    """Training twice gives equal models; another seed another one."""
    weights = []
    for seed in ("1", "1", "2"):
        assert trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "320", "--seed", seed) == 0
        model = load_model(tmp_path / "models" / "deep_sets_final.zip")
        weights.append(model.get_parameters()["policy"])
    same = [[(one[k] == two[k]).all() for k in one] for one, two in pairwise(weights)]
    assert all(same[0])
    assert not all(same[1])


def test_a_mistake_writes_nothing(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Exit code 2, one message, no run directory."""
    assert trainer("--num-envs", "7") == 2
    assert trainer("--resume", "nowhere") == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_unwritable_place_is_told_before_training(
    trainer: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    """The models' directory is checked up front, not after a night."""
    (tmp_path / "models").write_text("in the way")
    assert trainer(*SMALL, *NO_EVALUATION) == 2
    assert "MODELS_DIR" in capsys.readouterr().err
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_full_disk_in_mid_run(
    trainer: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Exit code 1, one line that says what to do, and the earlier checkpoint is whole."""
    saves = []
    save = CheckpointStore.save

    def fill_up(store: CheckpointStore, model: PPO, step: int) -> Path:
        saves.append(step)
        if len(saves) > 1:
            raise OSError(28, "No space left on device", str(store.directory))
        return save(store, model, step)

    monkeypatch.setattr(CheckpointStore, "save", fill_up)
    code = trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "960",
                   "--checkpoints.every-steps", "160")  # fmt: skip
    errors = capsys.readouterr().err
    assert code == 1
    assert "No space left on device" in errors
    assert "--resume latest" in errors
    checkpoint, problems = CheckpointStore(only_run(tmp_path) / "checkpoints", 3).newest()
    assert (checkpoint.step, problems) == (160, [])
