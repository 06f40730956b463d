"""How likely losses are under the margin model, shadowing and slow bias integrated out.

Shadowing and bias are Ornstein-Uhlenbeck processes that nobody sees; of a frame one sees that it
was lost or not. The likelihood is that of a hidden Markov model, computed by the forward recursion
over a grid of both processes. A step that is large beside the grid is the normal transition at its
nodes; a small one goes to the neighbours, with the shares that give the right mean and variance
(the locally consistent chain of Kushner), so that a car that stands needs no finer grid. The bias
moves little from frame to frame: always to the neighbours, several times where time was skipped.

Gradients need the same frames at many nearby points. Those with the same memory of shadowing go
through the recursion side by side, as columns of one matrix: then most of the work is one product
of matrices per frame.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ml.calibration.fits.link_recursion import fill_both_ways, fill_one_way, forward
from ml.espnow_emulator.fading import LOWEST_DB, STEP_DB, reception_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ml.espnow_emulator.parameters.loss import MarginLoss

SHADOWING_NODES: Final = 25
BIAS_NODES: Final = 11
_BIAS_NODES_TWO_WAY: Final = 7
_WIDEST: Final = 3.4
_NORMAL_FROM: Final = 0.5
_MOST_AT_ONCE: Final = 0.2  # of the squared spacing, the variance of one move of the bias
RAYLEIGH_FROM_M: Final = 80.0
_KNEE_M, _NEAREST_M, _REFERENCE_M = 60.0, 3.0, 20.0
_STEPS: Final = 60
_LEAST_STEP_M, _MOST_STEP_M = 0.04, 40.0
_LEAST_STEP_S, _MOST_STEP_S = 0.08, 80.0
_BIAS_EVERY_S: Final = 0.2
_SUBGRID: Final = 16  # m = 1, 1.25, ... 5 in reception_table
_CELL_DB: Final = 0.05  # of distance: a twentieth of a decibel per unit of an exponent
_BEYOND: Final = 5.0  # standard deviations of a step; beyond, a transition is nothing


class Shape(NamedTuple):
    """What all links of a fit have in common; see `MarginLoss`."""

    shadowing_sd_db: float
    shadowing_distance_m: float
    bias_sd_db: float
    bias_time_s: float
    floor_loss: float


class Point(NamedTuple):
    """All that a likelihood is taken at.

    Attributes:
        levels_db: (G,), margin at 20 m of each group of links.
        exponent_near: Up to 60 m.
        exponent_far: Beyond.
        shape: Of the processes.
    """

    levels_db: NDArray[np.float64]
    exponent_near: float
    exponent_far: float
    shape: Shape


class Frames(NamedTuple):
    """A link's frames, ready for the recursion.

    Distances are sorted into cells: what a frame's chance depends on besides the two processes is
    its place between the two ends of a cell.

    Attributes:
        outcome: (K,) int8, 0 lost, 1 received, -1 not scored.
        left_alone: (K,), share of frames that the receiver's blackouts do not take.
        end: (K, 2) int64, both ends of the frame's cell.
        share: (K,), how far from the first towards the second.
        end_group: (C,) int64, group whose level holds at an end.
        end_near_db: (C,), what one unit of the near exponent costs there.
        end_far_db: (C,), the same of the far one.
        end_beyond: (C,) bool, from 80 m on.
        shadowing_step: (K,) int64, bin of what was travelled since the frame before.
        bias_step: (K,) int64, bin of the time since the bias moved last, -1 where it stays.
        two_way: Whether the frame went there and back.
    """

    outcome: NDArray[np.int8]
    left_alone: NDArray[np.float64]
    end: NDArray[np.int64]
    share: NDArray[np.float64]
    end_group: NDArray[np.int64]
    end_near_db: NDArray[np.float64]
    end_far_db: NDArray[np.float64]
    end_beyond: NDArray[np.bool_]
    shadowing_step: NDArray[np.int64]
    bias_step: NDArray[np.int64]
    two_way: bool


def path_terms_db(
    distance_m: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What one unit of the near and of the far exponent costs at distances, in dB."""
    d = np.maximum(np.nan_to_num(distance_m, nan=_REFERENCE_M), _NEAREST_M)
    near = 10.0 * np.log10(np.minimum(d, _KNEE_M) / _REFERENCE_M)
    return near, 10.0 * np.log10(np.maximum(d, _KNEE_M) / _KNEE_M)


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
    group: NDArray[np.int64] | None = None,
) -> Frames:
    """Make the frames of a link ready, (K,) each.

    Args:
        outcome: 0 lost, 1 received, -1 not scored.
        distance_m: Between the antennas; NaN counts as 20 m.
        travel_m: Since the frame before, without the floor at standstill.
        time_s: In order.
        standstill_mps: That floor.
        two_way: Whether the frames went there and back.
        blackout: Share of frames that the receiver loses anyway; none if left out.
        group: Which level holds; the first if left out.
    """
    elapsed_s = np.clip(np.diff(time_s, prepend=time_s[0]), 0.0, None)
    travelled = np.maximum(travel_m, standstill_mps * elapsed_s)
    # The bias takes seconds to move, so it need not at every frame.
    ticks = np.floor((time_s - time_s[0]) / _BIAS_EVERY_S)
    moves = np.diff(ticks, prepend=-1.0) > 0.0
    rows = np.flatnonzero(moves)
    bias_step = np.full(outcome.size, -1, dtype=np.int64)
    since_s = np.diff(time_s[rows], prepend=time_s[0])
    bias_step[rows] = step_bins(since_s, _LEAST_STEP_S, _MOST_STEP_S)[0]
    near_db, far_db = path_terms_db(distance_m)
    beyond = np.nan_to_num(distance_m) >= RAYLEIGH_FROM_M
    of_group = np.zeros(outcome.size, dtype=np.int64) if group is None else group
    place = (near_db + far_db) / _CELL_DB
    cell = np.floor(place).astype(np.int64)
    first = np.stack([cell, beyond, of_group], axis=-1)
    ends, index = np.unique(
        np.concatenate([first, first + np.array([1, 0, 0])]), axis=0, return_inverse=True
    )
    end_m = _REFERENCE_M * 10.0 ** (ends[:, 0] * _CELL_DB / 10.0)
    end_near_db, end_far_db = path_terms_db(end_m)
    return Frames(
        outcome=outcome,
        left_alone=np.ones(outcome.size) if blackout is None else 1.0 - blackout,
        end=np.ascontiguousarray(index.reshape(2, -1).T),
        share=place - cell,
        end_group=ends[:, 2],
        end_near_db=end_near_db,
        end_far_db=end_far_db,
        end_beyond=ends[:, 1] > 0,
        shadowing_step=step_bins(travelled, _LEAST_STEP_M, _MOST_STEP_M)[0],
        bias_step=bias_step,
        two_way=two_way,
    )


