"""`roadsense targets`: its options; `ml.commands.targets_run` does the work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import tyro

from ml.errors import ConfigError
from ml.evaluation.seeds import EVALUATION_SEED

if TYPE_CHECKING:
    from collections.abc import Sequence

Part = Literal["convoy", "r157", "ncap", "plexe", "peers", "road", "radios"]
PARTS: tuple[Part, ...] = get_args(Part)
_COUNTS = (
    "hazards", "bursty_hazards", "shadowed_hazards", "others", "beyond_hazards", "beyond_others",
    "ncap_draws", "plexe_draws", "workers",
)  # fmt: skip


@dataclass(frozen=True)
class TargetsOptions:
    """Hold saved models to the table of targets, beside classical controllers on the same cases.

    Every driver meets the same cases and the same fate of every packet. Each target is reached,
    missed, or not shown: then the 95 % interval is too wide to tell, and more cases would. Means
    over the suite convoy are weighted 60 to 40, hazards to others.

    Beyond training bounds are doubled: 9 to 12 cars ahead, the road rural (training is on highway),
    and radios that no preset is. Those are written to radios/ in --out, for --radio of any command:
    clean-bursty and bursty-shadowed have every number of the loss model halfway between two
    presets; clean-slow, bursty-slow (bias_time_s 120), clean-steep (exponent_near 2.6) and
    bursty-steep (exponent_far 4.5) have one number outside what the radio varied draws in training.
    Each is held to the bounds of its worse neighbour.

    All of it is some 110,000 episodes per driver; --only takes a part, --quick a few cases of all.
    A run that was stopped goes on where it stood when the same command runs again. Writes
    targets.md, targets.json and targets.png, and lists what the models crashed in.
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Models that `roadsense train` saved (.zip); several are trainings of one recipe, of which a
    target is reached where each reaches it."""
    controllers: tuple[str, ...] = ("predictive:0.3", "predictive:0.5")
    """Baselines, as NAME:TIME-GAP or NAME for all its time gaps; none: none."""
    shadowed_controllers: tuple[str, ...] = ("idm:1.1",)
    """More of them on shadowed, where the frontier is compared up to 3 s of headway."""
    bursty_gaps: tuple[float, ...] = ()
    """More time gaps of each model on bursty, s; held to no target."""
    shadowed_gaps: tuple[float, ...] = ()
    """The same on shadowed, where they are points of its frontier."""
    out: Path = Path("targets")
    """Folder of the result."""
    only: tuple[Part, ...] = ()
    """Parts to measure; left out: all."""
    seed: int = EVALUATION_SEED
    """Of the cases; left out: the card's. For choices take 3000017: that stays unseen."""
    hazards: int = 10_000
    """Hazards of convoy on clean, 1 to 8 cars ahead."""
    bursty_hazards: int = 13_500
    """On bursty; .03 % is shown by no crash in 12,800 avoidable ones, and by nothing less."""
    shadowed_hazards: int = 3_000
    """On shadowed."""
    others: int = 1_500
    """Benign and free cases of convoy on each of the three."""
    beyond_hazards: int = 6_600
    """Hazards on each road, radio and number of cars beyond training."""
    beyond_others: int = 500
    """Benign and free cases there."""
    ncap_draws: int = 200
    """Draws of the sensors' errors for each of the 21 cases CCRb and CCRm; 183 can show 99.9 %."""
    plexe_draws: int = 100
    """The same for the swinging car in front."""
    workers: int = 2
    """Processes."""
    quick: bool = False
    """Take a few cases of everything, whatever numbers are given: nothing will be shown by them."""
    force: bool = False
    """Measure all again where --out holds figures of other software or another seed."""


def targets(arguments: Sequence[str]) -> int:
    """Run the command.

    Raises:
        RoadSenseError: With what to do next.
    """
    options = tyro.cli(TargetsOptions, prog="roadsense targets", args=arguments)
    _check(options)
    if options.quick:
        options = _quick(options)
    from ml.commands.targets_run import run  # noqa: PLC0415 (torch is slow to import)

    return run(options, arguments)


def _quick(options: TargetsOptions) -> TargetsOptions:
    return replace(
        options,
        hazards=12,
        bursty_hazards=12,
        shadowed_hazards=12,
        others=8,
        beyond_hazards=6,
        beyond_others=4,
        ncap_draws=1,
        plexe_draws=2,
    )


def _check(options: TargetsOptions) -> None:
    for name in _COUNTS:
        value = getattr(options, name)
        if value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} = {value}; allowed is 1 or more")
    if not options.models:
        raise ConfigError("name a MODEL: a .zip that `roadsense train` saved")
    for name in ("models", "bursty_gaps", "shadowed_gaps"):
        values = getattr(options, name)
        double = next((value for value in values if values.count(value) > 1), None)
        if double is not None:
            option = "MODEL" if name == "models" else f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option}: {double} is named twice; name it once")
