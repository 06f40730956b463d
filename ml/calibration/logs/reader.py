"""Read a board's log row by row, and name file, line and column of whatever is wrong with it."""

from __future__ import annotations

import hashlib
import re
import sys
from array import array
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, NoReturn

import numpy as np

from ml.calibration.logs.schema import MARKS, SCHEMAS, TIME_COLUMN, Column, LogKind
from ml.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

_LONGEST_LINE: Final = 16_384
MOST_ROWS: Final = 4_000_000
_MOST_REPEATS: Final = 1000
_SHOWN: Final = 40
_TOGETHER: Final = 8192
_KIND_IN_NAME: Final = re.compile(r"(?i)(^|[^a-z])(rx|tx|rtt)(?=$|[^a-z])")
_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True, slots=True)
class Log:
    """The content of one file.

    Attributes:
        path: Where it was read.
        kind: Of log.
        sha256: Of the file's bytes.
        columns: Name to (rows,) float64, NaN where a field was empty.
        names: Name to (rows,) object array of text.
        lines: (rows,) int64, where each row stood.
        ignored: Columns of the header that are not read.
    """

    path: Path
    kind: LogKind
    sha256: str
    columns: dict[str, NDArray[np.float64]]
    names: dict[str, NDArray[np.object_]]
    lines: NDArray[np.int64]
    ignored: tuple[str, ...]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.lines)

    @property
    def time_ms(self) -> NDArray[np.float64]:
        """(rows,) in the clock of the writing board."""
        return self.columns[TIME_COLUMN[self.kind]]


@dataclass(slots=True)
class _Layout:
    kind: LogKind
    width: int
    numbers: list[tuple[int, Column, list[NDArray[np.float64]]]] = field(default_factory=list)
    texts: list[tuple[int, Column, list[str]]] = field(default_factory=list)
    ignored: tuple[str, ...] = ()


