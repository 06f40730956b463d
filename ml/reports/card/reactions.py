"""How long after the hazard, and after its message, each controller braked."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ml.evaluation.result import EpisodeRow
from ml.reports.style import BLACK, BLUE, ORANGE, WIDTH_IN, new_figure, say_nothing

_TAILS = (5, 25, 50, 75, 95)
_ROW_IN = 0.36
_OFFSET = 0.17


def draw_reactions(rows_of: Mapping[str, Sequence[EpisodeRow]], title: str) -> Figure:
    """Draw median, quartiles and 5–95 % of both reaction times, a line per controller.

    Args:
        rows_of: A controller's name to its episodes on one radio.
        title: Names the radio.
    """
    hazards = {
        name: [row for row in rows if row.kind == "hazard" and not row.invalid]
        for name, rows in rows_of.items()
    }
    hazards = {name: rows for name, rows in hazards.items() if rows}
    figure = new_figure(WIDTH_IN, 1.75 + _ROW_IN * max(len(hazards), 2))
    axes = figure.add_subplot()
    axes.set(title=title, xlabel="s from the event to braking harder than 1 m/s²")
    if not hazards:
        say_nothing(axes, "no hazards")
        return figure
    for colour, label in (
        (ORANGE, "after the hazard's onset"),
        (BLUE, "after its message arrived"),
    ):
        axes.plot([], [], color=colour, linewidth=6, label=label)
    names = []
    for i, (name, rows) in enumerate(hazards.items()):
        _box(axes, i - _OFFSET, [row.reaction_after_onset_s for row in rows], ORANGE)
        _box(axes, i + _OFFSET, [row.reaction_after_message_s for row in rows], BLUE)
        never = sum(np.isnan(row.reaction_after_onset_s) for row in rows) / len(rows)
        names.append(f"{name}\nnever: {never:.0%}" if never > 0 else name)
    axes.axvline(0.0, color=BLACK, linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _box(axes: Axes, y: float, values: Sequence[float], colour: str) -> None:
    known = np.array(values)[~np.isnan(values)]
    if not known.size:
        return
    p5, p25, p50, p75, p95 = np.percentile(known, _TAILS)
    axes.plot([p5, p95], [y, y], color=colour, linewidth=1.2, solid_capstyle="butt")
    axes.plot([p25, p75], [y, y], color=colour, linewidth=6, solid_capstyle="butt")
    axes.plot([p50], [y], marker="|", color=BLACK, markersize=9, markeredgewidth=1.8)
