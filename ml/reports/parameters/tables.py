"""Parameter sets as tables: values with unit, limits and what they rest on; and a fit."""

import math
import re
from itertools import groupby
from typing import Any, Final, NamedTuple

from pydantic.fields import FieldInfo

from ml.calibration.fits.field_tables import CONVOY_DRIVE
from ml.calibration.fits.margin import MarginFit
from ml.console import WholeTable
from ml.espnow_emulator.parameters.loss import MarginLoss
from ml.parameters import Parameters
from ml.section import allowed, fields_of, limits

_NOTHING = "–"
_UNITS: Final = {unit: unit for unit in ("frames", "hops", "m", "ms", "ppm", "s")} | {
    "bytes": "B",
    "db": "dB",
    "deg": "°",
    "kbps": "kb/s",
    "mps": "m/s",
    "mps2": "m/s²",
    "us": "µs",
}
_NOT_METRES: Final = frozenset({"fading_m"})
_BASES: Final = {"F": "published", "R": "recordings", "J": "judgement"}
_TAG: Final = re.compile(r"\s*\[([FRJ])\]\.?")


class Entry(NamedTuple):
    """One value of a parameter set."""

    name: str  # Dotted, as in `domain_randomisation`: `radio.loss.margin_20m_db`
    value: Any  # As in the file; None is `null`
    unit: str  # Empty for a bare number, a switch or a word
    allowed: str  # The values that a file may hold, briefly
    drawn: tuple[float, float] | None  # The (low, high) it is drawn from per episode, if it is
    basis: str  # What it rests on, as far as its description is tagged
    meaning: str  # Its description, without the tags


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
    drawn = parameters.ranges()
    return [
        Entry(
            name=name,
            value=value,
            unit=unit_of(name.rpartition(".")[2]),
            allowed=_briefly(field),
            drawn=drawn.get(name),
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


def tables_of(parameters: Parameters) -> list[WholeTable]:
    """Build a table per section of the file: value, unit, range, and what it rests on."""
    tables = []
    for section, entries in groupby(list_values(parameters), key=_section):
        columns = ("parameter", ">value", "unit", ">drawn per episode", "allowed", "basis")
        table = WholeTable(*columns, title=section)
        table.columns[0].no_wrap = True
        for e in entries:
            name, basis = e.name.removeprefix(f"{section}."), e.basis or _NOTHING
            table.add_row(name, as_text(e.value), e.unit, _span(e.drawn), e.allowed, basis)
        tables.append(table)
    return tables


def meanings_of(parameters: Parameters) -> WholeTable:
    """Build the table that says what each parameter means."""
    table = WholeTable("parameter", "meaning")
    table.columns[0].no_wrap = True
    for entry in list_values(parameters):
        table.add_row(entry.name, entry.meaning)
    return table


def difference(a: Parameters, b: Parameters, name_a: str, name_b: str) -> WholeTable:
    """Build the table of what differs between two parameter sets; it may have no row."""
    left, right = ({entry.name: entry for entry in list_values(x)} for x in (a, b))
    drawn = (f">drawn in {name}" for name in (name_a, name_b))
    table = WholeTable("parameter", f">{name_a}", f">{name_b}", "unit", *drawn)
    table.columns[0].no_wrap = True
    for name in left | right:
        ours, theirs = left.get(name), right.get(name)
        if ours and theirs and (ours.value, ours.drawn) == (theirs.value, theirs.drawn):
            continue
        texts = (_NOTHING if entry is None else as_text(entry.value) for entry in (ours, theirs))
        unit = next(entry.unit for entry in (ours, theirs) if entry is not None)
        spans = (_span(entry.drawn if entry else None) for entry in (ours, theirs))
        table.add_row(name, *texts, unit, *spans)
    return table


def tables_of_fit(fit: MarginFit, before: MarginLoss) -> list[WholeTable]:
    """Build the tables of a fit: the fitted values, and each bin with its residual."""
    values = WholeTable("parameter", ">in the file", ">fitted", "unit", "", title="fitted")
    for name, value in fit.values.items():
        unit = "dB" if name.endswith("_db") else ""
        note = "at its bound" if name in fit.at_bound else ""
        values.add_row(name, as_text(getattr(before, name)), f"{value:.2f}", unit, note)
    columns = ("bin", ">measured", ">expected", ">residual", ">frames")
    bins = WholeTable(*columns, title="loss by distance")
    for b, expected, residual in zip(fit.bins, fit.fitted, fit.residuals, strict=True):
        frames = _NOTHING if b.frames is None else str(b.frames)
        bins.add_row(b.name, f"{b.loss:.3f}", f"{expected:.3f}", f"{residual:+.3f}", frames)
    return [values, bins]


def table_of_drive(statistics: dict[str, float]) -> WholeTable:
    """Build the table of a radio on the reference drive, beside the recorded drive."""
    table = WholeTable(
        "figure",
        ">this radio",
        ">recorded, a receiver's blackouts included",
        title="reference drive: three cars, 582 s, mean 10.5 m/s; neighbours at 20 m, first-hand",
    )
    for name, figure in statistics.items():
        table.add_row(name, f"{figure:.4f}", f"{CONVOY_DRIVE[name]:g}")
    return table


def _section(entry: Entry) -> str:
    """`radio.loss` of `radio.loss.blackout.share`, `radio` of `radio.time_to_live_ms`."""
    parts = entry.name.split(".")
    return ".".join(parts[: min(2, len(parts) - 1)]).partition("[")[0]


def _span(drawn: tuple[float, float] | None) -> str:
    return "" if drawn is None else f"{drawn[0]:g} … {drawn[1]:g}"
