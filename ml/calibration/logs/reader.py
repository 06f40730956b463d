"""Read a board's log row by row, and name file, line and column of whatever is wrong with it."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Bools, Floats, Ints
from ml.calibration.logs.schema import KIND_IN_NAME, MARKS, SCHEMAS, TIME_COLUMN, Column, LogKind
from ml.errors import LogError

_LONGEST_LINE: Final = 16_384
MOST_ROWS: Final = 4_000_000
_MOST_REPEATS: Final = 1000
_SHOWN: Final = 40
_TOGETHER: Final = 8192
_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True, slots=True)
class Log:
    """The content of one file."""

    path: Path  # Where it was read
    kind: LogKind  # Of log
    sha256: str  # Of the file's bytes
    columns: dict[str, Floats]  # Name to (rows,) float64, NaN where a field was empty
    names: dict[str, NDArray[np.object_]]  # Name to (rows,) object array of text
    lines: Ints  # (rows,) int64, where each row stood

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.lines)

    @property
    def time_ms(self) -> Floats:
        """(rows,) in the clock of the writing board."""
        return self.columns[TIME_COLUMN[self.kind]]


@dataclass(slots=True)
class _Table:
    """What has been read of a log: its columns piece by piece, and where each row stood."""

    path: Path
    kind: LogKind
    width: int
    columns: list[tuple[int, Column]]
    pieces: dict[str, list[NDArray[Any]]]
    lines: array[int] = field(default_factory=lambda: array("q"))
    latest_ms: float = -np.inf


def read_log(path: Path, on_bytes: Callable[[int], None] = lambda _at: None) -> Log:
    """Read a log.

    Memory grows with the numbers kept, never with a line, and never beyond `MOST_ROWS` rows.

    Args:
        path: A CSV file with a header, UTF-8.
        on_bytes: Told now and then how many bytes were read.

    Raises:
        LogError: With file, line and column of what is wrong.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file, on_bytes)
    except IsADirectoryError as error:
        raise LogError(f"{path} is a folder; name the files in it: {path}/*.csv") from error
    except OSError as error:
        raise LogError(
            f"{path}: cannot be read ({error.strerror}). Check the name and its permissions."
        ) from error


def _read(path: Path, file: BinaryIO, on_bytes: Callable[[int], None]) -> Log:
    digest = hashlib.sha256()
    table = _table(path, _line(path, file, 1, digest).removeprefix("\ufeff"))
    waiting: list[list[str]] = []
    try:
        for number, fields in _rows(path, file, digest, table.width):
            waiting.append(fields)
            table.lines.append(number)
            if len(waiting) == _TOGETHER:
                _take(table, waiting)
                waiting = []
                on_bytes(file.tell())
    except LogError:
        _take(table, waiting)  # what is wrong farther up is said first
        raise
    _take(table, waiting)
    if not table.lines:
        raise LogError(f"{path}, line 1: no row follows the header. The log is empty.")
    whole = [(column, np.concatenate(table.pieces[column.name])) for _, column in table.columns]
    return Log(
        path=path,
        kind=table.kind,
        sha256=digest.hexdigest(),
        columns={column.name: values for column, values in whole if not column.text},
        names={column.name: values for column, values in whole if column.text},
        lines=np.array(table.lines, dtype=np.int64),
    )


def _rows(
    path: Path, file: BinaryIO, digest: hashlib._Hash, width: int
) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line and the fields of every row below the header."""
    repeats, before, rows = 0, "", 0
    for number in count(2):
        text = _line(path, file, number, digest)
        if not text:
            return
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
        yield number, fields


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
    for sign, word in _DELIMITERS.items():
        if len(names) == 1 and sign in header:
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
    named = KIND_IN_NAME.search(path.stem)
    if named is not None and named.group(2).upper() != kind:
        raise LogError(
            f"{path}, line 1: by its name it is the {named.group(2).upper()} log, by its column "
            f"{MARKS[kind]} an {kind} log. Name the right file, or rename it."
        )
    return kind


def _table(path: Path, header: str) -> _Table:
    """Lay out the columns of a log, numbers before names."""
    names = [name.strip() for name in header.rstrip("\r\n").split(",")]
    kind = _kind(path, header, names)
    for column in SCHEMAS[kind]:
        if column.required and column.name not in names:
            near = get_close_matches(column.name, names, n=1, cutoff=0.6)
            hint = f" Is it the one called {near[0]!r}?" if near else ""
            raise LogError(
                f"{path}, line 1: the column {column.name} is missing; {kind} logs have "
                f"{', '.join(c.name for c in SCHEMAS[kind] if c.required)}.{hint}"
            )
    return _Table(
        path,
        kind,
        len(names),
        columns=[
            (names.index(column.name), column)
            for column in sorted(SCHEMAS[kind], key=lambda column: column.text)
            if column.name in names
        ],
        pieces={name: [] for name in names},
    )


def _take(table: _Table, rows: list[list[str]]) -> None:
    """Take in rows, those of the last lines, column by column.

    Raises:
        LogError: About the first row in which something is wrong.
    """
    if not rows:
        return
    texts = list(zip(*rows, strict=True))
    wrong = []
    for index, column in table.columns:
        values, refused = _parsed(texts[index], column)
        table.pieces[column.name].append(values)
        wrong.append(refused)
    name, latest_ms = TIME_COLUMN[table.kind], table.latest_ms
    time_ms = table.pieces[name][-1]
    backwards = np.diff(time_ms, prepend=latest_ms) < 0.0
    table.latest_ms = float(time_ms[-1])
    bad = np.flatnonzero(np.logical_or.reduce([*wrong, backwards]))
    if bad.size == 0:
        return
    k = int(bad[0])
    line = table.lines[k - len(rows)]
    for (index, column), refused in zip(table.columns, wrong, strict=True):
        if refused[k]:
            _refuse(table.path, line, rows[k], index, column)
    raise LogError(
        f"{table.path}, line {line}, column {name}: time runs back, from "
        f"{time_ms[k - 1] if k else latest_ms:g} to {time_ms[k]:g} ms. The board was started anew, "
        "or files were joined: split the log there and calibrate with both parts."
    )


def _parsed(texts: Sequence[str], column: Column) -> tuple[NDArray[Any], Bools]:
    """Read fields of a column; return their values, and which of them are wrong."""
    empty = np.zeros(len(texts), dtype=bool)
    if column.text:
        names = [sys.intern(text.strip()) for text in texts]
        return np.array(names, dtype=object), np.array([not name for name in names])
    try:
        found = np.array([float(text) for text in texts])
    except ValueError:
        found = np.array([_number(text) for text in texts])
        if column.may_be_empty:
            empty = np.array([not text.strip() for text in texts])
    # Comparisons refuse NaN that is written as such, and what is no number.
    return found, ~(empty | ((found >= column.low) & (found <= column.high)))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


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
