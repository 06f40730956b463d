"""The search space: which values may be varied, and how far.

A file is a YAML mapping from names, with dots, to `{low: 1, high: 8}` (whole numbers where both are
and the value is one), `{low: 1.0e-5, high: 1.0e-3, log: true}` or `{choices: [a, b]}`.
"""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ml.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from optuna.trial import Trial

Value = Any
"""Of a parameter: a number, a word, a flag, or a list of them."""


class Dimension(BaseModel):
    """What one parameter may be: a range, or one of some choices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Any] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.choices is not None:
            if (self.low, self.high, self.log) != (None, None, False):
                raise ValueError("give either choices or low and high")
            if not self.choices:
                raise ValueError("choices is empty")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"low = {self.low:g} and high = {self.high:g} are no range")
        if self.log and self.low <= 0.0:
            raise ValueError(f"log needs low above 0, not {self.low:g}")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def ends(self) -> list[Value]:
        """Values that must be allowed for all between them to be."""
        return list(self.choices) if self.choices is not None else [self.low, self.high]

    def holds(self, value: Value) -> bool:
        """Say whether a value could be drawn."""
        if self.choices is not None:
            return json.dumps(value) in map(json.dumps, self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return bool(self.low <= value <= self.high)  # type: ignore[operator]

    def suggest(self, trial: Trial, name: str) -> Value:
        """Let a trial draw a value."""
        if self.choices is not None:
            # As text: what goes into the study's record must be plain, and lists are not.
            return self.read(trial.suggest_categorical(name, list(map(json.dumps, self.choices))))
        if self.whole:
            return trial.suggest_int(name, int(self.low or 0), int(self.high or 0), log=self.log)
        return trial.suggest_float(name, float(self.low or 0), float(self.high or 0), log=self.log)

    def recorded(self, value: Value) -> Value:
        """Return a value as the study's record holds it."""
        return json.dumps(value) if self.choices is not None else value

    def read(self, recorded: Value) -> Value:
        """Return the value that the study's record holds."""
        return json.loads(recorded) if self.choices is not None else recorded


Space = dict[str, Dimension]


def read_space(file: Path | None, built_in: str) -> tuple[Space, str]:
    """Read a search space, a file or else a built-in one; return it, and its name for messages.

    Raises:
        ConfigError: It cannot be read, or says something wrong.
    """
    if file is None:
        source = f"space {built_in}"
        text = resources.files("ml.tuning").joinpath(f"spaces/{built_in}.yaml").read_text("utf-8")
    else:
        source = str(file)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the search space {file}: {error}.") from error
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not valid YAML: {error}") from error
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(
            f"{source}: expected `name: {{low: …, high: …}}` lines, found something else."
        )
    return {str(name): _dimension(str(name), said, source) for name, said in tree.items()}, source


def _dimension(name: str, said: Any, source: str) -> Dimension:
    try:
        return Dimension.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = str(first["msg"]).removeprefix("Value error, ")
        where = ".".join([name, *(str(part) for part in first["loc"])])
        known = list(Dimension.model_fields)
        if first["type"] == "extra_forbidden":
            what = f"there is no such key.{did_you_mean(str(first['loc'][-1]), known)}"
        raise ConfigError(f"{source}: {where}: {what}") from error
