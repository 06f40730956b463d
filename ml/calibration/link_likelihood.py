"""How likely losses are under the margin model, shadowing and slow bias integrated out.

Shadowing and bias are Ornstein-Uhlenbeck processes that nobody sees; of a frame one sees that it
was lost or not. The likelihood is that of a hidden Markov model, computed by the forward recursion
over a grid of both processes. A step that is large beside the grid is the normal transition at its
nodes; a small one goes to the neighbours, with the shares that give the right mean and variance
(the locally consistent chain of Kushner), so that a car that stands needs no finer grid.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ml.compiled import compiled
from ml.espnow_emulator.fading import LOWEST_DB, STEP_DB, reception_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.espnow_emulator.loss_parameters import MarginLoss

SHADOWING_NODES: Final = 25
BIAS_NODES: Final = 11
_BIAS_NODES_TWO_WAY: Final = 7
_WIDEST: Final = 3.4
_NORMAL_FROM: Final = 0.5
RAYLEIGH_FROM_M: Final = 80.0
_STEPS: Final = 60
_LEAST_STEP_M, _MOST_STEP_M = 0.04, 40.0
_LEAST_STEP_S, _MOST_STEP_S = 0.08, 80.0
_BIAS_EVERY_S: Final = 0.2
_SUBGRID: Final = 16  # m = 1, 1.25, ... 5 in reception_table


class Shape(NamedTuple):
    """What all links of a fit have in common; see `MarginLoss`."""

    shadowing_sd_db: float
    shadowing_distance_m: float
    bias_sd_db: float
    bias_time_s: float
    floor_loss: float


class Frames(NamedTuple):
    """A link's frames, ready for the recursion.

    Attributes:
        outcome: (K,) int8, 0 lost, 1 received, -1 not scored.
        far: (K,) bool, from 80 m on.
        blackout: (K,), share of frames that the receiver loses anyway; 0 outside blackouts.
        shadowing_step: (K,) int64, bin of what was travelled since the frame before.
        bias_step: (K,) int64, bin of the time since the bias moved last, -1 where it stays.
        two_way: Whether the frame went there and back.
    """

    outcome: NDArray[np.int8]
    far: NDArray[np.bool_]
    blackout: NDArray[np.float64]
    shadowing_step: NDArray[np.int64]
    bias_step: NDArray[np.int64]
    two_way: bool


def step_bins(
    values: NDArray[np.float64], low: float, high: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sort step sizes into bins, evenly in the logarithm.

    Returns:
        Bins (K,) and the sizes that they stand for, (_STEPS,).
    """
    sizes = np.geomspace(low, high, _STEPS)
    at = np.log(np.clip(values, low, high) / low) / np.log(high / low) * (_STEPS - 1)
    return np.rint(at).astype(np.int64), sizes


def prepare(
    outcome: NDArray[np.int8],
    distance_m: NDArray[np.float64],
    travel_m: NDArray[np.float64],
    time_s: NDArray[np.float64],
    *,
    standstill_mps: float,
    two_way: bool,
    blackout: NDArray[np.float64] | None = None,
) -> Frames:
    """Make the frames of a link ready, (K,) each; `travel_m` without the floor at standstill."""
    elapsed_s = np.clip(np.diff(time_s, prepend=time_s[0]), 0.0, None)
    travelled = np.maximum(travel_m, standstill_mps * elapsed_s)
    # The bias takes seconds to move, so it need not at every frame.
    ticks = np.floor((time_s - time_s[0]) / _BIAS_EVERY_S)
    moves = np.diff(ticks, prepend=-1.0) > 0.0
    rows = np.flatnonzero(moves)
    bias_step = np.full(outcome.size, -1, dtype=np.int64)
    since_s = np.diff(time_s[rows], prepend=time_s[0])
    bias_step[rows] = step_bins(since_s, _LEAST_STEP_S, _MOST_STEP_S)[0]
    return Frames(
        outcome=outcome,
        far=np.nan_to_num(distance_m) >= RAYLEIGH_FROM_M,
        blackout=np.zeros(outcome.size) if blackout is None else blackout,
        shadowing_step=step_bins(travelled, _LEAST_STEP_M, _MOST_STEP_M)[0],
        bias_step=bias_step,
        two_way=two_way,
    )


