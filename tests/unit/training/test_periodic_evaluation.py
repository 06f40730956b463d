"""Which model of a training is the best, and which one is kept."""

from __future__ import annotations

import io
import json
import signal
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support import tiny_convoys as tiny
from support import told_evaluations as told
from support.planted_rows import planted_row
from support.tiny_training import (
    NO_EVALUATION,
    SMALL,
    metrics,
    only_run,
    pictures,
    scalars,
    stop_at,
)

from ml.errors import EvaluationError
from ml.training.checkpoints import load_model
from ml.training.config import EvaluationConfig, TrainConfig
from ml.training.episode_pages import pages_in
from ml.training.episode_picture import telling_episode
from ml.training.evaluated import Evaluated
from ml.training.loggers import JsonLinesWriter, TensorBoardWriter
from ml.training.periodic_evaluation import BestModel, publish_model
from ml.training.run_directory import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.slow
def test_the_best_model_is_kept(trainer: Callable[..., int], tmp_path: Path):
    """Periodic evaluation writes its curve at the evaluated steps; best.zip is the best of them."""
    code = trainer(*SMALL, "--total-timesteps", "960", "--evaluation.every-steps", "320",
                   "--evaluation.episodes", "4", evaluator=tiny.evaluate_tiny)  # fmt: skip
    assert code == 0
    run = only_run(tmp_path)
    found = {
        line["step"]: line["evaluation/safety_score"]
        for line in metrics(run)
        if "evaluation/safety_score" in line
    }
    assert sorted(found) == [320, 640, 960]
    assert sorted(scalars(run)["evaluation/mean_return"]) == sorted(found)
    best = load_model(run / "best.zip").num_timesteps
    assert found[best] == max(found.values())
    record = (run / "evaluation" / "best.json").read_text()
    assert json.loads(record)["step"] == best
    assert json.loads(record)["safety_score"] == found[best]
    assert "mean_return" in json.loads(record)
    assert "NaN" not in record


