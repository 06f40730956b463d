"""Sections of a parameter file: how their numbers are declared, found, described and drawn.

A number that is declared by `drawn` may be drawn anew for each episode (domain randomisation); the
radio and the sensors then hold one value per convoy. Tags in descriptions say what a number rests
on: [F] a published fact, [R] computed from field recordings, [J] judgement.
"""

import math
import types
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, Union, get_args, get_origin

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

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


def fields_of(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, FieldInfo, Any]]:
    """Yield dotted name, field and value of all below a section that is no section itself.

    Of sections of several kinds it is the fields of the kind in use; sections in a list have names
    such as `by_distance[0].probability`.
    """
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from fields_of(value, f"{prefix}{name}.")
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for i, item in enumerate(value):
                yield from fields_of(item, f"{prefix}{name}[{i}].")
        else:
            yield prefix + name, field, value


def numbers_of(section: BaseModel) -> Iterator[tuple[str, FieldInfo, float]]:
    """Yield the fields of every number below a section that is in use, lists left out."""
    for name, field, value in fields_of(section):
        if plain(field.annotation) in (int, float) and value is not None and "[" not in name:
            yield name, field, value


def is_drawn(field: FieldInfo) -> bool:
    """Return whether a number may be drawn anew for each episode."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get("randomisable") is True


def limits(field: FieldInfo) -> tuple[float, float]:
    """Return the lowest and highest value that a number may have, infinite where there is none."""
    lows = [getattr(rule, name, -math.inf) for rule in field.metadata for name in ("ge", "gt")]
    highs = [getattr(rule, name, math.inf) for rule in field.metadata for name in ("le", "lt")]
    return max(lows, default=-math.inf), min(highs, default=math.inf)


def plain(kind: Any) -> Any:
    """Return an annotation without its `| None`."""
    if get_origin(kind) in (Union, types.UnionType):
        inner = [part for part in get_args(kind) if part is not type(None)]
        return inner[0] if len(inner) == 1 else kind
    return kind


def allowed(field: FieldInfo) -> str:
    """Say in words what a field allows."""
    kind = plain(field.annotation)
    or_null = " or null" if kind is not field.annotation else ""
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind)) + or_null
    if get_origin(kind) is tuple:
        return "a list [...] of at least one entry"
    if kind is str:
        return "a text of at least one character"
    if kind not in (int, float):
        return "a section {...}"
    low, high = limits(field)
    strict = {name for rule in field.metadata for name in ("gt", "lt") if hasattr(rule, name)}
    words = "a number" if kind is float else "a whole number"
    if low > -math.inf:
        words += f" above {low:g}" if "gt" in strict else f" from {low:g}"
    if high < math.inf:
        words += f" to below {high:g}" if "lt" in strict else f" to {high:g}"
    return words + or_null


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
        self._prefix = prefix
        self._error = error
        numbers = {n: (field, value) for n, field, value in numbers_of(section) if is_drawn(field)}
        self._limits = {name: limits(field) for name, (field, _) in numbers.items()}
        self.defaults = {name: float(value) for name, (_, value) in numbers.items()}

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
            low, high = self._limits[known]
            if (override < low).any() or (override > high).any():
                raise self._error(
                    f"override {name!r} holds {np.min(override):g} to {np.max(override):g}, "
                    f"allowed is {low:g} to {high:g}."
                )
            values[known] = np.asarray(override, dtype=np.float64)
        return values
