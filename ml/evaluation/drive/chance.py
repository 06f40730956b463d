"""What a firing series would hit by chance: itself, shifted in a circle against the events.

A driver that fires often hits much, and one that fires in bursts hits in bursts. Shifted as a
whole, the series keeps all of that and loses only its place in time: how often the shifted one does
as well as the real one is the chance to do so without knowing anything.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from ml.arrays import Bools, Floats, Ints
from ml.evaluation.drive.events import Spans

LEAST_EVENTS = 10
"""With fewer, nothing is said about chance."""
SIGNIFICANT = 0.05


class Chance(NamedTuple):
    """A firing series held against events.

    Attributes:
        hit: (N,) bool, the events in whose span it fires.
        expected: (N,), the share of all shifts that hit each.
        hits_of_shifts: (n,) int64, how many events each circular shift hits; entry 0 is no shift.
        p_value: One-sided, (1 + #≥) / (1 + shifts).
    """

    hit: Bools
    expected: Floats
    hits_of_shifts: Ints
    p_value: float

    @property
    def hits(self) -> int:
        """How many events it hits."""
        return int(self.hit.sum())

    @property
    def enough(self) -> bool:
        """Whether there are events enough to tell from chance."""
        return self.hit.size >= LEAST_EVENTS

    @property
    def is_above(self) -> bool:
        """Whether it is better than chance, and there are events enough to say so."""
        return self.enough and self.p_value <= SIGNIFICANT


def against_chance(firing: Bools, moving: Bools, spans: Spans) -> Chance:
    """Hold a firing series against the events' spans, by all its circular shifts.

    Only ticks in which the ego moves count: they are put one behind another, and the series is
    shifted in the circle that they make. With w(i) the ticks from i to the next one that fires, and
    L the length of an event's span that begins at b, a shift by s hits it where w(b − s) < L, and
    L − w(b − s) is how early. The statistic is the number of events that are hit, and of equal
    numbers the larger sum of these. p = (1 + #≥) / (1 + shifts), # counting the n − 1 shifts whose
    statistic is no smaller than that of the series as it was. Where firing and events have nothing
    to do with one another all n are alike, so p is uniform but for ties.

    Args:
        firing: (T,).
        moving: (T,).
        spans: Of N events, in ticks.
    """
    places = np.concatenate([[0], np.cumsum(moving)])
    begin, end = places[spans.begin], places[spans.end]
    fires, length = firing[moving], end - begin
    n, events = fires.size, begin.size
    wait = _ticks_to_next(fires)
    hit = np.zeros((events, n), dtype=bool)
    early = np.zeros(n, dtype=np.int64)
    for e in range(events):
        # Entry s of this is w(b − s).
        waits = np.roll(wait[::-1], int(begin[e]) + 1)
        hit[e] = waits < length[e]
        early += np.where(hit[e], length[e] - waits, 0)
    hits: Ints = hit.sum(axis=0)
    most = int(length.sum()) + 1
    statistic = hits * most + early
    reached = int((statistic[1:] >= statistic[0]).sum()) if n else 0
    return Chance(
        hit=hit[:, 0] if n else np.zeros(events, dtype=bool),
        expected=hit.mean(axis=1) if n else np.zeros(events),
        hits_of_shifts=hits,
        p_value=(1 + reached) / max(n, 1),
    )


class Beside(NamedTuple):
    """One driver's hits held against another's of the same events.

    Attributes:
        only_one: Events that the one hits and the other does not.
        only_other: Events that the other hits and the one does not.
        p_more: One-sided, of so many more or still more by chance: (1 + #≥) / (1 + shifts).
        p_fewer: One-sided, of so many fewer or still fewer.
        sign_more: p of the exact sign test that the one hits more, one-sided.
        sign_fewer: p of the exact sign test that it hits fewer.
    """

    only_one: int
    only_other: int
    p_more: float
    p_fewer: float
    sign_more: float
    sign_fewer: float

    @property
    def more(self) -> int:
        """By how many events the one hits more."""
        return self.only_one - self.only_other

    @property
    def is_better(self) -> bool:
        """Whether the one hits more than chance and an equally good other explain."""
        return max(self.p_more, self.sign_more) <= SIGNIFICANT

    @property
    def is_worse(self) -> bool:
        """Whether the one hits fewer than chance and an equally good other explain."""
        return max(self.p_fewer, self.sign_fewer) <= SIGNIFICANT


def beside(one: Chance, other: Chance) -> Beside:
    """Compare two drivers by what chance makes of the difference, and by what luck does.

    Both firing series are shifted by the same, and D(s) is how many events more the one hits.
    p = (1 + #(D(s) ≥ D(0))) / (1 + shifts), and with ≤ for fewer. So who merely fires more often
    has to hit more than that brings. That takes both to know nothing: of two that know equally
    much one still hits a few more by luck, and far more than any shift of them. So a difference
    must pass the exact sign test, too: of the events that just one of them hits, k of n are the
    one's, and with equally good drivers k is binomial with 1/2.
    """
    more = one.hits_of_shifts - other.hits_of_shifts
    only_one, only_other = int((one.hit & ~other.hit).sum()), int((other.hit & ~one.hit).sum())
    return Beside(
        only_one=only_one,
        only_other=only_other,
        p_more=float((more >= more[0]).mean()) if more.size else 1.0,
        p_fewer=float((more <= more[0]).mean()) if more.size else 1.0,
        sign_more=_sign_test(only_one, only_other),
        sign_fewer=_sign_test(only_other, only_one),
    )


def _sign_test(mine: int, others: int) -> float:
    """One-sided p of so many or more of mine among all, each being mine with 1/2."""
    if mine + others == 0:
        return 1.0
    return float(binomtest(mine, mine + others, 0.5, alternative="greater").pvalue)


def _ticks_to_next(fires: Bools) -> Ints:
    """Ticks from each to the next that fires, itself included, in a circle; n where none does."""
    n = fires.size
    at = np.flatnonzero(fires)
    if at.size == 0:
        return np.full(n, n, dtype=np.int64)
    following = np.append(at, at[0] + n)
    wait: Ints = following[np.searchsorted(at, np.arange(n))] - np.arange(n)
    return wait
