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


def numeric_fields(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every single number below a section as (dotted name, field), lists left out.

    Of sections of several kinds it is the fields of the kind in use; what is switched off (`null`)
    is left out.
    """
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from numeric_fields(value, f"{prefix}{name}.")
        elif _plain(field.annotation) in (int, float) and value is not None:
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
    """Return the model of the section at a place, or None where there is none.

    Where a section is of one of several kinds, the kind's tag is a part of the place, as pydantic
    reports it.
    """
    kind: Any = model
    for part in place:
        kind = _plain(kind)
        kinds = _kinds(kind)
        if isinstance(part, int):
            inner = get_args(kind)
            kind = inner[0] if inner else None
        elif kinds:
            kind = kinds.get(part)
        elif isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
            kind = kind.model_fields[part].annotation
        else:
            return None
    kind = _plain(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def without_tags(model: type[BaseModel], place: Place) -> Place:
    """Return a place as it is in the file: without the tags of sections of several kinds."""
    kept: list[int | str] = []
    for k, part in enumerate(place):
        kind = _plain(_annotation_at(model, place[:k]))
        if part not in _kinds(kind):
            kept.append(part)
    return tuple(kept)


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


def _annotation_at(model: type[BaseModel], place: Place) -> Any:
    if not place:
        return model
    section = section_at(model, place[:-1])
    field = section.model_fields.get(str(place[-1])) if section else None
    return field.annotation if field else None


def _plain(kind: Any) -> Any:
    """Drop the `| None` of an annotation."""
    if get_origin(kind) in (Union, types.UnionType):
        inner = [part for part in get_args(kind) if part is not type(None)]
        return inner[0] if len(inner) == 1 else kind
    return kind


def _kinds(kind: Any) -> dict[int | str, type[BaseModel]]:
    """Return the sections that may stand in one place by their tag; empty where it is one."""
    if get_origin(kind) not in (Union, types.UnionType):
        return {}
    sections = [part for part in get_args(kind) if issubclass(part, BaseModel)]
    return {get_args(part.model_fields["model"].annotation)[0]: part for part in sections}


def _bound(rule: object, name: str, otherwise: float) -> float:
    value: float = getattr(rule, name, otherwise)
    return value
