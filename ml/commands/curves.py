"""`roadsense curves`: how runs learnt, side by side in one picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ml.commands.checks import require_file
from ml.console import make_console, plain_lines
from ml.errors import ConfigError
from ml.evaluation.records import require_distinct
from ml.options import read_options


@dataclass(frozen=True)
class CurvesOptions:
    """Draw the learning curves of training runs, one colour per preset.

    Shows crashes and return during training, headway and false brakes of periodic evaluations.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories, as runs/*-ppo-s*."""
    out: Path = Path("curves.png")
    """Picture, .png or .svg."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    options = read_options(CurvesOptions, "roadsense curves", arguments)
    if not options.runs:
        raise ConfigError("no run is named: give run directories, as runs/*-ppo-s*")
    require_distinct("RUN", options.runs)
    require_file("--out", options.out, ".png", ".svg")
    from ml.reports.curves import read_curves, write_curves  # noqa: PLC0415 (matplotlib is slow)

    write_curves([read_curves(run) for run in options.runs], options.out)
    plain_lines(make_console())(f"picture: {options.out}")
    return 0
