"""`roadsense calibrate`: logs of real boards to a parameter file and a report."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from ml.commands.checks import require_counts, require_file, require_new
from ml.console import WholeTable, make_console, plain_lines
from ml.errors import ConfigError
from ml.options import read_options
from ml.progress import Parts

_FARTHEST_M = 5000.0

if TYPE_CHECKING:
    from ml.calibration.calibrate import Calibration
    from ml.calibration.logs.link import Link
    from ml.calibration.logs.log_map import LogMap


@dataclass(frozen=True)
class CalibrateOptions:
    """Turn logs of real boards into a parameter file for training.

    The file holds the parameters that the logs determine, with 90 % intervals, and the prior for
    the others; `roadsense train --radio FILE` reads it. A report with pictures shows the measured
    drive, the fitted radio on the same drive, and naive models. All logs in one folder belong to
    one drive. Without boards, `roadsense logs synth` writes logs. See docs/calibration.md.
    """

    logs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Logs of the boards: RTT, TX and RX files (CSV), and NMEA, UBX and pcap files."""
    out: Path = Path("params.json")
    """The parameter file to write."""
    report: Path | None = None
    """The report to write; default: the parameter file's name with .html."""
    force: bool = False
    """Replace existing files."""
    prior: str = "clean"
    """Preset or parameter file: values that the logs do not determine, and prior ranges."""
    boards: Literal["mine", "at-large"] = "mine"
    """Boards that the file describes. mine: these boards on another drive. at-large: other boards
    of their kind, which differ as the prior's boards do. The file holds both; `--radio
    FILE:at-large` selects the other one. Fitted parameters are drawn from their intervals in every
    episode."""
    held_out: tuple[Path, ...] = ()
    """Logs to evaluate the fit on, instead of those that it uses."""
    map: Path | None = None
    """How logs in other formats are read (TOML): `roadsense logs map FILE` proposes one."""
    distance_m: float | None = None
    """Distance of two boards that never moved, such as on tripods; no positions are needed."""
    coverage: Path | None = None
    """Study the intervals instead: calibrate from synthetic drives with known parameters, and write
    a table of the intervals' coverage to this file. Needs no logs."""
    coverage_drives: int = 20
    """Number of half-hour drives of two boards in the study."""
    coverage_radio: str = "bursty"
    """Radio of the study's drives."""


def main(arguments: Sequence[str]) -> int:
    """Run `roadsense calibrate`; return the exit code."""
    options = read_options(CalibrateOptions, "roadsense calibrate", arguments)
    console = make_console()
    if options.coverage is not None:
        return _study(options, options.coverage, console)
    report = options.report or options.out.with_suffix(".html")
    _check(options, report)
    from ml.parameters import load_parameters  # noqa: PLC0415 (slow to import)

    prior = load_parameters(options.prior)
    from ml.atomic_files import write_atomically  # noqa: PLC0415
    from ml.calibration.calibrate import (  # noqa: PLC0415 (scipy is slow)
        calibrate,
        calibrated,
    )
    from ml.calibration.logs.log_map import read_log_map  # noqa: PLC0415
    from ml.calibration.trials.logged_drive import judge_links  # noqa: PLC0415
    from ml.reports.calibration.pictures import pictures_of  # noqa: PLC0415
    from ml.reports.calibration.report import render  # noqa: PLC0415

    log_map = None if options.map is None else read_log_map(options.map)
    with Parts(console, "reading") as parts:
        on_part = parts.at
        held_out = _held_out(options, on_part, log_map)
        calibration = calibrate(
            options.logs,
            prior,
            options.prior,
            on_part,
            log_map=log_map,
            distance_m=options.distance_m,
        )
        if held_out and calibration.fit is None:
            raise ConfigError(
                "--held-out: no losses are fitted, so there is nothing to judge on other logs. "
                f"Leave it out.\n  {calibration.uncalibrated}"
            )
        parameters = calibrated(calibration, options.boards)
        # Whatever judging or drawing meets, what was fitted is there.
        write_atomically(options.out, parameters.model_dump_json(indent=2) + "\n")
        judgement = (
            judge_links(
                held_out or calibration.links,
                parameters.of_boards("mine"),
                calibration.fit.levels,
                on_part,
                fitted_to=calibration.links,
            )
            if calibration.fit
            else None
        )
        on_part("drawing", 0.5)
        gallery = pictures_of(judgement, calibration.latency)
        page = render(
            calibration,
            judgement,
            gallery,
            parameters,
            title=f"Calibration {options.out.stem}",
            command=shlex.join(["roadsense", "calibrate", *arguments]),
            held_out=[path.name for path in options.held_out],
        )
    write_atomically(report, page)
    _print(calibration, console)
    for failure in gallery.failed:
        console.print(f"[yellow]note[/yellow]  {escape(failure)}")
    tell = plain_lines(console)
    if judgement is not None:
        console.print(judgement.summary, highlight=False)
    tell(f"parameters: {options.out}   report: {report}")
    next_lines = [f"next: roadsense train --radio {options.out}"]
    if judgement is not None:
        for boards, found in parameters.board_sets.items():
            chosen = ", as the file says" if boards == options.boards else ""
            console.print(f"boards {boards}{chosen}: {found.purpose}", highlight=False)
        (other,) = parameters.board_sets.keys() - {options.boards}
        next_lines.append(f"or:   roadsense train --radio {options.out}:{other}")
    for line in next_lines:
        tell(line)
    return 0


