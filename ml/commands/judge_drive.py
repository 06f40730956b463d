"""`roadsense judge-drive`: who would have braked on a recorded drive, and when."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.markup import escape

from ml.commands.checks import require_file, require_new
from ml.console import WholeTable, counted, make_console
from ml.errors import ConfigError
from ml.options import read_options
from ml.progress import Parts

if TYPE_CHECKING:
    from rich.console import Console

    from ml.evaluation.drive.verdict import Closed, Verdict
    from ml.evaluation.drivers import ControllerDriver, PolicyDriver
    from ml.reports.drive.cases import CasePage

_NONE = "none"
_NOT_SHOWN = 3
_HARDEST_MPS2 = 8.0


@dataclass(frozen=True)
class JudgeDriveOptions:
    """Judge a policy on a recorded drive: would it have warned of what the driver then braked for?

    Reads the logs of the boards, as `roadsense calibrate` does. At the wheel of one of them, the
    ego, the policy is shown in every tick what that board had received by then, and says how it
    would brake; nobody does so (open loop). Beside it: the policy without its safety layer and with
    its radio off, controllers, and the rule "any peer reports ≤ −2.5 m/s²". The page and the JSON
    beside it say of every hard braking what was heard of it, who would have braked, and how much
    earlier; how often each brakes needlessly; and whether all that is better than the same braking
    at other times (chance). Exit code 0 where the policy itself, with its radio on, is shown to be
    above chance; else 3, also where that cannot be told, and whatever the others do.
    docs/judge-drive.md explains the rest. What `--closed-loop` refuses is told after the open loop
    is written.
    """

    logs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Logs of one drive, in one folder: TX and RX of the ego, TX of the others (CSV)."""
    model: Path | None = None
    """The trained policy, a .zip."""
    controllers: tuple[str, ...] = ("predictive:0.5",)
    """Controllers beside it, as `roadsense evaluate` takes them; `none` for none."""
    ego: str | None = None
    """Board at whose wheel they sit; default: the last of the convoy that has an RX log."""
    brakes_at_mps2: float = 3.0
    """Braking from which on one is a hard one, m/s²."""
    map: Path | None = None
    """How logs in other formats are read (TOML): `roadsense logs map FILE` proposes one."""
    radio: str = "clean"
    """Preset, or parameter file, such as `roadsense calibrate` writes of these boards: how wrong
    their sensors are, and for how long a message counts. Losses and delays are the recorded ones,
    whatever it says of them."""
    closed_loop: bool = False
    """Let them really drive, too: in SUMO, behind the peers' recorded ways, around each hard
    braking ahead, with packets lost and late as recorded. A page of each case, as of `roadsense
    watch`, lies in a folder beside the page, the policy beside the first of the controllers."""
    out: Path = Path("judge-drive.html")
    """The page to write, with a .json beside it."""
    force: bool = False
    """Replace a page or figures that are there."""


def main(arguments: Sequence[str]) -> int:
    """Run `roadsense judge-drive`; return 0 where the policy is shown above chance, else 3."""
    options = read_options(JudgeDriveOptions, "roadsense judge-drive", arguments)
    _check(options)
    from ml.calibration.logs.log_map import (  # noqa: PLC0415 (torch and numba are slow)
        read_log_map,
    )
    from ml.evaluation.drive.closed_loop import closed_loop  # noqa: PLC0415
    from ml.evaluation.drive.decide import decide  # noqa: PLC0415
    from ml.evaluation.drive.read import read_recorded_drive  # noqa: PLC0415
    from ml.evaluation.drive.verdict import closed_figures, judge  # noqa: PLC0415
    from ml.evaluation.drivers import ControllerDriver  # noqa: PLC0415
    from ml.parameters import load_parameters  # noqa: PLC0415
    from ml.reports.drive.cases import CasePages  # noqa: PLC0415

    console = make_console()
    parameters = load_parameters(options.radio)
    with Parts(console, "reading") as parts:
        drivers = _drivers(options, parameters.radio.time_to_live_ms / 1000.0)
        log_map = None if options.map is None else read_log_map(options.map)
        drive = read_recorded_drive(
            options.logs, options.ego, parts.at, log_map=log_map, sensors=parameters.sensors
        )
        drive.notes.append(f"Sensors and how long a message counts: as {options.radio} has them.")
        decided, heard = decide(drive, drivers, parameters, parts.at)
        parts.at("judging", 1.0)
        names = [driver.name for driver in drivers]
        verdict = judge(
            drive,
            dict(zip(names, decided, strict=True)),
            heard,
            policy=names[0],
            rule=names[-1],
            hard_mps2=options.brakes_at_mps2,
        )
        parts.at("drawing", 1.0)
        command = shlex.join(["roadsense", "judge-drive", *arguments])
        _write(options.out, verdict, command)
    _print(verdict, console)
    console.print(
        f"report: {options.out}   figures: {options.out.with_suffix('.json')}",
        highlight=False,
        markup=False,
    )
    if options.closed_loop:
        # What is judged so far is written, whatever the closed loop refuses.
        with Parts(console, "driving") as parts:
            drivers = _line_up(options)
            beside = [each.name for each in drivers if isinstance(each, ControllerDriver)]
            pages = CasePages(_cases(options.out), drive.ego, [drivers[0].name, *beside[:1]])
            rows, refused = closed_loop(
                drive, drivers, radio=options.radio, on_part=parts.at, on_drive=pages.take
            )
            refused.update(f"invalid as {row.controller} drove" for row in rows if row.invalid)
            closed = closed_figures(rows)
            _write(options.out, verdict, command, closed, refused, pages.written)
        _print_closed(closed, console)
        if pages.written:
            where = f"pages of {counted(len(pages.written), 'case')}: {_cases(options.out)}"
            console.print(where, highlight=False, markup=False, soft_wrap=True)
        for why, count in refused.items():
            console.print(
                f"closed loop: {counted(count, 'case')} refused: {why}",
                highlight=False,
                markup=False,
            )
    return 0 if verdict.is_above_chance else _NOT_SHOWN


