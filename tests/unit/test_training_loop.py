"""The whole trainer on a small environment: learn, save, stop, resume, tell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tiny_convoys as tiny
from stable_baselines3 import PPO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ml.errors import SimulatorError
from ml.training import train_convoy
from ml.training.checkpoints import CheckpointStore, load_model, read_checkpoint
from ml.training.config import EvaluationConfig, TrainConfig
from ml.training.session import Parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from ml.training.run_directory import RunDirectory

SMALL = ("--num-envs", "4", "--ppo.n-steps", "160", "--ppo.batch-size", "40",
         "--ppo.n-epochs", "2", "--ppo.learning-rate", "0.003")  # fmt: skip
NO_EVALUATION = ("--evaluation.every-steps", "0")


def _no_closing(run: RunDirectory, config: TrainConfig, console: Console) -> None:
    """Leave out the closing table, which needs SUMO."""


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the trainer with its outputs in `tmp_path`, on the small environment."""
    for name in ("TOTAL_TIMESTEPS", "NUM_ENVS", "SEED", "RESUME", "SUMO_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PRESET", "spec")  # the small environment has no driver to imitate
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))

    def run(*argv: str, **parts: Any) -> int:
        chosen = {"build_environment": tiny.build_tiny, "close": _no_closing} | parts
        return train_convoy.main(argv, parts=Parts(**chosen))

    return run


def _only_run(tmp_path: Path) -> Path:
    (run,) = (tmp_path / "runs").iterdir()
    return run


def _metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _scalars(run: Path) -> dict[str, list[int]]:
    """Steps of each curve."""
    events = EventAccumulator(str(run / "tb"))
    events.Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def _stop_at(step: int, number: signal.Signals) -> Callable[..., tiny.TinyConvoys]:
    """Build an environment that sends this process a signal when it reaches a step."""

    class Stopping(tiny.TinyConvoys):
        steps = 0

        def step_wait(self):
            self.steps += self.num_envs
            if self.steps == step:
                os.kill(os.getpid(), number)
            return super().step_wait()

    return lambda config, _, seed: Stopping(config.num_envs, seed)


def _fail_at(step: int) -> Callable[..., tiny.TinyConvoys]:
    """Build an environment whose simulator fails at a step."""

    class Failing(tiny.TinyConvoys):
        steps = 0

        def step_wait(self):
            self.steps += self.num_envs
            if self.steps == step:
                raise SimulatorError("SUMO is gone")
            return super().step_wait()

    return lambda config, _, seed: Failing(config.num_envs, seed)


def test_it_learns(trainer: Callable[..., int], tmp_path: Path):
    """The small game, which needs mask and set, is learnt in a fixed budget."""
    code = trainer(*NO_EVALUATION, "--num-envs", "16", "--ppo.n-steps", "640",
                   "--ppo.batch-size", "160", "--ppo.n-epochs", "6", "--ppo.ent-coef", "0",
                   "--ppo.gamma", "0.1", "--ppo.learning-rate", "0.003",
                   "--total-timesteps", "16000")  # fmt: skip
    assert code == 0
    judge = TrainConfig(evaluation=EvaluationConfig(episodes=200))
    final = (_only_run(tmp_path) / "final.zip").read_bytes()
    assert tiny.evaluate_tiny(final, judge)["mean_return"] > 8.5  # a constant action: 5


def test_the_run_directory_and_the_models(trainer: Callable[..., int], tmp_path: Path):
    """Everything is where the run directory's description says, and the models load."""
    assert trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "480", "--seed", "3") == 0
    run = _only_run(tmp_path)
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
    run = _only_run(tmp_path)
    curves = _scalars(run)
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
    assert [line["step"] for line in _metrics(run)] == steps  # one line per rollout


def test_a_killed_process_loses_at_most_the_interval(trainer: Callable[..., int], tmp_path: Path):
    """Two checkpoints are never further apart than asked, the end included."""
    code = trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "1600",
                   "--checkpoints.every-steps", "500", "--checkpoints.keep", "99")  # fmt: skip
    assert code == 0
    store = CheckpointStore(_only_run(tmp_path) / "checkpoints", 99)
    steps = [read_checkpoint(path).step for path in store._by_step()]
    assert steps == [480, 960, 1440, 1600]


