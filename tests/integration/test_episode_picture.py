"""An episode of a periodic evaluation as a picture, on real SUMO."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support.untrained import untrained_model

from ml.commands.train import draw_episode
from ml.envs.config import EnvConfig
from ml.training.checkpoints import model_bytes
from ml.training.config import EvaluationConfig, TrainConfig
from ml.training.periodic_evaluation import evaluate_policy

if TYPE_CHECKING:
    from ml.evaluation.recording import Recording
    from ml.evaluation.result import EpisodeRow
    from ml.training.evaluated import Drawn

pytestmark = pytest.mark.sumo

CONFIG = TrainConfig(
    env=EnvConfig(num_peers=(2, 4), episode_s=20.0), evaluation=EvaluationConfig(episodes=8)
)


def test_every_model_is_drawn_in_the_same_hazard():
    """Convoy and braking are the same, what the ego does and the words above it are the model's."""
    drawn: list[tuple[Recording, str]] = []

    def draw(recording: Recording, title: str, row: EpisodeRow) -> Drawn:
        drawn.append((recording, title))
        return draw_episode(recording, title, row)

    for seed in (0, 1):
        model = untrained_model(seed, swing=1000.0)
        model.num_timesteps = 1000 * seed
        found = evaluate_policy(model_bytes(model), CONFIG, draw)
        assert found.complaint == ""
        with Image.open(io.BytesIO(found.picture)) as picture:
            assert picture.format == "PNG"
        assert f"<title>after {1000 * seed:,} steps: " in found.page
        assert "policy: Hazard, " in found.page
    (one, title), (other, other_title) = drawn
    assert (one.onset_s, one.brake_slot) == (other.onset_s, other.brake_slot)
    assert one.brake_slot > 1
    assert (one.speed_mps[:, -1] == other.speed_mps[:, -1]).all()
    assert not (one.speed_mps[:, 0] == other.speed_mps[:, 0]).all()
    for recording, said in drawn:
        crash = recording.crash_s == recording.crash_s
        assert ("no crash" in said) != crash
    assert title.startswith("after 0 steps: ")
    assert other_title.startswith("after 1,000 steps: ")
    assert title.splitlines()[1] == other_title.splitlines()[1]


def test_a_picture_that_fails_costs_no_figure():
    """The answer has the figures, and says what went wrong."""

    def draw(recording: Recording, title: str, row: EpisodeRow) -> Drawn:
        del row
        raise MemoryError(f"{title} of {recording.num_peers} cars")

    found = evaluate_policy(model_bytes(untrained_model(0)), CONFIG, draw)
    assert found.figures["episodes"] == 8
    assert {"mean_return", "safety_score"} <= found.figures.keys()
    assert found.picture == b""
    assert found.complaint.startswith("MemoryError: after 0 steps")
