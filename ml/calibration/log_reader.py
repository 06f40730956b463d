"""Read a board's log row by row, and name file, line and column of whatever is wrong with it."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.log_schema import MARKS, SCHEMAS, TIME_COLUMN, Column, LogKind
from ml.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

_LONGEST_LINE: Final = 16_384
MOST_ROWS: Final = 4_000_000
_MOST_REPEATS: Final = 1000
_SHOWN: Final = 40
_SAY_EVERY: Final = 20_000
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
    numbers: list[tuple[int, Column, array[float]]] = field(default_factory=list)
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
    time_index = next(i for i, c, _ in layout.numbers if c.name == TIME_COLUMN[layout.kind])
    number, repeats, before, unsaid = 1, 0, "", 0
    latest = -np.inf
    while text := _line(path, file, number + 1, digest):
        number += 1
        unsaid += len(text)
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
        if len(fields) != layout.width:
            ends = " The file ends here; it is cut off." if not text.endswith("\n") else ""
            raise LogError(
                f"{path}, line {number}: {len(fields)} fields, allowed are the {layout.width} of "
                f"the header.{ends} Remove the line, or correct it."
            )
        _take(path, number, fields, layout)
        time = layout.numbers[0][2][-1] if time_index < 0 else _last(layout, time_index)
        if time < latest:
            raise LogError(
                f"{path}, line {number}, column {TIME_COLUMN[layout.kind]}: time runs back, from "
                f"{latest:g} to {time:g} ms. The board was started anew, or files were joined: "
                "split the log there and calibrate with both parts."
            )
        latest = time
        lines.append(number)
        if len(lines) > MOST_ROWS:
            raise LogError(
                f"{path}, line {number}: more than {MOST_ROWS:,} rows, which is days of driving. "
                "Split the log."
            )
        if on_rows is not None and len(lines) % _SAY_EVERY == 0:
            on_rows(unsaid)
            unsaid = 0
    if on_rows is not None:
        on_rows(unsaid)
    if not lines:
        raise LogError(f"{path}, line {number}: no row follows the header. The log is empty.")
    return Log(
        path=path,
        kind=layout.kind,
        sha256=digest.hexdigest(),
        columns={c.name: np.array(values) for _, c, values in layout.numbers},
        names={c.name: np.array(texts, dtype=object) for _, c, texts in layout.texts},
        lines=np.array(lines, dtype=np.int64),
        ignored=layout.ignored,
    )


def _last(layout: _Layout, index: int) -> float:
    return next(values[-1] for i, _, values in layout.numbers if i == index)


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


def _layout(path: Path, header: str) -> _Layout:
    names = [name.strip() for name in header.rstrip("\r\n").split(",")]
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
    if kind is None:
        raise LogError(
            f"{path}, line 1: neither an RTT log (with a column rtt_ms), nor RX (from_vehicle_id), "
            f"nor TX (vehicle_id). It has {_short(', '.join(names))!r}."
        )
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
            layout.numbers.append((names.index(column.name), column, array("d")))
    known = {column.name for column in SCHEMAS[kind]}
    layout.ignored = tuple(name for name in names if name not in known)
    return layout


def _take(path: Path, line: int, fields: list[str], layout: _Layout) -> None:
    for index, column, values in layout.numbers:
        text = fields[index]
        try:
            value = float(text)
        except ValueError:
            if text.strip() or not column.may_be_empty:
                _refuse(path, line, fields, index, column)
            value = np.nan
        else:
            if not column.low <= value <= column.high:  # refuses NaN, too
                _refuse(path, line, fields, index, column)
        values.append(value)
    for index, column, texts in layout.texts:
        name = fields[index].strip()
        if not name:
            _refuse(path, line, fields, index, column)
        texts.append(name)


def _refuse(path: Path, line: int, fields: list[str], index: int, column: Column) -> None:
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
