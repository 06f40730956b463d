"""Find a field by its place in the file, and say in words what it allows."""

from __future__ import annotations

import math
import types
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

Place = tuple[int | str, ...]


def numeric_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every single number below a model as (dotted name, field), lists left out."""
    for name, field in model.model_fields.items():
        kind = _plain(field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from numeric_fields(kind, f"{prefix}{name}.")
        elif kind in (int, float):
            yield prefix + name, field


def is_randomisable(field: FieldInfo) -> bool:
    """Return whether the field may be drawn anew per episode."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get("randomisable") is True


def limits(field: FieldInfo) -> tuple[float, float]:
    """Return the lowest and highest value that a number may have, infinite where there is none."""
    low, high = -math.inf, math.inf
    for rule in field.metadata:
        low = max(low, _bound(rule, "ge", low), _bound(rule, "gt", low))
        high = min(high, _bound(rule, "le", high), _bound(rule, "lt", high))
    return low, high


def section_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """Return the model of the section at a place, or None where there is none."""
    kind: Any = model
    for part in place:
        kind = _plain(kind)
        if isinstance(part, int):
            inner = get_args(kind)
            kind = inner[0] if inner else None
        elif isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
            kind = kind.model_fields[part].annotation
        else:
            return None
    kind = _plain(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def field_at(model: type[BaseModel], place: Place) -> FieldInfo | None:
    """Return the field at a place, or None where there is none."""
    section = section_at(model, place[:-1])
    return None if section is None else section.model_fields.get(str(place[-1]))


def allowed(field: FieldInfo) -> str:
    """Say in words what the field allows."""
    kind = _plain(field.annotation)
    or_null = " or null" if kind is not field.annotation else ""
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind)) + or_null
    if get_origin(kind) is tuple:
        return "a list [...] of at least one entry"
    if get_origin(kind) is dict:
        return "a section {...}"
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


def dotted(place: Place) -> str:
    """Write a place as `radio.loss.by_distance[1].probability`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def _plain(kind: Any) -> Any:
    """Drop the `| None` of an annotation."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(inner for inner in get_args(kind) if inner is not type(None))
    return kind


def _bound(rule: object, name: str, otherwise: float) -> float:
    value: float = getattr(rule, name, otherwise)
    return value
