"""A table as the pages' template `parts.html` sets it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

NOTHING = "–"


class Cell(NamedTuple):
    """One cell: what it says, in small print behind it; `mark` is its class in the style sheet."""

    text: str
    small: str = ""
    mark: str = ""


class Line(NamedTuple):
    """One row, the first cell of which names it; `role` is its class in the style sheet."""

    cells: list[Cell]
    role: str = ""


class HtmlTable(NamedTuple):
    """A table: each column's name and unit, its rows, and the columns that are set to the right."""

    columns: list[tuple[str, str]]
    rows: list[Line]
    numeric: frozenset[int] = frozenset()


def table_of(columns: Sequence[str], rows: Iterable[Line]) -> HtmlTable:
    """Build a table of columns `name | unit`; one that begins with ">" is set to the right."""
    names = [column.removeprefix(">").partition(" | ") for column in columns]
    numeric = frozenset(i for i, column in enumerate(columns) if column.startswith(">"))
    return HtmlTable([(name, unit) for name, _, unit in names], list(rows), numeric)
