"""The card's tables: figures with intervals, duels, what the radio did, and who was judged."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ml.evaluation.compare import Comparison
from ml.evaluation.records import DriverSpec
from ml.evaluation.selection import ResultView, role_of
from ml.evaluation.summary import CellSummary, Figure
from ml.reports.html_table import NOTHING, Cell, HtmlTable, Line, table_of

Summaries = Mapping[tuple[str, str, str], CellSummary]
"""By suite, radio and controller."""

_SHORT_HASH = 12


class _FigureColumn(NamedTuple):
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
) -> HtmlTable:
    """Set out the figures of one suite on one radio, `summaries` by controller's name.

    Columns of which nobody has any are left out.
    """
    figures = {c.name: summaries[c.name].figures for c in controllers}
    shown = [c for c in columns if not all(math.isnan(f[c.key].value) for f in figures.values())]
    rows = [
        Line([Cell(c.name), *(_cell(column, figures[c.name][column.key]) for column in shown)],
             role_of(c))
        for c in controllers
    ]  # fmt: skip
    return table_of(["controller", *(f">{c.name} | {c.unit}" for c in shown)], rows)


def _cell(column: _FigureColumn, figure: Figure) -> Cell:
    if math.isnan(figure.value):
        return Cell(NOTHING)
    value, low, high = (
        _number(column.scale * x, column.digits) for x in (figure.value, figure.low, figure.high)
    )
    if figure.hits is None:
        return Cell(value, f"{low}–{high}")
    return Cell(f"{figure.hits:,} / {figure.count:,}", f"{value} % [{low}–{high}]")


def duel_table(comparison: Comparison) -> HtmlTable:
    """Set out a comparison within one suite on one radio."""
    rows = []
    for item in comparison.differences:
        estimate, metric = item.estimate, item.metric
        mark = item.verdict if item.verdict in {"better", "worse"} else ""
        doubt = "" if mark or item.loss_ruled_out else "a loss is not ruled out"
        interval = f"{estimate.low:+.2f} to {estimate.high:+.2f}"
        cells = [
            Cell(metric.label, metric.unit),
            Cell(item.verdict, doubt, mark),
            Cell(f"{estimate.difference:+.2f}", interval),
            Cell(f"{estimate.candidate:.2f}"),
            Cell(f"{estimate.baseline:.2f}"),
            Cell(f"{metric.margin:g}"),
        ]
        rows.append(Line(cells))
    who = (f">{name}" for name in (comparison.candidate, comparison.baseline))
    return table_of(["figure", "verdict", ">difference", *who, ">margin"], rows)


def radio_table(view: ResultView, summaries: Summaries) -> HtmlTable:
    """Say what the radio did to the car in front's beacons, by suite and radio.

    With packets' fates along the reference ego they are every controller's; otherwise they are
    those of the first one.
    """
    rows = []
    for suite in view.suites:
        for radio in view.radios(suite):
            first = view.controllers(suite, radio)[0].name
            figures = summaries[suite, radio, first].figures
            valid = [row for row in view.rows[suite, radio, first] if not row.invalid]
            seconds = (
                figures["age_p50_s"].value,
                figures["age_p95_s"].value,
                _largest([row.age_max_s for row in valid]),
                figures["longest_blackout_s"].value,
                _largest([row.longest_blackout_s for row in valid]),
            )
            delivered = _number(100.0 * figures["delivery_ratio"].value, 1)
            texts = (f"{suite} on {radio}", delivered, *map(_number, seconds))
            rows.append(Line([Cell(text) for text in texts]))
    columns = [
        "suite and radio", ">delivered | %", ">age, median | s", ">age, 95 % | s",
        ">age, oldest | s", ">longest blackout | s, mean over episodes",
        ">longest blackout | s, of all",
    ]  # fmt: skip
    return table_of(columns, rows)


def controller_table(view: ResultView) -> HtmlTable:
    """Say what each controller is made from."""
    rows = []
    for record in view.manifest.controllers:
        time_gap_s, standstill_m = (
            NOTHING if x is None else f"{x:g}" for x in (record.time_gap_s, record.standstill_m)
        )
        knows = {"radio": "the radio", "truth": "the truth"}.get(record.knows, "nothing")
        digest = (record.sha256 or NOTHING)[:_SHORT_HASH]
        texts = (record.name, record.spec, knows, time_gap_s, standstill_m, digest)
        rows.append(Line([Cell(text) for text in texts], role_of(record)))
    columns = ["controller", "made from", "knows", ">time gap | s", ">standstill | m", "sha256"]
    return table_of(columns, rows)


def _number(value: float, digits: int = 2) -> str:
    return NOTHING if math.isnan(value) else f"{value:.{digits}f}"


def _largest(values: Sequence[float]) -> float:
    """Return the largest that is known; not a number where none is."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)
