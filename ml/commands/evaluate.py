"""`roadsense evaluate`: its options; `ml.commands.evaluation_run` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 (tyro reads the types)
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ml.errors import ConfigError
from ml.evaluation.seeds import EVALUATION_SEED
from ml.evaluation.suites.names import SUITE_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class EvaluateOptions:
    """Judge saved models beside classical controllers and bounds, on the same cases and radio.

    Without a model, the baselines alone. An evaluation that was stopped goes on where it stood
    when the same command runs again with the same --out.
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Models that `roadsense train` saved (.zip)."""
    suite: tuple[str, ...] = SUITE_NAMES
    """Suites, as NAME or NAME:NUMBER: convoy:episodes, r157:time-gap, others:repeats; with
    @SCENARIO behind it on another road, as convoy@rural or convoy:300@my.sumocfg."""
    radio: tuple[str, ...] = ()
    """Radio presets or parameter files; left out: each suite's own."""
    controllers: tuple[str, ...] = ()
    """Controllers, as NAME:TIME-GAP or NAME for all its time gaps; left out: all; none: none."""
    seeds: tuple[int, ...] = (EVALUATION_SEED,)
    """Seeds of the cases; left out: the card's. For choices take 3000017: that stays unseen."""
    episodes: int | None = None
    """Episodes of the suite convoy over all its radios; left out: 1,000."""
    out: Path | None = None
    """Folder of the result; left out: evaluations/ and the time."""
    against: str | None = None
    """A model or a result to hold the first model against; exit code 1 where the first is worse."""
    margin: tuple[str, ...] = ()
    """Losses that --against lets pass, as crash=0.5; metrics: crash, calm_crash, false_brakes,
    braking_share, below_rss, jerk, headway, progress, reaction."""
    radio_position: Literal["reference", "own"] = "reference"
    """Whose position decides packets' fates: the reference driver's, or each controller's own."""
    workers: int = 2
    """Processes."""
    csv: bool = False
    """Write all episodes to episodes.csv, too."""
    force: bool = False
    """Replace the result of another evaluation in --out."""


def evaluate(arguments: Sequence[str]) -> int:
    """Run the command.

    Returns:
        0, or 1 where `--against` found the first model worse.

    Raises:
        RoadSenseError: With what to do next.
    """
    options = tyro.cli(EvaluateOptions, prog="roadsense evaluate", args=arguments)
    _check(options)
    from ml.commands.evaluation_run import run  # noqa: PLC0415 (torch is slow to import)

    return run(options, arguments)


def _check(options: EvaluateOptions) -> None:
    for name in ("episodes", "workers"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} = {value}; allowed is 1 or more")
    for name in ("suite", "seeds"):
        if not getattr(options, name):
            raise ConfigError(f"--{name} is empty; name at least one")
    if options.against is not None and not options.models:
        raise ConfigError("--against needs a MODEL to hold against it")
