"""What losses look like, of measured and of emulated links alike, with the log's own noise.

The noise of a statistic is that between two halves of the log: its blocks of time are dealt to two
halves, many times, and half the spread of the differences is what the statistic of the whole log is
worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

LAGS: Final = (1, 2, 3, 5, 10, 20, 50)
AGES_S: Final = (0.3, 0.5, 1.0)
RUNS: Final = tuple(range(1, 61))
DISTANCES_M: Final = (0, 8, 12, 16, 20, 25, 30, 40, 50, 60, 80, 100, 120, 160, 240)
WINDOW: Final = 100
_SPLITS: Final = 60
_BLOCK_FRAMES: Final = 600
_SEED: Final = 24
_LEAST_IN_BIN: Final = 100


@dataclass(frozen=True, slots=True)
class LossLog:
    """Losses of links, one column each, all rows that are not scored left out.

    Attributes:
        lost: (K, L) bool.
        scored: (K, L) bool.
        distance_m: (K, L), NaN where unknown.
        between: (K, L) int64.
    """

    lost: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    distance_m: NDArray[np.float64]
    between: NDArray[np.int64]

    def link(self, k: int) -> LossLog:
        """Return one link alone."""
        one = slice(k, k + 1)
        return LossLog(
            self.lost[:, one], self.scored[:, one], self.distance_m[:, one], self.between[:, one]
        )

    def rows(self, keep: NDArray[np.bool_]) -> LossLog:
        """Return the same with other rows not scored, (K,) bool."""
        return LossLog(self.lost, self.scored & keep[:, None], self.distance_m, self.between)


def loss(log: LossLog) -> float:
    """Share of frames lost."""
    return float(log.lost[log.scored].mean()) if log.scored.any() else float("nan")


def autocorrelation_at(log: LossLog, lag: int) -> float:
    """Of the losses of a link, over all links, each about its own mean."""
    above, below = 0.0, 0.0
    for k in range(log.lost.shape[1]):
        scored = log.scored[:, k]
        if not scored.any():
            continue
        centred = np.where(scored, log.lost[:, k] - log.lost[scored, k].mean(), 0.0)
        both = scored[lag:] & scored[:-lag]
        if both.any():
            above += float((centred[lag:] * centred[:-lag]).sum())
            below += float(both.sum()) * float((centred[scored] ** 2).mean())
    return above / below if below > 0.0 else float("nan")


def run_shares(log: LossLog) -> NDArray[np.float64]:
    """Of all bursts the share at least so long, by `RUNS`."""
    lengths = np.concatenate([_bursts(log, k) for k in range(log.lost.shape[1])])
    if lengths.size == 0:
        return np.full(len(RUNS), np.nan)
    return np.array([(lengths >= run).mean() for run in RUNS])


def mean_burst(log: LossLog) -> float:
    """Mean number of frames lost in a row."""
    lengths = np.concatenate([_bursts(log, k) for k in range(log.lost.shape[1])])
    return float(lengths.mean()) if lengths.size else float("nan")


def inter_reception_shares(log: LossLog) -> NDArray[np.float64]:
    """Of all gaps between receptions the share of at least so many periods, by `RUNS`."""
    gaps = []
    for k in range(log.lost.shape[1]):
        bursts = _bursts(log, k)
        received = int((log.scored[:, k] & ~log.lost[:, k]).sum())
        gaps.append(np.concatenate([bursts + 1, np.ones(max(received - bursts.size, 0), np.int64)]))
    every = np.concatenate(gaps)
    if every.size == 0:
        return np.full(len(RUNS), np.nan)
    return np.array([(every >= run).mean() for run in RUNS])


def older_than(log: LossLog, periods: int) -> float:
    """Share of frames at which the newest message was older than so many periods."""
    old, all_rows = 0, 0
    for k in range(log.lost.shape[1]):
        since = _since_reception(log.lost[:, k] & log.scored[:, k])
        scored = log.scored[:, k]
        old += int((since[scored] >= periods).sum())
        all_rows += int(scored.sum())
    return old / all_rows if all_rows else float("nan")


def window_spread(log: LossLog) -> float:
    """Standard deviation of the loss in windows of 10 s along a link."""
    variances, counts = [], []
    for k in range(log.lost.shape[1]):
        windows = len(log.lost) // WINDOW
        cut = windows * WINDOW
        scored = log.scored[:cut, k].reshape(windows, WINDOW)
        lost = (log.lost[:cut, k] & log.scored[:cut, k]).reshape(windows, WINDOW)
        full = scored.sum(axis=1) > WINDOW // 2
        if full.sum() > 1:
            shares = lost[full].sum(axis=1) / scored[full].sum(axis=1)
            variances.append(shares.var())
            counts.append(full.sum())
    return float(np.sqrt(np.average(variances, weights=counts))) if counts else float("nan")


def delivery_by_distance(log: LossLog, between: int) -> NDArray[np.float64]:
    """Share received by bins of `DISTANCES_M`, NaN where fewer than 100 frames lie."""
    mine = log.scored & (log.between == between) & np.isfinite(log.distance_m)
    place = np.searchsorted(DISTANCES_M, log.distance_m[mine], side="right") - 1
    count = np.bincount(np.clip(place, 0, len(DISTANCES_M) - 2), minlength=len(DISTANCES_M) - 1)
    lost = np.bincount(
        np.clip(place, 0, len(DISTANCES_M) - 2), log.lost[mine], minlength=len(DISTANCES_M) - 1
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count >= _LEAST_IN_BIN, 1.0 - lost / count, np.nan)


STATISTICS: Final[dict[str, Callable[[LossLog], float]]] = {
    "frames lost": loss,
    "mean burst (frames)": mean_burst,
    "autocorrelation at 0.1 s": lambda log: autocorrelation_at(log, 1),
    "autocorrelation at 0.5 s": lambda log: autocorrelation_at(log, 5),
    "autocorrelation at 2 s": lambda log: autocorrelation_at(log, 20),
    "spread of loss in 10-s windows": window_spread,
    "older than 0.3 s": lambda log: older_than(log, 3),
    "older than 0.5 s": lambda log: older_than(log, 5),
    "older than 1 s": lambda log: older_than(log, 10),
}


def split_half_noise(
    log: LossLog, statistic: Callable[[LossLog], NDArray[np.float64] | float]
) -> NDArray[np.float64]:
    """Return the standard deviation of a statistic of the whole log, from its halves."""
    blocks = np.arange(len(log.lost)) // _BLOCK_FRAMES
    count = int(blocks[-1]) + 1
    generator = np.random.Generator(np.random.PCG64(_SEED))
    differences = []
    for _ in range(_SPLITS):
        first = generator.permutation(count) < count // 2
        one, other = log.rows(first[blocks]), log.rows(~first[blocks])
        differences.append(np.asarray(statistic(one)) - np.asarray(statistic(other)))
    every = np.array(differences)
    known = ~np.isnan(every)
    count_known = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, every, 0.0).sum(axis=0) / count_known
    squares = np.where(known, (every - mean) ** 2, 0.0).sum(axis=0) / count_known
    spread: NDArray[np.float64] = np.where(known.any(axis=0), np.sqrt(squares), np.nan) / 2.0
    return spread


def stack(columns: Sequence[LossLog]) -> LossLog:
    """Put links of unequal length side by side; what is missing is not scored."""
    longest = max(len(c.lost) for c in columns)

    def padded(values: NDArray[np.generic], fill: float) -> NDArray[np.generic]:
        return np.pad(
            values, ((0, longest - len(values)), (0, 0)), constant_values=values.dtype.type(fill)
        )

    return LossLog(
        np.concatenate([padded(c.lost, 0) for c in columns], axis=1),
        np.concatenate([padded(c.scored, 0) for c in columns], axis=1),
        np.concatenate([padded(c.distance_m, np.nan) for c in columns], axis=1),
        np.concatenate([padded(c.between, 0) for c in columns], axis=1),
    )


def _since_reception(lost: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many frames in a row were lost up to each."""
    at = np.arange(lost.size)
    return at - np.maximum.accumulate(np.where(lost, -1, at))


def _bursts(log: LossLog, k: int) -> NDArray[np.int64]:
    """Lengths of a link's bursts; a row that is not scored ends one."""
    lost = log.lost[:, k] & log.scored[:, k]
    edges = np.flatnonzero(np.diff(lost.astype(np.int8), prepend=0, append=0))
    return edges[1::2] - edges[::2]
