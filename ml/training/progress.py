"""What the user sees while training: a live bar on a terminal, plain lines elsewhere."""

import os
import time
from typing import TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY_S = 5.0


class LiveBar:
    """A bar that redraws itself."""

    def __init__(self, console: Console, total: int) -> None:
        self._progress = Progress(
            TextColumn("[bold]{task.completed:>9,.0f}[/] / {task.total:,.0f}"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("first rollout …", total=total)

    def start(self, step: int) -> None:
        """Begin at a step."""
        self._progress.update(self._task, completed=step)
        self._progress.start()

    def update(self, step: int, figures: str) -> None:
        """Redraw with the step, and figures such as the return."""
        self._progress.update(self._task, completed=step, description=escape(figures))

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._progress.stop()


class PlainLines:
    """A line at once, then one every few seconds; the last state is always printed."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._next_line = 0.0
        self._held_back: str | None = None

    def start(self, step: int) -> None:
        """Say where training starts."""
        self._print(f"step {step:,} / {self._total:,}: training starts")

    def update(self, step: int, figures: str) -> None:
        """Print a line if it is time."""
        self._held_back = f"step {step:,} / {self._total:,}: {figures}"
        if time.monotonic() >= self._next_line:
            self._print(self._held_back)
            self._held_back = None
            self._next_line = time.monotonic() + _LINE_EVERY_S

    def close(self) -> None:
        """Print what was held back."""
        if self._held_back is not None:
            self._print(self._held_back)
            self._held_back = None

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


ProgressDisplay: TypeAlias = LiveBar | PlainLines


def create_progress(console: Console, total: int) -> ProgressDisplay:
    """Choose by what the output is; `CI` in the environment means plain lines."""
    if console.is_terminal and not os.environ.get("CI"):
        return LiveBar(console, total)
    return PlainLines(console, total)
