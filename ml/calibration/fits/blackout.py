"""Blackouts of a receiver, found by folding its losses over periods.

Losses that are locked to a clock stand out when time is taken modulo their period. A car that goes
there and back again loses frames in step with its laps, too: so what the distance says of each loss
is taken off first, and what stands out must do so in each part of the log, for laps slip and a
clock does not. How far it must stand out is learnt from the log itself: pieces of what is left are
shifted against one another, which keeps bursts and destroys any period.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from scipy.stats import beta

from ml.arrays import Bools, Floats
from ml.calibration.fits.estimates import Estimate, percentile_interval, value_at
from ml.calibration.logs.link import Link
from ml.compiled import compiled_without_gil
from ml.parameters import Parameters

Found = dict[tuple[int, str], "Blackout | None"]
"""Drive and receiver to its blackouts."""
_PERIODS_S: Final = (4.0, 20.0)
_MOST_PERIODS: Final = 12_000  # an hour needs 14,000; coarser does, too
_BIN_S: Final = 0.1
_LENGTHS_S: Final = np.arange(0.4, 3.01, 0.1)
_SHIFTED: Final = 9
_PIECE_S: Final = 30.0
_CLEARLY: Final = 1.4
_REPLICATES: Final = 100
_LEAST_S: Final = 240.0
_WAY_FRAMES, _WAY_M = 10, 0.5  # by how much a distance changes in a second before it counts
_FRAMES_OF_BIN, _MOST_BINS = 250, 40
_PARTS, _LEAST_OF_PART = 3, 0.3
_SEED: Final = 22
SHARE: Final = "radio.loss.blackout.share"
_USUAL: Final = {"loss": 0.42, "length_s": 1.25, "period_s": 10.0}


class Blackout(NamedTuple):
    """A receiver's blackouts."""

    loss: float  # Share of frames lost within a spell that would have arrived
    length_s: float  # Of a spell
    period_s: float  # From one beginning to the next
    begin_s: float  # Of a spell, in the receiver's clock, modulo the period
    replicates: Floats  # (B, 3), loss, length and period from blocks of time drawn anew
    strength: float  # Excess of the best fold over the strongest of shifted logs; above 1 is a find

    def share_lost(self, receiver_s: Floats) -> Floats:
        """Return what is lost at times of the receiver's clock: `loss` within a spell, else 0."""
        inside = (receiver_s - self.begin_s) % self.period_s < self.length_s
        return np.where(inside, self.loss, 0.0)


def find_blackouts(
    links: Sequence[Link], on_share: Callable[[float], None]
) -> tuple[Found, list[Link]]:
    """Look for the blackouts of all receivers of all drives.

    Returns:
        What was found; and the links with what of them it takes.
    """
    found: Found = {}
    keys = sorted({(link.drive, link.receiver) for link in links})
    for k, key in enumerate(keys):
        found[key] = find_blackout([x for x in links if (x.drive, x.receiver) == key])
        on_share((k + 1) / len(keys))
    of_links = ((link, found[link.drive, link.receiver]) for link in links)
    return found, [
        link if blackout is None else replace(link, taken=blackout.share_lost(link.receiver_s))
        for link, blackout in of_links
    ]


def blackout_estimates(blackouts: Found, prior: Parameters) -> list[Estimate]:
    """Return how many have them, and what the clearest says of their loss, length and period.

    The share is that of the receivers that logged; its interval is that of receivers at large
    (Jeffreys).
    """
    found = [b for b in blackouts.values() if b is not None]
    best = max(found, key=lambda b: b.strength, default=None)
    estimates = []
    for column, (name, usual) in enumerate(_USUAL.items()):
        dotted = f"radio.loss.blackout.{name}"
        before = value_at(prior, dotted)
        before = usual if before is None else before
        if best is None:
            why = "no receiver lost frames in step with its clock; another day may differ"
            estimates.append(Estimate(dotted, before, None, before, why))
        else:
            value = (best.loss, best.length_s, best.period_s)[column]
            low, high = percentile_interval(best.replicates[:, column])
            interval = min(low, value), max(high, value)
            why = f"folded losses; {len(found)} of {len(blackouts)} receivers have them"
            estimates.append(Estimate(dotted, value, interval, before, why))
    if best is not None:
        have, all_of_them = len(found), len(blackouts)
        share, before = have / all_of_them, value_at(prior, SHARE)
        low = float(beta.ppf(0.05, have + 0.5, all_of_them - have + 0.5))
        high = float(beta.ppf(0.95, have + 0.5, all_of_them - have + 0.5))
        interval = min(low, share), max(high, share)
        why = f"{have} of {all_of_them} receivers have them"
        estimates.append(Estimate(SHARE, share, interval, before or 0.0, why))
    return estimates