def _check(options: JudgeDriveOptions) -> None:
    """Refuse what can be refused before anything slow is imported or read."""
    if not options.logs:
        raise ConfigError(
            "which logs? Name the TX and RX files of one drive, or try `roadsense logs synth "
            "--cars 3 --hard-brakings 20` first."
        )
    if options.model is None:
        raise ConfigError(
            "--model is missing: name the policy to judge, such as ml/models/convoy.zip"
        )
    if not 0.0 < options.brakes_at_mps2 <= _HARDEST_MPS2:
        raise ConfigError(
            f"--brakes-at-mps2 must be above 0 and at most {_HARDEST_MPS2:g}, got "
            f"{options.brakes_at_mps2:g}"
        )
    require_file("--out", options.out, ".html")
    there = sorted(_cases(options.out).glob("*.html")) if options.closed_loop else []
    require_new("--out", options.out, options.out.with_suffix(".json"), *there, force=options.force)


def _cases(page: Path) -> Path:
    """Return the folder of the cases' pages."""
    return page.with_name(f"{page.stem}-cases")


def _drivers(
    options: JudgeDriveOptions, time_to_live_s: float
) -> list[PolicyDriver | ControllerDriver]:
    """Build all drivers: the policy first, the rule last."""
    from ml.evaluation.drive.decide import AnyPeerBrakes  # noqa: PLC0415
    from ml.evaluation.drivers import ControllerDriver  # noqa: PLC0415

    return [*_line_up(options), ControllerDriver(AnyPeerBrakes(time_to_live_s))]


def _line_up(options: JudgeDriveOptions) -> list[PolicyDriver | ControllerDriver]:
    """Build those that can drive: all but the rule."""
    from ml.evaluation.drive.line_up import line_up  # noqa: PLC0415
    from ml.training.checkpoints import load_model  # noqa: PLC0415

    asked = () if options.controllers == (_NONE,) else options.controllers
    return line_up(str(options.model), asked, load_model)


def _write(
    page: Path,
    verdict: Verdict,
    command: str,
    closed: Sequence[Closed] = (),
    refused: Mapping[str, int] | None = None,
    cases: Sequence[CasePage] = (),
) -> None:
    """Write the figures and the page, over those that this run has written before."""
    from ml.atomic_files import write_atomically  # noqa: PLC0415
    from ml.evaluation.drive.verdict import as_json  # noqa: PLC0415
    from ml.reports.drive.report import render  # noqa: PLC0415

    drawn = render(verdict, command=command, closed=closed, refused=refused, cases=cases)
    figures = json.dumps(as_json(verdict, closed, refused), indent=1) + "\n"
    write_atomically(page.with_suffix(".json"), figures)
    write_atomically(page, drawn)


def _print(verdict: Verdict, console: Console) -> None:
    table = WholeTable(
        "driver", ">warned", ">by chance", ">p", ">fires\n% of moving", ">starts\nper km, quiet"
    )
    for one in verdict.drivers:
        warned = one.warned
        table.add_row(
            one.name,
            f"{warned.hits} of {warned.hit.size}",
            f"{warned.expected.sum():.1f}",
            f"{warned.p_value:.2g}" if warned.hit.size else "–",
            f"{100.0 * one.firing_share:.1f}",
            f"{one.starts_per_km:.2f}",
        )
    console.print(table)
    for note in verdict.notes:
        console.print(f"[yellow]note[/yellow]  {escape(note)}", highlight=False)
    console.print(verdict.line, highlight=False, markup=False)


def _print_closed(closed: Sequence[Closed], console: Console) -> None:
    if not closed:
        return
    driven = WholeTable("closed loop", ">cases", ">crashes", ">smallest gap\nm", ">headway\ns")
    for each in closed:
        figures = f"{each.min_gap_m:.1f}", f"{each.headway_s:.2f}"
        crashes = str(each.crashes) if each.name else "–"
        driven.add_row(each.name or "the real follower", str(each.cases), crashes, *figures)
    console.print(driven)
