"""Judge models and controllers, and write a result with its card: `roadsense evaluate` at work."""

from __future__ import annotations

import csv
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ml import __version__
from ml.atomic_files import check_writable
from ml.commands.progress import follow_cells
from ml.console import make_console
from ml.evaluation.compare import compare, parse_margins, require_alike
from ml.evaluation.console import tables
from ml.evaluation.drivers import interface_of
from ml.evaluation.evaluate import (
    fill_result,
    missing_cells,
    open_result,
    write_summary,
)
from ml.evaluation.planning import Origin, Plan, make_manifest
from ml.evaluation.result import MANIFEST_FILE, POLICY_FAMILY, read_manifest, read_rows
from ml.evaluation.spread import spread_over, table_of
from ml.evaluation.suites.registry import make_suite
from ml.progress import Parts
from ml.reports.card.card import write_card
from ml.training.checkpoints import load_model
from ml.training.versions import read_versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ml.commands.evaluate import EvaluateOptions
    from ml.evaluation.compare import Comparison
    from ml.evaluation.result import ControllerRecord, EpisodeRow, Manifest

CSV_FILE = "episodes.csv"


def run(options: EvaluateOptions, arguments: Sequence[str]) -> int:
    """Do what is asked for.

    Args:
        options: Already checked.
        arguments: The command line, for the record.

    Returns:
        0, or 1 where `--against` found the first model worse.

    Raises:
        RoadSenseError: With what to do next.
    """
    margins = parse_margins(options.margin)
    console = make_console()
    other = None if options.against is None else Path(options.against)
    other_is_result = other is not None and (other / MANIFEST_FILE).exists()
    models = options.models
    if other is not None and not other_is_result:
        models = (*models, str(other))
    interfaces = {}
    for model in models:  # now, so that a wrong file is told of before anything is written
        interfaces[model] = interface_of(load_model(model))
        console.print(f"{model}: weights read; nothing in that file is run", markup=False)
    plan = Plan(
        models=models,
        suites=options.suite,
        radios=options.radio,
        controllers=options.controllers,
        seeds=options.seeds,
        episodes=options.episodes,
        radio_position=options.radio_position,
        interfaces=interfaces,
    )
    wanted = make_manifest(plan, _origin(arguments))
    if other is not None and other_is_result:
        require_alike(wanted, read_manifest(other))
    now = datetime.now(UTC)
    folder = options.out or Path("evaluations") / now.strftime("%Y%m%dT%H%M%SZ")
    check_writable(folder, "--out")
    manifest = open_result(folder, wanted, force=options.force)
    console.print(f"result: {folder}", markup=False)
    _fill(folder, manifest, options.workers, console)
    summaries = write_summary(folder)
    rows = read_rows(folder)
    comparison = None
    if other is not None:
        source = other if other_is_result else None
        comparison = _compare(manifest, rows, str(other), source, margins)
    card = _write_card(folder, comparison, console)
    in_all = _in_every_suite(manifest)
    for table in tables(summaries, in_all):
        console.print(table)
    alike = [c for c in manifest.controllers if _is_model(c) and c.spec != options.against]
    spreads = spread_over(summaries, [record.name for record in alike])
    if spreads:
        console.print(table_of(spreads))
    if len(in_all) < len(manifest.controllers):
        console.print("more controllers, at other time gaps, are in summary.json and on the card")
    if comparison is not None:
        console.print(comparison.table())
    console.print(f"card: {card}", markup=False)
    if options.csv:
        _write_csv(folder / CSV_FILE, rows)
    return 0 if comparison is None else comparison.exit_code


def _compare(
    manifest: Manifest,
    rows: Sequence[EpisodeRow],
    other: str,
    result: Path | None,
    margins: dict[str, float],
) -> Comparison:
    """Hold the first policy against another model of this result, or against another result's."""
    first = _first_policy(manifest)
    if result is None:
        return compare(_rows_of(rows, first), _rows_of(rows, other), margins=margins)
    name = _first_policy(read_manifest(result))
    theirs = _rows_of(read_rows(result), name)
    names = (first, f"{name} of {other}")
    return compare(_rows_of(rows, first), theirs, names=names, margins=margins)


def _write_card(folder: Path, comparison: Comparison | None, console: Console) -> Path:
    with Parts(console, "card") as parts:
        return write_card(folder, against=comparison, on_part=lambda p: parts.say(f"card: {p}"))


def _origin(arguments: Sequence[str]) -> Origin:
    versions = read_versions()
    packages = dict(versions["packages"])
    packages |= {"python": versions["python"], "machine": versions["machine"]}
    return Origin(
        version=__version__,
        git_commit=versions["git_commit"],
        packages=packages,
        command=shlex.join(["roadsense", "evaluate", *arguments]),
        created_utc=versions["started_utc"],
    )


def _fill(folder: Path, manifest: Manifest, workers: int, console: Console) -> None:
    missing = missing_cells(folder, manifest)
    lasts_s = {suite: make_suite(suite).config.episode_s for suite in manifest.suites}
    filled = fill_result(folder, manifest, load_model=load_model, workers=workers)
    follow_cells(
        (
            (
                f"{cell.controller} in {cell.suite} on {cell.radio}",
                1,
                cell.episodes * lasts_s[cell.suite],
            )
            for cell in filled
        ),
        what="evaluating",
        total=len(manifest.cells),
        done=len(manifest.cells) - len(missing),
        simulated_s=sum(cell.episodes * lasts_s[cell.suite] for cell in missing),
        console=console,
        go_on=f"go on with --out {shlex.quote(str(folder))}",
    )


def _in_every_suite(manifest: Manifest) -> list[str]:
    """Controllers that ran in every suite, for a table that fits on a screen."""
    ran = {(cell.suite, cell.controller) for cell in manifest.cells}
    return [
        record.name
        for record in manifest.controllers
        if all((suite, record.name) in ran for suite in manifest.suites)
    ]


def _is_model(record: ControllerRecord) -> bool:
    """Whether it is a trained policy, driving as it is meant to."""
    return record.family == POLICY_FAMILY and not record.variant


def _first_policy(manifest: Manifest) -> str:
    """Name of the first trained policy, or of the first controller where there is none."""
    policies = [c.name for c in manifest.controllers if c.family == POLICY_FAMILY]
    return (policies or [manifest.controllers[0].name])[0]


def _rows_of(rows: Sequence[EpisodeRow], controller: str) -> list[EpisodeRow]:
    return [row for row in rows if row.controller == controller]


def _write_csv(file: Path, rows: Sequence[EpisodeRow]) -> None:
    flat = [row.flat() for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(flat)
