"""Training runs of the small environment: what they are given, and what they leave behind."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from support import tiny_convoys as tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ml.errors import SimulatorError

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from pathlib import Path


SMALL = ("--num-envs", "4", "--ppo.n-steps", "160", "--ppo.batch-size", "40",
         "--ppo.n-epochs", "2", "--ppo.learning-rate", "0.003")  # fmt: skip
NO_EVALUATION = ("--evaluation.every-steps", "0")


def only_run(tmp_path: Path) -> Path:
    """The directory of the one run there is."""
    (run,) = (tmp_path / "runs").iterdir()
    return run


def metrics(run: Path) -> list[dict[str, float]]:
    """The lines of its metrics."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def scalars(run: Path) -> dict[str, list[int]]:
    """Steps of each curve."""
    events = EventAccumulator(str(run / "tb"))
    events.Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def pictures(run: Path) -> dict[int, bytes]:
    """The picture of each evaluation, by its step: a PNG."""
    events = EventAccumulator(str(run / "tb"), size_guidance={"images": 0})
    events.Reload()
    shown = events.Images("evaluation/episode") if events.Tags()["images"] else []
    assert len({event.step for event in shown}) == len(shown)
    return {event.step: event.encoded_image_string for event in shown}


def stop_at(step: int, number: signal.Signals) -> Callable[..., tiny.TinyConvoys]:
    """Build an environment that sends this process a signal when it reaches a step."""

    class Stopping(tiny.TinyConvoys):
        steps = 0

        def step_wait(self):
            self.steps += self.num_envs
            if self.steps == step:
                os.kill(os.getpid(), number)
            return super().step_wait()

    return lambda config, _, seed: Stopping(config.num_envs, seed)


def fail_at(step: int) -> Callable[..., tiny.TinyConvoys]:
    """Build an environment whose simulator fails at a step."""

    class Failing(tiny.TinyConvoys):
        steps = 0

        def step_wait(self):
            self.steps += self.num_envs
            if self.steps == step:
                raise SimulatorError("SUMO is gone")
            return super().step_wait()

    return lambda config, _, seed: Failing(config.num_envs, seed)
