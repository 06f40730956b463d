"""`roadsense targets`: run the acceptance tests on models, and write what came out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from ml.commands.checks import require_counts
from ml.console import make_console, plain_lines
from ml.errors import ConfigError
from ml.evaluation.acceptance.sizes import COUNTS, PARTS, PartName, Sizes
from ml.evaluation.records import require_distinct
from ml.evaluation.seeds import TEST_SEED
from ml.execution.executor import CLUSTER_HELP, make_executor
from ml.options import read_options

TABLE_FILE, JSON_FILE, PICTURE_FILE = "targets.md", "targets.json", "targets.png"
_CLEAN, _BURSTY, _SHADOWED = "convoy clean", "convoy bursty", "convoy shadowed"


@dataclass(frozen=True, kw_only=True)
class TargetsOptions(Sizes):
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
    and targets.png, and lists the cases in which models crashed.
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Models that `roadsense train` saved (.zip). Several are training runs of one recipe, which
    passes a test if each of them does."""
    controllers: tuple[str, ...] = ("predictive:0.3", "predictive:0.5")
    """Baselines, as NAME:TIME-GAP or NAME for all its time gaps; `none` for none."""
    clean_controllers: tuple[str, ...] = ()
    """Further baselines on clean, where crashes are compared if the mean headways differ by at
    most 0.05 s; cth:0.6, idm:0.3 and ploeg:0.65 keep 1.27 to 1.29 s there."""
    shadowed_controllers: tuple[str, ...] = ("idm:1.1",)
    """Further baselines on shadowed, where the frontier is compared up to 3 s of headway."""
    clean_gaps: tuple[float, ...] = ()
    """Further time gaps of each model on clean, s; baselines are compared with the nearest."""
    bursty_gaps: tuple[float, ...] = ()
    """Further time gaps on bursty, s; not tested."""
    shadowed_gaps: tuple[float, ...] = ()
    """Further time gaps on shadowed, s: points of its frontier."""
    out: Path = Path("targets")
    """Folder of the result."""
    only: tuple[PartName, ...] = ()
    """Parts to measure; default: all."""
    seed: int = TEST_SEED
    """Seed of the cases; default: the test seed. To choose between models, use the validation
    seed, 3000017, so that the cases of the test seed stay unseen."""
    workers: int = 2
    """Processes on this machine."""
    cluster: Annotated[str | None, tyro.conf.arg(help=CLUSTER_HELP)] = None
    force: bool = False
    """Measure everything again if --out holds figures of other software or another seed."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = read_options(TargetsOptions, "roadsense targets", arguments)
    require_counts(options, *COUNTS, "workers")
    if not options.models:
        raise ConfigError("name a MODEL: a .zip that `roadsense train` saved")
    require_distinct("MODEL", options.models)
    for name in ("clean", "bursty", "shadowed"):
        require_distinct(f"--{name}-gaps", getattr(options, f"{name}_gaps"))
    options = options.reduced()
    # Torch, numba and matplotlib are slow to import, and --help needs none of them.
    from ml.atomic_files import check_writable, write_atomically  # noqa: PLC0415
    from ml.commands.fill import WEIGHTS_READ, fill, make_origin  # noqa: PLC0415
    from ml.evaluation.acceptance.benchmarks import (  # noqa: PLC0415
        make_benchmarks,
        measure_benchmark,
    )
    from ml.evaluation.acceptance.table import make_table, summary_of  # noqa: PLC0415
    from ml.evaluation.planning import line_up  # noqa: PLC0415
    from ml.progress import Parts  # noqa: PLC0415
    from ml.reports.acceptance.picture import write_picture  # noqa: PLC0415
    from ml.reports.acceptance.tables import as_json, as_markdown, console_tables  # noqa: PLC0415
    from ml.training.checkpoints import load_model  # noqa: PLC0415

    console, out = make_console(), options.out
    executor = make_executor(options.cluster, workers=options.workers, tell=plain_lines(console))
    drivers = line_up(  # now: a mistake is told before anything is written
        options.models,
        gaps_of(options),
        {
            "": options.controllers,
            _CLEAN: options.clean_controllers,
            _SHADOWED: options.shadowed_controllers,
        },
        load_model=load_model,
        on_model=lambda path: console.print(WEIGHTS_READ.format(path), markup=False),
    )
    origin = make_origin("targets", arguments, (options.seed,))
    check_writable(out, "--out")
    origin.open(out, force=options.force)
    benchmarks = [
        replace(of, drivers=tuple(d for d, on in drivers.items() if not on or of.name in on))
        for of in make_benchmarks(options, out / "radios", options.only or PARTS, seed=options.seed)
    ]
    parts = [part for benchmark in benchmarks for part in benchmark.parts]
    fill(out, parts, executor, what="measuring", console=console)
    results = []
    with Parts(console, "figures", total=len(benchmarks), unit="benchmarks") as shown:
        for benchmark in benchmarks:
            shown.begin(benchmark.name)
            results.append(measure_benchmark(out, benchmark))
    rows = make_table(results)
    write_atomically(out / TABLE_FILE, as_markdown(rows, results, origin.command, options.seed))
    write_atomically(out / JSON_FILE, as_json(rows, results, origin))
    drawn = write_picture(results, out / PICTURE_FILE)
    for table in console_tables(rows):
        console.print(table)
    for file in (TABLE_FILE, JSON_FILE, *([PICTURE_FILE] if drawn else [])):
        console.print(f"{out / file}", markup=False)
    summary = summary_of(rows)
    console.print(f"{summary.verdict}; {summary}", markup=False, highlight=False)
    return 0


def gaps_of(options: TargetsOptions) -> dict[float, dict[str, str]]:
    """Return each further time gap of the models: on which benchmarks, by which options."""
    asked = (
        (_CLEAN, "--clean-gaps", options.clean_gaps),
        (_BURSTY, "--bursty-gaps", options.bursty_gaps),
        (_SHADOWED, "--shadowed-gaps", options.shadowed_gaps),
    )
    gaps = sorted({gap_s for *_, of in asked for gap_s in of})
    return {gap_s: {where: name for where, name, of in asked if gap_s in of} for gap_s in gaps}
