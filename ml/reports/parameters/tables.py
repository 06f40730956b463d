"""Parameter sets as tables: one in full, two side by side, and a fit."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ml.calibration.drive_gates import judge
from ml.console import WholeTable
from ml.parameters.listing import Entry, as_text, list_values

if TYPE_CHECKING:
    from ml.calibration.fits.field_tables import DriveStatistics
    from ml.calibration.fits.margin import MarginFit
    from ml.espnow_emulator.parameters.loss import MarginLoss
    from ml.parameters import Parameters

_NOTHING = "–"


def tables_of(parameters: Parameters) -> list[WholeTable]:
    """Build a table per section of the file: value, unit, range, and what it rests on."""
    tables = []
    for section, entries in groupby(list_values(parameters), key=_section):
        table = WholeTable(
            title=section, title_justify="left", title_style="bold", show_lines=False
        )
        table.add_column("parameter", no_wrap=True)
        table.add_column("value", justify="right")
        table.add_column("unit")
        table.add_column("drawn per episode", justify="right")
        table.add_column("allowed")
        table.add_column("basis")
        for entry in entries:
            table.add_row(
                entry.name.removeprefix(f"{section}."),
                entry.text,
                entry.unit,
                _span(entry.drawn),
                entry.allowed,
                entry.basis or _NOTHING,
            )
        tables.append(table)
    return tables


def meanings_of(parameters: Parameters) -> WholeTable:
    """Build the table that says what each parameter means."""
    table = WholeTable(show_lines=False)
    table.add_column("parameter", no_wrap=True)
    table.add_column("meaning")
    for entry in list_values(parameters):
        table.add_row(entry.name, entry.meaning)
    return table


def difference(a: Parameters, b: Parameters, name_a: str, name_b: str) -> WholeTable:
    """Build the table of what differs between two parameter sets; it may have no row."""
    left = {entry.name: entry for entry in list_values(a)}
    right = {entry.name: entry for entry in list_values(b)}
    table = WholeTable()
    table.add_column("parameter", no_wrap=True)
    table.add_column(name_a, justify="right")
    table.add_column(name_b, justify="right")
    table.add_column("unit")
    table.add_column(f"drawn in {name_a}", justify="right")
    table.add_column(f"drawn in {name_b}", justify="right")
    for name in [*left, *(name for name in right if name not in left)]:
        ours, theirs = left.get(name), right.get(name)
        if ours and theirs and (ours.value, ours.drawn) == (theirs.value, theirs.drawn):
            continue
        present = ours or theirs
        table.add_row(
            name,
            ours.text if ours else _NOTHING,
            theirs.text if theirs else _NOTHING,
            present.unit if present else "",
            _span(ours.drawn if ours else None),
            _span(theirs.drawn if theirs else None),
        )
    return table


def tables_of_fit(fit: MarginFit, before: MarginLoss) -> list[WholeTable]:
    """Build the tables of a fit: the fitted values, and each bin with its residual."""
    values = WholeTable(title="fitted", title_justify="left", title_style="bold")
    for column in ("parameter", "in the file", "fitted", "unit", ""):
        values.add_column(
            column, justify="right" if column in ("in the file", "fitted") else "left"
        )
    for name, value in fit.values.items():
        unit = "dB" if name.endswith("_db") else ""
        note = "at its bound" if name in fit.at_bound else ""
        values.add_row(name, as_text(getattr(before, name)), f"{value:.2f}", unit, note)
    bins = WholeTable(title="loss by distance", title_justify="left", title_style="bold")
    for column in ("bin", "measured", "expected", "residual", "frames"):
        bins.add_column(column, justify="left" if column == "bin" else "right")
    for b, expected, residual in zip(fit.bins, fit.fitted, fit.residuals, strict=True):
        frames = _NOTHING if b.frames is None else str(b.frames)
        bins.add_row(b.name, f"{b.loss:.3f}", f"{expected:.3f}", f"{residual:+.3f}", frames)
    return [values, bins]


def table_of_drive(statistics: DriveStatistics) -> WholeTable:
    """Build the table of a radio on the reference drive, beside the recorded drive."""
    table = WholeTable(
        title="reference drive: three cars, 582 s, mean 10.5 m/s; neighbours at 20 m, first-hand",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("figure")
    table.add_column("this radio", justify="right")
    table.add_column("recorded, a receiver's blackouts included", justify="right")
    for gate in judge(statistics):
        table.add_row(gate.name, f"{gate.figure:.4f}", f"{gate.recorded:g}")
    return table


def _section(entry: Entry) -> str:
    """`radio.loss` of `radio.loss.blackout.share`, `radio` of `radio.time_to_live_ms`."""
    parts = entry.name.split(".")
    return ".".join(parts[: min(2, len(parts) - 1)]).partition("[")[0]


def _span(drawn: tuple[float, float] | None) -> str:
    return "" if drawn is None else f"{drawn[0]:g} … {drawn[1]:g}"
