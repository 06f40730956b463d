"""From episodes to figures with intervals, made from the rows alone.

Rates have Wilson's 95 % interval. Means and ratios have the percentile interval of 2,000 bootstrap
resamples over cases; the resamples depend on the number of cases alone, so that controllers which
met the same cases are resampled alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.envs.scoring.metrics import METRICS, Episodes
from ml.evaluation.result import EpisodeRow
from ml.keyed_random import fold, uniform

RESAMPLES = 2000
_SEED = 5
_TAILS = (2.5, 97.5)
_DIGITS = 6
POOLED = "pooled"


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of episodes with its Wilson 95 % interval (Wilson, 1927).

    Attributes:
        hits: Episodes in which it happened.
        trials: Episodes.
        low: Lower end, in [0, 1].
        high: Upper end, in [0, 1].
    """

    hits: int
    trials: int
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, trials: int) -> Rate:
        """Compute the interval; with no trials it is all of [0, 1]."""
        if trials == 0:
            return cls(0, 0, 0.0, 1.0)
        from scipy.stats import binomtest  # noqa: PLC0415 (slow to import, and training needs none)

        interval = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
        return cls(hits, trials, float(interval.low), float(interval.high))

    @property
    def share(self) -> float:
        """Hits over trials; not a number without trials."""
        return self.hits / self.trials if self.trials else float("nan")

    def __str__(self) -> str:
        if self.trials == 0:
            return "no episodes"
        return f"{self.share:.1%} [{self.low:.1%}, {self.high:.1%}]"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95 % interval; not a number where nothing can be said.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
        count: Episodes that it is made of.
        hits: For a rate, in how many of them it happened; None for a mean.
    """

    value: float
    low: float
    high: float
    count: int
    hits: int | None = None


@dataclass(frozen=True, slots=True)
class CellSummary:
    """The figures of one controller in one suite on one radio.

    Attributes:
        suite: Name, or `POOLED`.
        radio: Name, or `POOLED`.
        controller: Name.
        episodes: Valid episodes.
        invalid: Episodes left out.
        figures: By name: every name of `RATES`, `MEANS` and `RATIOS`.
    """

    suite: str
    radio: str
    controller: str
    episodes: int
    invalid: int
    figures: dict[str, Figure]


def _hazard(row: EpisodeRow) -> bool:
    return row.kind == "hazard"


def _avoidable(row: EpisodeRow) -> bool:
    return _hazard(row) and row.avoidable


_Test: TypeAlias = Callable[[EpisodeRow], bool]
RATES: dict[str, tuple[_Test, _Test]] = {
    "crash_rate": (_avoidable, lambda row: row.crash),
    "informed_crash_rate": (_avoidable, lambda row: row.crash_class == "informed"),
    "blackout_crash_rate": (_avoidable, lambda row: row.crash_class == "blackout"),
    "quiet_crash_rate": (lambda row: not _hazard(row), lambda row: row.crash),
    "unavoidable_rate": (_hazard, lambda row: not row.avoidable),
    "unavoidable_crash_rate": (
        lambda row: _hazard(row) and not row.avoidable,
        lambda row: row.crash,
    ),
    "informed_rate": (_hazard, lambda row: row.informed),
}
"""Name to (of which episodes, in which of them it happened)."""

MEANS: dict[str, Episodes] = {m.name: m.mean_over for m in METRICS if m.mean_over}
RATIOS: dict[str, tuple[str, str, float, Episodes]] = {
    "false_brakes_per_km": ("false_brakes", "distance_m", 1000.0, "quiet"),
    "false_brakes_per_h": ("false_brakes", "duration_s", 3600.0, "quiet"),
}
"""Name to (numerator, denominator, scale, episodes): of sums, not the mean of ratios."""

FIGURES = (*RATES, *MEANS, *RATIOS)


def summarise(
    rows: Iterable[EpisodeRow], *, pool: Sequence[Literal["suite", "radio"]] = ()
) -> list[CellSummary]:
    """Summarise each controller in each suite on each radio.

    Args:
        rows: Episodes of any number of cells.
        pool: What is put together instead.

    Returns:
        In the order in which suites, radios and controllers first appear.
    """

    def cell(row: EpisodeRow) -> tuple[str, str, str]:
        suite = POOLED if "suite" in pool else row.suite
        radio = POOLED if "radio" in pool else row.radio
        return suite, radio, row.controller

    listed = list(rows)
    order = {key: i for i, key in enumerate(dict.fromkeys(map(cell, listed)))}
    listed.sort(key=lambda row: order[cell(row)])  # stable: cases stay in their order
    return [_summary(key, list(group)) for key, group in groupby(listed, key=cell)]


def as_json(summaries: Sequence[CellSummary]) -> list[dict[str, Any]]:
    """Build what `summary.json` holds; numbers to six digits, None for what is none."""

    def number(value: float) -> float | None:
        return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None

    said = [asdict(summary) for summary in summaries]
    for summary in said:
        for figure in summary["figures"].values():
            figure |= {name: number(figure[name]) for name in ("value", "low", "high")}
    return said


def _summary(key: tuple[str, str, str], rows: list[EpisodeRow]) -> CellSummary:
    valid = [row for row in rows if not row.invalid]
    figures: dict[str, Figure] = {}
    for name, (among, happened) in RATES.items():
        of = [row for row in valid if among(row)]
        rate = Rate.of(sum(map(happened, of)), len(of))
        figures[name] = Figure(rate.share, rate.low, rate.high, rate.trials, rate.hits)
    sums = [
        (name, _column(rows, name), np.ones(len(rows)), _among(rows, episodes))
        for name, episodes in MEANS.items()
    ]
    sums += [
        (name, _column(rows, above) * scale, _column(rows, below), _among(rows, episodes))
        for name, (above, below, scale, episodes) in RATIOS.items()
    ]
    figures |= _bootstrap(sums)
    suite, radio, controller = key
    return CellSummary(suite, radio, controller, len(valid), len(rows) - len(valid), figures)


def _column(rows: list[EpisodeRow], name: str) -> NDArray[np.float64]:
    return np.array([float(getattr(row, name)) for row in rows])


def _among(rows: list[EpisodeRow], episodes: Episodes) -> NDArray[np.bool_]:
    wanted: dict[Episodes, _Test] = {
        "all": lambda _: True,
        "hazards": _hazard,
        "quiet": lambda row: not _hazard(row),
        "crashes": lambda row: row.crash,
    }
    return np.array([not row.invalid and wanted[episodes](row) for row in rows])


@lru_cache(maxsize=2)
def _resamples(cases: int) -> NDArray[np.float64]:
    """How often each case is drawn in each resample, (RESAMPLES, cases)."""
    draws = uniform(fold(_SEED, np.arange(RESAMPLES)[:, None], np.arange(cases)))
    number = (draws * cases).astype(np.int64) + np.arange(RESAMPLES)[:, None] * cases
    counts = np.bincount(number.ravel(), minlength=RESAMPLES * cases)
    return counts.reshape(RESAMPLES, cases).astype(np.float64)


def _bootstrap(
    sums: list[tuple[str, NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]],
) -> dict[str, Figure]:
    """Ratios of sums over cases; each entry is (name, numerators, denominators, mask)."""
    known = [mask & np.isfinite(above) & np.isfinite(below) for _, above, below, mask in sums]
    top = np.stack([np.where(k, s[1], 0.0) for k, s in zip(known, sums, strict=True)], axis=1)
    bottom = np.stack([np.where(k, s[2], 0.0) for k, s in zip(known, sums, strict=True)], axis=1)
    weights = _resamples(top.shape[0])
    above, below = weights @ top, weights @ bottom
    figures = {}
    for i, (name, *_) in enumerate(sums):
        total, drawn = bottom[:, i].sum(), below[:, i] > 0.0
        nothing = total == 0.0
        value = float("nan") if nothing else float(top[:, i].sum() / total)
        ends = (float("nan"),) * 2
        if not nothing:
            ends = np.percentile(above[drawn, i] / below[drawn, i], _TAILS).tolist()
        figures[name] = Figure(value, *ends, int(known[i].sum()))
    return figures
