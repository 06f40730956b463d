"""Evaluations whose outcome is known beforehand; the child that imports this has no need of torch.

An import of torch would take longer than all else that the child does.
"""

from __future__ import annotations

import io
import json
import os
import signal
import time
import zipfile
from typing import TYPE_CHECKING

from PIL import Image

from ml.errors import EvaluationError
from ml.training.evaluated import Evaluated

if TYPE_CHECKING:
    from ml.training.config import TrainConfig


def _step(content: bytes) -> float:
    """How many steps a model was trained for, as SB3 keeps it in the file."""
    with zipfile.ZipFile(io.BytesIO(content)) as model:
        return float(json.loads(model.read("data"))["num_timesteps"])


def _found(content: bytes, safety_score: float) -> Evaluated:
    """A return that grows with the steps, and a score, in each of four cases."""
    figures = {"mean_return": _step(content), "safety_score": safety_score}
    return Evaluated(figures, (safety_score,) * 4)


def evaluate_and_die(content: bytes, config: TrainConfig) -> Evaluated:
    """End the child as the kernel does when memory runs out."""
    del config
    os.kill(os.getpid(), signal.SIGKILL)
    return _found(content, 0.0)


def evaluate_and_fail(content: bytes, config: TrainConfig) -> Evaluated:
    """Fail as an evaluation does whose SUMO will not start."""
    raise EvaluationError(f"no valid episode in {config.evaluation.episodes} ({len(content) > 0})")


def evaluate_for_ever(content: bytes, config: TrainConfig) -> Evaluated:
    """Never answer."""
    del config
    time.sleep(3600.0)
    return _found(content, 0.0)


def evaluate_downhill(content: bytes, config: TrainConfig) -> Evaluated:
    """Find each later model less safe than the one before, for all that its return grows."""
    del config
    return _found(content, 1.0 / _step(content))


def evaluate_downhill_in_as_many_cases(content: bytes, config: TrainConfig) -> Evaluated:
    """The same, in as many cases as were asked for."""
    found = evaluate_downhill(content, config)
    return found._replace(by_case=found.by_case[:1] * config.evaluation.episodes)


def evaluate_uphill(content: bytes, config: TrainConfig) -> Evaluated:
    """Find each later model a little safer: by 0.001 per rollout of 160 steps."""
    del config
    return _found(content, 0.3 + _step(content) / 160_000.0)


def evaluate_and_draw(content: bytes, config: TrainConfig) -> Evaluated:
    """Answer with a picture as wide as the model is old, in rollouts of 160 steps, and a page."""
    found = evaluate_uphill(content, config)
    picture = io.BytesIO()
    Image.new("RGB", (int(_step(content)) // 160, 1)).save(picture, "png")
    return found._replace(picture=picture.getvalue(), page=f"<p>{int(_step(content))}")


def evaluate_and_fail_to_draw(content: bytes, config: TrainConfig) -> Evaluated:
    """Answer with figures, and why there is no picture."""
    return evaluate_uphill(content, config)._replace(complaint="ValueError: no ink")


def evaluate_once(content: bytes, config: TrainConfig) -> Evaluated:
    """Answer for the first model, then fail."""
    found = evaluate_downhill(content, config)
    return found if found.figures["mean_return"] <= 160.0 else evaluate_and_fail(content, config)
