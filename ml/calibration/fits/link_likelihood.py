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

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Floats, Ints
from ml.calibration.fits.link_frames import STEP_M, STEP_S, STEPS, Frames
from ml.compiled import compiled, compiled_without_gil
from ml.espnow_emulator.fading import LOWEST_DB, STEP_DB, reception_table
from ml.espnow_emulator.parameters.loss import MarginLoss

SHADOWING_NODES: Final = 25
BIAS_NODES: Final = 11
_BIAS_NODES_TWO_WAY: Final = 7
_WIDEST: Final = 3.4
_NORMAL_FROM: Final = 0.5
_MOST_AT_ONCE: Final = 0.2  # of the squared spacing, the variance of one move of the bias
_SUBGRID: Final = 16  # m = 1, 1.25, ... 5 in reception_table
_BEYOND: Final = 5.0  # standard deviations of a step; beyond, a transition is nothing

# Nothing falls so low that the processor has to treat it as a denormal number, a hundred times
# slower; a share of 1e-100 is nothing to any result.
_LEAST_MASS: Final = 1e-100


class Shape(NamedTuple):
    """What all links of a fit have in common; see `MarginLoss`."""

    shadowing_sd_db: float
    shadowing_distance_m: float
    bias_sd_db: float
    bias_time_s: float
    floor_loss: float


class Point(NamedTuple):
    """All that a likelihood is taken at."""

    levels_db: Floats  # (G,), margin at 20 m of each group of links
    exponent_near: float  # Up to 60 m
    exponent_far: float  # Beyond
    shape: Shape  # Of the processes


class Moves(NamedTuple):
    """How shadowing and bias move between two frames, by the bins of what lies between."""

    shadowing: Floats  # (steps, to, from), shares
    bias_counts: Ints  # (steps,), how many moves to the neighbours there are
    strides: Ints  # (axes,), how many columns apart the nodes of an axis of the bias are
    stay: Floats  # (axes, steps, columns), share that stays in one of these moves
    below: Floats  # (axes, steps, columns), share that comes from the neighbour below
    above: Floats  # (axes, steps, columns), share that comes from the neighbour above


def log_likelihoods(frames: Frames, points: Sequence[Point], margin: MarginLoss) -> Floats:
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
    x_s, w_s = _grid(SHADOWING_NODES)
    x_b, w_b = _grid(_BIAS_NODES_TWO_WAY if frames.two_way else BIAS_NODES)
    chance = _chances(frames, points, margin, x_s, x_b)
    counts, shares = _bias_moves([shape.bias_time_s for shape in shapes], x_b)
    if frames.two_way:  # the bias there and the bias back are two axes, in this order
        chance = chance[..., :, None] * chance[..., None, :]
        w_b = np.multiply.outer(w_b, w_b).ravel()
        shares = [np.stack([np.repeat(a, x_b.size, -1), np.tile(a, x_b.size)]) for a in shares]
        strides = np.array([x_b.size, 1])
    else:
        shares = [a[None] for a in shares]
        strides = np.array([1])
    stay, below, above = (np.ascontiguousarray(a.reshape(*a.shape[:2], -1)) for a in shares)
    moves = Moves(_shadowing_moves(distance_m), counts, strides, stay, below, above)
    chance = chance.reshape(*chance.shape[:2], -1)
    return forward(frames, chance, moves, w_s[:, None] * np.tile(w_b, len(points)), len(points))


def _chances(
    frames: Frames, points: Sequence[Point], margin: MarginLoss, x_s: Floats, x_b: Floats
) -> Floats:
    """The chance to arrive one way, (ends, shadowing, points, bias)."""
    mean_db = np.stack(
        [
            point.levels_db[frames.end_group]
            - point.exponent_near * frames.end_near_db
            - point.exponent_far * frames.end_far_db
            for point in points
        ],
        axis=-1,
    )
    shapes = [point.shape for point in points]
    s_db = np.stack([shape.shadowing_sd_db * x_s for shape in shapes], axis=-1)
    b_db = np.stack([shape.bias_sd_db * x_b for shape in shapes])
    best = np.array([1.0 - shape.floor_loss for shape in shapes])
    tables = reception_table(margin.transition_db)
    if margin.fading_m is None:
        margin_db = LOWEST_DB + STEP_DB * np.arange(tables.shape[1])
        near = far = 1.0 / (1.0 + np.exp(-margin_db / margin.transition_db))
    else:
        near, far = _row_of(tables, margin.fading_m), _row_of(tables, 1.0)
    at = (mean_db[:, None, :, None] + s_db[:, :, None] + b_db - LOWEST_DB) / STEP_DB
    np.clip(at, 0.0, near.size - 1.001, out=at)
    left = at.astype(np.int64)
    at -= left
    chance = np.empty_like(at)
    for table, ends in ((near, ~frames.end_beyond), (far, frames.end_beyond)):
        low = table[left[ends]]
        chance[ends] = low + at[ends] * (table[left[ends] + 1] - low)
    chance *= best[:, None]
    return chance