def test_resume_continues_count_curves_and_weights(trainer: Callable[..., int], tmp_path: Path):
    """A finished run is prolonged: one curve, no step twice, one more command."""
    assert trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "320") == 0
    run = _only_run(tmp_path)
    before = _metrics(run)
    assert trainer("--resume", "latest", "--total-timesteps", "640") == 0
    assert _only_run(tmp_path) == run
    for tag, steps in _scalars(run).items():
        assert steps == sorted(set(steps)), tag
    assert _scalars(run)["rollout/ep_rew_mean"] == [160, 320, 480, 640]
    assert _metrics(run)[: len(before)] == before
    assert load_model(run / "final.zip").num_timesteps == 640
    assert len((run / "command.txt").read_text().splitlines()) == 2
    assert "total_timesteps: 640" in (run / "config.yaml").read_text()


def test_resume_starts_from_the_saved_weights(trainer: Callable[..., int], tmp_path: Path):
    """With nothing left to learn, resuming gives the same model again."""
    assert trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "320") == 0
    run = _only_run(tmp_path)
    before = load_model(run / "final.zip").get_parameters()["policy"]
    (run / "final.zip").unlink()
    assert trainer("--resume", str(run)) == 0
    after = load_model(run / "final.zip").get_parameters()["policy"]
    assert all((before[name] == after[name]).all() for name in before)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_saves_and_stops(
    trainer: Callable[..., int], tmp_path: Path, number: signal.Signals, code: int
):
    """In mid-rollout: the state after the last update is saved, and the rest can be resumed."""
    arguments = (*SMALL, *NO_EVALUATION, "--total-timesteps", "640")
    assert trainer(*arguments, build_environment=_stop_at(400, number)) == code
    run = _only_run(tmp_path)
    assert (run / "checkpoints" / "latest").read_text() == "step_000000320.zip\n"
    assert not (run / "final.zip").exists()
    assert trainer("--resume", "latest") == 0
    assert _scalars(run)["rollout/ep_rew_mean"] == [160, 320, 480, 640]
    assert _scalars(run)["train/value_loss"] == [160, 320, 480, 640]


def test_a_signal_in_the_first_rollout(trainer: Callable[..., int], tmp_path: Path):
    """Nothing is learnt yet, but the run can be resumed all the same."""
    stopping = _stop_at(40, signal.SIGTERM)
    arguments = (*SMALL, *NO_EVALUATION, "--total-timesteps", "320")
    assert trainer(*arguments, build_environment=stopping) == 143
    assert trainer("--resume", "latest") == 0
    assert load_model(_only_run(tmp_path) / "final.zip").num_timesteps == 320


def test_a_signal_before_training_stops_at_once(trainer: Callable[..., int], tmp_path: Path):
    """While the environment is being built there is nothing to save: no run is left."""
    survived = []

    def build(config: TrainConfig, deployment: object, seed: int) -> tiny.TinyConvoys:
        del deployment
        os.kill(os.getpid(), signal.SIGTERM)
        survived.append(True)
        return tiny.TinyConvoys(config.num_envs, seed)

    assert trainer(*SMALL, *NO_EVALUATION, build_environment=build) == 143
    assert not survived
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_signal_during_the_closing_table(trainer: Callable[..., int], tmp_path: Path):
    """The models are saved by then; resuming writes the table alone."""
    closed = []

    def close(run: RunDirectory, config: TrainConfig, console: Console) -> None:
        del run, config, console
        if not closed:
            closed.append("interrupted")
            os.kill(os.getpid(), signal.SIGINT)
        closed.append("written")

    assert trainer(*SMALL, *NO_EVALUATION, "--total-timesteps", "160", close=close) == 130
    assert (_only_run(tmp_path) / "final.zip").exists()
    assert trainer("--resume", "latest", close=close) == 0
    assert closed == ["interrupted", "written"]


