"""Sections of a parameter file: their base, how their numbers are declared, what an episode draws.

A number that is declared by `drawn` may be drawn anew for each episode (domain randomisation); the
radio and the sensors then hold one value per convoy. Tags in descriptions say what a number rests
on: [F] a published fact, [R] computed from field recordings, [J] judgement.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ml.arrays import Floats
from ml.errors import RoadSenseError

RANDOMISABLE: Final[dict[str, Any]] = {"randomisable": True}
"""What marks a number that may be drawn anew for each episode, in its `json_schema_extra`."""


class Section(BaseModel):
    """Base of every section: immutable, no unknown keys, no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def number(default: float | None, low: float, high: float, description: str) -> Any:
    """Declare a number in [low, high] that is the same in every episode."""
    return Field(default=default, ge=low, le=high, description=description)


def drawn(default: float | None, low: float, high: float, description: str) -> Any:
    """Declare a number in [low, high] that may be drawn anew for each episode."""
    return Field(
        default=default, ge=low, le=high, description=description, json_schema_extra=RANDOMISABLE
    )


class EpisodeNumbers:
    """The numbers of a section that may be drawn anew for each episode.

    Sections and numbers that are switched off (`null`) are left out, and so are the parameters of
    loss models other than the one in use.

    Args:
        section: Holds the numbers, at any depth.
        prefix: Of their dotted names in a parameter file, `radio.` or `sensors.`.
        error: What is raised for overrides that cannot be.

    Attributes:
        defaults: Dotted name below the prefix to the value of the file.
    """

    def __init__(self, section: BaseModel, prefix: str, error: type[RoadSenseError]) -> None:
        self._section = section
        self._prefix = prefix
        self._error = error
        self.defaults = _randomisable(section)

    def draw(self, count: int, overrides: Mapping[str, Floats] | None) -> dict[str, Floats]:
        """Return the numbers of some episodes, (K,) each, by their names in `defaults`.

        Args:
            count: K.
            overrides: Dotted names, each with its (K,) values; names outside the prefix are for
                others, and what is not named has the value of the file.

        Raises:
            RoadSenseError: An override that the section does not know, or that cannot be; of the
                class given to the constructor.
        """
        values = {name: np.full(count, value) for name, value in self.defaults.items()}
        for name, override in (overrides or {}).items():
            if not name.startswith(self._prefix):
                continue
            known, shape = name.removeprefix(self._prefix), np.shape(override)
            if known not in values or shape != (count,) or not np.isfinite(override).all():
                raise self._error(
                    f"override {name!r} with shape {shape}: allowed are ({count},) finite values "
                    f"of one of {', '.join(self._prefix + n for n in values)}."
                )
            low, high = _limits(self._section, known)
            if (override < low).any() or (override > high).any():
                raise self._error(
                    f"override {name!r} holds {np.min(override):g} to {np.max(override):g}, "
                    f"allowed is {low:g} to {high:g}."
                )
            values[known] = np.asarray(override, dtype=np.float64)
        return values


def _randomisable(section: BaseModel, prefix: str = "") -> dict[str, float]:
    values: dict[str, float] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        extra = field.json_schema_extra
        if isinstance(value, BaseModel):
            values |= _randomisable(value, f"{prefix}{name}.")
        elif isinstance(extra, dict) and extra.get("randomisable") is True and value is not None:
            values[prefix + name] = float(value)
    return values


def _limits(section: BaseModel, dotted: str) -> tuple[float, float]:
    """Lowest and highest value that a number at a dotted name may have."""
    head, _, rest = dotted.partition(".")
    if rest:
        return _limits(getattr(section, head), rest)
    low, high = -math.inf, math.inf
    for rule in type(section).model_fields[head].metadata:
        low = max(low, getattr(rule, "ge", low), getattr(rule, "gt", low))
        high = min(high, getattr(rule, "le", high), getattr(rule, "lt", high))
    return low, high
