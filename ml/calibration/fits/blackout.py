"""Blackouts of a receiver, found by folding its losses over periods.

Losses that are locked to a clock stand out when time is taken modulo their period. How far they
must stand out is learnt from the log itself: its pieces are shifted against one another, which
keeps bursts and destroys any period.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.compiled import compiled_without_gil

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ml.calibration.logs.links import Link

_PERIODS_S: Final = (4.0, 20.0)
_BIN_S: Final = 0.1
_LENGTHS_S: Final = np.arange(0.4, 3.01, 0.1)
_SHIFTED: Final = 9
_PIECE_S: Final = 30.0
_CLEARLY: Final = 1.4
_REPLICATES: Final = 100
_LEAST_S: Final = 240.0
_SEED: Final = 22


@dataclass(frozen=True, slots=True)
class Blackout:
    """A receiver's blackouts.

    Attributes:
        loss: Share of frames lost within a spell that would have arrived.
        length_s: Of a spell.
        period_s: From one beginning to the next.
        begin_s: Of a spell, in the receiver's clock, modulo the period.
        replicates: (B, 3), loss, length and period from blocks of time drawn anew.
        strength: Excess of the best fold over the strongest of shifted logs; above 1 is a find.
    """

    loss: float
    length_s: float
    period_s: float
    begin_s: float
    replicates: NDArray[np.float64]
    strength: float

    def share_lost(self, receiver_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what is lost at times of the receiver's clock: `loss` within a spell, else 0."""
        inside = (receiver_s - self.begin_s) % self.period_s < self.length_s
        return np.where(inside, self.loss, 0.0)


