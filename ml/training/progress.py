"""What the user sees while training: a live bar on a terminal, plain lines elsewhere."""

import os
import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ml.console import plain_lines

_LINE_EVERY_S = 5.0


class ProgressDisplay:
    """A bar that redraws itself; or a line at once, one every few seconds, and the last state.

    Args:
        console: Where the user looks; `CI` in the environment means plain lines.
        total: Steps of the whole run.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._say, self._total = plain_lines(console), total
        self._next_line = 0.0
        self._held_back = ""
        self._bar: Progress | None = None
        if console.is_terminal and not os.environ.get("CI"):
            self._bar = Progress(
                TextColumn("[bold]{task.completed:>9,.0f}[/] / {task.total:,.0f}"),
                BarColumn(bar_width=24),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task("first rollout …", total=total)

    def start(self, step: int) -> None:
        """Begin at a step."""
        if self._bar is None:
            self._say(f"step {step:,} / {self._total:,}: training starts")
        else:
            self._bar.update(self._task, completed=step)
            self._bar.start()

    def update(self, step: int, figures: str) -> None:
        """Show the step, and figures such as the return."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=escape(figures))
            return
        self._held_back = f"step {step:,} / {self._total:,}: {figures}"
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY_S
            self._tell_last()

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is None:
            self._tell_last()
        else:
            self._bar.stop()

    def _tell_last(self) -> None:
        if self._held_back:
            self._say(self._held_back)
            self._held_back = ""
