"""Where the crashes are: over the convoy's length and the radio, and over loss and silence."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Rectangle

from ml.reports.style import GREY, PALE, WIDTH_IN, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ml.evaluation.result import EpisodeRow

_LOSS_EDGES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_SILENCE_EDGES_S = (0.0, 0.3, 0.5, 1.0, 2.0, 5.0, float("inf"))
_FULL_COLOUR = 0.1
"""Crash share from which on the colour does not deepen."""
_DARK = 0.6
_ROW_IN, _LOW_ROW_IN = 0.42, 0.24
_MANY_ROWS = 8


@dataclass(frozen=True, slots=True)
class CrashGrid:
    """Crashes in avoidable hazards, by two properties of the episode.

    Attributes:
        row_labels: From the top.
        column_labels: From the left.
        row_axis: What the rows are, with its unit.
        column_axis: What the columns are.
        crashes: (rows, columns) int64.
        episodes: (rows, columns) int64.
    """

    row_labels: list[str]
    column_labels: list[str]
    row_axis: str
    column_axis: str
    crashes: NDArray[np.int64]
    episodes: NDArray[np.int64]


def by_peers_and_radio(rows: Sequence[EpisodeRow], radios: Sequence[str]) -> CrashGrid:
    """Count over the number of cars ahead and the radio."""
    counted = _counted(rows)
    peers = sorted({row.num_peers for row in counted})
    return _grid(
        [(peers.index(row.num_peers), radios.index(row.radio), row.crash) for row in counted],
        [str(n) for n in peers],
        list(radios),
        "cars ahead",
        "radio",
    )


def by_loss_and_silence(rows: Sequence[EpisodeRow]) -> CrashGrid:
    """Count over what the radio did in the episode: share lost, and longest burst of losses.

    The burst is given as the time without a new message of the car in front.
    """
    cells = []
    for row in _counted(rows):
        if np.isnan(row.delivery_ratio) or np.isnan(row.longest_blackout_s):
            continue
        loss = min(max(1.0 - row.delivery_ratio, 0.0), 1.0)
        across = min(int(np.searchsorted(_LOSS_EDGES, loss, "right")) - 1, len(_LOSS_EDGES) - 2)
        down = int(np.searchsorted(_SILENCE_EDGES_S, row.longest_blackout_s, "right")) - 1
        cells.append((len(_SILENCE_EDGES_S) - 2 - down, across, row.crash))
    silences = [
        f"≥ {low:g}" if np.isinf(high) else f"{low:g}–{high:g}"
        for low, high in pairwise(_SILENCE_EDGES_S)
    ]
    losses = [f"{100 * low:.0f}–{100 * high:.0f}" for low, high in pairwise(_LOSS_EDGES)]
    return _grid(
        cells,
        silences[::-1],
        losses,
        "longest burst of losses, s",
        "share of beacons lost, %",
    )


def draw_crash_grid(grid: CrashGrid, title: str) -> Figure:
    """Draw shares as colours with their counts; cells without episodes are hatched."""
    down, across = grid.episodes.shape
    low = down > _MANY_ROWS
    figure = new_figure(WIDTH_IN, 1.1 + (_LOW_ROW_IN if low else _ROW_IN) * max(down, 3))
    axes = figure.add_subplot()
    axes.grid(visible=False)
    axes.set(title=title, xlabel=grid.column_axis, ylabel=grid.row_axis)
    if not grid.episodes.any():
        axes.text(0.5, 0.5, "no episodes", transform=axes.transAxes, ha="center", color=GREY)
        axes.set(xticks=[], yticks=[])
        return figure
    with np.errstate(invalid="ignore"):
        share = np.where(grid.episodes > 0, grid.crashes / grid.episodes, np.nan)
    axes.set_facecolor("white")
    image = axes.imshow(share, cmap="Oranges", vmin=0.0, vmax=_FULL_COLOUR, aspect="auto")
    axes.set_xticks(range(across), grid.column_labels)
    axes.set_yticks(range(down), grid.row_labels)
    axes.tick_params(length=0)
    for i in range(down):
        for j in range(across):
            _write_cell(
                axes,
                (i, j),
                int(grid.crashes[i, j]),
                int(grid.episodes[i, j]),
                " " if low else "\n",
            )
    bar = figure.colorbar(image, ax=axes, extend="max", pad=0.02)
    bar.set_label("crashes, %")
    ticks = np.linspace(0.0, _FULL_COLOUR, 3)
    bar.set_ticks(list(ticks), labels=[f"{100 * tick:g}" for tick in ticks])
    return figure


def _write_cell(
    axes: Axes, place: tuple[int, int], crashes: int, episodes: int, separator: str
) -> None:
    i, j = place
    if episodes == 0:
        axes.add_patch(
            Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor="white", edgecolor=PALE, hatch="////")
        )
        return
    dark = crashes / episodes > _DARK * _FULL_COLOUR
    axes.text(
        j,
        i,
        f"{crashes}{separator}/{episodes:,}",
        ha="center",
        va="center",
        fontsize=8,
        linespacing=0.95,
        color="white" if dark else "black",
    )


def _counted(rows: Sequence[EpisodeRow]) -> list[EpisodeRow]:
    return [row for row in rows if row.kind == "hazard" and row.avoidable and not row.invalid]


def _grid(
    cells: Sequence[tuple[int, int, bool]],
    row_labels: list[str],
    column_labels: list[str],
    row_axis: str,
    column_axis: str,
) -> CrashGrid:
    shape = (len(row_labels), len(column_labels))
    crashes, episodes = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for i, j, crash in cells:
        episodes[i, j] += 1
        crashes[i, j] += crash
    return CrashGrid(row_labels, column_labels, row_axis, column_axis, crashes, episodes)
