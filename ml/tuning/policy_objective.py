"""The hyper-parameters of a recipe: a trial trains by it, with several seeds."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Self

import yaml

from ml.atomic_files import write_atomically
from ml.errors import ConfigError, did_you_mean
from ml.evaluation.seeds import VALIDATION_SEED
from ml.execution.jobs import Files, Link
from ml.training.apart import config_at, config_files
from ml.training.config import TrainConfig, check_combinations
from ml.training.config_files import Layers, flatten, to_yaml
from ml.training.run_directory import absolute_files, digests
from ml.training.workers import MOST_BY_DEFAULT
from ml.tuning.objective import Outcome
from ml.tuning.space import Space, Value
from ml.tuning.training_process import TrainingProcess

_ALLOWED = ("ppo.", "imitation.", "policy.", "curriculum.", "env.reward.", "env.time_gap_s",
            "env.action_lag_s", "env.safety_layer", "evaluation.time_gap_s")  # fmt: skip
"""What a search may vary. The rest decides the cases, the effort or what is written."""


class PolicyObjective:
    """A preset, or a file over it.

    Args:
        recipe: The preset's values, and the user's over them.
        own: The user's values alone, for the winner's file.
        space: What is searched; `source` is its name in messages.
        seeds: Of the training runs of a trial.
        evaluations: How many periodic evaluations a run has, of so many validation `episodes`.

    Raises:
        ConfigError: The space names what does not exist or may not be varied, or a value that is
            not allowed.
    """

    def __init__(
        self,
        recipe: Layers,
        own: Layers,
        space: Space,
        source: str,
        *,
        seeds: Sequence[int],
        evaluations: int,
        episodes: int,
    ) -> None:
        steps = recipe.build().total_timesteps
        searched = {
            "evaluation.seed": VALIDATION_SEED,
            "evaluation.episodes": episodes,
            "evaluation.every_steps": math.ceil(steps / evaluations),
            "evaluation.closing_episodes": 0,
            "evaluation.least_gain": 0.0,
            "health.action": "stop",
            "keep": "best",
        }
        self._recipe = recipe.changed(searched, "roadsense tune")
        self._own, self.space, self._source = own, space, source
        self._seeds, self._evaluations = tuple(seeds), evaluations
        self._base = self._recipe.build()
        self.title = f"preset {self._base.preset}"
        self._check_space()

    def _check_space(self) -> None:
        known = [".".join(path) for path in flatten(self._base)]
        allowed = [name for name in known if name.startswith(_ALLOWED)]
        for name, dimension in self.space.items():
            if name not in known:
                raise ConfigError(
                    f"{self._source}: there is no value {name!r} in a run's configuration."
                    f"{did_you_mean(name, allowed)} `roadsense train --help` lists them; in a "
                    "space they are named as in a run's config.yaml, with dots."
                )
            if name not in allowed:
                raise ConfigError(
                    f"{self._source}: {name} cannot be searched: it decides the cases, the effort "
                    "or what is written, and scores could not be compared. What can begins with "
                    f"{', '.join(_ALLOWED)}."
                )
            for value in dimension.ends():
                self._recipe.changed({name: value}, self._source).build()

    def usual(self) -> dict[str, Value]:
        """Return the recipe's own values."""
        now = {".".join(path): value for path, value in flatten(self._base).items()}
        return {name: now[name] for name in self.space}

    def config(self, values: Mapping[str, Value], seed: int) -> TrainConfig:
        """Return the configuration of one training run.

        Raises:
            ConfigError: The values do not go together.
        """
        layers = self._recipe.changed(values, self._source)
        config = layers.changed({"seed": seed}, "--seeds").build()
        check_combinations(config)
        return config

    @property
    def cores(self) -> int:
        """How many cores a training run takes."""
        return self._base.workers or MOST_BY_DEFAULT

    def files(self) -> list[Files]:
        """List the road, the radio, the cases and the recordings of the recipe."""
        return config_files(self._base)

    def at(self, places: Mapping[str, str]) -> Self:
        """Return it with these files elsewhere."""
        moved = config_at(self._base, places).env
        keys = absolute_files(self._base.env)
        recipe = self._recipe.changed({f"env.{k}": getattr(moved, k) for k in keys}, "the cluster")
        return type(self)(
            recipe,
            self._own,
            self.space,
            self._source,
            seeds=self._seeds,
            evaluations=self._evaluations,
            episodes=self._base.evaluation.episodes,
        )

    def run(self, values: Mapping[str, Value], folder: Path, report: Link) -> Outcome:
        """Train once per seed; see `Objective.run`."""
        runs: list[dict[str, float]] = []
        cases: list[list[float | None]] = []
        for number, seed in enumerate(self._seeds):
            try:
                config = self.config(values, seed)
            except ConfigError as error:
                return Outcome("failed", note=str(error))
            place = folder / f"seed{seed}"
            place.mkdir(parents=True, exist_ok=True)
            write_atomically(place / "config.yaml", to_yaml(config))
            done = [run["safety_score"] for run in runs]

            def worse(
                evaluation: int, best: float, number: int = number, done: list[float] = done
            ) -> bool:
                step = number * self._evaluations + min(evaluation, self._evaluations - 1)
                return report(step, fmean([*done, best]))

            ended = TrainingProcess(place, config.preset, worse, lambda: report.stopped).run()
            if ended.state != "complete":
                return Outcome(ended.state, note=f"seed {seed}: {ended.note}")
            runs.append({"seed": float(seed), **ended.runs[0]})
            cases.append(ended.by_case)
        by_case = [None if None in of else fmean(of) for of in zip(*cases, strict=True)]
        score = fmean(run["safety_score"] for run in runs)
        return Outcome("complete", score, runs, by_case=by_case)

    def record(self) -> dict[str, Any]:
        """Return what the score depends on, beside the values that are searched."""
        return {
            "recipe": self._base.model_dump(mode="json"),
            "files": digests(self._base.env),
            "seeds": list(self._seeds),
            "evaluations": self._evaluations,
        }

    def winner(self, values: Mapping[str, Value], comment: str) -> str:
        """Return a file for `roadsense train --config`."""
        tree = self._own.changed(values, "").tree()
        use = f"roadsense train --preset {self._base.preset} --config THIS_FILE"
        return f"# {comment}\n# {use}\n" + yaml.safe_dump(tree, sort_keys=False)
