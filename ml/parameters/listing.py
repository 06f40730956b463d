"""Every single value of a parameter set with its unit, its limits and what it rests on."""

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from pydantic.fields import FieldInfo

from ml.parameters.field_tree import allowed, fields_of, limits
from ml.parameters.parameters import Parameters

_UNITS: Final = {
    "bytes": "B",
    "db": "dB",
    "deg": "°",
    "frames": "frames",
    "hops": "hops",
    "kbps": "kb/s",
    "m": "m",
    "mps": "m/s",
    "mps2": "m/s²",
    "ms": "ms",
    "ppm": "ppm",
    "s": "s",
    "us": "µs",
}
_NOT_METRES: Final = frozenset({"fading_m"})
_BASES: Final = {"F": "published", "R": "recordings", "J": "judgement"}
_TAG: Final = re.compile(r"\s*\[([FRJ])\]\.?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a parameter set.

    Attributes:
        name: Dotted, as in `domain_randomisation`: `radio.loss.margin_20m_db`.
        value: As in the file; None is `null`.
        unit: Empty for a bare number, a switch or a word.
        allowed: The values that a file may hold, briefly.
        drawn: The (low, high) it is drawn from per episode, if it is.
        basis: What it rests on, as far as its description is tagged.
        meaning: Its description, without the tags.
    """

    name: str
    value: Any
    unit: str
    allowed: str
    drawn: tuple[float, float] | None
    basis: str
    meaning: str

    @property
    def text(self) -> str:
        """The value as people write it, without its unit."""
        return as_text(self.value)


def as_text(value: Any) -> str:
    """Write a value as it stands in a file, numbers as short as they go."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def unit_of(name: str) -> str:
    """Return the unit that a field's name ends in, or nothing."""
    if name in _NOT_METRES:
        return ""
    return _UNITS.get(name.rpartition("_")[2], "") if "_" in name else ""


def list_values(parameters: Parameters) -> list[Entry]:
    """List all values of a parameter set, in the order of its file."""
    return [
        Entry(
            name=name,
            value=value,
            unit=unit_of(name.rpartition(".")[2]),
            allowed=_briefly(field),
            drawn=parameters.domain_randomisation.get(name),
            basis=basis_of(field.description or ""),
            meaning=_TAG.sub("", field.description or "").strip().rstrip(".") + ".",
        )
        for top in ("radio", "sensors")
        for name, field, value in fields_of(getattr(parameters, top), f"{top}.")
    ]


def _briefly(field: FieldInfo) -> str:
    if field.annotation is bool:
        return "true, false"
    low, high = limits(field)
    if math.isinf(low) and math.isinf(high):
        return allowed(field).replace("'", "").replace(" or ", ", ")
    or_null = ", null" if "null" in allowed(field) else ""
    return f"{low:g} … {high:g}{or_null}"


def basis_of(description: str) -> str:
    """Return what a described number rests on: its tags in words, in the order they stand."""
    words = [_BASES[letter] for letter in _TAG.findall(description)]
    if not words and "judgement" in description.lower():
        words = ["judgement"]
    return ", ".join(dict.fromkeys(words))
