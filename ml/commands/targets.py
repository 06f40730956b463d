"""`roadsense targets`: run the acceptance tests on models, and write what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ml.commands.checks import require_counts, require_seeds
from ml.console import make_console, plain_lines
from ml.errors import ConfigError
from ml.evaluation.acceptance.sizes import COUNTS, PARTS, Asked
from ml.evaluation.records import require_distinct
from ml.execution.executor import CLUSTER_HELP, make_executor
from ml.options import read_options

if TYPE_CHECKING:
    from rich.console import Console

    from ml.evaluation.acceptance.benchmarks import BenchmarkResult
    from ml.evaluation.acceptance.submission import Submission
    from ml.evaluation.acceptance.table import Row
    from ml.evaluation.result import Origin

TABLE_FILE, JSON_FILE, PICTURE_FILE = "targets.md", "targets.json", "targets.png"
_CLEAN, _BURSTY, _SHADOWED = "convoy clean", "convoy bursty", "convoy shadowed"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where is measured, and by whom."""

    out: Path = Path("targets")
    """Folder of the result."""
    workers: int = 2
    """Processes on this machine."""
    cluster: Annotated[str | None, tyro.conf.arg(help=CLUSTER_HELP)] = None
    force: bool = False
    """Measure everything again if --out holds figures of other software or another seed."""


