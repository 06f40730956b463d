"""A unit of the comparison: one driver, trained if it has to be, and judged; made once.

    FOLDER/sb3-sac-s0/     a folder for each unit
        model.zip          of a plain algorithm; a preset's run keeps its own folders
        metrics.jsonl      how it learnt: a line now and then, named as in TensorBoard
        trained.json       time on a core that its training took, s; there when that is over
        judged-1000.jsonl  an episode a line, as `roadsense evaluate` keeps them

Each is made in a process of its own, since libsumo holds one simulation a process.
"""

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Literal

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from ml.atomic_files import write_json
from ml.baselines.algorithms import ALGORITHMS, create, load
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.envs.policy_interface import PolicyInterface
from ml.errors import EvaluationError
from ml.evaluation.drivers import Driver, PolicyDriver, make_driver
from ml.evaluation.episodes import run_validation
from ml.evaluation.result import EpisodeRow, read_part, slug, write_part
from ml.evaluation.seeds import VALIDATION_SEED
from ml.training.apart import last_line, train_apart
from ml.training.callbacks import SettledEpisodes, episode_figures
from ml.training.checkpoints import load_model
from ml.training.config import TrainConfig
from ml.training.deployment import FINAL_MODEL_NAME
from ml.training.loggers import JsonLinesWriter

_CURVE_POINTS = 200
_PRESET_STEP_S, _EPISODE_S, _START_S = 3e-4, 0.02, 10.0
"""On one core: a step of a preset's training, an episode of judging, and until a process works."""


@dataclass(frozen=True, eq=False)
class Unit:
    """A driver of the comparison.

    Attributes:
        kind: "algorithm" where `name` is one of `ALGORITHMS`, "preset", or "controller".
        name: Of the algorithm or preset, or the controller as `make_driver` takes it.
        seed: Of the training.
        config: The preset's, with the number of steps; all are judged in its environment.
        episodes: Validation episodes that it is judged by.
        root: Folder of the comparison.
    """

    kind: Literal["algorithm", "preset", "controller"]
    name: str
    seed: int
    config: TrainConfig
    episodes: int
    root: Path

    @property
    def group(self) -> str:
        """What tables call it and those with other seeds."""
        said = {"algorithm": f"{self.name}, plain", "preset": f"preset {self.name}"}
        return said.get(self.kind, self.name)

    def __str__(self) -> str:
        """Name it and its seed."""
        return self.name if self.kind == "controller" else f"{self.group}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        if self.kind == "controller":
            return self.root / f"controller-{slug(self.name)}"
        first = "sb3" if self.kind == "algorithm" else "preset"
        return self.root / f"{first}-{slug(self.name)}-s{self.seed}"

    @property
    def trained(self) -> Path:
        """The record of its training, there when that is over."""
        return self.folder / "trained.json"

    @property
    def judged(self) -> Path:
        """Its episodes, there when all are driven."""
        return self.folder / f"judged-{self.episodes}.jsonl"

    @property
    def training_left_s(self) -> float:
        """About how long its training still takes on one core, s."""
        if self.kind == "controller" or self.trained.exists():
            return 0.0
        step_s = _PRESET_STEP_S
        if self.kind == "algorithm":
            step_s = ALGORITHMS[self.name].step_s
        return step_s * self.config.total_timesteps

    @property
    def left_s(self) -> float:
        """About how long it still takes on one core, s."""
        if self.judged.exists():
            return 0.0
        return _START_S + _EPISODE_S * self.episodes + self.training_left_s

    def run(self) -> Path | None:
        """Return the folder with its metrics; None where there is none yet."""
        found = [self.folder] if self.kind == "algorithm" else self.folder.glob("runs/*")
        with_metrics = [run for run in found if (run / "metrics.jsonl").exists()]
        return max(with_metrics) if with_metrics else None

    def begin_anew(self) -> None:
        """Forget a training that was stopped: what its metrics say is not done any more."""
        if self.kind != "controller" and not self.trained.exists():
            (self.folder / "metrics.jsonl").unlink(missing_ok=True)
            rmtree(self.folder / "runs", ignore_errors=True)

    def share_trained(self) -> float:
        """How much of its training is done, in [0, 1], as its metrics say."""
        run = self.run()
        if self.trained.exists() or run is None:
            return float(self.trained.exists())
        *whole, _ = (run / "metrics.jsonl").read_text(encoding="utf-8").split("\n")
        return json.loads(whole[-1])["step"] / self.config.total_timesteps if whole else 0.0

    def training_cpu_s(self) -> float:
        """How long its training took on one core, s; 0 for what is not trained.

        Raises:
            EvaluationError: The record of it is damaged.
        """
        if not self.trained.exists():
            return 0.0
        try:
            return float(json.loads(self.trained.read_text(encoding="utf-8"))["cpu_s"])
        except (ValueError, KeyError, TypeError) as error:
            raise EvaluationError(
                f"{self.trained} is damaged ({error}). Delete the folder {self.folder} and run the "
                "same command again: this driver is made anew, the others stay."
            ) from error

    def rows(self) -> list[EpisodeRow]:
        """Read its episodes.

        Raises:
            EvaluationError: They are not there, or damaged.
        """
        return read_part(self.judged)


