"""Parameter sets as tables: one in full, two side by side, and a fit."""

from itertools import groupby

from ml.calibration.fits.field_tables import DriveStatistics
from ml.calibration.fits.margin import MarginFit
from ml.calibration.trials.reference_drive import judge
from ml.console import WholeTable
from ml.espnow_emulator.parameters.loss import MarginLoss
from ml.parameters import Parameters
from ml.parameters.listing import Entry, as_text, list_values

_NOTHING = "–"


def tables_of(parameters: Parameters) -> list[WholeTable]:
    """Build a table per section of the file: value, unit, range, and what it rests on."""
    tables = []
    for section, entries in groupby(list_values(parameters), key=_section):
        columns = ("parameter", ">value", "unit", ">drawn per episode", "allowed", "basis")
        table = WholeTable(*columns, title=section)
        table.columns[0].no_wrap = True
        for e in entries:
            name, basis = e.name.removeprefix(f"{section}."), e.basis or _NOTHING
            table.add_row(name, e.text, e.unit, _span(e.drawn), e.allowed, basis)
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
        texts = (_NOTHING if entry is None else entry.text for entry in (ours, theirs))
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


def table_of_drive(statistics: DriveStatistics) -> WholeTable:
    """Build the table of a radio on the reference drive, beside the recorded drive."""
    table = WholeTable(
        "figure",
        ">this radio",
        ">recorded, a receiver's blackouts included",
        title="reference drive: three cars, 582 s, mean 10.5 m/s; neighbours at 20 m, first-hand",
    )
    for gate in judge(statistics):
        table.add_row(gate.name, f"{gate.figure:.4f}", f"{gate.recorded:g}")
    return table


def _section(entry: Entry) -> str:
    """`radio.loss` of `radio.loss.blackout.share`, `radio` of `radio.time_to_live_ms`."""
    parts = entry.name.split(".")
    return ".".join(parts[: min(2, len(parts) - 1)]).partition("[")[0]


def _span(drawn: tuple[float, float] | None) -> str:
    return "" if drawn is None else f"{drawn[0]:g} … {drawn[1]:g}"
