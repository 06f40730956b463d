"""The console's tables of a result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ml.evaluation.summary import CellSummary, Figure

_COLUMNS = (
    ("crashes [95 %]", "crash_rate", "{:.1%}"),
    ("without hazard", "quiet_crash_rate", "{:.1%}"),
    ("false brakes\n/km", "false_brakes_per_km", "{:.2f}"),
    ("headway\nnet, s", "headway_net_s", "{:.2f}"),
    ("headway\ngross, s", "headway_s", "{:.2f}"),
    ("jerk p95\nm/s³", "jerk_p95_mps3", "{:.1f}"),
    ("reaction to\nmessage, s", "reaction_after_message_s", "{:.2f}"),
    ("progress", "progress", "{:.1%}"),
)
_WITH_INTERVAL = "crash_rate"


def tables(summaries: Sequence[CellSummary], controllers: Collection[str]) -> list[Table]:
    """Build a table for each suite and radio.

    Args:
        summaries: Of a result.
        controllers: Names of those to show; the rest is in `summary.json` and on the card.
    """
    built: dict[tuple[str, str], Table] = {}
    for summary in summaries:
        if summary.controller not in controllers:
            continue
        key = summary.suite, summary.radio
        if key not in built:
            built[key] = _table(summary)
        cells = (_text(name, form, summary.figures[name]) for _, name, form in _COLUMNS)
        built[key].add_row(summary.controller, *cells)
    return list(built.values())


def _table(summary: CellSummary) -> Table:
    crashes = summary.figures["crash_rate"].count
    unavoidable = summary.figures["unavoidable_rate"].hits or 0
    title = f"{summary.suite} on {summary.radio}: {summary.episodes:,} episodes each"
    if crashes or unavoidable:
        title += f", {crashes:,} of them avoidable hazards"
    if unavoidable:
        title += f" and {unavoidable:,} unavoidable"
    if summary.invalid:
        title += f"; {summary.invalid:,} invalid and left out"
    table = Table(title=title)
    table.add_column("controller", no_wrap=True)
    for heading, _, _ in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _text(name: str, form: str, figure: Figure) -> str:
    if math.isnan(figure.value):
        return "–"
    text = form.format(figure.value)
    if name == _WITH_INTERVAL:
        text += f" [{form.format(figure.low)}, {form.format(figure.high)}]"
    return text
