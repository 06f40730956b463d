"""How far models that should be alike are apart: the same training from several seeds, say.

An interval of one model's figure says how well that model was measured; it says nothing of the next
training. So a call with several models shows their smallest, middle and largest figure, too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE_HEAD

from ml.console import WholeTable

if TYPE_CHECKING:
    from ml.evaluation.summary import CellSummary

_SHOWN = (
    ("crashes, avoidable hazards, %", "crash_rate", 100.0, 1),
    ("crashes, no hazard, %", "quiet_crash_rate", 100.0, 1),
    ("false brakes, /km", "false_brakes_per_km", 1.0, 2),
    ("headway, s", "headway_s", 1.0, 2),
    ("jerk p95, m/s³", "jerk_p95_mps3", 1.0, 1),
)
"""Heading, figure, factor, digits."""
_LEAST = 2


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over several models, in one suite on one radio.

    Attributes:
        suite: Name.
        radio: Name.
        figure: Its name in `CellSummary.figures`.
        heading: Its name for people, with the unit of `text`.
        models: How many have it.
        low: The smallest.
        middle: The median.
        high: The largest.
        text: The three, for people.
    """

    suite: str
    radio: str
    figure: str
    heading: str
    models: int
    low: float
    middle: float
    high: float
    text: str


def spread_over(summaries: Sequence[CellSummary], models: Collection[str]) -> list[Spread]:
    """Compare models in each suite on each radio.

    Args:
        summaries: Of a result.
        models: Names of those to compare.

    Returns:
        In the order of the summaries; nothing where fewer than two models have a figure.
    """
    cells: dict[tuple[str, str], list[CellSummary]] = {}
    for summary in summaries:
        if summary.controller in models:
            cells.setdefault((summary.suite, summary.radio), []).append(summary)
    found = []
    for cell, each in cells.items():
        for heading, name, scale, digits in _SHOWN:
            values = np.array([summary.figures[name].value for summary in each])
            values = values[~np.isnan(values)]
            if values.size >= _LEAST:
                ends = float(values.min()), float(np.median(values)), float(values.max())
                text = " – ".join(f"{scale * value:.{digits}f}" for value in ends)
                found.append(Spread(*cell, name, heading, values.size, *ends, text))
    return found


def table_of(spreads: Sequence[Spread]) -> WholeTable:
    """Build the console's table, smallest – median – largest."""
    most = max((spread.models for spread in spreads), default=0)
    title = f"spread over {most} models: smallest – median – largest"
    table = WholeTable(title=title, box=SIMPLE_HEAD, padding=(0, 1), title_justify="left")
    for heading in ("suite", "radio", "figure"):
        table.add_column(heading)
    table.add_column("", justify="right", no_wrap=True)
    for spread in spreads:
        table.add_row(spread.suite, spread.radio, spread.heading, spread.text)
    return table


def sentence_of(spreads: Sequence[Spread]) -> str:
    """Say what models are like on one radio, smallest – median – largest."""
    order = [heading for heading, *_ in _SHOWN]
    said = sorted(spreads, key=lambda spread: order.index(spread.heading))
    figures = "; ".join(f"{spread.heading} {spread.text}" for spread in said)
    first = spreads[0]
    return f"{first.models} models on {first.radio}, smallest – median – largest: {figures}."