def log_likelihoods(
    frames: Frames, points: Sequence[Point], margin: MarginLoss
) -> NDArray[np.float64]:
    """Return the logarithm of each frame's chance to end as it did, given all before it.

    Args:
        frames: Of a link.
        points: B of them, with the same memory of shadowing.
        margin: For fading and transition, which are not fitted.

    Returns:
        (B, K), 0 where a frame is not scored.
    """
    shapes = [point.shape for point in points]
    distance_m = shapes[0].shadowing_distance_m
    if any(shape.shadowing_distance_m != distance_m for shape in shapes):
        raise ValueError("points that differ in shadowing_distance_m; allowed is one value.")
    nodes_b = _BIAS_NODES_TWO_WAY if frames.two_way else BIAS_NODES
    x_s, w_s = _grid(SHADOWING_NODES)
    x_b, w_b = _grid(nodes_b)
    b_db = np.stack([shape.bias_sd_db * x_b for shape in shapes])
    mean_db = np.stack(
        [
            point.levels_db[frames.end_group]
            - point.exponent_near * frames.end_near_db
            - point.exponent_far * frames.end_far_db
            for point in points
        ]
    )
    table = reception_table(margin.transition_db)
    near = _row_of(table, margin.fading_m)
    chance = np.empty((len(frames.end_group), x_s.size, len(points), *(nodes_b, nodes_b)))
    if not frames.two_way:
        chance = np.empty((len(frames.end_group), x_s.size, len(points), nodes_b))
    fill = fill_both_ways if frames.two_way else fill_one_way
    fill(
        mean_db,
        np.stack([shape.shadowing_sd_db * x_s for shape in shapes]),
        b_db,
        np.array([1.0 - shape.floor_loss for shape in shapes]),
        near,
        near if margin.fading_m is None else _row_of(table, 1.0),
        frames.end_beyond,
        chance,
    )
    weights = (w_b[:, None] * w_b).ravel() if frames.two_way else w_b
    moves, stay, up, down = _bias_moves([shape.bias_time_s for shape in shapes], x_b)
    if frames.two_way:
        along = [np.repeat(a, nodes_b, axis=-1) for a in (stay, up, down)]
        across = [np.tile(a, nodes_b) for a in (stay, up, down)]
        (stay, up, down), strides = np.stack([along, across], axis=1), np.array([nodes_b, 1])
    else:
        stay, up, down = (a[None] for a in (stay, up, down))
        strides = np.array([1])
    columns = (*stay.shape[:2], -1)
    stay, up, down = (np.ascontiguousarray(a.reshape(columns)) for a in (stay, up, down))
    return forward(
        frames.outcome,
        frames.left_alone,
        frames.end,
        frames.share,
        chance.reshape(*chance.shape[:2], -1),
        frames.shadowing_step,
        _shadowing_moves(distance_m),
        frames.bias_step,
        moves,
        strides,
        stay,
        up,
        down,
        w_s[:, None] * np.tile(weights, len(points)),
        len(points),
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


def _to_neighbours(
    memory: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shares (..., nodes) that stay, go up and go down in a small step of given memory."""
    spacing = x[1] - x[0]
    keep = memory[..., None]
    drift = -(1.0 - keep) * x / spacing
    spread = (1.0 - keep * keep) / spacing**2 + drift**2
    up = np.clip(0.5 * (spread + drift), 0.0, 0.5)
    down = np.clip(0.5 * (spread - drift), 0.0, 0.5)
    up[..., -1] = down[..., 0] = 0.0
    return 1.0 - up - down, up, down


@lru_cache(maxsize=8)
def _shadowing_moves(distance_m: float) -> NDArray[np.float64]:
    """Transitions (steps, to, from) over the bins of what was travelled."""
    x, _ = _grid(SHADOWING_NODES)
    memory = np.exp(-np.geomspace(_LEAST_STEP_M, _MOST_STEP_M, _STEPS) / distance_m)
    spacing = x[1] - x[0]
    moves = np.zeros((_STEPS, x.size, x.size))
    rows = np.arange(x.size)
    for k, keep in enumerate(memory):
        variance = 1.0 - keep * keep
        if variance >= _NORMAL_FROM * spacing**2:
            away = (x[:, None] - keep * x) / np.sqrt(variance)
            move = np.where(np.abs(away) < _BEYOND + spacing, np.exp(-0.5 * away**2), 0.0)
            moves[k] = move / move.sum(axis=0)
            continue
        stay, up, down = _to_neighbours(np.array(keep), x)
        moves[k, rows[1:], rows[:-1]] = up[:-1]
        moves[k, rows[:-1], rows[1:]] = down[1:]
        moves[k, rows, rows] = stay
    return moves


def _bias_moves(
    times_s: Sequence[float], x: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """How often to move for each bin of elapsed time, (steps,), and the shares of one move.

    Returns:
        Counts; and by bin, point and node what stays, comes from below and comes from above,
        (steps, B, nodes) each.
    """
    sizes_s = np.geomspace(_LEAST_STEP_S, _MOST_STEP_S, _STEPS)
    quickest = -0.5 * np.log1p(-_MOST_AT_ONCE * (x[1] - x[0]) ** 2)
    counts = np.ceil(sizes_s / min(times_s) / quickest).astype(np.int64)
    memory = np.exp(-(sizes_s / counts)[:, None] / np.array(times_s))
    stay, up, down = _to_neighbours(memory, x)
    below, above = np.zeros_like(stay), np.zeros_like(stay)
    below[..., 1:] = up[..., :-1]
    above[..., :-1] = down[..., 1:]
    return counts, stay, below, above
