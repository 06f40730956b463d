"""Which numbers of a section may be drawn anew per episode, and within which limits."""

from __future__ import annotations

import math
from typing import Any, Final

from pydantic import BaseModel

RANDOMISABLE: Final[dict[str, Any]] = {"randomisable": True}


def randomisable_values(section: BaseModel, prefix: str = "") -> dict[str, float]:
    """Return the value of each number that may be drawn anew per episode, by its dotted name.

    Sections and numbers that are switched off (`null`) are left out, and so are the parameters of
    loss models other than the one in use.
    """
    values: dict[str, float] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        extra = field.json_schema_extra
        if isinstance(value, BaseModel):
            values |= randomisable_values(value, f"{prefix}{name}.")
        elif isinstance(extra, dict) and extra.get("randomisable") is True and value is not None:
            values[prefix + name] = float(value)
    return values


def limits_of(section: BaseModel, dotted: str) -> tuple[float, float]:
    """Return the lowest and highest value that a number below a section may have."""
    head, _, rest = dotted.partition(".")
    if rest:
        return limits_of(getattr(section, head), rest)
    low, high = -math.inf, math.inf
    for rule in type(section).model_fields[head].metadata:
        low = max(low, getattr(rule, "ge", low), getattr(rule, "gt", low))
        high = min(high, getattr(rule, "le", high), getattr(rule, "lt", high))
    return low, high
