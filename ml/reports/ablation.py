"""The table of ablations, for people (Markdown, console)."""

from collections.abc import Sequence

from ml.console import WholeTable, markdown_table
from ml.evaluation.summary import CellSummary, Figure

_COLUMNS = (
    ("crashes in avoidable hazards", "crash_rate", 100.0, "%"),
    ("time headway", "headway_s", 1.0, "s"),
    ("false brakes", "false_brakes_per_km", 1.0, "/km"),
    ("jerk p95", "jerk_p95_mps3", 1.0, "m/s³"),
)
_TITLES = ("radio", "what", *(title for title, *_ in _COLUMNS))


def _said(figure: Figure, scale: float, unit: str) -> str:
    low, value, high = (scale * v for v in (figure.low, figure.value, figure.high))
    if figure.hits is not None:
        return f"{figure.hits} of {figure.count} [{low:.1f}, {high:.1f}] {unit}"
    return f"{value:.2f} [{low:.2f}, {high:.2f}] {unit}"


def _cells(summary: CellSummary) -> list[str]:
    figures = [_said(summary.figures[key], scale, unit) for _, key, scale, unit in _COLUMNS]
    return [summary.radio, summary.controller, *figures]


def as_markdown(made: str, summaries: Sequence[CellSummary]) -> str:
    """Return the table for docs/, under a line that says how it was made."""
    return f"{made}\n\n{markdown_table(_TITLES, map(_cells, summaries))}"


def console_table(summaries: Sequence[CellSummary]) -> WholeTable:
    """Build the table for a terminal."""
    table = WholeTable(*_TITLES, title="ablations")
    for summary in summaries:
        table.add_row(*_cells(summary))
    return table