def find_blackout(links: Sequence[Link]) -> Blackout | None:
    """Look for blackouts in all links of one receiver; None where there are none.

    Args:
        links: Of one receiver; None is returned, too, for less than four minutes.
    """
    time = np.concatenate([link.receiver_s[link.scored] for link in links])
    lost = np.concatenate([link.lost[link.scored] for link in links]).astype(np.float64)
    order = np.argsort(time, kind="stable")
    time, lost = time[order], lost[order]
    if time.size == 0 or time[-1] - time[0] < _LEAST_S or lost.sum() == 0:
        return None
    origin = float(time[0])
    slots = ((time - origin) / _BIN_S).astype(np.int64)
    count = np.bincount(slots).astype(np.float64)
    losses = np.bincount(slots, lost).astype(np.float64)
    periods = _periods(time[-1] - origin)
    generator = np.random.Generator(np.random.PCG64(_SEED))
    piece = round(_PIECE_S / _BIN_S)
    mixed = [_shuffled(losses, count, piece, generator) for _ in range(_SHIFTED)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        (gains, best), *others = pool.map(
            lambda one: _search(one[0], one[1], periods), [(losses, count), *mixed]
        )
    strongest = max(float(found.max()) for found, _ in others)
    strength = float(gains.max()) / max(strongest, 1e-9)
    if strength < _CLEARLY:
        return None
    period = _refined(time - origin, lost, float(periods[int(np.argmax(gains))]), best)
    found = _describe(time - origin, lost, period)
    replicates = _replicates(time - origin, lost, period, generator)
    return Blackout(found[0], found[1], period, (origin + found[2]) % period, replicates, strength)


def _periods(duration_s: float) -> NDArray[np.float64]:
    """Candidates so close that over the whole log a fold slips by half a spell at most."""
    low, high = _PERIODS_S
    periods = [low]
    while periods[-1] < high:
        periods.append(periods[-1] * (1.0 + 0.4 / duration_s))
        if len(periods) > 12_000:  # noqa: PLR2004 - an hour needs 14,000; coarser does, too
            return np.geomspace(low, high, 12_000)
    return np.array(periods)


def _search(
    losses: NDArray[np.float64], count: NDArray[np.float64], periods: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Best excess of losses within a box, in standard deviations, for every period."""
    base = losses.sum() / count.sum()
    scale = np.sqrt(base * (1.0 - base) * count.sum())
    gains = _fold_all(losses - base * count, _BIN_S, periods) / scale
    return gains, float(periods[int(np.argmax(gains))])


@compiled_without_gil
def _fold_all(
    excess: NDArray[np.float64], bin_s: float, periods: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For every period the largest excess within a box of .6, 1.2 or 2 s, by the box's chance."""
    gains = np.zeros(periods.size)
    folded = np.zeros(int(periods.max() / bin_s) + 2)
    for p in range(periods.size):
        length = periods[p] / bin_s
        bins = int(length + 0.5)
        folded[:bins] = 0.0
        # Turn by turn, each from its nearest bin on: whole stretches are added at once.
        for turn in range(int(excess.size / length) + 1):
            begin = int(turn * length + 0.5)
            for k in range(min(bins, excess.size - begin)):
                folded[k] += excess[begin + k]
        for width in (6, 12, 20):
            if width >= bins:
                continue
            inside = 0.0
            for k in range(width):
                inside += folded[k]
            best = inside
            for k in range(1, bins):
                inside += folded[(k + width - 1) % bins] - folded[k - 1]
                best = max(best, inside)
            share = width / bins
            gains[p] = max(gains[p], best / np.sqrt(share * (1.0 - share)))
    return gains


def _shuffled(
    losses: NDArray[np.float64],
    count: NDArray[np.float64],
    piece: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pieces = [slice(k, k + piece) for k in range(0, count.size, piece)]
    parts_l, parts_c = [], []
    for part in pieces:
        by = int(generator.integers(0, piece))
        parts_l.append(np.roll(losses[part], by))
        parts_c.append(np.roll(count[part], by))
    order = generator.permutation(len(pieces))
    return (
        np.concatenate([parts_l[i] for i in order]),
        np.concatenate([parts_c[i] for i in order]),
    )


def _refined(
    time: NDArray[np.float64], lost: NDArray[np.float64], period: float, best: float
) -> float:
    """Sharpen a period by the likelihood of its best box."""
    span = 0.6 / max(time[-1], 1.0)
    candidates = best * (1.0 + np.linspace(-span, span, 61))
    scores = [_box(time, lost, p)[0] for p in candidates]
    return float(candidates[int(np.argmax(scores))]) if scores else period


def _box(
    time: NDArray[np.float64],
    lost: NDArray[np.float64],
    period: float,
    weights: NDArray[np.float64] | None = None,
) -> tuple[float, float, float, float]:
    """The box of highest likelihood: (gain, loss inside in excess, length, begin)."""
    w = np.ones(time.size) if weights is None else weights
    bins = max(round(period / 0.05), 4)
    phase = np.minimum((time % period / period * bins).astype(np.int64), bins - 1)
    l2 = np.tile(np.bincount(phase, lost * w, minlength=bins), 2)
    c2 = np.tile(np.bincount(phase, w, minlength=bins), 2)
    sum_l, sum_c = np.concatenate([[0.0], np.cumsum(l2)]), np.concatenate([[0.0], np.cumsum(c2)])
    all_l, all_c = sum_l[bins], sum_c[bins]
    best = (-np.inf, 0.0, 0.0, 0.0)
    step = period / bins
    for length in _LENGTHS_S:
        width = max(round(length / step), 1)
        if width >= bins:
            break
        inside_l, inside_c = (
            sum_l[width : width + bins] - sum_l[:bins],
            sum_c[width : width + bins] - sum_c[:bins],
        )
        p_in = np.clip(inside_l / np.maximum(inside_c, 1e-9), 1e-6, 1 - 1e-6)
        p_out = np.clip((all_l - inside_l) / np.maximum(all_c - inside_c, 1e-9), 1e-6, 1 - 1e-6)
        gain = (
            inside_l * np.log(p_in)
            + (inside_c - inside_l) * np.log1p(-p_in)
            + (all_l - inside_l) * np.log(p_out)
            + (all_c - inside_c - all_l + inside_l) * np.log1p(-p_out)
        )
        gain = np.where(p_in > p_out, gain, -np.inf)
        k = int(np.argmax(gain))
        if gain[k] > best[0]:
            share = (p_in[k] - p_out[k]) / (1.0 - p_out[k])
            best = (float(gain[k]), float(share), width * step, k * step)
    return best


def _describe(
    time: NDArray[np.float64], lost: NDArray[np.float64], period: float
) -> tuple[float, float, float]:
    _, share, length, begin = _box(time, lost, period)
    return share, length, begin


def _replicates(
    time: NDArray[np.float64],
    lost: NDArray[np.float64],
    period: float,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw whole blocks of time anew; the period is searched for again near the found one."""
    block = (time // (2.0 * _PIECE_S)).astype(np.int64)
    blocks = int(block[-1]) + 1
    span = 0.6 / max(time[-1], 1.0)
    near = period * (1.0 + np.linspace(-span, span, 9))
    rows = []
    for _ in range(_REPLICATES):
        weights = np.bincount(generator.integers(0, blocks, blocks), minlength=blocks)[block]
        boxes = [(_box(time, lost, p, weights.astype(np.float64)), p) for p in near]
        box, at = max(boxes, key=lambda pair: pair[0][0])
        # Lengths and periods come in steps; spread over a step, an interval has a width.
        step = near[1] - near[0]
        spread = generator.random(2) - 0.5
        rows.append((box[1], box[2] + 0.1 * spread[0], at + 2.0 * step * spread[1]))
    return np.array(rows)
