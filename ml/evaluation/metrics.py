"""From episode summaries to the figures of a table, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest

from ml.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml.evaluation.rollout import EpisodeSummary, RolloutResult


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
class DriverFigures:
    """One row of the table.

    Attributes:
        driver: Name.
        episodes: Valid episodes.
        invalid: Episodes left out (peers collided, a vehicle went missing).
        hazard_crashes: In hazard episodes.
        other_crashes: In benign and free ones.
        false_brakes_per_km: Needless braking beyond 2 m/s², in benign and free episodes.
        time_headway_s: Mean over episodes of the mean gap / speed above 5 m/s.
        mean_return: Over all valid episodes.
        return_se: Its standard error.
    """

    driver: str
    episodes: int
    invalid: int
    hazard_crashes: Rate
    other_crashes: Rate
    false_brakes_per_km: float
    time_headway_s: float
    mean_return: float
    return_se: float


def _column(
    episodes: Sequence[EpisodeSummary], name: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([float(episode[name]) for episode in episodes])


def _crashes(episodes: Sequence[EpisodeSummary]) -> Rate:
    return Rate.of(sum(bool(episode["collision"]) for episode in episodes), len(episodes))


def figures(result: RolloutResult) -> DriverFigures:
    """Summarise a driver's episodes.

    Raises:
        EvaluationError: No episode was valid.
    """
    valid = [episode for episode in result.episodes if not episode["invalid"]]
    if not valid:
        raise EvaluationError(
            f"{result.driver}: none of {len(result.episodes)} episodes was valid (peers collided "
            "or a vehicle went missing). Try another road or fewer peers."
        )
    hazard = [episode for episode in valid if episode["kind"] == "hazard"]
    other = [episode for episode in valid if episode["kind"] != "hazard"]
    returns = _column(valid, "return")
    headway = _column(valid, "time_headway_s")
    known = headway[~np.isnan(headway)]
    km = _column(other, "distance_m").sum() / 1000.0
    return DriverFigures(
        driver=result.driver,
        episodes=len(valid),
        invalid=len(result.episodes) - len(valid),
        hazard_crashes=_crashes(hazard),
        other_crashes=_crashes(other),
        false_brakes_per_km=float(_column(other, "false_brakes").sum() / km)
        if km
        else float("nan"),
        time_headway_s=float(known.mean()) if known.size else float("nan"),
        mean_return=float(returns.mean()),
        return_se=float(returns.std(ddof=1) / np.sqrt(returns.size)) if returns.size > 1 else 0.0,
    )