def make(unit: Unit) -> bool:
    """Train and judge, or what of that is missing; for a process that has no SUMO yet.

    Returns:
        True.

    Raises:
        RoadSenseError: Something failed. What was finished is kept.
    """
    torch.set_num_threads(1)
    unit.folder.mkdir(parents=True, exist_ok=True)
    if unit.kind != "controller" and not unit.trained.exists():
        began_s = _cpu_s()
        (_train_preset if unit.kind == "preset" else _train_plain)(unit)
        write_json(unit.trained, {"cpu_s": round(_cpu_s() - began_s, 1)})
    rows = run_validation(
        _driver(unit), unit.config.env, episodes=unit.episodes, seed=VALIDATION_SEED
    )
    write_part(unit.judged, rows)
    return True


def _cpu_s() -> float:
    """Return the time on a core of this process and of its children that have ended, s."""
    return sum(os.times()[:4])


def _train_preset(unit: Unit) -> None:
    """Train as `roadsense train` does."""
    steps = ["--total-timesteps", str(unit.config.total_timesteps)]
    # One process each: units are what runs side by side.
    alone = ["--workers", "1"]
    unjudged = ["--evaluation.every-steps", "0", "--evaluation.closing-episodes", "0"]
    arguments = ["--preset", unit.name, "--seed", str(unit.seed), *steps, *alone, *unjudged]
    if code := train_apart(unit.folder, arguments):
        raise EvaluationError(f"its training ended with exit code {code}: {last_line(unit.folder)}")


def _train_plain(unit: Unit) -> None:
    """Train an algorithm as it comes."""
    env = unit.config.env.model_copy(update={"backend": "libsumo"})
    metrics = unit.folder / "metrics.jsonl"
    with (
        closing(ConvoyVecEnv(unit.config.num_envs, env, seed=unit.seed)) as environment,
        closing(JsonLinesWriter(metrics)) as writer,
    ):
        model = create(unit.name, environment, unit.config, unit.seed)
        steps = unit.config.total_timesteps
        model.learn(steps, callback=_Curve(writer, -(-steps // _CURVE_POINTS)))
        model.save(unit.folder / "model.zip")


class _Curve(BaseCallback):
    """Writes figures of the latest episodes every so many steps."""

    def __init__(self, writer: JsonLinesWriter, every_steps: int) -> None:
        super().__init__()
        self._writer, self._every_steps = writer, every_steps

    def _on_training_start(self) -> None:
        self._episodes = SettledEpisodes(self.training_env.num_envs)

    def _on_step(self) -> bool:
        for row in np.flatnonzero(self.locals["dones"]).tolist():
            self._episodes.add(row, self.n_calls, self.locals["infos"][row]["episode_summary"])
        before = self.num_timesteps - self.training_env.num_envs
        if self.num_timesteps // self._every_steps > before // self._every_steps:
            figures = {"time/steps": self.num_timesteps, **episode_figures(self._episodes.latest())}
            self._writer.write(figures, {}, self.num_timesteps)
        return True


def _driver(unit: Unit) -> Driver:
    if unit.kind == "controller":
        return make_driver(unit.name)
    if unit.kind == "preset":
        return PolicyDriver(load_model(unit.folder / "models" / FINAL_MODEL_NAME), str(unit))
    interface = PolicyInterface.of(unit.config.env, unit.config.evaluation.time_gap_s)
    return PolicyDriver(load(unit.name, unit.folder / "model.zip"), str(unit), interface=interface)


def work_order(units: Sequence[Unit]) -> list[Unit]:
    """Return what is to do, the longest first, so that the processes end together."""
    return sorted((unit for unit in units if not unit.judged.exists()), key=lambda u: -u.left_s)