def log_likelihoods(
    frames: Frames, mean_db: NDArray[np.float64], shape: Shape, margin: MarginLoss
) -> NDArray[np.float64]:
    """Return the logarithm of each frame's chance to end as it did, given all before it.

    Args:
        frames: Of a link.
        mean_db: (K,), the margin without shadowing, bias and fading.
        shape: Of the processes.
        margin: For fading and transition, which are not fitted.

    Returns:
        (K,), 0 where a frame is not scored.
    """
    bias_nodes = _BIAS_NODES_TWO_WAY if frames.two_way else BIAS_NODES
    x_s, w_s = _grid(SHADOWING_NODES)
    x_b, w_b = _grid(bias_nodes)
    sizes_m = np.geomspace(_LEAST_STEP_M, _MOST_STEP_M, _STEPS)
    sizes_s = np.geomspace(_LEAST_STEP_S, _MOST_STEP_S, _STEPS)
    table = reception_table(margin.transition_db)
    near = _row_of(table, margin.fading_m)
    run = _two_way if frames.two_way else _one_way
    moves_s, reach_s = _transitions(sizes_m / shape.shadowing_distance_m, x_s)
    moves_b, reach_b = _transitions(sizes_s / shape.bias_time_s, x_b)
    return run(
        frames.outcome,
        mean_db,
        frames.far,
        frames.blackout,
        frames.shadowing_step,
        frames.bias_step,
        moves_s,
        reach_s,
        moves_b,
        reach_b,
        shape.shadowing_sd_db * x_s,
        shape.bias_sd_db * x_b,
        w_s,
        w_b,
        near,
        near if margin.fading_m is None else _row_of(table, 1.0),
        shape.floor_loss,
    )


def _row_of(table: NDArray[np.float64], m: float | None) -> NDArray[np.float64]:
    if m is None:
        margin_db = LOWEST_DB + STEP_DB * np.arange(table.shape[1])
        unfaded: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-margin_db))
        return unfaded
    at = (m - 1.0) * (_SUBGRID / 4.0)
    left = min(int(at), _SUBGRID - 1)
    row: NDArray[np.float64] = table[left] + (at - left) * (table[left + 1] - table[left])
    return row


