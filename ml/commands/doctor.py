"""`roadsense doctor`: what this machine lacks; a table for people, JSON for programs.

Exit codes: 0 nothing has to be mended, notes included; 1 something has to; 2 a wrong option.
"""

import json
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro
from rich.text import Text

from ml.commands.catalogue import COLUMNS, command_lines
from ml.console import WholeTable, make_console, markdown_table
from ml.doctor import machine, programs
from ml.doctor.programs import Finding, ok
from ml.options import read_options
from ml.training.versions import read_versions

_CLUSTER_HELP = (
    "Look at each node of a Ray cluster instead: auto (that of this machine, or RAY_ADDRESS), "
    "ray://HOST:10001 or HOST:6379."
)
_COLOURS = {"ok": "green", "note": "yellow", "wrong": "bold red"}


@dataclass(frozen=True)
class DoctorOptions:
    """Check this machine for everything that RoadSense needs, and print remedies.

    Exit code 0: no problem (notes are no problems). 1: problems found. 2: a wrong option. Include
    the output in bug reports.
    """

    cluster: Annotated[str | None, tyro.conf.arg(help=_CLUSTER_HELP)] = None
    json: bool = False
    """Print JSON instead of a table."""
    commands: bool = False
    """Only print the durations of commands, as a table in Markdown."""


def main(arguments: Sequence[str]) -> int:
    """Examine the machine and report; return the exit code."""
    options = read_options(DoctorOptions, "roadsense doctor", arguments)
    if options.commands:
        sys.stdout.write(markdown_table(COLUMNS, command_lines(markdown=True)))
        return 0
    if options.json:
        findings = _findings(options.cluster)
        report = {"findings": [asdict(finding) for finding in findings], **read_versions()}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        console = make_console()
        what = "this machine" if options.cluster is None else "the nodes"
        with console.status(f"examining {what}") if console.is_terminal else nullcontext():
            findings = _findings(options.cluster)
        console.print(_table(findings))
        if options.cluster is None:
            title = "how long it takes on two cores"
            console.print(WholeTable(*COLUMNS, rows=command_lines(), title=title))
    return 1 if any(finding.verdict == "wrong" for finding in findings) else 0


def _findings(cluster: str | None) -> list[Finding]:
    """Look at this machine, or at a cluster.

    Raises:
        ConfigError: Ray is not installed.
    """
    if cluster is None:
        return list(examine())
    from ml.doctor.cluster import nodes  # noqa: PLC0415 (only where it is asked for)

    return nodes(cluster)


def examine() -> Iterator[Finding]:
    """Look at one thing after the other."""
    yield programs.code()
    yield ok("system", f"{platform.platform()}, {platform.machine()}")
    yield programs.python()
    yield from programs.packages()
    yield programs.system_libraries()
    yield programs.sumo_program()
    yield programs.embedded_sumo()
    yield programs.display()
    variables, deployment = machine.environment()
    yield variables
    yield from machine.folders(deployment)
    yield from machine.remote_sumo(deployment)
    yield machine.cores()
    yield machine.memory()
    yield from programs.docker()
    yield machine.owner()
    yield machine.ports()


def _table(findings: Sequence[Finding]) -> WholeTable:
    count = sum(finding.verdict == "wrong" for finding in findings)
    verdict = "nothing has to be mended" if count == 0 else f"{count} to be mended"
    rows = (
        (Text(f.name), Text(f.verdict, _COLOURS[f.verdict]), Text(f.found), Text(f.remedy))
        for f in findings
    )
    title = f"roadsense doctor: {verdict}"
    return WholeTable("what", "", "found", "what mends it", rows=rows, title=title)
