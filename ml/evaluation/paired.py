"""Statistics of paired episodes: two controllers met the same cases and the same packet fates.

The unit is the case: a pair of numbers, one for each controller. Newcombe's interval and Holm's
procedure are not in scipy; its bootstrap is not used, because the draws here are keyed: a result
does not depend on what was compared before, nor on scipy's version.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ml.evaluation.summary import RESAMPLES, TAILS, Rate
from ml.keyed_random import fold, text_key, uniform

_MOST_DRAWS = 2_000_000
"""Resampled indices that are held at once."""


@dataclass(frozen=True, slots=True)
class PairedEstimate:
    """A figure of two controllers and their difference.

    Attributes:
        pairs: Cases that entered.
        low: Lower end of the 95 % interval of candidate − baseline.
        p_value: Two-sided, of no difference; 1 where nothing can be said.
    """

    pairs: int
    candidate: float
    baseline: float
    low: float
    high: float
    p_value: float

    @property
    def difference(self) -> float:
        """Candidate − baseline."""
        return self.candidate - self.baseline


def paired_rates(candidate: NDArray[np.bool_], baseline: NDArray[np.bool_]) -> PairedEstimate:
    """Compare how often something happened.

    The interval is Newcombe's for paired proportions (Statistics in Medicine 17, 1998, p. 2635,
    method 10); the test is McNemar's, exact on the cases in which only one of the two was hit.

    Args:
        candidate: (n,) bool, n ≥ 1.
        baseline: (n,) bool, the same cases.
    """
    n = candidate.size
    both = int((candidate & baseline).sum())
    only_candidate = int((candidate & ~baseline).sum())
    only_baseline = int((~candidate & baseline).sum())
    neither = n - both - only_candidate - only_baseline

    ours, theirs = (Rate.of(both + only, n) for only in (only_candidate, only_baseline))
    margins = ours.hits * (n - ours.hits) * theirs.hits * (n - theirs.hits)
    product = float(both * neither - only_candidate * only_baseline)
    if product > 0.0:  # a continuity correction, towards no correlation
        product = max(product - n / 2.0, 0.0)
    correlation = product / np.sqrt(margins) if margins else 0.0

    def reach(upper: Rate, lower: Rate) -> float:
        """How far the interval reaches towards a larger `lower` and a smaller `upper`."""
        below, above = upper.share - upper.low, lower.high - lower.share
        return float(np.sqrt(below**2 - 2.0 * correlation * below * above + above**2))

    discordant = only_candidate + only_baseline
    p_value = stats.binomtest(only_candidate, discordant).pvalue if discordant else 1.0
    return PairedEstimate(
        pairs=n,
        candidate=ours.share,
        baseline=theirs.share,
        low=ours.share - theirs.share - reach(ours, theirs),
        high=ours.share - theirs.share + reach(theirs, ours),
        p_value=float(p_value),
    )


def paired_ratios(
    candidate: tuple[NDArray[np.float64], NDArray[np.float64]],
    baseline: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    key: str,
    resamples: int = RESAMPLES,
) -> PairedEstimate:
    """Compare sums over sums: events per km, or means where every divisor is 1.

    The interval is that of the bootstrap over cases (percentiles); the test is Student's on the
    standard error of the bootstrap.

    Args:
        candidate: Dividends and divisors, (n,) float64 each, n ≥ 1, divisors' sum above 0.
        baseline: The same for the same cases.
        key: What is resampled; the draws depend on it and on n alone.
        resamples: How often.
    """
    n = candidate[0].size
    columns = np.stack([*candidate, *baseline])
    drawn = _resampled_sums(columns, key, resamples)
    with np.errstate(divide="ignore", invalid="ignore"):
        differences = drawn[:, 0] / drawn[:, 1] - drawn[:, 2] / drawn[:, 3]
    differences = differences[np.isfinite(differences)]
    sums = columns.sum(axis=1)
    value_c, value_b = float(sums[0] / sums[1]), float(sums[2] / sums[3])
    if n < 2 or differences.size < 2:  # noqa: PLR2004 (no spread to speak of)
        return PairedEstimate(n, value_c, value_b, float("-inf"), float("inf"), 1.0)
    low, high = np.percentile(differences, TAILS)
    error = float(differences.std(ddof=1))
    apart = abs(value_c - value_b)
    if error > 0.0:
        p_value = float(2.0 * stats.t.sf(apart / error, n - 1))
    else:
        p_value = 0.0 if apart > 0.0 else 1.0
    return PairedEstimate(n, value_c, value_b, float(low), float(high), p_value)


def holm_significant(p_values: Sequence[float], alpha: float = 0.05) -> list[bool]:
    """Say which of several tests reject, so that all together err with probability `alpha`.

    Holm's step-down procedure (Scandinavian Journal of Statistics 6, 1979, p. 65).

    Returns:
        A flag per test, in the order given.
    """
    order = np.argsort(p_values, kind="stable")
    met = np.asarray(p_values)[order] <= alpha / (order.size - np.arange(order.size))
    significant = np.empty(order.size, dtype=bool)
    significant[order] = np.logical_and.accumulate(met)
    return significant.tolist()


def _resampled_sums(columns: NDArray[np.float64], key: str, resamples: int) -> NDArray[np.float64]:
    """Sum each of the columns (k, n) over n cases drawn with replacement: (resamples, k)."""
    n = columns.shape[1]
    sums = np.empty((resamples, columns.shape[0]))
    at_once = max(_MOST_DRAWS // n, 1)
    for start in range(0, resamples, at_once):
        rows = np.arange(start, min(start + at_once, resamples))
        drawn = uniform(fold(text_key(key), rows[:, None], np.arange(n)))
        index = (drawn * n).astype(np.int64)
        for i, column in enumerate(columns):
            sums[rows, i] = column[index].sum(axis=1)
    return sums
