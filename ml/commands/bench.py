"""`roadsense bench`: throughput of environment and training against their ceilings."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml.bench.report import SECTIONS, BenchReport, Section
from ml.commands.checks import require_counts, require_file
from ml.console import make_console
from ml.options import read_options
from ml.progress import Parts

_PART_S = 2.2
"""How long one measurement takes on two cores."""


@dataclass(frozen=True)
class BenchOptions:
    """Measure environment and training throughput, upper bounds and a naive baseline."""

    num_envs: int = 64
    """Convoys of the main comparison."""
    num_peers: int = 5
    """Cars ahead of each ego in the main comparison."""
    radio: str = "clean"
    """Radio preset, or a parameter file."""
    rounds: int = 5
    """Measured rounds, after one round of warm-up."""
    only: tuple[Section, ...] = ()
    """Measure these alone: the lettered comparison; a training run with everything on beside its
    ceiling; environment and training by 1, 2, 4 … workers; recorded traffic beside the environment;
    the radio's cost per convoy and tick; the environment over its sizes. Default: all."""
    profile: bool = False
    """Only profile a tick of the environment."""
    json: Path | None = None
    """Write all figures to this file."""
    picture: Path | None = None
    """Draw the figures to this file; default: no picture."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    options = read_options(BenchOptions, "roadsense bench", arguments)
    require_counts(options, "rounds", "num_envs", "num_peers")
    require_file("--json", options.json)
    require_file("--picture", options.picture, ".png", ".svg")
    from ml.bench.bench import bench, count_parts  # noqa: PLC0415 (torch is slow to import)
    from ml.bench.profile import profile  # noqa: PLC0415

    console = make_console()
    if options.profile:
        with console.status("profiling"):
            table = profile(options.num_envs, options.num_peers, options.radio)
        console.print(table)
        return 0
    report = BenchReport(options.num_envs, options.num_peers, options.radio)
    sections = options.only or SECTIONS
    total = count_parts(sections, options.rounds)
    with Parts(console, "measuring", total=total, usual_s=_PART_S * total) as parts:
        bench(report, options.rounds, parts.begin, sections)
    for table in report.tables():
        console.print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    if options.picture is not None:
        report.draw(options.picture)
        console.print(f"picture: {options.picture}", markup=False)
    return 0
