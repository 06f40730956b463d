"""The console's tables of a result."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD

from ml.console import WholeTable

if TYPE_CHECKING:
    from ml.evaluation.summary import CellSummary, Figure

_COLUMNS = (
    ("crashes, %\n[95 %]", "crash_rate", 100.0, 1),
    ("quiet\n%", "quiet_crash_rate", 100.0, 1),
    ("false\n/km", "false_brakes_per_km", 1.0, 2),
    ("gap s\nnet", "headway_net_s", 1.0, 2),
    ("jerk\np95", "jerk_p95_mps3", 1.0, 1),
    ("react\ns", "reaction_after_onset_s", 1.0, 2),
)
_LEAST_NAME = 20


def tables(summaries: Sequence[CellSummary], controllers: Collection[str]) -> list[WholeTable]:
    """Build a table for each suite and radio, at most 80 columns wide.

    Crashes in avoidable hazards and, beside them, in episodes without a hazard (quiet); false
    brakes per km there; mean time gap net of the standstill distance; jerk's 95th percentile in
    m/s³; reaction time after the hazard's onset.

    Args:
        summaries: Of a result.
        controllers: Names of those to show; the rest is in `summary.json` and on the card.
    """
    built: dict[tuple[str, str], WholeTable] = {}
    for summary in summaries:
        if summary.controller not in controllers:
            continue
        key = summary.suite, summary.radio
        if key not in built:
            built[key] = _table(summary)
        texts = (
            _text(heading, summary.figures[name], scale, digits)
            for heading, name, scale, digits in _COLUMNS
        )
        built[key].add_row(summary.controller, *texts)
    return list(built.values())


def _table(summary: CellSummary) -> WholeTable:
    crashes = summary.figures["crash_rate"].count
    unavoidable = summary.figures["unavoidable_rate"].hits or 0
    title = f"{summary.suite} on {summary.radio}: {summary.episodes:,} episodes each"
    if crashes or unavoidable:
        title += f", {crashes:,} of them avoidable hazards"
    if unavoidable:
        title += f" and {unavoidable:,} unavoidable"
    if summary.invalid:
        title += f"; {summary.invalid:,} invalid and left out"
    table = WholeTable(title=title, box=SIMPLE_HEAD, padding=(0, 1), title_justify="left")
    table.add_column("controller", min_width=_LEAST_NAME)
    for heading, *_ in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _text(heading: str, figure: Figure, scale: float, digits: int) -> str:
    if math.isnan(figure.value):
        return "–"
    ends = (figure.value, figure.low, figure.high)
    value, low, high = (f"{scale * number:.{digits}f}" for number in ends)
    return f"{value} [{low}–{high}]" if "[" in heading else value