@lru_cache(maxsize=8)
def _grid(nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Evenly spaced nodes of a process of variance 1, and its stationary masses there."""
    x = np.linspace(-_WIDEST, _WIDEST, nodes)
    w = np.exp(-0.5 * x * x)
    return x, w / w.sum()


def _transitions(
    exponents: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Matrices (steps, from, to) of memories exp(-exponent), and how many nodes they reach."""
    spacing = x[1] - x[0]
    matrices = np.zeros((exponents.size, x.size, x.size))
    reach = np.full(exponents.size, x.size, dtype=np.int64)
    rows = np.arange(x.size)
    for k, memory in enumerate(np.exp(-exponents)):
        variance = 1.0 - memory * memory
        if variance >= _NORMAL_FROM * spacing**2:
            away = x[None, :] - memory * x[:, None]
            matrix = np.exp(-0.5 * away**2 / variance)
            matrices[k] = matrix / matrix.sum(axis=1, keepdims=True)
            reach[k] = min(x.size, int(np.ceil((5.0 * np.sqrt(variance) + 0.5) / spacing)) + 1)
            continue
        drift = -(1.0 - memory) * x / spacing
        spread = variance / spacing**2 + drift**2
        up = np.clip(0.5 * (spread + drift), 0.0, 0.5)
        down = np.clip(0.5 * (spread - drift), 0.0, 0.5)
        up[-1] = down[0] = 0.0
        matrices[k, rows[:-1], rows[1:]] = up[:-1]
        matrices[k, rows[1:], rows[:-1]] = down[1:]
        matrices[k, rows, rows] = 1.0 - up - down
        reach[k] = 1
    return matrices, reach


@compiled
def _chance(table: NDArray[np.float64], margin_db: float) -> float:
    at = (margin_db - LOWEST_DB) / STEP_DB
    at = min(max(at, 0.0), table.size - 1.001)
    left = int(at)
    return float(table[left] + (at - left) * (table[left + 1] - table[left]))


@compiled
def _fill_chances(
    table: NDArray[np.float64],
    best: float,
    mean_db: float,
    s_db: NDArray[np.float64],
    b_db: NDArray[np.float64],
    chance: NDArray[np.float64],
) -> None:
    """Fill the chance of one way at all nodes (shadowing, bias)."""
    for i in range(s_db.size):
        for j in range(b_db.size):
            chance[i, j] = best * _chance(table, mean_db + s_db[i] + b_db[j])


@compiled
def _one_way(  # noqa: C901, PLR0912 - one recursion, read from top to bottom
    outcome: NDArray[np.int8],
    mean_db: NDArray[np.float64],
    far: NDArray[np.bool_],
    blackout: NDArray[np.float64],
    shadowing_step: NDArray[np.int64],
    bias_step: NDArray[np.int64],
    move_s: NDArray[np.float64],
    reach_s: NDArray[np.int64],
    move_b: NDArray[np.float64],
    reach_b: NDArray[np.int64],
    s_db: NDArray[np.float64],
    b_db: NDArray[np.float64],
    w_s: NDArray[np.float64],
    w_b: NDArray[np.float64],
    near_table: NDArray[np.float64],
    far_table: NDArray[np.float64],
    floor_loss: float,
) -> NDArray[np.float64]:
    n_s, n_b = s_db.size, b_db.size
    out = np.zeros(outcome.size)
    mass = w_s[:, None] * w_b
    moved = np.empty((n_s, n_b))
    chance = np.empty((n_s, n_b))
    row = np.empty(n_b)
    for k in range(outcome.size):
        if k > 0:
            matrix, reach = move_s[shadowing_step[k]], reach_s[shadowing_step[k]]
            for i in range(n_s):
                row[:] = 0.0
                for h in range(max(i - reach, 0), min(i + reach + 1, n_s)):
                    share = matrix[h, i]
                    for j in range(n_b):
                        row[j] += share * mass[h, j]
                moved[i] = row
            if bias_step[k] >= 0:
                turn, reach = move_b[bias_step[k]], reach_b[bias_step[k]]
                for i in range(n_s):
                    row[:] = 0.0
                    for h in range(n_b):
                        share = moved[i, h]
                        for j in range(max(h - reach, 0), min(h + reach + 1, n_b)):
                            row[j] += share * turn[h, j]
                    mass[i] = row
            else:
                mass, moved = moved, mass
        if outcome[k] < 0:
            continue
        table = far_table if far[k] else near_table
        best = (1.0 - floor_loss) * (1.0 - blackout[k])
        _fill_chances(table, best, mean_db[k], s_db, b_db, chance)
        total, kept = 0.0, 0.0
        for i in range(n_s):
            for j in range(n_b):
                total += mass[i, j]
                through = chance[i, j]
                mass[i, j] *= through if outcome[k] > 0 else 1.0 - through
                kept += mass[i, j]
        out[k] = np.log(kept / total)
        mass /= kept
    return out


@compiled
def _two_way(  # noqa: C901, PLR0912 - as above
    outcome: NDArray[np.int8],
    mean_db: NDArray[np.float64],
    far: NDArray[np.bool_],
    blackout: NDArray[np.float64],
    shadowing_step: NDArray[np.int64],
    bias_step: NDArray[np.int64],
    move_s: NDArray[np.float64],
    reach_s: NDArray[np.int64],
    move_b: NDArray[np.float64],
    reach_b: NDArray[np.int64],
    s_db: NDArray[np.float64],
    b_db: NDArray[np.float64],
    w_s: NDArray[np.float64],
    w_b: NDArray[np.float64],
    near_table: NDArray[np.float64],
    far_table: NDArray[np.float64],
    floor_loss: float,
) -> NDArray[np.float64]:
    """As `_one_way`, with a bias for either way: the last two axes of the mass."""
    n_s, n_b = s_db.size, b_db.size
    out = np.zeros(outcome.size)
    mass = np.empty((n_s, n_b * n_b))
    for i in range(n_s):
        for j in range(n_b):
            for c in range(n_b):
                mass[i, j * n_b + c] = w_s[i] * w_b[j] * w_b[c]
    moved = np.empty_like(mass)
    chance = np.empty((n_s, n_b))
    row = np.empty(n_b * n_b)
    for k in range(outcome.size):
        if k > 0:
            matrix, reach = move_s[shadowing_step[k]], reach_s[shadowing_step[k]]
            for i in range(n_s):
                row[:] = 0.0
                for h in range(max(i - reach, 0), min(i + reach + 1, n_s)):
                    share = matrix[h, i]
                    for j in range(n_b * n_b):
                        row[j] += share * mass[h, j]
                moved[i] = row
            if bias_step[k] >= 0:
                turn, reach = move_b[bias_step[k]], reach_b[bias_step[k]]
                for i in range(n_s):
                    row[:] = 0.0
                    for h in range(n_b):
                        for j in range(max(h - reach, 0), min(h + reach + 1, n_b)):
                            share = turn[h, j]
                            for c in range(n_b):
                                row[j * n_b + c] += share * moved[i, h * n_b + c]
                    mass[i] = 0.0
                    for j in range(n_b):
                        for h in range(n_b):
                            share = row[j * n_b + h]
                            for c in range(max(h - reach, 0), min(h + reach + 1, n_b)):
                                mass[i, j * n_b + c] += share * turn[h, c]
            else:
                mass, moved = moved, mass
        if outcome[k] < 0:
            continue
        table = far_table if far[k] else near_table
        best = (1.0 - floor_loss) * np.sqrt(1.0 - blackout[k])
        _fill_chances(table, best, mean_db[k], s_db, b_db, chance)
        total, kept = 0.0, 0.0
        for i in range(n_s):
            for j in range(n_b):
                for c in range(n_b):
                    at = j * n_b + c
                    total += mass[i, at]
                    through = chance[i, j] * chance[i, c]
                    mass[i, at] *= through if outcome[k] > 0 else 1.0 - through
                    kept += mass[i, at]
        out[k] = np.log(kept / total)
        mass /= kept
    return out
