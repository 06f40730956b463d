"""From episodes to figures with intervals, made from the rows alone.

Rates have Wilson's 95 % interval. Means and ratios have the percentile interval of 2,000 bootstrap
resamples over cases; the resamples depend on the number of cases alone, so that controllers which
met the same cases are resampled alike.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby
from math import isfinite
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.envs.scoring.metrics import METRICS, OVERREACTION_MPS2
from ml.evaluation.result import EpisodeRow
from ml.keyed_random import fold, uniform

RESAMPLES = 2000
TAILS = (2.5, 97.5)
"""Percentiles at which a bootstrap's interval ends."""
_SEED = 5
_DIGITS = 6


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
    def of(cls, hits: int, trials: int) -> Self:
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

    def as_figure(self) -> "Figure":
        """Return it as a figure of the episodes."""
        return Figure(self.share, self.low, self.high, self.trials, self.hits)

    def __str__(self) -> str:
        if self.trials == 0:
            return "no episodes"
        return f"{self.share:.1%} [{self.low:.1%}, {self.high:.1%}]"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95 % interval; not a number where nothing can be said.

    Attributes:
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
        invalid: Episodes left out.
        figures: By name, every one of `FIGURES`.
    """

    suite: str
    radio: str
    controller: str
    episodes: int
    invalid: int
    figures: dict[str, Figure]


_Test: TypeAlias = Callable[[EpisodeRow], bool]
EPISODES: dict[str, _Test] = {
    "all": lambda _: True,
    "hazards": lambda row: row.is_hazard,
    "avoidable hazards": lambda row: row.is_hazard and row.avoidable,
    "unavoidable hazards": lambda row: row.is_hazard and not row.avoidable,
    "quiet": lambda row: not row.is_hazard,
    "crashes": lambda row: row.crash,
    "benign slowings": lambda row: row.kind == "benign" and isfinite(row.overreaction_mps2),
}
"""Which valid episodes a figure is made of."""
_RATES: dict[str, tuple[str, _Test]] = {
    "crash_rate": ("avoidable hazards", lambda row: row.crash),
    "informed_crash_rate": ("avoidable hazards", lambda row: row.crash_class == "informed"),
    "blackout_crash_rate": ("avoidable hazards", lambda row: row.crash_class == "blackout"),
    "quiet_crash_rate": ("quiet", lambda row: row.crash),
    "unavoidable_rate": ("hazards", lambda row: not row.avoidable),
    "unavoidable_crash_rate": ("unavoidable hazards", lambda row: row.crash),
    "informed_rate": ("hazards", lambda row: row.informed),
    "overreaction_rate": (
        "benign slowings",
        lambda row: row.overreaction_mps2 > OVERREACTION_MPS2,
    ),
}
"""Name to (of which episodes, in which of them it happened)."""


class _Ratio(NamedTuple):
    """A sum over episodes by a sum over the same, not the mean of ratios."""

    above: str
    below: str
    """A column of the rows; "" for the number of episodes."""
    scale: float
    episodes: str


_RATIOS = {m.name: _Ratio(m.name, "", 1.0, m.mean_over) for m in METRICS if m.mean_over}
_RATIOS |= {
    "false_brakes_per_km": _Ratio("false_brakes", "distance_m", 1000.0, "quiet"),
    "false_brakes_per_h": _Ratio("false_brakes", "duration_s", 3600.0, "quiet"),
}
FIGURES = (*_RATES, *_RATIOS)


def summarise(rows: Iterable[EpisodeRow]) -> list[CellSummary]:
    """Summarise each controller in each suite on each radio, in the order in which they appear."""

    def cell(row: EpisodeRow) -> tuple[str, str, str]:
        return row.suite, row.radio, row.controller

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
    for name, (episodes, happened) in _RATES.items():
        of = list(filter(EPISODES[episodes], valid))
        figures[name] = Rate.of(sum(map(happened, of)), len(of)).as_figure()
    figures |= _bootstrap(rows)
    return CellSummary(*key, len(valid), len(rows) - len(valid), figures)


def _bootstrap(rows: list[EpisodeRow]) -> dict[str, Figure]:
    """Resample the cases and return every ratio of sums."""
    knowns, tops, bottoms = [], [], []
    for ratio in _RATIOS.values():
        counts = EPISODES[ratio.episodes]
        top = np.array([float(getattr(row, ratio.above)) for row in rows]) * ratio.scale
        bottom = np.array(
            [float(getattr(row, ratio.below)) if ratio.below else 1.0 for row in rows]
        )
        known = np.array([not row.invalid and counts(row) for row in rows])
        known &= np.isfinite(top) & np.isfinite(bottom)
        knowns.append(known)
        tops.append(np.where(known, top, 0.0))
        bottoms.append(np.where(known, bottom, 0.0))
    top, bottom = np.stack(tops, axis=1), np.stack(bottoms, axis=1)
    weights = _resamples(len(rows))
    above, below = weights @ top, weights @ bottom
    figures = {}
    for i, (name, known) in enumerate(zip(_RATIOS, knowns, strict=True)):
        value = low = high = float("nan")
        if total := bottom[:, i].sum():
            drawn = below[:, i] > 0.0
            value = float(top[:, i].sum() / total)
            low, high = np.percentile(above[drawn, i] / below[drawn, i], TAILS).tolist()
        figures[name] = Figure(value, low, high, int(known.sum()))
    return figures


@lru_cache(maxsize=2)
def _resamples(cases: int) -> NDArray[np.float64]:
    """How often each case is drawn in each resample, (RESAMPLES, cases)."""
    draws = uniform(fold(_SEED, np.arange(RESAMPLES)[:, None], np.arange(cases)))
    number = (draws * cases).astype(np.int64) + np.arange(RESAMPLES)[:, None] * cases
    counts = np.bincount(number.ravel(), minlength=RESAMPLES * cases)
    return counts.reshape(RESAMPLES, cases).astype(np.float64)
