"""Where the crashes are: over the convoy's length and the radio, and over loss and silence."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.evaluation.result import EpisodeRow
from ml.evaluation.selection import avoidable_hazards

_LOSS_EDGES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_SILENCE_EDGES_S = (0.0, 0.3, 0.5, 1.0, 2.0, 5.0, float("inf"))


class CrashGrid(NamedTuple):
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
    counted = avoidable_hazards(rows)
    peers = sorted({row.num_peers for row in counted})
    cells = ((peers.index(row.num_peers), radios.index(row.radio), row.crash) for row in counted)
    return _grid(cells, list(map(str, peers)), list(radios), "cars ahead", "radio")


def by_loss_and_silence(rows: Sequence[EpisodeRow]) -> CrashGrid:
    """Count over what the radio did in the episode: share lost, and longest burst of losses.

    The burst is given as the time without a new message of the car in front.
    """
    cells = []
    for row in avoidable_hazards(rows):
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
    axes = "longest burst of losses, s", "share of beacons lost, %"
    return _grid(cells, silences[::-1], losses, *axes)


def _grid(
    cells: Iterable[tuple[int, int, bool]],
    row_labels: list[str],
    column_labels: list[str],
    row_axis: str,
    column_axis: str,
) -> CrashGrid:
    crashes = np.zeros((len(row_labels), len(column_labels)), dtype=np.int64)
    episodes = np.zeros_like(crashes)
    for i, j, crash in cells:
        episodes[i, j] += 1
        crashes[i, j] += crash
    return CrashGrid(row_labels, column_labels, row_axis, column_axis, crashes, episodes)