def test_a_later_model_that_is_worse_is_not_kept(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Best is safest, not last and not of largest return; also when the run is resumed.

    MODELS_DIR gets the best or the last weights, as asked, and the user is told which.
    """
    arguments = ("--total-timesteps", "480", "--evaluation.every-steps", "160")
    code = trainer(*SMALL, *arguments, "--keep", "final", evaluator=told.evaluate_downhill)
    assert code == 0
    run, kept = only_run(tmp_path), tmp_path / "models" / "deep_sets_final.zip"
    assert load_model(kept).num_timesteps == load_model(run / "final.zip").num_timesteps == 480
    assert load_model(run / "best.zip").num_timesteps == 160
    assert "the last weights" in capsys.readouterr().out
    resumed = ("--resume", "latest", "--total-timesteps", "640", "--keep", "best")
    assert trainer(*resumed, evaluator=told.evaluate_downhill) == 0
    assert load_model(run / "best.zip").num_timesteps == load_model(kept).num_timesteps == 160
    assert load_model(run / "final.zip").num_timesteps == 640
    assert "best by safety score (0.01), of step 160" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["fewer cases", "another seed", "an earlier RoadSense"])
def test_a_best_model_of_other_cases_is_judged_again(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
):
    """A resumed run pairs its models with `best.zip` on the cases of now, and loses none of them.

    So it does where the record is one without scores by case, and of another scale.
    """
    arguments = ("--total-timesteps", "320", "--evaluation.every-steps", "160")
    assert trainer(*SMALL, *arguments, evaluator=told.evaluate_downhill) == 0
    run = only_run(tmp_path)
    record = run / "evaluation" / "best.json"
    best = (run / "best.zip").read_bytes()
    changed = {
        "fewer cases": ("--evaluation.episodes", "3"),
        "another seed": ("--evaluation.seed", "4242"),
        "an earlier RoadSense": (),
    }[change]
    if not changed:
        record.write_text(json.dumps({"step": 160, "safety_score": 0.42}))
    resumed = ("--resume", "latest", "--total-timesteps", "640", *changed)
    assert trainer(*resumed, evaluator=told.evaluate_downhill_in_as_many_cases) == 0
    assert (run / "best.zip").read_bytes() == best
    said = json.loads(record.read_text())
    cases = 3 if change == "fewer cases" else 32
    assert said["step"] == 160
    assert said["by_case"] == [pytest.approx(1 / 160)] * cases
    assert said["safety_score"] == pytest.approx(1 / 160)
    assert _evaluated(run) == [160, 320, 480, 640]
    told_of = " ".join(capsys.readouterr().out.split())
    assert "best.zip, of step 160, judged again: safety score 0.01" in told_of
    assert f"{cases} paired cases to the best before (not shown to be better)" in told_of


def test_a_resumed_run_does_not_judge_its_best_model_again(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Nor where what has changed decides no case: the reward's weights, or how long it runs."""
    arguments = ("--total-timesteps", "320", "--evaluation.every-steps", "160")
    assert trainer(*SMALL, *arguments, evaluator=told.evaluate_downhill) == 0
    resumed = ("--resume", "latest", "--total-timesteps", "480", "--reward.comfort", "0.1")
    assert trainer(*resumed, evaluator=told.evaluate_downhill) == 0
    assert "judged again" not in capsys.readouterr().out
    assert load_model(only_run(tmp_path) / "best.zip").num_timesteps == 160


def test_a_gain_that_may_be_chance_is_none(trainer: Callable[..., int], tmp_path: Path):
    """A later model takes the best one's place where its score is higher by `least_gain`.

    Without a warm start the first weights are not evaluated: they are random.
    """
    arguments = ("--total-timesteps", "640", "--evaluation.every-steps", "160")
    least = ("--evaluation.least-gain", "0.0015")
    assert trainer(*SMALL, *arguments, *least, evaluator=told.evaluate_uphill) == 0
    run = only_run(tmp_path)
    assert load_model(run / "best.zip").num_timesteps == 480
    assert _evaluated(run) == [160, 320, 480, 640]


@pytest.mark.parametrize(("least_gain", "step"), [(0.0, 640), (0.0015, 480), (0.01, 160)])
def test_what_gain_is_enough(tmp_path: Path, least_gain: float, step: int):
    """Any, one of two steps, and none, of four models that each gain 0.001."""
    run = RunDirectory(tmp_path)
    run.evaluation.mkdir()
    writers = TensorBoardWriter(run.tensorboard, 0), JsonLinesWriter(run.metrics_file)
    best = BestModel(run, writers, lambda _: None, least_gain=least_gain)
    for at in (160, 320, 480, 640):
        score = 0.3 + at / 160_000.0
        figures = {"mean_return": 1.0, "safety_score": score}
        best.consider(at, b"%d" % at, Evaluated(figures, (score, score)))
    for writer in writers:
        writer.close()
    assert run.best_model.read_bytes() == b"%d" % step
    assert json.loads(run.best_record.read_text())["step"] == step
    assert _evaluated(run.path) == [160, 320, 480, 640]


WARM = ("--imitation.rounds", "1", "--imitation.ticks", "10", "--evaluation.least-gain", "0.01",
        "--evaluation.every-steps", "160")  # fmt: skip


def _evaluated(run: Path) -> list[float]:
    return [line["step"] for line in metrics(run) if "evaluation/safety_score" in line]


@pytest.mark.parametrize("stop_step", [80, 240])
def test_a_warm_start_is_kept_until_something_betters_it(
    trainer: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_step: int,
):
    """It is evaluated once, before PPO; a stop in the first or second rollout does not lose it."""
    monkeypatch.setattr("ml.training.session.imitate", lambda *_, **__: None)
    code = trainer(*SMALL, *WARM, "--total-timesteps", "480", evaluator=told.evaluate_uphill,
                   build_environment=stop_at(stop_step, signal.SIGTERM))  # fmt: skip
    assert code == 143
    run = only_run(tmp_path)
    assert load_model(run / "best.zip").num_timesteps == 0
    assert trainer("--resume", "latest", evaluator=told.evaluate_uphill) == 0
    assert load_model(run / "best.zip").num_timesteps == 0
    # What was asked last before the stop may go unanswered.
    assert [step for step in _evaluated(run) if step != 160] == [0, 320, 480]


def test_a_kept_warm_start_is_said_in_plain_words(tmp_path: Path):
    """Nobody has to know that step 0 means that PPO was for nothing."""
    run = RunDirectory(tmp_path)
    run.evaluation.mkdir()
    for file in (run.final_model, run.best_model):
        file.touch()
    record = {"step": 0, "safety_score": -39.01}
    (run.evaluation / "best.json").write_text(json.dumps(record))
    config = TrainConfig(keep="best", total_timesteps=500_000, evaluation=EvaluationConfig())
    said = publish_model(run, config, tmp_path, evaluated=True)
    assert (
        "the warm start, as it was before PPO's first step: the best by safety score (-39.01); "
        "none of PPO's 500,000 steps is shown to have bettered it; the last weights: " in said
    )


def test_without_an_evaluation_the_last_weights_are_kept(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """No evaluation, no best model: that is said, and is no error."""
    arguments = ("--total-timesteps", "320", "--keep", "best")
    assert trainer(*SMALL, *NO_EVALUATION, *arguments) == 0
    assert load_model(tmp_path / "models" / "deep_sets_final.zip").num_timesteps == 320
    assert "without periodic evaluation there is no best model" in capsys.readouterr().out


def test_the_best_before_a_failed_evaluation_is_no_choice(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """It was compared with nothing that came after: the last weights are kept, and that is said.

    The closing verdict is about them, too.
    """
    judged = []
    code = trainer(*SMALL, "--total-timesteps", "480", "--evaluation.every-steps", "160",
                   "--keep", "best", evaluator=told.evaluate_once,
                   close=lambda _run, config, _console: judged.append(config.keep))  # fmt: skip
    assert code == 1
    assert judged == ["final"]
    assert load_model(only_run(tmp_path) / "best.zip").num_timesteps == 160
    assert load_model(tmp_path / "models" / "deep_sets_final.zip").num_timesteps == 480
    assert "as an evaluation failed" in capsys.readouterr().out


@pytest.mark.parametrize("evaluator", [told.evaluate_and_die, told.evaluate_and_fail])
def test_a_failed_evaluation_fails_the_run_at_its_end(
    trainer: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    evaluator: Callable[..., dict[str, float]],
):
    """Training goes on with one warning; the models are there; the exit code tells."""
    code = trainer(*SMALL, "--total-timesteps", "480", "--evaluation.every-steps", "160",
                   evaluator=evaluator)  # fmt: skip
    captured = capsys.readouterr()
    assert code == 1
    assert captured.out.count("warning: ") == 1
    assert captured.err.startswith("roadsense train: the evaluation")
    assert load_model(only_run(tmp_path) / "final.zip").num_timesteps == 480
    assert load_model(tmp_path / "models" / "deep_sets_final.zip").num_timesteps == 480


def test_each_evaluation_has_its_picture_also_after_a_resume(
    trainer: Callable[..., int], tmp_path: Path
):
    """TensorBoard gets one at the evaluated step; a resumed run goes on, without one twice.

    Pictures of the part that a stop lost give way to those of the part that replaces it.
    """
    arguments = ("--total-timesteps", "640", "--checkpoints.every-steps", "160")
    asked, evaluator = ("--evaluation.every-steps", "160"), told.evaluate_and_draw
    assert trainer(*SMALL, *arguments, *asked, evaluator=evaluator) == 0
    run = only_run(tmp_path)
    shown = pictures(run)
    assert sorted(shown) == [160, 320, 480, 640]
    max((run / "checkpoints").glob("step_*.zip")).unlink()  # as if killed before it was written
    assert trainer("--resume", "latest", "--total-timesteps", "800", evaluator=evaluator) == 0
    again = pictures(run)
    assert sorted(again) == [160, 320, 480, 640, 800]
    assert {step: again[step] for step in shown} == shown
    for step, content in again.items():
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.size == (step // 160, 1)


def test_pages_of_the_newest_models_stay(
    trainer: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each evaluation leaves a page, older ones go, and those of a lost part go when it resumes."""
    monkeypatch.setattr("ml.training.episode_pages.KEPT_PAGES", 3)
    arguments = ("--total-timesteps", "640", "--checkpoints.every-steps", "160")
    asked, evaluator = ("--evaluation.every-steps", "160"), told.evaluate_and_draw
    assert trainer(*SMALL, *arguments, *asked, evaluator=evaluator) == 0
    run = only_run(tmp_path)
    pages = {step: file.read_text() for step, file in pages_in(run / "evaluation")}
    assert pages == {step: f"<p>{step}" for step in (320, 480, 640)}
    newest = max((run / "checkpoints").glob("step_*.zip"))
    newest.unlink()  # as if killed before it was written
    again = ("--resume", "latest", "--total-timesteps", "640")
    assert trainer(*again, evaluator=told.evaluate_uphill) == 0
    assert [step for step, _ in pages_in(run / "evaluation")] == [320, 480]


def test_no_picture_is_a_warning_and_no_failure(
    trainer: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """It is said once, and why; the curves are written and the exit code is 0."""
    code = trainer(*SMALL, "--total-timesteps", "480", "--evaluation.every-steps", "160",
                   evaluator=told.evaluate_and_fail_to_draw)  # fmt: skip
    assert code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("warning: no picture of an episode in TensorBoard (ValueError: no ink)") == 1
    assert _evaluated(only_run(tmp_path)) == [160, 320, 480]
    assert pictures(only_run(tmp_path)) == {}


def test_the_picture_is_of_a_hazard_that_the_radio_tells_of():
    """The first avoidable one in which another car than the one in front brakes, crash or not."""
    rows = [
        planted_row(case=0, kind="benign", brake_rank=3, num_peers=4),
        planted_row(case=1, brake_rank=1, num_peers=4),
        planted_row(case=2, brake_rank=3, num_peers=4, avoidable=False),
        planted_row(case=3, brake_rank=2, num_peers=4, invalid=True),
        planted_row(case=4, brake_rank=2, num_peers=4, crash=True),
        planted_row(case=5, brake_rank=3, num_peers=4),
    ]
    assert telling_episode(rows).case == 4
    assert telling_episode(rows[:4]).case == 1
    with pytest.raises(EvaluationError, match=r"--evaluation\.episodes"):
        telling_episode(rows[:1])
