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
_TARGETS = {"false_brakes_per_km": 0.05, "time_headway_s": 1.3, "jerk_p95_mps3": 2.0}
_DECADES = 4.0
"""Powers of ten between the worst and the best bound on crashes."""
_M_PER_KM = 1000.0


@dataclass(frozen=True, slots=True)
class SafetyScore:
    """A score, its parts and the figures that they come from; see the module.

    Attributes:
        crash_part: In [0, 1], and so are the other parts; more is better.
        false_braking_part: Of `false_brakes_per_km`.
        headway_part: Of `time_headway_s`.
        jerk_part: Of `jerk_p95_mps3`.
        crashes: Crashes in avoidable episodes, with the interval of their share.
        false_brakes_per_km: Not a number where no benign or free episode was driven.
        time_headway_s: s; not a number for who never drove faster than 5 m/s.
        jerk_p95_mps3: m/s³; not a number where no episode was long enough.
    """

    crash_part: float
    false_braking_part: float
    headway_part: float
    jerk_part: float
    crashes: Rate
    false_brakes_per_km: float
    time_headway_s: float
    jerk_p95_mps3: float

    @property
    def score(self) -> float:
        """In [0, 1]; more is better."""
        others = self.false_braking_part + self.headway_part + self.jerk_part
        return CRASH_WEIGHT * self.crash_part + OTHER_WEIGHT * others


def safety_score(
    crashes: int,
    avoidable: int,
    *,
    false_brakes_per_km: float,
    time_headway_s: float,
    jerk_p95_mps3: float,
) -> SafetyScore:
    """Compute the score from its figures; see the module.

    Args:
        crashes: Avoidable episodes that ended in a crash.
        avoidable: Avoidable episodes.
        false_brakes_per_km: Events per km, at least 0; a figure that is not finite scores 0, here
            and below.
        time_headway_s: s, at least 0.
        jerk_p95_mps3: m/s³, at least 0.

    Raises:
        EvaluationError: A count or figure is negative, or there are more crashes than episodes.
    """
    if not 0 <= crashes <= avoidable:
        raise EvaluationError(f"{crashes} crashes in {avoidable} episodes: no share of anything")
    figures = {
        "false_brakes_per_km": false_brakes_per_km,
        "time_headway_s": time_headway_s,
        "jerk_p95_mps3": jerk_p95_mps3,
    }
    rate = Rate.of(crashes, avoidable)
    crash_part = min(max(-math.log10(rate.high) / _DECADES, 0.0), 1.0)
    braking, headway, jerk = (_closeness(name, value) for name, value in figures.items())
    return SafetyScore(crash_part, braking, headway, jerk, rate, *figures.values())


def score_of(rows: Iterable[EpisodeRow]) -> SafetyScore:
    """Score a driver by its episodes; invalid ones do not count.

    Raises:
        EvaluationError: None is valid.
    """
    valid = [row for row in rows if not row.invalid]
    if not valid:
        raise EvaluationError("no episode was valid: there is nothing to score a driver by")
    avoidable = [row for row in valid if row.avoidable]
    quiet = [row for row in valid if row.kind != "hazard"]
    km = sum(row.distance_m for row in quiet) / _M_PER_KM
    return safety_score(
        sum(row.crash for row in avoidable),
        len(avoidable),
        false_brakes_per_km=sum(row.false_brakes for row in quiet) / km if km else math.nan,
        time_headway_s=_mean(row.headway_s for row in valid),
        jerk_p95_mps3=_mean(row.jerk_p95_mps3 for row in valid),
    )


def as_figures(score: SafetyScore) -> dict[str, float]:
    """Name the score and its parts as curves and records do."""
    return {
        "safety_score": score.score,
        "safety_score_crashes": score.crash_part,
        "safety_score_false_braking": score.false_braking_part,
        "safety_score_headway": score.headway_part,
        "safety_score_jerk": score.jerk_part,
        "avoidable_crashes": float(score.crashes.hits),
        "avoidable_episodes": float(score.crashes.trials),
        "avoidable_crash_rate_high": score.crashes.high,
        "jerk_p95_mps3": score.jerk_p95_mps3,
    }


def _closeness(name: str, value: float) -> float:
    if value < 0.0:
        raise EvaluationError(f"{name} = {value:g}; a figure of a driver is at least 0")
    return 1.0 / (1.0 + (value / _TARGETS[name]) ** 2) if math.isfinite(value) else 0.0


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return fmean(known) if known else math.nan
