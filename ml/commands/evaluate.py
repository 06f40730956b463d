"""`roadsense evaluate`: judge models and controllers, and write a result with its card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ml.commands.checks import require_counts, require_seeds
from ml.console import make_console, plain_lines
from ml.errors import ConfigError
from ml.evaluation.plan import Plan
from ml.evaluation.result import EpisodeRow, Manifest, read_rows, write_csv
from ml.execution.executor import CLUSTER_HELP, make_executor
from ml.options import read_options

if TYPE_CHECKING:
    from rich.console import Console

    from ml.evaluation.compare import Comparison
    from ml.evaluation.summary import CellSummary

CSV_FILE, SUMMARY_FILE = "episodes.csv", "summary.json"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Plan):
    """Compare saved models with classical controllers and bounds, on the same cases and packets.

    Without a model, only the baselines are evaluated. A stopped evaluation resumes when the same
    command runs again with the same --out.
    """

    out: Path | None = None
    """Folder of the result; default: evaluations/ and the time."""
    against: str | None = None
    """A model or a result to compare the first model with; exit code 1 where the first is worse."""
    margin: tuple[str, ...] = ()
    """Losses that --against tolerates, as crash=0.5; metrics: crash, calm_crash, false_brakes,
    braking_share, below_rss, jerk, headway, progress, reaction."""
    workers: int = 2
    """Processes on this machine."""
    cluster: Annotated[str | None, tyro.conf.arg(help=CLUSTER_HELP)] = None
    worst: int = 10
    """Number of worst episodes that the card reruns and draws."""
    csv: bool = False
    """Also write all episodes to episodes.csv."""
    force: bool = False
    """Replace the result of another evaluation in --out."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 1 where `--against` found the first model worse, else 0."""
    options = read_options(EvaluateOptions, "roadsense evaluate", arguments)
    require_counts(options, "episodes", "workers")
    require_seeds(options, "seeds")
    if options.worst < 0:
        raise ConfigError(f"--worst must be ≥ 0, got {options.worst}")
    for name in ("suite", "seeds"):
        if not getattr(options, name):
            raise ConfigError(f"--{name} is empty; name at least one")
    if options.against is not None and not options.models:
        raise ConfigError("--against needs a MODEL to compare with it")
    return _run(options, arguments)


def _run(options: EvaluateOptions, arguments: Sequence[str]) -> int:
    # Torch, numba and matplotlib are slow to import, and --help needs none of them.
    from ml.atomic_files import check_writable, write_atomically  # noqa: PLC0415
    from ml.commands.fill import WEIGHTS_READ, fill, make_origin  # noqa: PLC0415
    from ml.evaluation.compare import parse_margins, require_alike  # noqa: PLC0415
    from ml.evaluation.planning import plan_evaluation  # noqa: PLC0415
    from ml.evaluation.summary import as_json, summarise  # noqa: PLC0415
    from ml.progress import Parts  # noqa: PLC0415
    from ml.reports.card.card import write_card  # noqa: PLC0415
    from ml.training.checkpoints import load_model  # noqa: PLC0415

    margins = parse_margins(options.margin)
    console = make_console()
    executor = make_executor(options.cluster, workers=options.workers, tell=plain_lines(console))
    other = None if options.against is None else Path(options.against)
    other_is_result = other is not None and (other / Manifest.FILE).exists()
    models = options.models
    if other is not None and not other_is_result:
        models = (*models, str(other))
    _read_recordings(options, console)
    interfaces = {}
    for model in models:  # now, so that a wrong file is told of before anything is written
        interfaces[model] = load_model(model).interface
        console.print(WEIGHTS_READ.format(model), markup=False)
    origin = make_origin("evaluate", arguments, options.seeds)
    wanted, parts = plan_evaluation(replace(options, models=models), origin, interfaces)
    if other is not None and other_is_result:
        require_alike(wanted, Manifest.read(other))
    now = datetime.now(UTC)
    folder = options.out or Path("evaluations") / now.strftime("%Y%m%dT%H%M%SZ")
    check_writable(folder, "--out")
    manifest = wanted.open(folder, force=options.force)
    console.print(f"result: {folder}", markup=False)
    fill(folder, parts, executor, what="evaluating", console=console)
    rows = read_rows(folder)
    summaries = summarise(rows)
    write_atomically(folder / SUMMARY_FILE, json.dumps(as_json(summaries), indent=1) + "\n")
    comparison = None
    if other is not None:
        comparison = _compare(manifest, rows, other, margins)
    with Parts(console, "card") as shown:
        card = write_card(
            folder,
            against=comparison,
            worst=options.worst,
            workers=options.workers,
            on_part=lambda part: shown.say(f"card: {part}"),
        )
    _print_tables(options, manifest, summaries, rows, console)
    if comparison is not None:
        console.print(comparison.table())
    console.print(f"card: {card}", markup=False)
    if options.csv:
        write_csv(folder / CSV_FILE, rows)
    return 0 if comparison is None else comparison.exit_code


def _read_recordings(options: EvaluateOptions, console: Console) -> None:
    """Read the folders of recorded convoys that are named, and say how far that is."""
    from ml.envs.episodes.recorded import recordings_in  # noqa: PLC0415
    from ml.evaluation.suites.registry import folder_of  # noqa: PLC0415
    from ml.progress import Parts  # noqa: PLC0415

    for named in filter(None, map(folder_of, options.suite)):
        with Parts(console, f"reading {named[1]}") as shown:
            recordings_in(str(named[1].absolute()), shown.count)


def _print_tables(
    options: EvaluateOptions,
    manifest: Manifest,
    summaries: Sequence[CellSummary],
    rows: Sequence[EpisodeRow],
    console: Console,
) -> None:
    from ml.evaluation.beside_real import beside_real, beside_table  # noqa: PLC0415
    from ml.evaluation.console import spread_over, spread_table, tables  # noqa: PLC0415

    in_all = manifest.in_every_suite()
    for table in tables(summaries, in_all):
        console.print(table)
    alike = [c for c in manifest.controllers if c.is_model and not c.variant]
    shown = [row for row in rows if row.controller in in_all]
    beside = beside_real(shown)
    if beside:
        console.print(beside_table(beside))
    for suite, about in manifest.suites.items():
        if about.get("refused"):
            console.print(f"{suite}: {about['refused']}", markup=False, highlight=False)
    spreads = spread_over(summaries, [c.name for c in alike if c.spec != options.against])
    if spreads:
        console.print(spread_table(spreads))
    if len(in_all) < len(manifest.controllers):
        console.print("more controllers, at other time gaps, are in summary.json and on the card")


def _compare(
    manifest: Manifest, rows: Sequence[EpisodeRow], other: Path, margins: dict[str, float]
) -> Comparison:
    """Compare the first policy with another model of this result, or with another result's."""
    from ml.evaluation.compare import compare  # noqa: PLC0415

    def of(rows: Sequence[EpisodeRow], controller: str) -> list[EpisodeRow]:
        return [row for row in rows if row.controller == controller]

    first = manifest.first_policy
    if not (other / Manifest.FILE).exists():
        return compare(of(rows, first), of(rows, str(other)), margins=margins)
    name = Manifest.read(other).first_policy
    names = (first, f"{name} of {other}")
    return compare(of(rows, first), of(read_rows(other), name), names=names, margins=margins)
