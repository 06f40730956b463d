"""What losses look like, of measured and of emulated links alike, with the log's own noise.

The noise of a statistic is that between two halves of the log: its blocks of time are dealt to two
halves, many times, and half the spread of the differences is what the statistic of the whole log is
worth.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Bools, Floats, Ints
from ml.calibration.logs.link import Link
from ml.calibration.runs import runs_of

LAGS: Final = (1, 2, 3, 5, 10, 20, 50)
RUNS: Final = tuple(range(1, 61))
DISTANCES_M: Final = (0, 8, 12, 16, 20, 25, 30, 40, 50, 60, 80, 100, 120, 160, 240)
WINDOW: Final = 100
_SPLITS: Final = 60
_BLOCK_FRAMES: Final = 600
_SEED: Final = 24
_LEAST_IN_BIN: Final = 100


@dataclass(frozen=True, slots=True)
class LossLog:
    """Losses of links, one column each, all rows that are not scored left out."""

    lost: Bools  # (K, L)
    scored: Bools  # (K, L)
    distance_m: Floats  # (K, L), NaN where unknown
    between: Ints  # (K, L), cars

    @classmethod
    def of_losses(cls, lost: Bools) -> Self:
        """Make a log of losses (K, L) that all count, at unknown distances."""
        unknown = np.broadcast_to(np.nan, lost.shape)
        return cls(lost, np.ones_like(lost), unknown, np.zeros(lost.shape, np.int64))

    @classmethod
    def of_links(cls, links: Sequence[Link]) -> Self:
        """Put links of unequal length side by side; what is missing is not scored."""
        longest = max(link.outcome.size for link in links)

        def beside(name: str, fill: float) -> NDArray[Any]:
            columns = [getattr(link, name) for link in links]
            pads = [(0, longest - column.size) for column in columns]
            padded = map(partial(np.pad, constant_values=fill), columns, pads)
            return np.stack(list(padded), axis=1)

        names = {"lost": 0, "scored": 0, "distance_m": np.nan, "between": 0}
        return cls(*(beside(name, fill) for name, fill in names.items()))

    def links(self) -> Iterator[tuple[Bools, Bools]]:
        """Yield of each link what was lost and counts, and what counts, (K,) each."""
        yield from zip((self.lost & self.scored).T, self.scored.T, strict=True)

    def rows(self, keep: Bools) -> Self:
        """Return the same with other rows (K,) not scored."""
        return replace(self, scored=self.scored & keep[:, None])


def loss(log: LossLog) -> float:
    """Share of frames lost."""
    return float(log.lost[log.scored].mean()) if log.scored.any() else float("nan")


def autocorrelation_at(log: LossLog, lag: int, *, together: int = 1) -> float:
    """Autocorrelation of the losses of a link at a lag in frames, over all links.

    So many links beside one another as are `together` are of one drive: they have one mean, and
    one variance about it.

    Returns:
        Between -1 and 1; NaN where nothing ever changes.
    """
    above, below = 0.0, 0.0
    for k in range(0, log.lost.shape[1], together):
        lost, scored = log.lost[:, k : k + together], log.scored[:, k : k + together]
        both = scored[lag:] & scored[:-lag]
        if both.any():
            centred = np.where(scored, lost - lost[scored].mean(), 0.0)
            above += float((centred[lag:] * centred[:-lag]).sum())
            below += float(both.sum()) * float((centred[scored] ** 2).mean())
    return above / below if below > 0.0 else float("nan")


def run_shares(log: LossLog) -> Floats:
    """Of all bursts the share at least so long, by `RUNS`."""
    return _at_least(np.concatenate([_bursts(lost) for lost, _ in log.links()]))


def mean_burst(log: LossLog) -> float:
    """Mean number of frames lost in a row."""
    lengths = np.concatenate([_bursts(lost) for lost, _ in log.links()])
    return float(lengths.mean()) if lengths.size else float("nan")


def inter_reception_shares(log: LossLog) -> Floats:
    """Of all gaps between receptions the share of at least so many periods, by `RUNS`."""
    gaps = []
    for lost, scored in log.links():
        bursts = _bursts(lost)
        received = int((scored & ~lost).sum())
        gaps += [bursts + 1, np.ones(max(received - bursts.size, 0), np.int64)]
    return _at_least(np.concatenate(gaps))


def older_than(log: LossLog, periods: int) -> float:
    """Share of frames at which the newest message was older than so many periods."""
    return float(age_shares(log, periods)[-1])


def age_shares(log: LossLog, most: int) -> Floats:
    """Share of frames at which the newest message was older than 1 … `most` periods, (most,)."""
    at = np.arange(len(log.lost))
    count = np.zeros(most + 1)
    for lost, scored in log.links():
        lost_in_a_row = at - np.maximum.accumulate(np.where(lost, -1, at))
        count += np.bincount(np.minimum(lost_in_a_row[scored], most), minlength=most + 1)
    if count.sum() == 0.0:
        return np.full(most, np.nan)
    older: Floats = np.cumsum(count[:0:-1])[::-1] / count.sum()
    return older


def window_spread(log: LossLog) -> float:
    """Standard deviation of the loss in windows of 10 s along a link."""
    variances, counts = [], []
    cut = len(log.lost) // WINDOW * WINDOW
    for lost, scored in log.links():
        scored_in = scored[:cut].reshape(-1, WINDOW).sum(axis=1)
        full = scored_in > WINDOW // 2
        if full.sum() > 1:
            shares = lost[:cut].reshape(-1, WINDOW)[full].sum(axis=1) / scored_in[full]
            variances.append(shares.var())
            counts.append(full.sum())
    return float(np.sqrt(np.average(variances, weights=counts))) if counts else float("nan")


def delivery_by_distance(log: LossLog, between: int) -> Floats:
    """Share received by bins of `DISTANCES_M`, NaN where fewer than 100 frames lie."""
    mine = log.scored & (log.between == between) & np.isfinite(log.distance_m)
    bins = len(DISTANCES_M) - 1
    place = np.searchsorted(DISTANCES_M, log.distance_m[mine], side="right") - 1
    place = np.clip(place, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    lost = np.bincount(place, log.lost[mine], minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count >= _LEAST_IN_BIN, 1.0 - lost / count, np.nan)


STATISTICS: Final[dict[str, Callable[[LossLog], float]]] = {
    "frames lost": loss,
    "mean burst (frames)": mean_burst,
    **{f"autocorrelation at {k / 10:g} s": partial(autocorrelation_at, lag=k) for k in (1, 5, 20)},
    "spread of loss in 10-s windows": window_spread,
    **{f"older than {n / 10:g} s": partial(older_than, periods=n) for n in (3, 5, 10)},
}


def split_half_noise(log: LossLog, statistic: Callable[[LossLog], Floats | float]) -> Floats:
    """Return the standard deviation of a statistic of the whole log, from its halves."""
    blocks = np.arange(len(log.lost)) // _BLOCK_FRAMES
    count = int(blocks[-1]) + 1
    generator = np.random.Generator(np.random.PCG64(_SEED))
    differences = []
    for _ in range(_SPLITS):
        first = (generator.permutation(count) < count // 2)[blocks]
        one, other = statistic(log.rows(first)), statistic(log.rows(~first))
        differences.append(np.asarray(one) - np.asarray(other))
    spread = np.ma.masked_invalid(differences).std(axis=0)
    return np.ma.filled(spread, np.nan) / 2.0


def _bursts(lost: Bools) -> Ints:
    """Lengths of the bursts among the frames of a link, (K,)."""
    runs = runs_of(lost)
    return runs[:, 1] - runs[:, 0]


def _at_least(lengths: Ints) -> Floats:
    """Share of lengths that reach each of `RUNS`, NaN without any."""
    if lengths.size == 0:
        return np.full(len(RUNS), np.nan)
    return np.array([(lengths >= run).mean() for run in RUNS])
