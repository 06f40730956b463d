"""The table at the end of a training run: the policy beside its baselines, and a verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ml.console import WholeTable, markdown_table
from ml.envs.config import EnvConfig
from ml.errors import EvaluationError
from ml.evaluation.compare import compare as compare_paired
from ml.evaluation.drivers import Driver, make_driver
from ml.evaluation.episodes import run_drawn
from ml.evaluation.result import EpisodeRow
from ml.evaluation.summary import Rate, summarise

CLOSING_SEED = 1_000_003
"""Seed of the closing episodes; neither training nor periodic evaluation draws from it."""

_COLUMNS = (
    "driver",
    ">crashes in avoidable hazards [95 %]",
    ">crashes otherwise [95 %]",
    ">false brakes / km",
    ">time headway",
    ">mean return",
)


@dataclass(frozen=True, slots=True)
class DriverFigures:
    """One row of the table.

    Attributes:
        hazard_crashes: In those hazards that the reference ego survives.
        invalid: Episodes left out (peers collided, a vehicle went missing).
        false_brakes_per_km: In benign and free ones.
        time_headway_s: Mean over the episodes.
        return_se: Standard error of `mean_return`.
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


def compare(
    drivers: Sequence[Driver],
    config: EnvConfig,
    *,
    episodes: int,
    seed: int = CLOSING_SEED,
    on_driver: Callable[[str], None] = lambda _: None,
) -> dict[str, list[EpisodeRow]]:
    """Run every driver through the same episodes, measured as `roadsense evaluate` does.

    Returns:
        Episodes by driver, in order; `on_driver` is told each one's name before it drives.

    Raises:
        EvaluationError: Fewer than one episode is asked for.
    """
    config = config.model_copy(update={"stop_at_collision": False})
    found = {}
    for driver in drivers:
        on_driver(driver.name)
        found[driver.name] = run_drawn(driver, config, episodes=episodes, seed=seed)
    return found


def verdict(candidate: str, rival: str, rows: Mapping[str, Sequence[EpisodeRow]]) -> str:
    """Say in words how a driver compares with another on the same episodes.

    Differences count where they are significant beside all others and larger than what matters
    (`ml.evaluation.compare`).
    """
    found = compare_paired(rows[candidate], rows[rival])
    crashes = next((d for d in found.differences if d.metric.key == "crash"), None)
    parts = []
    for word in ("better", "worse"):
        told = [
            f"{d.metric.label} ({d.estimate.candidate:.2f} for {d.estimate.baseline:.2f} "
            f"{d.metric.unit})"
            for d in found.differences
            if d.verdict == word
        ]
        if told:
            parts.append(f"{word} in {', '.join(told)}")
    said = "; ".join(parts) or "not shown to differ in anything"
    text = f"Verdict: {candidate} beside {rival}, {found.pairs:,} paired episodes: {said}."
    if crashes is not None and not crashes.significant:
        estimate = crashes.estimate
        hits = [round(n * estimate.pairs / 100) for n in (estimate.candidate, estimate.baseline)]
        text += (
            f" Who crashes less, they cannot tell: {hits[0]} and {hits[1]} of {estimate.pairs:,} "
            f"avoidable hazards, a difference of {estimate.low:+.1f} to {estimate.high:+.1f} pp; "
            "`roadsense evaluate` drives more."
        )
    return text


def figures_of(driver: str, rows: Sequence[EpisodeRow]) -> DriverFigures:
    """Summarise a driver's episodes for a row of the table.

    Raises:
        EvaluationError: No episode was valid.
    """
    valid = [row for row in rows if not row.invalid]
    if not valid:
        raise EvaluationError(
            f"{driver}: none of {len(rows)} episodes was valid (peers collided or a vehicle went "
            "missing). Try another road or fewer peers."
        )
    (summary,) = summarise(rows)
    hazards = [row.crash for row in valid if row.is_hazard and row.avoidable]
    others = [row.crash for row in valid if not row.is_hazard]
    returns = np.array([row.mean_return for row in valid])
    return DriverFigures(
        driver=driver,
        episodes=len(valid),
        invalid=summary.invalid,
        hazard_crashes=Rate.of(sum(hazards), len(hazards)),
        other_crashes=Rate.of(sum(others), len(others)),
        false_brakes_per_km=summary.figures["false_brakes_per_km"].value,
        time_headway_s=summary.figures["headway_s"].value,
        mean_return=float(returns.mean()),
        return_se=float(returns.std(ddof=1) / np.sqrt(returns.size)) if returns.size > 1 else 0.0,
    )


def baselines() -> list[Driver]:
    """Who stands beside the policy in the closing table; the verdict is about the first."""
    return [make_driver(spec) for spec in ("predictive:0.5", "do-nothing", "always-brake", "sumo")]


def _as_cells(rows: Sequence[DriverFigures]) -> list[tuple[str, ...]]:
    """Format the figures, a tuple of cells per driver."""
    return [
        (
            row.driver,
            str(row.hazard_crashes),
            str(row.other_crashes),
            f"{row.false_brakes_per_km:.2f}",
            f"{row.time_headway_s:.2f} s",
            f"{row.mean_return:.1f} ± {row.return_se:.1f}",
        )
        for row in rows
    ]


def as_table(rows: Sequence[DriverFigures]) -> WholeTable:
    """Build the console table."""
    title = f"{rows[0].episodes + rows[0].invalid} episodes each, the same for every driver"
    left_out = ", ".join(f"{row.driver}: {row.invalid}" for row in rows if row.invalid)
    if left_out:
        title += f"; invalid and left out: {left_out}"
    table = WholeTable(*_COLUMNS, title=title)
    table.columns[0].no_wrap = True
    for cells in _as_cells(rows):
        table.add_row(*cells)
    return table


def as_markdown(rows: Sequence[DriverFigures]) -> str:
    """Build the table for a file."""
    return markdown_table([column.removeprefix(">") for column in _COLUMNS], _as_cells(rows))


def as_json(rows: Sequence[DriverFigures]) -> list[dict[str, Any]]:
    """Build the table for a machine."""
    return [asdict(row) for row in rows]
