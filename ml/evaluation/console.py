"""The console's tables of a result: figures by driver, and how far models are apart.

An interval of one model's figure says how well that model was measured; it says nothing of the next
training. So a call with several models shows their smallest, middle and largest figure, too.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD

from ml.console import WholeTable
from ml.evaluation.summary import CellSummary, Figure

_COLUMNS = (
    ("crashes, %\n[95 %]", "crash_rate", 100.0, 1),
    ("quiet\n%", "quiet_crash_rate", 100.0, 1),
    ("false\n/km", "false_brakes_per_km", 1.0, 2),
    ("gap s\nnet", "headway_net_s", 1.0, 2),
    ("jerk\np95", "jerk_p95_mps3", 1.0, 1),
    ("react\ns", "reaction_after_onset_s", 1.0, 2),
)
"""Heading, figure, factor, digits."""
_SPREADS = (
    ("crashes, avoidable hazards, %", "crash_rate", 100.0, 1),
    ("crashes, no hazard, %", "quiet_crash_rate", 100.0, 1),
    ("false brakes, /km", "false_brakes_per_km", 1.0, 2),
    ("headway, s", "headway_s", 1.0, 2),
    ("jerk p95, m/s³", "jerk_p95_mps3", 1.0, 1),
)
_LEAST_NAME = 20
_STYLE: dict[str, Any] = {"box": SIMPLE_HEAD, "padding": (0, 1)}


def tables(summaries: Sequence[CellSummary], controllers: Collection[str]) -> list[WholeTable]:
    """Build a table for each suite and radio, at most 80 columns wide, of controllers by name.

    Crashes in avoidable hazards and, beside them, in episodes without a hazard (quiet); false
    brakes per km there; mean time gap net of the standstill distance; jerk's 95th percentile in
    m/s³; reaction time after the hazard's onset. The rest is in `summary.json` and on the card.
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
    table = WholeTable(title=title, **_STYLE)
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


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over several models, in one suite on one radio.

    Attributes:
        heading: Its name for people, with the unit of `text`.
        values: Of the models that have it, at least two.
        text: The smallest, the median and the largest, for people.
    """

    suite: str
    radio: str
    heading: str
    values: list[float]
    text: str


def spread_over(summaries: Sequence[CellSummary], models: Collection[str]) -> list[Spread]:
    """Compare models, by their names, in each suite on each radio, in the summaries' order."""
    cells: dict[tuple[str, str], list[CellSummary]] = {}
    for summary in summaries:
        if summary.controller in models:
            cells.setdefault((summary.suite, summary.radio), []).append(summary)
    found = []
    for cell, each in cells.items():
        for heading, name, scale, digits in _SPREADS:
            values = [summary.figures[name].value for summary in each]
            values = [value for value in values if not math.isnan(value)]
            if len(values) > 1:
                ends = min(values), float(np.median(values)), max(values)
                text = " – ".join(f"{scale * value:.{digits}f}" for value in ends)
                found.append(Spread(*cell, heading, values, text))
    return found


def spread_table(spreads: Sequence[Spread]) -> WholeTable:
    """Build the console's table, smallest – median – largest."""
    most = max((len(spread.values) for spread in spreads), default=0)
    title = f"spread over {most} models: smallest – median – largest"
    table = WholeTable("suite", "radio", "figure", title=title, **_STYLE)
    table.add_column("", justify="right", no_wrap=True)
    for spread in spreads:
        table.add_row(spread.suite, spread.radio, spread.heading, spread.text)
    return table


def spread_sentence(spreads: Sequence[Spread]) -> str:
    """Say what models are like on one radio, smallest – median – largest."""
    figures = "; ".join(f"{spread.heading} {spread.text}" for spread in spreads)
    models, radio = len(spreads[0].values), spreads[0].radio
    return f"{models} models on {radio}, smallest – median – largest: {figures}."
