"""What a user reads: tables whose numbers stay whole, and how wide a line may be.

A number that is cut is worse than none: `0.9…` may be 0.9 or 0.99. A table that is wider than the
terminal gives way in its words first, then in its lines; where that does not help, each row becomes
a list.
"""

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

_WIDTH_WITHOUT_TERMINAL = 120
_ENDLESS = 100_000
_RIGHT = ">"
_NARROW = SIMPLE_HEAD, (0, 1, 0, 0), False, False
"""Box, padding and edges of a table that is as narrow as one can be."""
_LONGEST_WHOLE = 24
"""What is longer than this is no number: a path, a URL, a digest. It may go on in the next line."""


def make_console() -> Console:
    """Write as wide as the terminal; where there is none, as wide as COLUMNS, or as most tables."""
    told = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(width=None if told else _WIDTH_WITHOUT_TERMINAL)


def silent_console() -> Console:
    """Return a console that shows nothing, for one of several processes that do the same."""
    return Console(quiet=True)


def plain_lines(console: Console) -> Callable[[str], None]:
    """Return what prints a line just as it is: brackets are no markup, and nothing is wrapped."""
    return partial(console.print, markup=False, highlight=False, soft_wrap=True)


def take_any_text() -> None:
    """Let standard output and error write what they cannot encode as escapes.

    File names and arguments may hold bytes that are no text (a name from a Latin-1 disk), and what
    is said of them would else end in a traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def counted(number: int, thing: str) -> str:
    """Say how many there are: "1 case", "2 cases"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table for a page, its last line ended; columns as `WholeTable` takes them."""
    lines = [[column.removeprefix(_RIGHT) for column in columns]]
    lines.append(["---:" if column.startswith(_RIGHT) else "---" for column in columns])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (*lines, *rows))


class WholeTable(Table):
    """A table of rich's that never cuts a word or number to fit.

    Args:
        columns: Their names; one that begins with ">" has its cells to the right.
        rows: Rows to begin with.
        options: Of rich's table.
    """

    def __init__(
        self, *columns: str, rows: Iterable[Iterable[RenderableType]] = (), **options: Any
    ) -> None:
        super().__init__(**{"title_justify": "left", "title_style": "bold"} | options)
        for column in columns:
            right = column.startswith(_RIGHT)
            self.add_column(column.removeprefix(_RIGHT), justify="right" if right else "left")
        for row in rows:
            self.add_row(*row)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it with columns as wide as their words at least, or as a list."""
        ranges = [_range_of(console, options, column) for column in self.columns]
        kept = (self.columns, self.box, self.padding, self.pad_edge, self.show_edge)
        own = kept[1:]
        try:
            # First without what is between the columns, then with lines wrapped that should not be.
            for rigid, style in ((True, own), (True, _NARROW), (False, own), (False, _NARROW)):
                self.box, self.padding, self.pad_edge, self.show_edge = style
                room = self._room(console, options, ranges)
                widths = self._widths(ranges, room, rigid=rigid)
                if widths is not None:
                    break
            else:
                yield from self._listed(console)
                return
            self.columns = [
                replace(column, width=width, no_wrap=width >= high, overflow="fold")
                for column, width, (_, high) in zip(self.columns, widths, ranges, strict=True)
            ]
            yield from super().__rich_console__(console, options)
        finally:
            self.columns, self.box, self.padding, self.pad_edge, self.show_edge = kept

    def _room(
        self, console: Console, options: ConsoleOptions, ranges: list[tuple[int, int]]
    ) -> int:
        """Count what lines and blanks between the columns leave for their content."""
        asked = Measurement.get(console, options.update(width=_ENDLESS), self).maximum
        return options.max_width - asked + sum(high for _, high in ranges)

    def _widths(self, ranges: list[tuple[int, int]], room: int, *, rigid: bool) -> list[int] | None:
        """Share out the room; None where it is too little.

        Args:
            ranges: Width of each column's longest word, and of its longest line.
            room: Columns of the terminal for all of them.
            rigid: Whether columns that should not be wrapped are not.
        """
        wanted = [
            (high if rigid and column.no_wrap else low, high)
            for column, (low, high) in zip(self.columns, ranges, strict=True)
        ]
        free = room - sum(low for low, _ in wanted)
        return _shared(wanted, free) if free >= 0 else None

    def _listed(self, console: Console) -> Iterator[Text]:
        """Draw each row as a list: its first cell, and below that a line for each other one."""
        if self.title is not None:
            yield _text(console, self.title)
        names = [" ".join(_text(console, column.header).plain.split()) for column in self.columns]
        subject = Text()
        for cells in zip(*(column.cells for column in self.columns), strict=True):
            first, *others = (_text(console, cell) for cell in cells)
            subject = first if first.plain else subject
            yield Text.assemble(subject, style="bold")
            for name, cell in zip(names[1:], others, strict=True):
                if cell.plain:
                    value = Text(" ").join(cell.split("\n"))
                    yield Text.assemble("  ", f"{name}: " if name else "", value)
        if self.caption is not None:
            yield _text(console, self.caption)


def _shared(ranges: Sequence[tuple[int, int]], free: int) -> list[int]:
    """Widen columns from their least width, those that lack little first."""
    widths = [low for low, _ in ranges]
    left = len(widths)
    for i in sorted(range(len(widths)), key=lambda i: ranges[i][1] - ranges[i][0]):
        more = min(ranges[i][1] - ranges[i][0], free // left)
        widths[i] += more
        free -= more
        left -= 1
    return widths


def _range_of(console: Console, options: ConsoleOptions, column: Column) -> tuple[int, int]:
    """Width of a column's longest word that has to stay whole, and of its longest line."""
    endless = options.update(width=_ENDLESS)
    texts = [_text(console, cell) for cell in (column.header, *column.cells)]
    found = [(Measurement.get(console, endless, text), text) for text in texts if text.plain]
    low = max((measured.minimum + _indent(text) for measured, text in found), default=1)
    high = max((measured.maximum for measured, _ in found), default=1)
    return min(low, _LONGEST_WHOLE), max(high, column.min_width or 0)


def _indent(text: Text) -> int:
    """Count the blanks before a line's first word: rich wraps them together with it."""
    lines = text.plain.splitlines()
    return max((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)


def _text(console: Console, cell: object) -> Text:
    """Read markup as rich does in a table."""
    if isinstance(cell, Text):
        return cell
    return console.render_str(str(cell), highlight=False)
