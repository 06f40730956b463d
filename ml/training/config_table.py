"""The effective configuration, for the terminal and for TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from ml.console import WholeTable
from ml.training.options import flatten

if TYPE_CHECKING:
    from ml.training.command_line import Invocation
    from ml.training.config import TrainConfig


def config_table(invocation: Invocation) -> WholeTable:
    """One row per section; what differs from the preset is marked, and where it was set."""
    resumed = invocation.resumed_run is not None
    basis = "the run's own" if resumed else f"preset {invocation.config.preset}"
    table = WholeTable(
        title=f"effective configuration ([bold]*[/] differs from {escape(basis)})", box=None
    )
    table.add_column("section", style="cyan")
    table.add_column("values")
    for section, cells in _sections(invocation).items():
        table.add_row(section, " · ".join(cells))
    for key, place in invocation.changes.items():
        table.add_row("", f"* {escape(key)}: set by {escape(place)}")
    return table


def config_markdown(config: TrainConfig) -> str:
    """Table of all values, for TensorBoard's text tab."""
    rows = [f"| {'.'.join(path)} | {_shown(value)} |" for path, value in flatten(config).items()]
    return "\n".join(["| key | value |", "|---|---|", *rows])


def _sections(invocation: Invocation) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    for path, value in flatten(invocation.config).items():
        section = path[0] if len(path) > 1 else "run"
        text = escape(f"{'.'.join(path[1:] or path)} {_shown(value)}")
        marked = ".".join(path) in invocation.changes
        sections.setdefault(section, []).append(f"[bold]{text}*[/]" if marked else text)
    return sections


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "–".join(_shown(part) for part in value)
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