def read_log(path: Path, on_rows: Callable[[int], None] | None = None) -> Log:
    """Read a log.

    Memory grows with the numbers kept, never with a line, and never beyond `MOST_ROWS` rows.

    Args:
        path: A CSV file with a header, UTF-8.
        on_rows: Told how many bytes were read since it was last told.

    Raises:
        LogError: With file, line and column of what is wrong.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file, on_rows)
    except IsADirectoryError as error:
        raise LogError(f"{path} is a folder; name the files in it: {path}/*.csv") from error
    except OSError as error:
        raise LogError(
            f"{path}: cannot be read ({error.strerror}). Check the name and its permissions."
        ) from error


def _read(path: Path, file: BinaryIO, on_rows: Callable[[int], None] | None) -> Log:
    digest = hashlib.sha256()
    layout = _layout(path, _line(path, file, 1, digest).removeprefix("\ufeff"))
    lines = array("q")
    waiting: list[list[str]] = []
    unsaid = 0
    try:
        for number, size, fields in _rows(path, file, digest, layout.width):
            unsaid += size
            waiting.append(fields)
            lines.append(number)
            if len(waiting) == _TOGETHER:
                _take(path, waiting, lines, layout)
                waiting = []
                if on_rows is not None:
                    on_rows(unsaid)
                    unsaid = 0
    except LogError:
        _take(path, waiting, lines, layout)  # what is wrong farther up is said first
        raise
    _take(path, waiting, lines, layout)
    if on_rows is not None:
        on_rows(unsaid)
    if not lines:
        raise LogError(f"{path}, line 1: no row follows the header. The log is empty.")
    return Log(
        path=path,
        kind=layout.kind,
        sha256=digest.hexdigest(),
        columns={c.name: np.concatenate(parts) for _, c, parts in layout.numbers},
        names={c.name: np.array(texts, dtype=object) for _, c, texts in layout.texts},
        lines=np.array(lines, dtype=np.int64),
        ignored=layout.ignored,
    )


def _rows(
    path: Path, file: BinaryIO, digest: hashlib._Hash, width: int
) -> Iterator[tuple[int, int, list[str]]]:
    """Yield (line, characters, fields) of every row below the header."""
    number, repeats, before = 1, 0, ""
    rows = 0
    while text := _line(path, file, number + 1, digest):
        number += 1
        stripped = text.rstrip("\r\n")
        if not stripped.strip():
            continue
        repeats = repeats + 1 if stripped == before else 0
        if repeats == _MOST_REPEATS:
            raise LogError(
                f"{path}, line {number}: the same row stands here {_MOST_REPEATS:,} times in a "
                "row. The logger hung, or the file is damaged: cut it off before."
            )
        before = stripped
        fields = stripped.split(",")
        if len(fields) != width:
            ends = " The file ends here; it is cut off." if not text.endswith("\n") else ""
            raise LogError(
                f"{path}, line {number}: {len(fields)} fields, allowed are the {width} of "
                f"the header.{ends} Remove the line, or correct it."
            )
        rows += 1
        if rows > MOST_ROWS:
            raise LogError(
                f"{path}, line {number}: more than {MOST_ROWS:,} rows, which is days of driving. "
                "Split the log."
            )
        yield number, len(text), fields


def _line(path: Path, file: BinaryIO, number: int, digest: hashlib._Hash) -> str:
    raw = file.readline(_LONGEST_LINE + 1)
    digest.update(raw)
    if len(raw) > _LONGEST_LINE:
        raise LogError(
            f"{path}, line {number}: longer than {_LONGEST_LINE:,} characters. This is no log, or "
            "its line ends are lost."
        )
    if b"\0" in raw or (number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff")):
        column = raw.find(b"\0") + 1
        raise LogError(
            f"{path}, line {number}, character {max(column, 1)}: a byte that is no text. The file "
            "is UTF-16 or binary, or the card lost a block: save it as UTF-8, or cut that part off."
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LogError(
            f"{path}, line {number}, character {error.start + 1}: byte 0x{raw[error.start]:02x} is "
            "not UTF-8 text. Save the file as UTF-8."
        ) from error
    if number == 1 and not text.strip():
        raise LogError(f"{path}, line 1: empty, allowed is a header with names of columns.")
    return text


def _kind(path: Path, header: str, names: list[str]) -> LogKind:
    """Tell by its columns what a log is, and refuse one whose name says something else."""
    if len(names) == 1:
        for sign, word in _DELIMITERS.items():
            if sign in header:
                raise LogError(
                    f"{path}, line 1: its columns are separated by {word}, allowed are commas. "
                    "Export the file again with commas."
                )
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise LogError(f"{path}, line 1: the column {doubles[0]!r} stands there twice.")
    kind = next((kind for kind, mark in MARKS.items() if mark in names), None)
    if kind is None and header.startswith('"'):
        raise LogError(
            f"{path}, line 1: its fields stand in quotation marks, allowed are fields without. "
            "Export the file again without them."
        )
    if kind is None:
        raise LogError(
            f"{path}, line 1: neither an RTT log (with a column rtt_ms), nor RX (from_vehicle_id), "
            f"nor TX (vehicle_id). It has {_short(', '.join(names))!r}."
        )
    named = _KIND_IN_NAME.search(path.stem)
    if named is not None and named.group(2).upper() != kind:
        raise LogError(
            f"{path}, line 1: by its name it is the {named.group(2).upper()} log, by its column "
            f"{MARKS[kind]} an {kind} log. Name the right file, or rename it."
        )
    return kind


def _layout(path: Path, header: str) -> _Layout:
    names = [name.strip() for name in header.rstrip("\r\n").split(",")]
    kind = _kind(path, header, names)
    layout = _Layout(kind, len(names))
    for column in SCHEMAS[kind]:
        if column.name not in names:
            if column.required:
                near = get_close_matches(column.name, names, n=1, cutoff=0.6)
                hint = f" Is it the one called {near[0]!r}?" if near else ""
                raise LogError(
                    f"{path}, line 1: the column {column.name} is missing; {kind} logs have "
                    f"{', '.join(c.name for c in SCHEMAS[kind] if c.required)}.{hint}"
                )
        elif column.text:
            layout.texts.append((names.index(column.name), column, []))
        else:
            layout.numbers.append((names.index(column.name), column, []))
    known = {column.name for column in SCHEMAS[kind]}
    layout.ignored = tuple(name for name in names if name not in known)
    return layout


def _take(path: Path, rows: list[list[str]], lines: array[int], layout: _Layout) -> None:
    """Take in rows, those of the last `lines`, column by column.

    Raises:
        LogError: About the first row in which something is wrong.
    """
    if not rows:
        return
    columns = list(zip(*rows, strict=True))
    for index, column, parts in layout.numbers:
        found = _numbers(columns[index], column)
        if found is None:
            _explain(path, rows, lines, layout)
        else:
            parts.append(found)
    time = next(parts for _, c, parts in layout.numbers if c.name == TIME_COLUMN[layout.kind])
    if np.any(np.diff(time[-1]) < 0.0) or (len(time) > 1 and time[-1][0] < time[-2][-1]):
        _explain(path, rows, lines, layout)
    for index, _, names in layout.texts:
        names += [sys.intern(text.strip()) for text in columns[index]]
        if not all(names[-len(rows) :]):
            _explain(path, rows, lines, layout)


def _numbers(texts: Sequence[str], column: Column) -> NDArray[np.float64] | None:
    """Read a column; None if a field of it is wrong."""
    try:
        found = np.array([float(text) for text in texts])
        empty = np.zeros(found.size, dtype=bool)
    except ValueError:
        if not column.may_be_empty:
            return None
        empty = np.array([not text.strip() for text in texts])
        try:
            found = np.array([float(text) if text.strip() else np.nan for text in texts])
        except ValueError:
            return None
    # Comparisons refuse NaN that is written as such.
    return found if np.all(empty | ((found >= column.low) & (found <= column.high))) else None


def _explain(path: Path, rows: list[list[str]], lines: array[int], layout: _Layout) -> NoReturn:
    """Raise about the first bad row, row by row."""
    done = len(lines) - len(rows)
    time_index = next(i for i, c, _ in layout.numbers if c.name == TIME_COLUMN[layout.kind])
    time_parts = next(parts for i, _, parts in layout.numbers if i == time_index)
    latest = -np.inf
    seen = 0
    for part in time_parts:
        seen += part.size
        if seen <= done:
            latest = float(part[-1])
    for line, fields in zip(lines[done:], rows, strict=True):
        for index, column, _ in layout.numbers:
            if _numbers(fields[index : index + 1], column) is None:
                _refuse(path, line, fields, index, column)
        for index, column, _ in layout.texts:
            if not fields[index].strip():
                _refuse(path, line, fields, index, column)
        time = float(fields[time_index])
        if time < latest:
            raise LogError(
                f"{path}, line {line}, column {TIME_COLUMN[layout.kind]}: time runs back, from "
                f"{latest:g} to {time:g} ms. The board was started anew, or files were joined: "
                "split the log there and calibrate with both parts."
            )
        latest = time
    raise AssertionError(f"{path}: a bad row and none found")  # pragma: no cover


def _refuse(path: Path, line: int, fields: list[str], index: int, column: Column) -> NoReturn:
    character = sum(len(field) + 1 for field in fields[:index]) + 1
    kind = "a name" if column.text else "a number"
    bounds = "" if column.text else f" from {column.low:g} to {column.high:g}"
    empty = ", or nothing" if column.may_be_empty else ""
    raise LogError(
        f"{path}, line {line}, column {column.name} (character {character}): "
        f"{_short(fields[index])!r}, allowed is {kind}{bounds}{empty}. Correct or remove the line."
    )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
