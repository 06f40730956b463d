"""How far a long command is, and about how long it still takes.

On a terminal a bar. Elsewhere lines on standard error, so that what the command has to say stays by
itself: one at the start, one after the first part, and then one now and again, also while a part
takes long.
"""

import sys
import threading
import time
from dataclasses import KW_ONLY, dataclass
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_EVERY_S = 30.0
_TOGETHER_S = 0.2
_MINUTE_S, _HOUR_S = 60.0, 3600.0


@dataclass
class Parts:
    """Follows a command that has many parts; a context manager.

    Attributes:
        console: Where the user looks.
        what: What is done, as in "evaluating".
        total: Parts in all, those of earlier calls included; 0 where only a share is known.
        done: Parts that are there already.
        unit: What a part is called, in the plural.
        work: How much there is to do, in any measure that time goes with; by default the number of
            parts to do.
        usual_s: How long that took on two cores, s; 0 where nobody knows.
    """

    console: Console
    what: str
    _: KW_ONLY
    total: int = 0
    done: int = 0
    unit: str = "parts"
    work: float | None = None
    usual_s: float = 0.0

    def __post_init__(self) -> None:
        """Begin with nothing done."""
        self._work = float(self.total - self.done) if self.work is None else self.work
        self._worked = 0.0
        self._now = ""
        self._begun = False
        self._began = time.monotonic()
        self._news, self._ended = threading.Event(), threading.Event()
        self._bar: Progress | None = None
        self._watch: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Say what there is to do, and begin to show how far it is."""
        self._began = time.monotonic()
        self._tell(self._beforehand())
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[count]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task(self.what, total=self._work or 1.0, count=self._count)
            self._bar.start()
        else:
            self._watch = threading.Thread(target=self._tell_now_and_again, daemon=True)
            self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop showing."""
        self._ended.set()
        self._news.set()
        if self._bar is not None:
            self._bar.stop()
        if self._watch is not None:
            self._watch.join()

    def say(self, now: str) -> None:
        """Show what is being done."""
        self._now = now
        if self._bar is not None:
            self._bar.update(self._task, description=now)

    def begin(self, now: str) -> None:
        """Show which part begins; the one before it is done then."""
        self.say(now)
        if self._begun:
            self.advance()
        self._begun = True

    def advance(self, count: int = 1, *, work: float | None = None) -> None:
        """Count parts that are done, and their share of the work."""
        first = count > 0 and not self._worked
        self.done += count
        self._worked += count if work is None else work
        if self._bar is not None:
            self._bar.update(self._task, completed=self._worked, count=self._count)
        elif first:
            self._news.set()

    def at(self, now: str, share: float) -> None:
        """Show what is being done and how much of that is, in [0, 1], where parts are not known."""
        self._now, self._worked = now, share
        if self._bar is not None:
            self._bar.update(self._task, description=now, completed=share)

    def count(self, done: int, total: int) -> None:
        """Show how many parts are done, where their number was not known beforehand."""
        self.at(f"{self.what}: {done} of {total}", done / total)

    @property
    def _count(self) -> str:
        return f"{self.done}/{self.total}" if self.total else ""

    def _beforehand(self) -> str:
        if not self.total:
            return ""
        there = f", {self.done} of them done already" if self.done else ""
        todo = self.total - self.done
        usual = f"; {duration(self.usual_s)} on two cores" if self.usual_s and todo else ""
        return f"{self.what}: {self.total} {self.unit}{there}{usual}"

    def _so_far(self) -> str:
        spent_s = time.monotonic() - self._began
        if not self.total:
            share = f"{self._worked:.0%} " if self._worked else ""
            return f"{self._now or self.what}: {share}after {spent_s:.0f} s"
        said = f"{self.what}: {self.done} of {self.total} {self.unit} after {spent_s:.0f} s"
        if 0.0 < self._worked < self._work:
            said += f", {duration(spent_s * (self._work - self._worked) / self._worked)} left"
        return f"{said} ({self._now})" if self._now else said

    def _tell(self, line: str) -> None:
        if not line:
            return
        if self.console.is_terminal:
            self.console.print(line, markup=False, highlight=False)
        else:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def _tell_now_and_again(self) -> None:
        while True:
            self._news.wait(_LINE_EVERY_S)
            self._news.clear()
            if self._ended.wait(_TOGETHER_S):  # parts that were done together come at once
                return
            self._tell(self._so_far())


def duration(seconds: float) -> str:
    """Say about how long something takes."""
    if seconds < _MINUTE_S:
        return "less than a minute"
    if seconds < 2.0 * _HOUR_S:
        return f"about {seconds / _MINUTE_S:.0f} min"
    return f"about {seconds / _HOUR_S:.1f} h"