def test_a_second_signal_ends_at_once(tmp_path: Path):
    """A trainer that hangs while saving is ended by the second signal, with the same exit code."""
    script = tmp_path / "trainer.py"
    script.write_text(
        "import os, signal, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import tiny_convoys as tiny\n"
        "from ml.training import train_convoy\n"
        "from ml.training.session import Parts\n"
        "class Hanging(tiny.TinyConvoys):\n"
        "    def step_wait(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    parts = Parts(build_environment=lambda c, d, s: Hanging(c.num_envs, s))\n"
        "    sys.exit(train_convoy.main(['--evaluation.every-steps', '0'], parts=parts))\n"
    )
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path])),
        "RUNS_DIR": str(tmp_path / "runs"),
        "MODELS_DIR": str(tmp_path / "models"),
        "PRESET": "spec",
    }
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environ, check=False, capture_output=True, text=True, timeout=50.0,
    )  # fmt: skip
    assert done.returncode == 143, done.stderr
    assert "SIGTERM: saving and stopping; a second signal ends at once" in done.stderr


def test_signal_handlers_are_given_back(trainer: Callable[..., int]):
    """After the training the process answers Ctrl-C as before."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert trainer("--preset", "none") == 2
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_failing_simulator_leaves_a_checkpoint(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """An error in mid-run: exit code 1, its message, no traceback, and the state is saved."""
    arguments = (*SMALL, *NO_EVALUATION, "--total-timesteps", "640")
    assert trainer(*arguments, build_environment=_fail_at(400)) == 1
    errors = capsys.readouterr().err
    assert "SUMO is gone" in errors
    assert "Traceback" not in errors
    assert (_only_run(tmp_path) / "checkpoints" / "latest").read_text() == "step_000000320.zip\n"
    assert trainer("--resume", "latest") == 0


def test_a_truncated_checkpoint_is_skipped_aloud(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Resuming over a half-written file uses the one before and says so."""
    arguments = ("--total-timesteps", "480", "--checkpoints.every-steps", "160")
    assert trainer(*SMALL, *NO_EVALUATION, *arguments) == 0
    run = _only_run(tmp_path)
    newest = run / "checkpoints" / "step_000000480.zip"
    newest.write_bytes(newest.read_bytes()[:5000])
    capsys.readouterr()
    assert trainer("--resume", str(run), "--total-timesteps", "640") == 0
    shown = capsys.readouterr().out
    assert "step_000000480.zip is truncated" in shown
    assert "step_000000320.zip" in shown
    assert _scalars(run)["rollout/ep_rew_mean"] == [160, 320, 480, 640]


def test_resume_from_an_earlier_checkpoint(trainer: Callable[..., int], tmp_path: Path):
    """A named checkpoint rewinds the run: later files are set aside, later points replaced."""
    arguments = ("--total-timesteps", "480", "--checkpoints.every-steps", "160")
    assert trainer(*SMALL, *NO_EVALUATION, *arguments) == 0
    run = _only_run(tmp_path)
    earlier = run / "checkpoints" / "step_000000160.zip"
    assert trainer("--resume", str(earlier), "--total-timesteps", "320") == 0
    assert (run / "checkpoints" / "latest").read_text() == "step_000000320.zip\n"
    assert (run / "checkpoints" / "step_000000480.zip.superseded").exists()
    assert _scalars(run)["rollout/ep_rew_mean"] == [160, 320]


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
    run = _only_run(tmp_path)
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


def test_the_best_model_is_kept(trainer: Callable[..., int], tmp_path: Path):
    """Periodic evaluation writes its curve at the evaluated steps; best.zip is the best of them."""
    code = trainer(*SMALL, "--total-timesteps", "1600", "--evaluation.every-steps", "320",
                   "--evaluation.episodes", "4", evaluator=tiny.evaluate_tiny)  # fmt: skip
    assert code == 0
    run = _only_run(tmp_path)
    found = {
        line["step"]: line["evaluation/safety_score"]
        for line in _metrics(run)
        if "evaluation/safety_score" in line
    }
    assert sorted(found) == [320, 640, 960, 1280, 1600]
    assert sorted(_scalars(run)["evaluation/mean_return"]) == sorted(found)
    best = load_model(run / "best.zip").num_timesteps
    assert found[best] == max(found.values())
    record = (run / "evaluation" / "best.json").read_text()
    assert json.loads(record)["step"] == best
    assert json.loads(record)["safety_score"] == found[best]
    assert "mean_return" in json.loads(record)
    assert "NaN" not in record


