"""The forward recursion of `link_likelihood`, compiled: a link's frames at many points at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ml.calibration.arrays import Floats, Ints
from ml.compiled import compiled, compiled_without_gil

if TYPE_CHECKING:
    from ml.calibration.fits.link_frames import Frames

# Nothing falls so low that the processor has to treat it as a denormal number, a hundred times
# slower; a share of 1e-100 is nothing to any result.
_LEAST_MASS: Final = 1e-100


class Moves(NamedTuple):
    """How shadowing and bias move between two frames, by the bins of what lies between.

    Attributes:
        shadowing: (steps, to, from), shares.
        bias_counts: (steps,), how many moves to the neighbours there are.
        strides: (axes,), how many columns apart the nodes of an axis of the bias are.
        stay: (axes, steps, columns), share that stays in one of these moves.
        below: (axes, steps, columns), share that comes from the neighbour below.
        above: (axes, steps, columns), share that comes from the neighbour above.
    """

    shadowing: Floats
    bias_counts: Ints
    strides: Ints
    stay: Floats
    below: Floats
    above: Floats


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
