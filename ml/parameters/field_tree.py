"""Find a field by its place in the file, and say in words what it allows."""

import math
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Place = tuple[int | str, ...]


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


def numeric_fields(section: BaseModel) -> Iterator[tuple[str, FieldInfo]]:
    """Yield (dotted name, field) of every number below a section that is in use, lists left out."""
    for name, field, value in fields_of(section):
        if _plain(field.annotation) in (int, float) and value is not None and "[" not in name:
            yield name, field


def is_randomisable(field: FieldInfo) -> bool:
    """Return whether the field may be drawn anew per episode."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get("randomisable") is True


def limits(field: FieldInfo) -> tuple[float, float]:
    """Return the lowest and highest value that a number may have, infinite where there is none."""
    lows = [getattr(rule, name, -math.inf) for rule in field.metadata for name in ("ge", "gt")]
    highs = [getattr(rule, name, math.inf) for rule in field.metadata for name in ("le", "lt")]
    return max(lows, default=-math.inf), min(highs, default=math.inf)


def section_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """Return the model of the section at a place, or None where there is none.

    Where a section is of one of several kinds, the kind's tag is a part of the place, as pydantic
    reports it.
    """
    kind = _plain(_annotation_at(model, place))
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def without_tags(model: type[BaseModel], place: Place) -> Place:
    """Return a place as it is in the file: without the tags of sections of several kinds."""
    kinds = [_kinds(_plain(_annotation_at(model, place[:k]))) for k in range(len(place))]
    return tuple(part for part, known in zip(place, kinds, strict=True) if part not in known)


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
    """What may stand at a place; None where there is no such place."""
    kind: Any = model
    for part in place:
        kind = _plain(kind)
        if isinstance(part, int):
            kind = next(iter(get_args(kind)), None)
        elif kinds := _kinds(kind):
            kind = kinds.get(part)
        elif isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
            kind = kind.model_fields[part].annotation
        else:
            return None
    return kind


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