def test_a_later_model_that_is_worse_is_not_kept(trainer: Callable[..., int], tmp_path: Path):
    """Best is safest, not last and not of largest return; also when the run is resumed."""
    arguments = ("--total-timesteps", "480", "--evaluation.every-steps", "160")
    assert trainer(*SMALL, *arguments, evaluator=tiny.evaluate_downhill) == 0
    best = _only_run(tmp_path) / "best.zip"
    assert load_model(best).num_timesteps == 160
    resumed = ("--resume", "latest", "--total-timesteps", "640")
    assert trainer(*resumed, evaluator=tiny.evaluate_downhill) == 0
    assert load_model(best).num_timesteps == 160


@pytest.mark.parametrize(("keep", "step"), [("best", 160), ("final", 480)])
def test_the_model_that_is_asked_for_is_kept(
    trainer: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    keep: str,
    step: int,
):
    """MODELS_DIR gets the best or the last weights, the user is told which; the run has both."""
    code = trainer(*SMALL, "--total-timesteps", "480", "--evaluation.every-steps", "160",
                   "--keep", keep, evaluator=tiny.evaluate_downhill)  # fmt: skip
    assert code == 0
    assert load_model(tmp_path / "models" / "deep_sets_final.zip").num_timesteps == step
    run = _only_run(tmp_path)
    assert load_model(run / "best.zip").num_timesteps == 160
    assert load_model(run / "final.zip").num_timesteps == 480
    said = "best by safety score (0.006), of step 160" if keep == "best" else "the last weights"
    assert said in capsys.readouterr().out


def test_without_an_evaluation_the_last_weights_are_kept(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """No evaluation, no best model: that is said, and is no error."""
    arguments = ("--total-timesteps", "320", "--keep", "best")
    assert trainer(*SMALL, *NO_EVALUATION, *arguments) == 0
    assert load_model(tmp_path / "models" / "deep_sets_final.zip").num_timesteps == 320
    assert "without periodic evaluation there is no best model" in capsys.readouterr().out


def test_a_best_model_of_an_earlier_version_makes_room(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A record without a score is told of and set aside; it neither stops a run nor wins."""
    arguments = ("--total-timesteps", "320", "--evaluation.every-steps", "160", "--keep", "best")
    assert trainer(*SMALL, *arguments, evaluator=tiny.evaluate_downhill) == 0
    run = _only_run(tmp_path)
    record = run / "evaluation" / "best.json"
    old = {"step": 160, "mean_return": 1e9}
    record.write_text(json.dumps(old))
    assert trainer("--resume", "latest", evaluator=tiny.evaluate_downhill) == 0
    assert "best by mean return, of step 160" in capsys.readouterr().out
    assert json.loads(record.read_text()) == old  # nothing was left to learn
    resumed = ("--resume", "latest", "--total-timesteps", "480")
    assert trainer(*resumed, evaluator=tiny.evaluate_downhill) == 0
    assert "was chosen by mean return" in capsys.readouterr().out
    assert load_model(run / "best.zip").num_timesteps == 480
    assert load_model(run / "best_by_mean_return.zip").num_timesteps == 160
    assert json.loads(record.read_text())["safety_score"] == pytest.approx(1.0 / 480)


@pytest.mark.parametrize("evaluator", [tiny.evaluate_and_die, tiny.evaluate_and_fail])
def test_a_failed_evaluation_fails_the_run_at_its_end(
    trainer: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    evaluator: Callable[..., dict[str, float]],
):
    """Training goes on with one warning; the models are there; the exit code tells."""
    code = trainer(*SMALL, "--total-timesteps", "960", "--evaluation.every-steps", "160",
                   evaluator=evaluator)  # fmt: skip
    captured = capsys.readouterr()
    assert code == 1
    assert captured.out.count("warning: ") == 1
    assert captured.err.startswith("roadsense train: the evaluation")
    assert load_model(_only_run(tmp_path) / "final.zip").num_timesteps == 960
    assert load_model(tmp_path / "models" / "deep_sets_final.zip").num_timesteps == 960


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
    checkpoint, problems = CheckpointStore(_only_run(tmp_path) / "checkpoints", 3).newest()
    assert (checkpoint.step, problems) == (160, [])
