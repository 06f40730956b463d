"""One number by which models, checkpoints and tuned controllers are ranked.

A crash weighs most, and what counts is how many crashes the cases leave possible, not how many
happened: 0 of 20 proves less than 1 of 5,000. Among drivers that crash alike, the one decides that
brakes least for nothing, follows closest and drives smoothest.

    score = 0.82 crashes + 0.06 false braking + 0.06 headway + 0.06 jerk,   each part in [0, 1]

* **crashes**: −log10(u) / 4, cut to [0, 1], where u is the upper end of Wilson's 95 % interval of
  the share of avoidable episodes, of any kind, that ended in a crash. 1 stands for a proven 10⁻⁴
  (no crash in some 40,000), 0 for a driver of whom nothing good is known. On this scale halving
  u is worth as much at 10 % as at 0.1 %: 0.062 of the score.
* **the others**: 1 / (1 + (x / t)²) for a figure x whose target is t: 1 where x is 0, a half on
  target, 0 far beyond it, without a step anywhere, so that no two figures score the same. The
  targets are those that the recipe is held to on a clean radio: 0.05 false brakes per km in
  benign and free episodes, a mean time headway of 1.3 s, a 95th percentile of the jerk of
  2.0 m/s³ (mean over episodes).

The weights follow from one rule: to halve the bound on crashes is worth more than to take any
single other figure from hopeless to perfect. What could not be measured scores 0.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from ml.errors import EvaluationError
from ml.evaluation.result import EpisodeRow
from ml.evaluation.summary import Rate

CRASH_WEIGHT = 0.82
OTHER_WEIGHT = 0.06
"""Of each of the three other parts."""
_DECADES = 4.0
"""Powers of ten between the worst and the best bound on crashes."""
_M_PER_KM = 1000.0


@dataclass(frozen=True, slots=True)
class SafetyScore:
    """A score and the figures that it comes from; see the module.

    Attributes:
        crashes: Crashes in avoidable episodes, with the interval of their share.
        false_brakes_per_km: Not a number where no benign or free episode was driven.
        time_headway_s: s; not a number for who never drove faster than 5 m/s.
        jerk_p95_mps3: m/s³; not a number where no episode was long enough.
    """

    crashes: Rate
    false_brakes_per_km: float
    time_headway_s: float
    jerk_p95_mps3: float

    @property
    def parts(self) -> dict[str, float]:
        """Its four parts, each in [0, 1]; more is better."""
        return {
            "crashes": min(max(-math.log10(self.crashes.high) / _DECADES, 0.0), 1.0),
            "false_braking": _closeness(self.false_brakes_per_km, 0.05),
            "headway": _closeness(self.time_headway_s, 1.3),
            "jerk": _closeness(self.jerk_p95_mps3, 2.0),
        }

    @property
    def score(self) -> float:
        """In [0, 1]; more is better."""
        crashes, *others = self.parts.values()
        return CRASH_WEIGHT * crashes + OTHER_WEIGHT * sum(others)


def score_of(rows: Iterable[EpisodeRow]) -> SafetyScore:
    """Score a driver by its episodes; invalid ones do not count.

    Raises:
        EvaluationError: None is valid.
    """
    valid = [row for row in rows if not row.invalid]
    if not valid:
        raise EvaluationError("no episode was valid: there is nothing to score a driver by")
    avoidable = [row for row in valid if row.avoidable]
    quiet = [row for row in valid if not row.is_hazard]
    km = sum(row.distance_m for row in quiet) / _M_PER_KM
    return SafetyScore(
        Rate.of(sum(row.crash for row in avoidable), len(avoidable)),
        false_brakes_per_km=sum(row.false_brakes for row in quiet) / km if km else math.nan,
        time_headway_s=_mean(row.headway_s for row in valid),
        jerk_p95_mps3=_mean(row.jerk_p95_mps3 for row in valid),
    )


def as_figures(score: SafetyScore) -> dict[str, float]:
    """Name the score and its parts as curves and records do."""
    parts = {f"safety_score_{name}": part for name, part in score.parts.items()}
    return {
        "safety_score": score.score,
        **parts,
        "avoidable_crashes": float(score.crashes.hits),
        "avoidable_episodes": float(score.crashes.trials),
        "avoidable_crash_rate": score.crashes.share,
        "avoidable_crash_rate_high": score.crashes.high,
        "jerk_p95_mps3": score.jerk_p95_mps3,
    }


def _closeness(value: float, target: float) -> float:
    return 1.0 / (1.0 + (value / target) ** 2) if math.isfinite(value) else 0.0


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return fmean(known) if known else math.nan