def _check(options: CalibrateOptions, report: Path) -> None:
    """Refuse what can be refused before anything slow is imported or read."""
    if not options.logs:
        raise ConfigError(
            "which logs? Name RTT, TX and RX files, or try `roadsense logs synth` first."
        )
    require_file("--out", options.out, ".json")
    require_file("--report", report)
    require_new("--out", options.out, report, force=options.force)
    if options.distance_m is not None and not 0.0 < options.distance_m <= _FARTHEST_M:
        raise ConfigError(
            f"--distance-m must be above 0 and up to {_FARTHEST_M:g}, got {options.distance_m:g}"
        )


def _held_out(
    options: CalibrateOptions, on_part: Callable[[str, float], None], log_map: LogMap | None
) -> list[Link]:
    """Read the links to judge on; none where the logs that are fitted to are judged on, too."""
    if not options.held_out:
        return []
    from ml.calibration.logs.reading import read_logs  # noqa: PLC0415 (scipy is slow)

    _, drives = read_logs(options.held_out, on_part, log_map=log_map, distance_m=options.distance_m)
    links = [link for drive in drives for link in drive.links]
    if not links:
        raise ConfigError("--held-out: these logs hold no link to judge on.")
    return links


def _print(calibration: Calibration, console: Console) -> None:
    columns = ("parameter", ">value", ">90 % interval", ">before")
    table = WholeTable(*columns, title="what the logs can tell")
    kept = WholeTable(
        "parameter", "why", title=f"what they cannot: kept from {calibration.prior_name}"
    )
    for e in calibration.estimates:
        if e.interval is None:
            kept.add_row(e.name, e.why)
        else:
            interval = "{:.3g} … {:.3g}".format(*e.interval)
            table.add_row(e.name, f"{e.value:.3g}", interval, f"{e.prior:.3g}")
    console.print(table)
    console.print(kept)
    for note in calibration.notes:
        console.print(f"[yellow]note[/yellow]  {escape(note)}")


def _study(options: CalibrateOptions, file: Path, console: Console) -> int:
    from ml.atomic_files import write_atomically  # noqa: PLC0415
    from ml.calibration.trials.coverage import coverage_study, table_of, usual_s  # noqa: PLC0415
    from ml.parameters import load_parameters  # noqa: PLC0415

    require_file("--coverage", file)
    require_new("--coverage", file, force=options.force)
    require_counts(options, "coverage_drives")
    radio, prior = load_parameters(options.coverage_radio), load_parameters(options.prior)
    drives = options.coverage_drives
    total, usual = drives + 1, usual_s(drives)
    with Parts(console, "calibrating synthetic drives", total=total, usual_s=usual) as parts:
        rows = coverage_study(radio, prior, options.prior, drives=drives, on_part=parts.begin)
    text = table_of(rows)
    write_atomically(file, text)
    console.print(text, highlight=False)
    return 0
