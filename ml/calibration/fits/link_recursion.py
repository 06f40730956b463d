"""The forward recursion of `link_likelihood`, compiled: a link's frames at many points at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ml.compiled import compiled, compiled_without_gil
from ml.espnow_emulator.fading import LOWEST_DB, STEP_DB

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Nothing falls so low that the processor has to treat it as a denormal number, a hundred times
# slower; a share of 1e-100 is nothing to any result.
_LEAST_MASS: Final = 1e-100


@compiled
def _chance(table: NDArray[np.float64], margin_db: float) -> float:
    at = (margin_db - LOWEST_DB) / STEP_DB
    at = min(max(at, 0.0), table.size - 1.001)
    left = int(at)
    return float(table[left] + (at - left) * (table[left + 1] - table[left]))


@compiled_without_gil
def fill_one_way(
    mean_db: NDArray[np.float64],
    s_db: NDArray[np.float64],
    b_db: NDArray[np.float64],
    best: NDArray[np.float64],
    near_table: NDArray[np.float64],
    far_table: NDArray[np.float64],
    beyond: NDArray[np.bool_],
    chance: NDArray[np.float64],
) -> None:
    """Fill the chance to arrive at (end, shadowing, point, bias)."""
    ends, nodes_s, points, nodes_b = chance.shape
    for e in range(ends):
        table = far_table if beyond[e] else near_table
        for i in range(nodes_s):
            for p in range(points):
                for j in range(nodes_b):
                    total_db = mean_db[p, e] + s_db[p, i] + b_db[p, j]
                    chance[e, i, p, j] = best[p] * _chance(table, total_db)


@compiled_without_gil
def fill_both_ways(
    mean_db: NDArray[np.float64],
    s_db: NDArray[np.float64],
    b_db: NDArray[np.float64],
    best: NDArray[np.float64],
    near_table: NDArray[np.float64],
    far_table: NDArray[np.float64],
    beyond: NDArray[np.bool_],
    chance: NDArray[np.float64],
) -> None:
    """Fill the chance to get there and back at (end, shadowing, point, bias there, bias back)."""
    ends, nodes_s, points, nodes_b, _ = chance.shape
    one_way = np.empty(nodes_b)
    for e in range(ends):
        table = far_table if beyond[e] else near_table
        for i in range(nodes_s):
            for p in range(points):
                for j in range(nodes_b):
                    total_db = mean_db[p, e] + s_db[p, i] + b_db[p, j]
                    one_way[j] = best[p] * _chance(table, total_db)
                for j in range(nodes_b):
                    for c in range(nodes_b):
                        chance[e, i, p, j, c] = one_way[j] * one_way[c]


@compiled_without_gil
def forward(  # noqa: C901 - one recursion, read from top to bottom
    outcome: NDArray[np.int8],
    left_alone: NDArray[np.float64],
    end: NDArray[np.int64],
    share: NDArray[np.float64],
    chance: NDArray[np.float64],
    shadowing_step: NDArray[np.int64],
    shadowing_moves: NDArray[np.float64],
    bias_step: NDArray[np.int64],
    bias_counts: NDArray[np.int64],
    strides: NDArray[np.int64],
    stay: NDArray[np.float64],
    below: NDArray[np.float64],
    above: NDArray[np.float64],
    begin: NDArray[np.float64],
    points: int,
) -> NDArray[np.float64]:
    """Run the recursion; columns are (point, bias), and with two ways (point, there, back)."""
    nodes, columns = begin.shape
    each = columns // points
    out = np.zeros((points, outcome.size))
    mass, moved = begin.copy(), np.empty_like(begin)
    kept, scale = np.empty(columns), np.empty(columns)
    for k in range(outcome.size):
        if k > 0:
            np.dot(shadowing_moves[shadowing_step[k]], mass, moved)
            mass, moved = moved, mass
            step = bias_step[k]
            for _ in range(bias_counts[step] if step >= 0 else 0):
                for axis in range(strides.size):
                    turn = (stay[axis, step], below[axis, step], above[axis, step])
                    _move_bias(mass, moved, strides[axis], turn)
                    mass, moved = moved, mass
        if outcome[k] < 0:
            continue
        low, high, right, best = end[k, 0], end[k, 1], share[k], left_alone[k]
        # Received: chance c; lost: 1 - c.
        base, sign = (0.0, best) if outcome[k] > 0 else (1.0, -best)
        kept[:] = 0.0
        for i in range(nodes):
            for c in range(columns):
                left = chance[low, i, c]
                through = base + sign * (left + right * (chance[high, i, c] - left))
                mass[i, c] *= through
                kept[c] += mass[i, c]
        for p in range(points):
            total = 0.0
            for c in range(p * each, (p + 1) * each):
                total += kept[c]
            out[p, k] = np.log(total)
            for c in range(p * each, (p + 1) * each):
                scale[c] = 1.0 / total
        for i in range(nodes):
            for c in range(columns):
                mass[i, c] = mass[i, c] * scale[c] + _LEAST_MASS
    return out


@compiled
def _move_bias(
    mass: NDArray[np.float64],
    moved: NDArray[np.float64],
    stride: int,
    turn: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """One move to the neighbours along an axis whose nodes are `stride` columns apart."""
    nodes, columns = mass.shape
    stay, below, above = turn
    for i in range(nodes):
        for c in range(columns):
            moved[i, c] = stay[c] * mass[i, c]
        for c in range(stride, columns):
            moved[i, c] += below[c] * mass[i, c - stride]
        for c in range(columns - stride):
            moved[i, c] += above[c] * mass[i, c + stride]