def _row_of(table: Floats, m: float) -> Floats:
    """Chances over margins in steps of `STEP_DB`."""
    at = (m - 1.0) * (_SUBGRID / 4.0)
    left = min(int(at), _SUBGRID - 1)
    row: Floats = table[left] + (at - left) * (table[left + 1] - table[left])
    return row


@lru_cache(maxsize=8)
def _grid(nodes: int) -> tuple[Floats, Floats]:
    """Evenly spaced nodes of a process of variance 1, and its stationary masses there."""
    x = np.linspace(-_WIDEST, _WIDEST, nodes)
    w = np.exp(-0.5 * x * x)
    return x, w / w.sum()


def _to_neighbours(memory: Floats, x: Floats) -> tuple[Floats, Floats, Floats]:
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
def _shadowing_moves(distance_m: float) -> Floats:
    """Transitions (steps, to, from) over the bins of what was travelled."""
    x, _ = _grid(SHADOWING_NODES)
    memory = np.exp(-np.geomspace(*STEP_M, STEPS) / distance_m)
    spacing = x[1] - x[0]
    moves = np.zeros((STEPS, x.size, x.size))
    for k, keep in enumerate(memory):
        variance = 1.0 - keep * keep
        if variance >= _NORMAL_FROM * spacing**2:
            away = (x[:, None] - keep * x) / np.sqrt(variance)
            move = np.where(np.abs(away) < _BEYOND + spacing, np.exp(-0.5 * away**2), 0.0)
            moves[k] = move / move.sum(axis=0)
        else:
            stay, up, down = _to_neighbours(np.array(keep), x)
            moves[k] = np.diag(stay) + np.diag(up[:-1], -1) + np.diag(down[1:], 1)
    return moves


def _bias_moves(times_s: Sequence[float], x: Floats) -> tuple[Ints, list[Floats]]:
    """How often to move for each bin of elapsed time, (steps,), and the shares of one move.

    Returns:
        Counts; and by bin, point and node what stays, comes from below and comes from above,
        (steps, B, nodes) each.
    """
    sizes_s = np.geomspace(*STEP_S, STEPS)
    quickest = -0.5 * np.log1p(-_MOST_AT_ONCE * (x[1] - x[0]) ** 2)
    counts = np.ceil(sizes_s / min(times_s) / quickest).astype(np.int64)
    stay, up, down = _to_neighbours(np.exp(-(sizes_s / counts)[:, None] / np.array(times_s)), x)
    below, above = np.zeros_like(stay), np.zeros_like(stay)
    below[..., 1:] = up[..., :-1]
    above[..., :-1] = down[..., 1:]
    return counts, [stay, below, above]


@compiled_without_gil
def forward(  # noqa: C901 - one recursion, read from top to bottom
    frames: Frames, chance: Floats, moves: Moves, begin: Floats, points: int
) -> Floats:
    """Run the recursion; columns are (point, bias), and with two ways (point, there, back).

    Args:
        frames: K of them.
        chance: (ends, nodes, columns) to arrive.
        moves: Of both processes.
        begin: (nodes, columns), masses before the first frame.
        points: B.

    Returns:
        (B, K), logarithm of each frame's chance to end as it did, given all before it.
    """
    nodes, columns = begin.shape
    each = columns // points
    out = np.zeros((points, frames.outcome.size))
    mass, moved = begin.copy(), np.empty_like(begin)
    kept, scale = np.empty(columns), np.empty(columns)
    for k in range(frames.outcome.size):
        if k > 0:
            np.dot(moves.shadowing[frames.shadowing_step[k]], mass, moved)
            mass, moved = moved, mass
            step = frames.bias_step[k]
            for _ in range(moves.bias_counts[step] if step >= 0 else 0):
                for axis in range(moves.strides.size):
                    _move_bias(mass, moved, moves, axis, step)
                    mass, moved = moved, mass
        if frames.outcome[k] < 0:
            continue
        low, high, right = frames.end[k, 0], frames.end[k, 1], frames.share[k]
        # Received: chance c; lost: 1 - c.
        base, sign = 0.0, frames.left_alone[k]
        if frames.outcome[k] == 0:
            base, sign = 1.0, -sign
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
            scale[p * each : (p + 1) * each] = 1.0 / total
        for i in range(nodes):
            for c in range(columns):
                mass[i, c] = mass[i, c] * scale[c] + _LEAST_MASS
    return out


@compiled
def _move_bias(mass: Floats, moved: Floats, moves: Moves, axis: int, step: int) -> None:
    """Move the bias once to the neighbours along an axis."""
    nodes, columns = mass.shape
    stride = moves.strides[axis]
    stay, below, above = moves.stay[axis, step], moves.below[axis, step], moves.above[axis, step]
    for i in range(nodes):
        for c in range(columns):
            moved[i, c] = stay[c] * mass[i, c]
        for c in range(stride, columns):
            moved[i, c] += below[c] * mass[i, c - stride]
        for c in range(columns - stride):
            moved[i, c] += above[c] * mass[i, c + stride]
