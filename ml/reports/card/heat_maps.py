"""Where the crashes are, as colours with their counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ml.reports.style import PALE, WIDTH_IN, new_figure, say_nothing

if TYPE_CHECKING:
    from ml.evaluation.selection import CrashGrid

_FULL_COLOUR = 0.1
"""Crash share from which on the colour does not deepen."""
_DARK = 0.6
_ROW_IN, _LOW_ROW_IN = 0.42, 0.24
_MANY_ROWS = 8


def draw_crash_grid(grid: CrashGrid, title: str) -> Figure:
    """Draw shares as colours with their counts; cells without episodes are hatched."""
    down, across = grid.episodes.shape
    low = down > _MANY_ROWS
    between = " " if low else "\n"
    figure = new_figure(WIDTH_IN, 1.1 + (_LOW_ROW_IN if low else _ROW_IN) * max(down, 3))
    axes = figure.add_subplot()
    axes.grid(visible=False)
    axes.set(title=title, xlabel=grid.column_axis, ylabel=grid.row_axis, facecolor="white")
    if not grid.episodes.any():
        say_nothing(axes, "no episodes")
        axes.set(xticks=[], yticks=[])
        return figure
    with np.errstate(invalid="ignore"):
        share = np.where(grid.episodes > 0, grid.crashes / grid.episodes, np.nan)
    image = axes.imshow(share, cmap="Oranges", vmin=0.0, vmax=_FULL_COLOUR, aspect="auto")
    axes.set_xticks(range(across), grid.column_labels)
    axes.set_yticks(range(down), grid.row_labels)
    axes.tick_params(length=0, labelsize=8)
    for (i, j), episodes in np.ndenumerate(grid.episodes):
        if episodes == 0:
            hatched = Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor="white", edgecolor=PALE)
            hatched.set_hatch("////")
            axes.add_patch(hatched)
            continue
        axes.text(
            j,
            i,
            f"{grid.crashes[i, j]}{between}/{episodes:,}",
            ha="center",
            va="center",
            fontsize=8,
            linespacing=0.95,
            color="white" if share[i, j] > _DARK * _FULL_COLOUR else "black",
        )
    bar = figure.colorbar(image, ax=axes, extend="max", pad=0.02)
    bar.set_label("crashes, %")
    ticks = np.linspace(0.0, _FULL_COLOUR, 3)
    bar.set_ticks(list(ticks), labels=[f"{100 * tick:g}" for tick in ticks])
    return figure
