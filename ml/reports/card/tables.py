"""The card's tables: figures with intervals, duels, what the radio did, and who was judged."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ml.reports.card.selection import role_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ml.evaluation.compare import Comparison
    from ml.evaluation.records import DriverSpec
    from ml.evaluation.summary import CellSummary, Figure
    from ml.reports.card.selection import ResultView

NOTHING = "–"
_SHORT_HASH = 12


@dataclass(frozen=True, slots=True)
class Column:
    """Heading of a column.

    Attributes:
        name: Its name.
        unit: Behind the name.
    """

    name: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        text: What it says.
        interval: In small print behind it.
        mark: `better`, `worse` or nothing.
    """

    text: str
    interval: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One row; `role` sets its background."""

    cells: list[Cell]
    role: str = ""


@dataclass(frozen=True, slots=True)
class TableModel:
    """A table as the template takes it; the first cell of a row names it.

    Attributes:
        columns: Headings.
        rows: Rows.
        numeric: Indices of the columns that are set to the right.
    """

    columns: list[Column]
    rows: list[Line]
    numeric: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class _FigureColumn:
    name: str
    unit: str
    key: str
    scale: float = 1.0
    digits: int = 2


HEADLINE = (
    _FigureColumn("crashes", "avoidable hazards", "crash_rate", 100.0, 1),
    _FigureColumn("false brakes", "/km, no hazard", "false_brakes_per_km"),
    _FigureColumn("headway", "s, gross", "headway_s"),
    _FigureColumn("headway", "s, net", "headway_net_s"),
    _FigureColumn("jerk p95", "m/s³", "jerk_p95_mps3"),
    _FigureColumn("braking", "% of time, no hazard", "braking_share", 100.0, 1),
    _FigureColumn("crashes", "no hazard", "quiet_crash_rate", 100.0, 1),
    _FigureColumn("progress", "%", "progress", 100.0, 1),
)
"""What decides."""

DETAILS = (
    _FigureColumn("crashes", "informed", "informed_crash_rate", 100.0, 1),
    _FigureColumn("crashes", "in a blackout", "blackout_crash_rate", 100.0, 1),
    _FigureColumn("crashes", "unavoidable hazards", "unavoidable_crash_rate", 100.0, 1),
    _FigureColumn("impact", "m/s", "impact_speed_mps", 1.0, 1),
    _FigureColumn("reaction", "s after onset", "reaction_after_onset_s"),
    _FigureColumn("reaction", "s after message", "reaction_after_message_s"),
    _FigureColumn("min. gap", "m", "min_gap_m", 1.0, 1),
    _FigureColumn("min. TTC", "s", "min_ttc_s", 1.0, 1),
    _FigureColumn("max. DRAC", "m/s²", "max_drac_mps2"),
    _FigureColumn("TTC < 1.5 s", "s", "tet_s"),
    _FigureColumn("integrated", "s²", "tit_s2"),
    _FigureColumn("below RSS", "% of time", "share_below_rss", 100.0, 1),
    _FigureColumn("max. braking", "m/s²", "max_decel_mps2", 1.0, 1),
    _FigureColumn("false brakes", "/h", "false_brakes_per_h", 1.0, 1),
    _FigureColumn("string gain", "L2", "string_gain_l2"),
    _FigureColumn("gain", "at fundamental", "gain_at_fundamental"),
)
"""What explains."""


def figures_table(
    columns: Sequence[_FigureColumn],
    controllers: Sequence[DriverSpec],
    summaries: Mapping[str, CellSummary],
) -> TableModel:
    """Set out the figures of one suite on one radio; columns of which nobody has any are left out.

    Args:
        columns: Which figures.
        controllers: Rows.
        summaries: By controller's name.
    """
    shown = [
        column
        for column in columns
        if any(not math.isnan(summaries[c.name].figures[column.key].value) for c in controllers)
    ]
    return TableModel(
        [Column("controller"), *(Column(column.name, column.unit) for column in shown)],
        [
            Line(
                [
                    Cell(c.name),
                    *(_figure_cell(column, summaries[c.name].figures[column.key])
                      for column in shown),
                ],
                role_of(c),
            )
            for c in controllers
        ],
        frozenset(range(1, 1 + len(shown))),
    )  # fmt: skip


def _figure_cell(column: _FigureColumn, figure: Figure) -> Cell:
    if math.isnan(figure.value):
        return Cell(NOTHING)

    def number(value: float) -> str:
        return NOTHING if math.isnan(value) else f"{column.scale * value:.{column.digits}f}"

    interval = f"{number(figure.low)}–{number(figure.high)}"
    if figure.hits is None:
        return Cell(number(figure.value), interval)
    return Cell(f"{figure.hits:,} / {figure.count:,}", f"{number(figure.value)} % [{interval}]")


def duel_table(comparison: Comparison) -> TableModel:
    """Set out a comparison within one suite on one radio."""
    rows = []
    for item in comparison.differences:
        estimate, metric = item.estimate, item.metric
        mark = item.verdict if item.verdict in {"better", "worse"} else ""
        doubt = "" if mark or item.loss_ruled_out else "a loss is not ruled out"
        rows.append(
            Line(
                [
                    Cell(metric.label, metric.unit),
                    Cell(item.verdict, doubt, mark),
                    Cell(
                        f"{estimate.difference:+.2f}",
                        f"{estimate.low:+.2f} to {estimate.high:+.2f}",
                    ),
                    Cell(f"{estimate.candidate:.2f}"),
                    Cell(f"{estimate.baseline:.2f}"),
                    Cell(f"{metric.margin:g}"),
                ]
            )
        )
    names = ("figure", "verdict", "difference", comparison.candidate, comparison.baseline, "margin")
    return TableModel([Column(name) for name in names], rows, frozenset({2, 3, 4, 5}))


def radio_table(
    view: ResultView, summaries: Mapping[tuple[str, str, str], CellSummary]
) -> TableModel:
    """Say what the radio did to the car in front's beacons, by suite and radio.

    With packets' fates along the reference driver they are every controller's; otherwise they are
    those of the first one.
    """
    rows = []
    for suite in view.suites:
        for radio in view.radios(suite):
            first = view.controllers(suite, radio)[0].name
            figures = summaries[suite, radio, first].figures
            valid = [row for row in view.rows[suite, radio, first] if not row.invalid]
            oldest = [row.age_max_s for row in valid if not math.isnan(row.age_max_s)]
            silence = [r.longest_blackout_s for r in valid if not math.isnan(r.longest_blackout_s)]
            rows.append(
                Line(
                    [
                        Cell(f"{suite} on {radio}"),
                        Cell(_share(figures["delivery_ratio"].value)),
                        *(Cell(_seconds(figures[key].value)) for key in ("age_p50_s", "age_p95_s")),
                        Cell(_seconds(float(np.max(oldest)) if oldest else float("nan"))),
                        Cell(_seconds(figures["longest_blackout_s"].value)),
                        Cell(_seconds(float(np.max(silence)) if silence else float("nan"))),
                    ]
                )
            )
    columns = [
        Column("suite and radio"),
        Column("delivered", "%"),
        Column("age, median", "s"),
        Column("age, 95 %", "s"),
        Column("age, oldest", "s"),
        Column("longest blackout", "s, mean over episodes"),
        Column("longest blackout", "s, of all"),
    ]
    return TableModel(columns, rows, frozenset(range(1, len(columns))))


def controller_table(view: ResultView) -> TableModel:
    """Say what each controller is made from."""
    rows = [
        Line(
            [
                Cell(record.name),
                Cell(record.spec),
                Cell({"radio": "the radio", "truth": "the truth"}.get(record.knows, "nothing")),
                Cell(NOTHING if record.time_gap_s is None else f"{record.time_gap_s:g}"),
                Cell(NOTHING if record.standstill_m is None else f"{record.standstill_m:g}"),
                Cell((record.sha256 or NOTHING)[:_SHORT_HASH]),
            ],
            role_of(record),
        )
        for record in view.manifest.controllers
    ]
    columns = [
        Column("controller"),
        Column("made from"),
        Column("knows"),
        Column("time gap", "s"),
        Column("standstill", "m"),
        Column("sha256"),
    ]
    return TableModel(columns, rows, frozenset({3, 4}))


def _share(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{100.0 * value:.1f}"


def _seconds(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.2f}"