def find_blackout(links: Sequence[Link]) -> Blackout | None:
    """Look for blackouts in all links of one receiver.

    None is returned where there are none, and for less than four minutes.
    """
    time = np.concatenate([link.receiver_s[link.scored] for link in links])
    lost = np.concatenate([link.lost[link.scored] for link in links]).astype(np.float64)
    expected = np.concatenate([_by_distance(link) for link in links])
    order = np.argsort(time, kind="stable")
    time, lost, expected = time[order], lost[order], expected[order]
    if time.size == 0 or time[-1] - time[0] < _LEAST_S or lost.sum() == 0:
        return None
    origin = float(time[0])
    slots = ((time - origin) / _BIN_S).astype(np.int64)
    left = lost - expected
    left -= left.mean()
    excess = np.bincount(slots, left).astype(np.float64)
    scale = float(np.sqrt((expected * (1.0 - expected)).sum()))
    periods = _periods(time[-1] - origin)
    generator = np.random.Generator(np.random.PCG64(_SEED))
    piece = round(_PIECE_S / _BIN_S)
    mixed = [_shuffled(excess, piece, generator) for _ in range(_SHIFTED)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        searched = [excess, *mixed]
        gains, *others = pool.map(lambda one: _fold_all(one, _BIN_S, periods) / scale, searched)
    strongest = max(float(shuffled.max()) for shuffled in others)
    strength = float(gains.max()) / max(strongest, 1e-9)
    if strength < _CLEARLY:
        return None
    time -= origin
    near = _near(float(periods[int(np.argmax(gains))]), time, 61)
    period = max(near.tolist(), key=lambda candidate: _best_box(time, lost, candidate).gain)
    best = _best_box(time, lost, period)
    if not _is_steady((time - best.begin_s) % period < best.length_s, left):
        return None
    replicates = _replicates(time, lost, period, generator)
    begin_s = (origin + best.begin_s) % period
    return Blackout(best.share, best.length_s, period, begin_s, replicates, strength)


def _periods(duration_s: float) -> Floats:
    """Candidates so close that over the whole log a fold slips by half a spell at most."""
    low, high = _PERIODS_S
    periods = [low]
    while periods[-1] < high:
        periods.append(periods[-1] * (1.0 + 0.4 / duration_s))
        if len(periods) > _MOST_PERIODS:
            return np.geomspace(low, high, _MOST_PERIODS)
    return np.array(periods)


def _by_distance(link: Link) -> Floats:
    """What distance, and whether it grows or shrinks, say of the loss of each scored frame.

    Chances (K,), joined by straight lines between bins of as many frames; positions lag, and boards
    send better one way than the other, so that going there and coming back are apart.
    """
    distance_m, lost = link.distance_m[link.scored], link.lost[link.scored].astype(np.float64)
    expected = np.full(lost.size, lost.mean() if lost.size else 0.0)
    steps = np.zeros(lost.size)
    half = _WAY_FRAMES // 2
    if lost.size > _WAY_FRAMES:
        steps[half:-half] = distance_m[_WAY_FRAMES:] - distance_m[:-_WAY_FRAMES]
    way = np.where(np.abs(steps) > _WAY_M, np.sign(steps), 0.0)
    for towards in (-1.0, 0.0, 1.0):
        mine = np.flatnonzero((way == towards) & np.isfinite(distance_m))
        mine = mine[np.argsort(distance_m[mine], kind="stable")]
        bins = np.array_split(mine, min(max(mine.size // _FRAMES_OF_BIN, 1), _MOST_BINS))
        if mine.size:
            at_m, share = np.array([(distance_m[b].mean(), lost[b].mean()) for b in bins]).T
            expected[mine] = np.interp(distance_m[mine], at_m, share)
    return expected


def _is_steady(inside: Bools, excess: Floats) -> bool:
    """Whether each part of a log has a fair share of the excess (K,) of losses within spells."""
    usual = excess[inside].mean() - excess[~inside].mean()
    parts = zip(np.array_split(inside, _PARTS), np.array_split(excess, _PARTS), strict=True)
    return all(
        bool(spell.any())
        and float(part[spell].mean() - part[~spell].mean()) > _LEAST_OF_PART * usual
        for spell, part in parts
    )


@compiled_without_gil
def _fold_all(excess: Floats, bin_s: float, periods: Floats) -> Floats:
    """For every period the largest excess within a box of 0.6, 1.2 or 2 s, by the box's chance."""
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


def _shuffled(excess: Floats, piece: int, generator: np.random.Generator) -> Floats:
    """Shift pieces of time within themselves and put them in another order."""
    parts = []
    for begin in range(0, excess.size, piece):
        by = int(generator.integers(0, piece))
        parts.append(np.roll(excess[begin : begin + piece], by))
    return np.concatenate([parts[i] for i in generator.permutation(len(parts))])


def _near(period: float, time: Floats, count: int) -> Floats:
    """Periods about one, over as much as slips by 0.6 of them from the first time to the last."""
    span = 0.6 / max(time[-1], 1.0)
    near: Floats = period * (1.0 + np.linspace(-span, span, count))
    return near


class _Box(NamedTuple):
    """A spell within a period: its log likelihood, its share lost in excess, and where it is."""

    gain: float
    share: float
    length_s: float
    begin_s: float


def _best_box(time: Floats, lost: Floats, period: float, weights: Floats | None = None) -> _Box:
    """The box of highest likelihood: losses are more likely within, and else independent."""
    w = np.ones(time.size) if weights is None else weights
    bins = max(round(period / 0.05), 4)
    phase = np.minimum((time % period / period * bins).astype(np.int64), bins - 1)
    sum_l, sum_c = (
        np.concatenate([[0.0], np.cumsum(np.tile(np.bincount(phase, x, minlength=bins), 2))])
        for x in (lost * w, w)
    )
    all_l, all_c = sum_l[bins], sum_c[bins]
    best = _Box(-np.inf, 0.0, 0.0, 0.0)
    step = period / bins
    for length in _LENGTHS_S:
        width = max(round(length / step), 1)
        if width >= bins:
            break
        inside_l, inside_c = (x[width : width + bins] - x[:bins] for x in (sum_l, sum_c))
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
        if gain[k] > best.gain:
            share = (p_in[k] - p_out[k]) / (1.0 - p_out[k])
            best = _Box(float(gain[k]), float(share), width * step, k * step)
    return best


def _replicates(
    time: Floats, lost: Floats, period: float, generator: np.random.Generator
) -> Floats:
    """Draw whole blocks of time anew; the period is searched for again near the found one."""
    block = (time // (2.0 * _PIECE_S)).astype(np.int64)
    blocks = int(block[-1]) + 1
    near = _near(period, time, 9)
    rows = []
    for _ in range(_REPLICATES):
        weights = np.bincount(generator.integers(0, blocks, blocks), minlength=blocks)[block]
        boxes = [(_best_box(time, lost, p, weights.astype(np.float64)), p) for p in near]
        box, at = max(boxes, key=lambda pair: pair[0].gain)
        # Lengths and periods come in steps; spread over a step, an interval has a width.
        step = near[1] - near[0]
        spread = generator.random(2) - 0.5
        rows.append((box.share, box.length_s + 0.1 * spread[0], at + 2.0 * step * spread[1]))
    return np.array(rows)
