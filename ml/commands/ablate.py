"""Options of `roadsense ablate`, and what it takes away from the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from ml.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_HISTORY = [
    f"peers.{name}"
    for back in (1, 2, 3)
    for name in (f"accel_{back}_before", f"slowed_since_{back}", f"span_{back}")
]
_AGE = ["ego.silence", "ego.nearest_age", "ego.missing_room", "peers.age"]
_UNCERTAINTY = ["ego.position_sd", "ego.nearest_sd", "peers.position_sd"]
_DEMANDS = ["ego.needed_braking", "ego.missing_room", "peers.needed_braking"]
BASE = "the recipe"

Variant = Literal["", "no safety layer", "radio off"]


@dataclass(frozen=True, slots=True)
class Ablation:
    """One row of the table.

    Attributes:
        name: What the table calls it.
        options: Of `roadsense train`; None where the recipe's own model is judged.
        variant: How the model is plugged in.
        radios: Where it is judged; empty for the usual ones.
    """

    name: str
    options: tuple[str, ...] | None = None
    variant: Variant = ""
    radios: tuple[str, ...] = ()


ABLATIONS = (
    Ablation(BASE, ()),
    Ablation("radio off", variant="radio off"),
    Ablation("no safety layer when driving", variant="no safety layer"),
    Ablation("no safety layer from the start", ("--safety-layer", "False")),
    Ablation("no history of messages", ("--policy.hidden", *_HISTORY)),
    Ablation("no age of messages", ("--policy.hidden", *_AGE)),
    Ablation("no position uncertainty", ("--policy.hidden", *_UNCERTAINTY)),
    Ablation("no demands of the layer shown", ("--policy.hidden", *_DEMANDS)),
    Ablation("mean instead of max pooling", ("--policy.pooling", "mean")),
    Ablation("trained on clean alone", ("--radio", "clean")),
    Ablation("no restraint term", ("--reward.restraint", "0")),
    Ablation("no warm start", ("--imitation.rounds", "0")),
    Ablation("warm start alone", ("--ppo.learning-rate", "1e-12")),
    Ablation("raw GPS hold", radios=("gps-hold",)),
)


@dataclass(frozen=True)
class AblateOptions:
    """Train the recipe without each of its parts, and judge all on the same cases.

    Runs on the seed for choices, not on the card's. What is there already is not done again, so a
    run that was stopped goes on.
    """

    out: Path = Path("ablation")
    """Folder for runs, rows and the table (ablation.md)."""
    preset: str = "convoy"
    """The recipe."""
    steps: int | None = None
    """Steps of each training; left out: the recipe's."""
    seed: int = 0
    """Of the trainings."""
    episodes: int = 600
    """Cases of the suite convoy on each radio."""
    radio: tuple[str, ...] = ("clean", "bursty")
    """Radios on which they are judged."""
    only: tuple[str, ...] = ()
    """Rows to make, by their names; left out: all."""


def ablate(arguments: Sequence[str]) -> int:
    """Run the command.

    Raises:
        RoadSenseError: With what to do next.
    """
    options = tyro.cli(AblateOptions, prog="roadsense ablate", args=arguments)
    if options.episodes < 1:
        raise ConfigError(f"--episodes = {options.episodes}; allowed is 1 or more")
    names = [ablation.name for ablation in ABLATIONS]
    for name in options.only:
        if name not in names:
            known = ", ".join(names)
            raise ConfigError(f"--only {name!r}: there is no such row. There are: {known}")
    from ml.commands.ablation import run_ablations  # noqa: PLC0415 (torch is slow to import)

    return run_ablations(options)
