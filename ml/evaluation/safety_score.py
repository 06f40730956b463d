"""One number by which models, checkpoints and tuned controllers are ranked: points an episode.

    score of an episode = − Σ price · metric,   the score of a driver = their mean

with the prices of `ml.envs.prices`, which the reward charges too: 0 is a drive without fault at no
distance, and more is better. `costs_of` says in which episodes each counts.

Each case has its score, so two drivers are compared case by case (`paired_gain`): their difference
spreads far less than the cases do.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np

from ml.envs.prices import PRICES
from ml.envs.scoring.metrics import overreaction_share
from ml.errors import EvaluationError
from ml.evaluation.paired import PairedEstimate, paired_ratios
from ml.evaluation.result import EpisodeRow
from ml.evaluation.summary import Rate

_M_PER_KM = 1000.0
INVALID: Final = float("nan")
"""Stands in for the score of an episode that does not count."""


def costs_of(row: EpisodeRow) -> dict[str, float]:
    """What an episode's faults cost, points by name of the price; the score is minus their sum.

    A crash costs where it was avoidable, braking where there is no hazard, an overreaction to a
    benign slowing. What is not defined in the episode costs nothing.
    """
    amounts = {
        "crash": float(row.crash and row.avoidable),
        "headway_s": row.headway_s,
        "false_brakes": float(row.false_brakes),
        "braking_share": 0.0 if row.is_hazard else row.braking_share,
        "overreaction": 0.0 if row.is_hazard else overreaction_share(row.overreaction_mps2),
        "jerk_p95_mps3": row.jerk_p95_mps3,
        "progress": max(1.0 - row.progress, 0.0),
    }
    return {
        name: price * amounts[name] if math.isfinite(amounts[name]) else 0.0
        for name, price in PRICES.items()
    }


@dataclass(frozen=True, slots=True)
class SafetyScore:
    """A driver's score and the figures that people look at beside it.

    Attributes:
        by_case: Score of each case in the order of the rows, points; not a number where invalid.
        costs: Mean cost of each fault, points by name of the price.
        crashes: Crashes in avoidable episodes, with the interval of their share.
        false_brakes_per_km: Not a number where no benign or free episode was driven.
        time_headway_s: s; not a number for who never drove faster than 5 m/s.
        jerk_p95_mps3: m/s³; not a number where no episode was long enough.
    """

    by_case: tuple[float, ...]
    costs: dict[str, float]
    crashes: Rate
    false_brakes_per_km: float
    time_headway_s: float
    jerk_p95_mps3: float

    @property
    def score(self) -> float:
        """Points an episode, mean; at most 0."""
        return _mean(self.by_case)


def score_of(rows: Iterable[EpisodeRow]) -> SafetyScore:
    """Score a driver by its episodes; invalid ones do not count.

    Raises:
        EvaluationError: None is valid.
    """
    listed = list(rows)
    valid = [row for row in listed if not row.invalid]
    if not valid:
        raise EvaluationError("no episode was valid: there is nothing to score a driver by")
    avoidable = [row for row in valid if row.avoidable]
    quiet = [row for row in valid if not row.is_hazard]
    km = sum(row.distance_m for row in quiet) / _M_PER_KM
    costs = [costs_of(row) for row in valid]
    return SafetyScore(
        by_case=tuple(INVALID if row.invalid else -sum(costs_of(row).values()) for row in listed),
        costs={name: fmean(cost[name] for cost in costs) for name in PRICES},
        crashes=Rate.of(sum(row.crash for row in avoidable), len(avoidable)),
        false_brakes_per_km=sum(row.false_brakes for row in quiet) / km if km else math.nan,
        time_headway_s=_mean(row.headway_s for row in valid),
        jerk_p95_mps3=_mean(row.jerk_p95_mps3 for row in valid),
    )


def as_figures(score: SafetyScore) -> dict[str, float]:
    """Name the score and what it comes from as curves and records do."""
    return {
        "safety_score": score.score,
        **{f"cost_{name}": cost for name, cost in score.costs.items()},
        "avoidable_crashes": float(score.crashes.hits),
        "avoidable_episodes": float(score.crashes.trials),
        "avoidable_crash_rate": score.crashes.share,
        "avoidable_crash_rate_high": score.crashes.high,
        "jerk_p95_mps3": score.jerk_p95_mps3,
    }


def paired_gain(candidate: Sequence[float], baseline: Sequence[float]) -> PairedEstimate | None:
    """Compare two drivers' scores, case by case; None where they have no valid case in common.

    Args:
        candidate: Scores by case, points; not a number where invalid.
        baseline: The same cases, in the same order.

    Raises:
        EvaluationError: They are not as many.
    """
    if len(candidate) != len(baseline):
        raise EvaluationError(
            f"{len(candidate)} and {len(baseline)} cases cannot be paired: evaluate both on the "
            "same ones."
        )
    scores = np.array([candidate, baseline], dtype=np.float64)
    ours, theirs = scores[:, np.isfinite(scores).all(axis=0)]
    if not ours.size:
        return None
    ones = np.ones(ours.size)
    return paired_ratios((ours, ones), (theirs, ones), key="safety score")


def in_words(gain: PairedEstimate) -> str:
    """Say a difference of scores: "+1.20 [+0.31, +2.22] points, 256 paired cases"."""
    return (
        f"{gain.difference:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] points, {gain.pairs:,} paired "
        "cases"
    )


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return fmean(known) if known else math.nan
