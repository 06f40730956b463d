"""Does the reward rank drivers as a person would, and leave ordinary driving in peace?

Run before training: a policy learns what the reward says, not what its author meant.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, get_args

import numpy as np

from ml.console import WholeTable
from ml.controllers.bounds import Oracle
from ml.envs.config import EnvConfig, EpisodeKind, EpisodeMix
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.scoring.reward import PENALTIES, TERMS
from ml.envs.scoring.tracker import EpisodeSummary
from ml.evaluation.behaviours import (
    ALWAYS_BRAKE,
    DO_NOTHING,
    FOLLOWING,
    ORACLE,
    make_behaviours,
)
from ml.evaluation.closing import DriverFigures, figures_of
from ml.evaluation.drivers import ControllerDriver, Driver, make_driver
from ml.evaluation.episodes import run_drawn
from ml.evaluation.ranking import Ranking, rank
from ml.vehicle import DT_S

AUDIT_SEED = 2_000_003
RUNS = 4 * len(get_args(EpisodeKind)) + 12
"""Drivers times kinds of episodes, and the mixture's drivers, without the teachers."""
MAX_FIRING = 0.05
"""A penalty may fire in at most this share of the ticks of ordinary free driving."""


@dataclass(frozen=True, slots=True)
class AuditCell:
    """One driver in one kind of episode."""

    figures: DriverFigures
    mean: dict[str, float]
    """Weighted mean of each term per tick."""
    firing: dict[str, float]
    """Share of ticks in which each term is not zero."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """All drivers in all kinds of episode, and on the same cases, and what is wrong."""

    cells: dict[tuple[str, EpisodeKind], AuditCell]
    ranking: Ranking
    complaints: list[str]

    def tables(self) -> list[WholeTable]:
        """Build a console table per kind: mean reward per tick and, behind it, the firing rate."""
        tables = []
        for kind in get_args(EpisodeKind):
            table = WholeTable(title=f"{kind} episodes: mean per tick, share of ticks not 0")
            for column in ("driver", *TERMS, "return", "crash"):
                table.add_column(column.replace("_", "\n"), justify="right", no_wrap=True)
            table.columns[0].justify = "left"
            for driver, cell in ((d, cell) for (d, k), cell in self.cells.items() if k == kind):
                found = cell.figures
                crashes = found.hazard_crashes if kind == "hazard" else found.other_crashes
                table.add_row(
                    driver,
                    *(f"{cell.mean[t]:+.3f}\n{cell.firing[t]:.1%}" for t in TERMS),
                    f"{found.mean_return:.1f}",
                    f"{crashes.share:.0%}",
                )
            tables.append(table)
        return [*tables, *self.ranking.tables()]

    def as_json(self) -> dict[str, Any]:
        """Build all figures for a machine."""
        return {
            "kinds": [
                {"driver": driver, "kind": kind, **asdict(cell)}
                for (driver, kind), cell in self.cells.items()
            ],
            "pairs": [asdict(pair) for pair in self.ranking.pairs],
            "complaints": self.complaints,
        }


def audit_reward(
    config: EnvConfig,
    *,
    episodes: int = 128,
    seed: int = AUDIT_SEED,
    teachers: Sequence[Driver] = (),
    on_run: Callable[[str, str], None] = lambda *_: None,
) -> AuditReport:
    """Drive with those of whom it is known who is better, and check that the reward ranks them so.

    Each kind of episode alone, for what each term pays; and the configuration's mixture, where
    reward, safety score and targets are compared (`ml.evaluation.ranking`).

    Args:
        config: Its weights are audited.
        episodes: Of a run.
        seed: Of the cases.
        teachers: Analytic drivers that rank beside the others.
        on_run: Told (driver, episodes' kind) before each run.
    """
    time_gap_s = fmean(config.time_gap_s)
    drivers: list[Driver] = list(map(make_driver, (DO_NOTHING, ALWAYS_BRAKE, "sumo")))
    drivers.append(ControllerDriver(Oracle(time_gap_s)))
    cells: dict[tuple[str, EpisodeKind], AuditCell] = {}
    for kind in get_args(EpisodeKind):
        for driver in drivers:
            on_run(driver.name, kind)
            cells[driver.name, kind] = _drive(driver, config, kind, episodes, seed)
    ranking = rank(
        [*make_behaviours(time_gap_s), *teachers],
        config,
        episodes=episodes,
        seed=seed,
        on_driver=lambda name: on_run(name, "mixed"),
    )
    return AuditReport(cells, ranking, [*_complaints(cells), *ranking.complaints])


def _drive(
    driver: Driver, config: EnvConfig, kind: EpisodeKind, episodes: int, seed: int
) -> AuditCell:
    """Drive episodes of one kind, which end as training's do."""
    mix = EpisodeMix(**dict.fromkeys(get_args(EpisodeKind), 0.0) | {kind: 1.0})
    config = config.model_copy(update={"episode_mix": mix})
    ended: dict[int, EpisodeSummary] = {}

    def note(batch: ConvoyBatch) -> None:
        for row in np.flatnonzero(batch.status).tolist():
            ended[int(batch.keys[row])] = batch.summary(row)

    rows = run_drawn(driver, config, episodes=episodes, seed=seed, on_tick=note)
    summaries = ended.values()
    return AuditCell(
        figures=figures_of(driver.name, rows),
        mean={term: _per_tick(summaries, f"reward_{term}") for term in TERMS},
        firing={term: _per_tick(summaries, f"firing_{term}") for term in TERMS},
    )


def _per_tick(episodes: Collection[EpisodeSummary], name: str) -> float:
    """A summed figure per tick, over all ticks of the episodes."""
    ticks = sum(round(float(episode["duration_s"]) / DT_S) for episode in episodes)
    return sum(float(episode[name]) for episode in episodes) / ticks


def _complaints(cells: dict[tuple[str, EpisodeKind], AuditCell]) -> list[str]:
    """Say in words what a sound reward would not do."""
    returns = {key: cell.figures.mean_return for key, cell in cells.items()}
    complaints = []
    for kind in get_args(EpisodeKind):
        ranked = {driver: value for (driver, k), value in returns.items() if k == kind}
        best = max(ranked, key=lambda driver: ranked[driver])
        # SUMO's car-following knows all, too: a tie within the standard errors is no complaint.
        errors = [cells[driver, kind].figures.return_se for driver in (best, ORACLE)]
        if ranked[best] - ranked[ORACLE] > math.hypot(*errors):
            complaints.append(
                f"{kind}: {best} earns {ranked[best]:.1f}, the oracle only {ranked[ORACLE]:.1f}; "
                "perfect knowledge must pay best"
            )
        # Who crashes may earn less than who stands still.
        safe = [d for d in ranked if not cells[d, kind].figures.other_crashes.hits]
        worst = min(safe, key=lambda driver: ranked[driver])
        if kind != "hazard" and worst != ALWAYS_BRAKE:
            complaints.append(
                f"{kind}: {worst} earns {ranked[worst]:.1f}, less than always-brake with "
                f"{ranked[ALWAYS_BRAKE]:.1f}; of those who do not crash, standing still must be "
                "worst where nothing happens"
            )
    if returns[DO_NOTHING, "hazard"] >= returns[FOLLOWING, "hazard"]:
        complaints.append(
            f"hazard: do-nothing earns {returns[DO_NOTHING, 'hazard']:.1f}, car-following "
            f"{returns[FOLLOWING, 'hazard']:.1f}; crashing must not pay"
        )
    for driver in (FOLLOWING, ORACLE):
        for term in PENALTIES:
            firing = cells[driver, "free"].firing[term]
            if firing > MAX_FIRING:
                complaints.append(
                    f"free: {term} fires in {firing:.1%} of {driver}'s ticks; at most "
                    f"{MAX_FIRING:.0%} is allowed in ordinary driving"
                )
    return complaints
