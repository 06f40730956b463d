"""Curves: what is written, and that a resumed run doubles nothing."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from ml.errors import CheckpointError
from ml.training.config import TrainConfig
from ml.training.loggers import JsonLinesWriter, TensorBoardWriter, truncate_metrics

if TYPE_CHECKING:
    from pathlib import Path


def _write(folder: Path, start_step: int, points: dict[int, float]) -> None:
    writer = TensorBoardWriter(folder, start_step)
    for step, value in points.items():
        writer.write({"rollout/ep_rew_mean": value}, {"rollout/ep_rew_mean": ()}, step)
    writer.close()


def _curve(folder: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("rollout/ep_rew_mean")]


def test_a_resumed_curve_has_each_step_once(tmp_path: Path):
    """Points beyond the checkpoint, written before the kill, give way to the new ones.

    So they do where both parts began within a second: event files are read in the order of names.
    """
    _write(tmp_path, 0, {10: 1.0, 20: 2.0, 30: 3.0})
    (first,) = tmp_path.iterdir()
    first.rename(first.with_name(f"events.out.tfevents.{time.time():010.0f}.~.1.0"))
    _write(tmp_path, 20, {30: 33.0, 40: 44.0})
    assert _curve(tmp_path) == [(10, 1.0), (20, 2.0), (30, 33.0), (40, 44.0)]


def test_the_curves_that_matter_are_on_one_page(tmp_path: Path):
    """TensorBoard has a page of custom scalars; each pattern matches one curve and no more."""
    _write(tmp_path, 0, {10: 1.0})
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    layout = Layout()
    content = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    layout.ParseFromString(content)
    (overview,) = layout.category
    assert overview.title == "Overview"
    charts = {chart.title: chart for chart in overview.chart}
    assert list(charts["return, training"].multiline.tag) == ["rollout/ep_rew_mean$"]
    margin = charts["return, evaluated, 95 %"].margin.series[0]
    assert (margin.lower, margin.value, margin.upper) == (
        "evaluation/return_low", "evaluation/mean_return", "evaluation/return_high",
    )  # fmt: skip


def test_runs_can_be_compared_by_their_configuration(tmp_path: Path):
    """A run's options are hyperparameters in its own folder, by the names of the command line."""
    writer = TensorBoardWriter(tmp_path, 0)
    writer.describe(TrainConfig(), 0)
    writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    started = HParamsPluginData.FromString(content).session_start_info.hparams
    assert started["ppo.learning_rate"].number_value == 3e-4
    assert started["env.radio"].string_value == "clean"


def test_metrics_are_one_json_object_a_line(tmp_path: Path):
    """Numbers by name, the step first, what is not finite as null; no text."""
    path = tmp_path / "metrics.jsonl"
    writer = JsonLinesWriter(path)
    writer.write({"b": 1.5, "a": float("nan"), "n": 3, "text": "x"}, {}, step=10)
    writer.write({"text": "x"}, {}, step=10)
    writer.close()
    assert path.read_text() == '{"step": 10, "a": null, "b": 1.5, "n": 3}\n'


def test_metrics_beyond_the_checkpoint_are_dropped(tmp_path: Path):
    """Lines up to the step stay as they are; later ones and an unfinished last one go."""
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "v": step}) for step in (10, 20, 30)]
    path.write_text("\n".join(lines) + '\n{"step": 40, "v"')
    truncate_metrics(path, 20)
    assert path.read_text() == "\n".join(lines[:2]) + "\n"


def test_metrics_that_are_not_ours_are_left_alone(tmp_path: Path):
    """A foreign line in the middle is an error with its place, and nothing is changed."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nhello\n{"step": 2}\n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl:2: not a line of metrics: 'hello'"):
        truncate_metrics(path, 5)
    assert "hello" in path.read_text()


def test_a_run_without_metrics_can_be_resumed(tmp_path: Path):
    """No file, nothing to do."""
    truncate_metrics(tmp_path / "metrics.jsonl", 5)
    assert not (tmp_path / "metrics.jsonl").exists()