@dataclass(frozen=True, kw_only=True)
class TargetsOptions(Place, Asked):
    """Run the acceptance tests on saved models and, for comparison, on classical controllers.

    All drivers get the same cases and the same packets. A test passes, fails or is inconclusive:
    the 95 % interval is then too wide, and more cases would decide. For limits, which no driver on
    these sensors and this radio is known to reach, the table shows the distance and the derivation.
    Means over the suite convoy are weighted 60 to 40, hazards to others.

    Beyond training bounds are doubled: 9 to 12 cars ahead, the road rural (training is on highway),
    and radios that are no presets. They are written to radios/ in --out, for --radio of any
    command: clean-bursty and bursty-shadowed have every number of the loss model halfway between
    two presets; clean-slow, bursty-slow (bias_time_s 120), clean-steep (exponent_near 2.6) and
    bursty-steep (exponent_far 4.5) have one number outside what the radio varied draws in training.
    The bounds of each are those of its worse neighbour.

    The full set has about 100,000 episodes per driver; --only selects parts, --quick a few cases of
    each. A stopped run resumes when the same command runs again. Writes targets.md, targets.json
    and targets.png, and lists the cases in which models crashed; and submission.json, for the
    leaderboard (docs/leaderboard/README.md).
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Models that `roadsense train` saved (.zip). Several are training runs of one recipe, which
    passes a test if each of them does."""
    name: str = ""
    """Name of the recipe, for the leaderboard; default: the models' names."""
    by: str = ""
    """Who submits it to the leaderboard, and how to reach them."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = read_options(TargetsOptions, "roadsense targets", arguments)
    require_counts(options, *COUNTS, "workers")
    require_seeds(options, "seed")
    if not options.models:
        raise ConfigError("name a MODEL: a .zip that `roadsense train` saved")
    require_distinct("MODEL", options.models)
    # Torch, numba and matplotlib are slow to import, and --help needs none of them.
    from ml.atomic_files import write_atomically  # noqa: PLC0415
    from ml.commands.fill import make_origin  # noqa: PLC0415
    from ml.evaluation.acceptance.submission import SUBMISSION_FILE  # noqa: PLC0415
    from ml.evaluation.planning import short_names  # noqa: PLC0415
    from ml.reports.acceptance.picture import write_picture  # noqa: PLC0415
    from ml.reports.acceptance.tables import as_json, as_markdown, console_tables  # noqa: PLC0415

    console, out = make_console(), options.out
    origin = make_origin("targets", arguments, (options.seed,))
    asked = Asked(**{field.name: getattr(options, field.name) for field in fields(Asked)})
    names = short_names(options.models)
    require_distinct("drivers", names)
    models = dict(zip(names, options.models, strict=True))
    submission, rows, results = measure(
        asked.reduced(), models, options, origin, console, name=options.name, by=options.by
    )
    write_atomically(out / TABLE_FILE, as_markdown(submission))
    write_atomically(out / JSON_FILE, as_json(rows, results, origin))
    write_atomically(out / SUBMISSION_FILE, submission.text())
    drawn = write_picture(results, out / PICTURE_FILE)
    for table in console_tables(submission):
        console.print(table)
    for file in (TABLE_FILE, JSON_FILE, SUBMISSION_FILE, *([PICTURE_FILE] if drawn else [])):
        console.print(f"{out / file}", markup=False)
    summary = submission.summary
    console.print(f"{summary.verdict}; {summary}", markup=False, highlight=False)
    return 0


def measure(
    asked: Asked,
    models: Mapping[str, str],
    place: Place,
    origin: Origin,
    console: Console,
    *,
    name: str = "",
    by: str = "",
) -> tuple[Submission, list[Row], list[BenchmarkResult]]:
    """Run the acceptance tests on models, by the name that each is given; goes on where it stood.

    Raises:
        RoadSenseError: A model or a controller cannot drive, or the folder holds something else.
    """
    from ml.atomic_files import check_writable  # noqa: PLC0415
    from ml.commands.fill import WEIGHTS_READ, fill  # noqa: PLC0415
    from ml.evaluation.acceptance.benchmarks import (  # noqa: PLC0415
        make_benchmarks,
        measure_benchmark,
    )
    from ml.evaluation.acceptance.submission import Submission, make_header  # noqa: PLC0415
    from ml.evaluation.acceptance.table import make_table  # noqa: PLC0415
    from ml.evaluation.planning import line_up  # noqa: PLC0415
    from ml.progress import Parts  # noqa: PLC0415
    from ml.training.checkpoints import load_model  # noqa: PLC0415

    for preset in ("clean", "bursty", "shadowed"):
        require_distinct(f"--{preset}-gaps", getattr(asked, f"{preset}_gaps"))
    out = place.out
    executor = make_executor(place.cluster, workers=place.workers, tell=plain_lines(console))
    drivers = line_up(  # now: a mistake is told before anything is written
        models,
        gaps_of(asked),
        {
            "": asked.controllers,
            _CLEAN: asked.clean_controllers,
            _SHADOWED: asked.shadowed_controllers,
        },
        load_model=load_model,
        on_model=lambda path: console.print(WEIGHTS_READ.format(path), markup=False),
    )
    header = make_header(origin, drivers, asked, name=name, by=by)
    check_writable(out, "--out")
    origin.open(out, force=place.force)
    benchmarks = [
        replace(of, drivers=tuple(d for d, on in drivers.items() if not on or of.name in on))
        for of in make_benchmarks(asked, out / "radios", asked.only or PARTS, seed=asked.seed)
    ]
    parts = [part for benchmark in benchmarks for part in benchmark.parts]
    fill(out, parts, executor, what="measuring", console=console)
    results = []
    with Parts(console, "figures", total=len(benchmarks), unit="benchmarks") as shown:
        for benchmark in benchmarks:
            shown.begin(benchmark.name)
            results.append(measure_benchmark(out, benchmark))
    rows = make_table(results)
    return Submission.of(header, rows, results), rows, results


def gaps_of(options: Asked) -> dict[float, dict[str, str]]:
    """Return each further time gap of the models: on which benchmarks, by which options."""
    asked = (
        (_CLEAN, "--clean-gaps", options.clean_gaps),
        (_BURSTY, "--bursty-gaps", options.bursty_gaps),
        (_SHADOWED, "--shadowed-gaps", options.shadowed_gaps),
    )
    gaps = sorted({gap_s for *_, of in asked for gap_s in of})
    return {gap_s: {where: name for where, name, of in asked if gap_s in of} for gap_s in gaps}
