"""From a benchmark's episodes to its figures with 95 % intervals, and to paired differences.

Means over hazards and over other episodes are weighted 60 to 40, as the suite `convoy` has them,
whatever number of each was run; their interval is that of a stratified mean, with Satterthwaite's
degrees of freedom (Cochran, Sampling Techniques, 1977, section 5.4). Rates have Wilson's interval.
False brakes per km have the wider, at each end, of the bootstrap's over episodes and of the exact
one of a Poisson count (Garwood, Biometrika 28, 1936): without an event the bootstrap would know no
spread at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ml.envs.scoring.metrics import OVERREACTION_MPS2
from ml.evaluation.compare import BY_KEY, estimated
from ml.evaluation.paired import PairedEstimate
from ml.evaluation.result import EpisodeRow
from ml.evaluation.summary import Figure, Rate, summarise

HAZARD_WEIGHT = 0.6
"""Share of hazards in the suite `convoy`."""
_LEVEL, _UPPER = 0.95, 0.975
_P95 = 0.95
WEIGHTED = ("headway_s", "jerk_p95_mps3")
COMPARED = ("crash_rate", "headway_s", "false_brakes_per_km", "jerk_p95_mps3")
"""What decides which of two drivers dominates the other; less is better in each."""

_NOTHING = Figure(*(float("nan"),) * 3, 0)

Figures = dict[str, Figure]
Differences = dict[str, PairedEstimate]


@dataclass(frozen=True, slots=True)
class _Column:
    """A number per case, of the cases where it is one."""

    hazards: NDArray[np.float64]
    others: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[EpisodeRow], name: str) -> _Column:
        hazards = np.array([getattr(r, name) for r in rows if r.is_hazard], dtype=float)
        others = np.array([getattr(r, name) for r in rows if not r.is_hazard], dtype=float)
        return cls(hazards, others)

    def mean(self) -> Figure:
        """Weighted, with its interval; of one kind alone where the other is missing."""
        strata = [self.hazards[np.isfinite(self.hazards)], self.others[np.isfinite(self.others)]]
        weights = [HAZARD_WEIGHT, 1.0 - HAZARD_WEIGHT]
        known = [(w, s) for w, s in zip(weights, strata, strict=True) if s.size]
        count = sum(s.size for s in strata)
        if not known:
            return _NOTHING
        total = sum(w for w, _ in known)
        value = sum(w * float(s.mean()) for w, s in known) / total
        if any(s.size == 1 for _, s in known):
            return Figure(value, float("-inf"), float("inf"), count)
        parts = [(w / total) ** 2 * float(s.var(ddof=1)) / s.size for w, s in known]
        variance = sum(parts)
        if variance == 0.0:
            return Figure(value, value, value, count)
        freedom = variance**2 / sum(
            part**2 / (s.size - 1) for part, (_, s) in zip(parts, known, strict=True)
        )
        half = float(stats.t.ppf(_UPPER, freedom) * np.sqrt(variance))
        return Figure(value, value - half, value + half, count)


def convoy_figures(rows: Sequence[EpisodeRow]) -> Figures:
    """Measure one driver on a benchmark of the suite `convoy`; invalid episodes count nowhere.

    Returns:
        By names of `ml.envs.scoring.metrics`: `crash_rate`, `quiet_crash_rate`, `braking_share`,
        `false_brakes_per_km`, `overreaction_rate`; weighted `headway_s`, `jerk_p95_mps3`,
        `braking_share_all`; and `hazards`, how many were met, avoidable or not. Not a number where
        there is no such episode.
    """
    valid = [row for row in rows if not row.invalid]
    quiet = [row for row in valid if not row.is_hazard]
    answered = [row for row in quiet if row.kind == "benign" and isfinite(row.overreaction_mps2)]
    figures = {
        **_crashes(valid),
        "quiet_crash_rate": _rate(quiet, lambda row: row.crash),
        "braking_share": _Column.of(quiet, "braking_share").mean(),
        "braking_share_all": _Column.of(valid, "braking_share").mean(),
        "false_brakes_per_km": _false_brakes(quiet),
        "overreaction_rate": _rate(answered, lambda row: row.overreaction_mps2 > OVERREACTION_MPS2),
    }
    return figures | {name: _Column.of(valid, name).mean() for name in WEIGHTED}


def manoeuvre_figures(rows: Sequence[EpisodeRow]) -> Figures:
    """Measure one driver on a benchmark of manoeuvres.

    Returns:
        By names of `ml.envs.scoring.metrics`: `crash_rate`, `gain_at_fundamental` (mean),
        `string_gain_l2_p95` (its interval by order statistics); and `hazards`. Not a number where
        not defined.
    """
    valid = [row for row in rows if not row.invalid]
    return {
        **_crashes(valid),
        "gain_at_fundamental": _Column.of(valid, "gain_at_fundamental").mean(),
        "string_gain_l2_p95": percentile_95([row.string_gain_l2 for row in valid]),
    }


def _crashes(valid: Sequence[EpisodeRow]) -> Figures:
    """Share of avoidable hazards that ended in a crash, and how many hazards there were."""
    hazards = [row for row in valid if row.is_hazard]
    crash = _rate([row for row in hazards if row.avoidable], lambda row: row.crash)
    return {"crash_rate": crash, "hazards": Figure(*(float(len(hazards)),) * 3, len(hazards))}


def percentile_95(values: Sequence[float]) -> Figure:
    """Estimate the 95th percentile; its interval's ends are order statistics (Conover, 1999, 3.2).

    An end that no order statistic reaches is infinite: with fewer than 72 values the upper one.
    """
    known = np.sort(np.array([value for value in values if isfinite(value)]))
    n = known.size
    if not n:
        return _NOTHING
    ranks = stats.binom(n, _P95)
    low = int(ranks.ppf(0.5 * (1.0 - _LEVEL)))
    high = int(ranks.ppf(0.5 * (1.0 + _LEVEL))) + 1
    return Figure(
        float(np.percentile(known, 100.0 * _P95)),
        float(known[low - 1]) if low >= 1 else float("-inf"),
        float(known[high - 1]) if high <= n else float("inf"),
        n,
    )


def differences(
    candidate: Sequence[EpisodeRow], baseline: Sequence[EpisodeRow], *, key: str
) -> Differences:
    """Compare two drivers case by case on a benchmark of the suite `convoy`.

    Both have a row per case, in the same order; the bootstrap's draws depend on `key`.

    Returns:
        Candidate − baseline for each of `COMPARED`, and for `braking_share` (no hazard). What no
        pair has is left out.
    """
    pairs = [
        (c, b) for c, b in zip(candidate, baseline, strict=True) if not (c.invalid or b.invalid)
    ]
    found: Differences = {}
    crash = replace(BY_KEY["crash"], scale=1.0)
    compared = {"crash_rate": crash, "false_brakes_per_km": BY_KEY["false_brakes"]}
    for name, metric in compared.items():
        estimate = estimated(metric, pairs, key)
        if estimate is not None:
            found[name] = estimate
    quiet = [(c, b) for c, b in pairs if not c.is_hazard]
    if quiet:
        found["braking_share"] = _paired_mean(quiet, "braking_share")
    if pairs:
        for name in ("headway_s", "jerk_p95_mps3"):
            found[name] = _paired_mean(pairs, name)
    return found


def _paired_mean(pairs: Sequence[tuple[EpisodeRow, EpisodeRow]], name: str) -> PairedEstimate:
    ours, theirs = (_Column.of(side, name) for side in zip(*pairs, strict=True))
    apart = _Column(ours.hazards - theirs.hazards, ours.others - theirs.others).mean()
    error = (apart.high - apart.low) / (2.0 * float(stats.norm.ppf(_UPPER)))
    if error > 0.0:
        p_value = float(2.0 * stats.norm.sf(abs(apart.value) / error))
    else:
        p_value = 1.0 if apart.value == 0.0 else 0.0
    return PairedEstimate(
        pairs=apart.count,
        candidate=ours.mean().value,
        baseline=theirs.mean().value,
        low=apart.low,
        high=apart.high,
        p_value=p_value,
    )


def _false_brakes(quiet: Sequence[EpisodeRow]) -> Figure:
    if not quiet:
        return _NOTHING
    (cell,) = summarise(quiet)
    figure = cell.figures["false_brakes_per_km"]
    km = sum(row.distance_m for row in quiet) / 1000.0
    events = sum(row.false_brakes for row in quiet)
    tail = 0.5 * (1.0 - _LEVEL)
    fewest = float(stats.chi2.ppf(tail, 2 * events)) / 2.0 if events else 0.0
    most = float(stats.chi2.ppf(1.0 - tail, 2 * events + 2)) / 2.0
    return Figure(
        figure.value, min(figure.low, fewest / km), max(figure.high, most / km), len(quiet)
    )


def _rate(of: Sequence[EpisodeRow], hit: Callable[[EpisodeRow], bool]) -> Figure:
    return Rate.of(sum(map(hit, of)), len(of)).as_figure()
