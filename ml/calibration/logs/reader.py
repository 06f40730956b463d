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
from ml.calibration.logs.log_map import (
    QUANTITY,
    LogFormat,
    WrongUnitError,
    remedy_for,
    unit_that_fits,
)
from ml.calibration.logs.schema import (
    CLOCK_TURNS_MS,
    KIND_IN_NAME,
    MARKS,
    SCHEMAS,
    TIME_COLUMN,
    Column,
    LogKind,
)
from ml.errors import LogError, did_you_mean

_LONGEST_LINE: Final = 16_384
MOST_ROWS: Final = 4_000_000
_MOST_REPEATS: Final = 1000
_SHOWN: Final = 40
_TOGETHER: Final = 8192
_NEAR_TURN_MS: Final = 120_000.0
_OR_MAP: Final = (
    "or describe this format: `roadsense logs map FILE` proposes a map, for --map or as map.toml "
    "in a folder of recordings (docs/logs.md)."
)
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
    lacks: frozenset[str] = frozenset()  # Columns of its kind that the file does not have
    form: LogFormat | None = None  # How it was mapped, None for our own format

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
    form: LogFormat | None
    lines: array[int] = field(default_factory=lambda: array("q"))
    latest_ms: float = -np.inf
    turned_ms: float = 0.0  # What the writing board's clock has lost by starting at 0 again

    def split(self, line: str) -> list[str]:
        """Return the fields of a line."""
        return line.split(",") if self.form is None else self.form.split(line)


def read_log(
    path: Path,
    on_bytes: Callable[[int], None] = lambda _at: None,
    *,
    form: LogFormat | None = None,
) -> Log:
    """Read a log.

    Memory grows with the numbers kept, never with a line, and never beyond `MOST_ROWS` rows. Clocks
    of 32 bits that start at 0 again are read on.

    Args:
        path: A CSV file with a header, UTF-8.
        on_bytes: Told now and then how many bytes were read.
        form: How somebody else's format is read; None for our own.

    Raises:
        LogError: With file, line and column of what is wrong.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file, on_bytes, form)
    except IsADirectoryError as error:
        raise LogError(f"{path} is a folder; name the files in it: {path}/*.csv") from error
    except OSError as error:
        raise LogError(
            f"{path}: cannot be read ({error.strerror}). Check the name and its permissions."
        ) from error


def _read(
    path: Path, file: BinaryIO, on_bytes: Callable[[int], None], form: LogFormat | None
) -> Log:
    digest = hashlib.sha256()
    header_line = 1 if form is None else form.header_line
    head = [_line(path, file, k, digest) for k in range(1, max(header_line, 1) + 1)]
    header = head[-1].removeprefix("\ufeff")
    table = _table(path, header, form)
    first = (1, header) if header_line == 0 else None
    waiting: list[list[str]] = []
    try:
        for number, fields in _rows(table, file, digest, max(header_line, 1), first):
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
        raise LogError(f"{path}, line {header_line}: no row follows the header. The log is empty.")
    whole = [(column, np.concatenate(table.pieces[column.name])) for _, column in table.columns]
    columns = {column.name: values for column, values in whole if not column.text}
    names = {column.name: values for column, values in whole if column.text}
    return _completed(table, columns, names, digest.hexdigest())


def _completed(
    table: _Table,
    columns: dict[str, Floats],
    names: dict[str, NDArray[np.object_]],
    sha256: str,
) -> Log:
    """Put in place what the file leaves to be worked out."""
    form, rows = table.form, len(table.lines)
    for name, constant in (form.constants if form else {}).items():
        if isinstance(constant, str):
            names[name] = np.full(rows, sys.intern(constant), dtype=object)
        else:
            columns[name] = np.full(rows, constant)
    lacks = {c.name for c in SCHEMAS[table.kind]} - columns.keys() - names.keys()
    for column in SCHEMAS[table.kind]:
        if column.name in lacks and column.filled is not None:
            columns[column.name] = np.full(rows, column.filled)
    if table.kind is LogKind.RTT:
        _complete_round_trips(table, columns, lacks)
    elif not {"msg_timestamp", "sequence"} & columns.keys():
        raise LogError(
            f"{table.path}: neither a column msg_timestamp, the sender's clock, nor sequence, "
            "which counts its beacons: what was lost cannot be told. Log one of the two."
        )
    _read_clocks_on(table, columns, names)
    if form is not None:
        form.turned(columns)
    lines = np.array(table.lines, dtype=np.int64)
    return Log(table.path, table.kind, sha256, columns, names, lines, frozenset(lacks), form)


def _read_clocks_on(
    table: _Table, columns: dict[str, Floats], names: dict[str, NDArray[np.object_]]
) -> None:
    """Read on clocks that start at 0 again, in columns that may be late or empty."""
    if table.turned_ms and "recv_time_ms" in columns:
        behind = columns["send_time_ms"] - columns["recv_time_ms"]
        for turn in CLOCK_TURNS_MS:
            late = np.abs(behind - turn) < _NEAR_TURN_MS
            columns["recv_time_ms"] = columns["recv_time_ms"] + np.where(late, turn, 0.0)
    if "msg_timestamp" in columns:
        sender = names["vehicle_id" if table.kind is LogKind.TX else "from_vehicle_id"]
        for name in sorted(set(sender.tolist())):
            mine = sender == name
            columns["msg_timestamp"][mine] = _read_on(columns["msg_timestamp"][mine])


def _complete_round_trips(table: _Table, columns: dict[str, Floats], lacks: set[str]) -> None:
    if {"rtt_ms", "recv_time_ms"} <= lacks:
        raise LogError(
            f"{table.path}: neither rtt_ms nor recv_time_ms: there is no round trip in it."
        )
    if "rtt_ms" in lacks:
        columns["rtt_ms"] = columns["recv_time_ms"] - columns["send_time_ms"]
    if "lost" in lacks:
        columns["lost"] = np.isnan(columns["rtt_ms"]).astype(np.float64)
    if "sequence" in lacks:
        columns["sequence"] = np.arange(len(table.lines), dtype=np.float64)


def _read_on(stamps_ms: Floats) -> Floats:
    """Return timestamps (K,) of one clock of 32 bits that may start at 0 again, and be late."""
    for turn in CLOCK_TURNS_MS:
        before, after = stamps_ms[:-1], stamps_ms[1:]
        high, low = turn - _NEAR_TURN_MS, _NEAR_TURN_MS
        turns = (before >= high) & (after <= low) & (before <= turn)
        back = (before <= low) & (after >= high) & (after <= turn)
        if turns.any():
            since = np.cumsum(turns.astype(np.int64) - back)
            stamps_ms = stamps_ms + turn * np.concatenate([[0], since])
    return stamps_ms


def _rows(
    table: _Table,
    file: BinaryIO,
    digest: hashlib._Hash,
    after: int,
    first: tuple[int, str] | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line and the fields of every row after a line, or from `first` on."""
    path, width = table.path, table.width
    repeats, before, rows = 0, "", 0
    numbers = count(after + 1)
    while True:
        if first is None:
            number = next(numbers)
            text = _line(path, file, number, digest)
        else:
            (number, text), first = first, None
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
        fields = table.split(stripped)
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
                f"Export the file again with commas, {_OR_MAP}"
            )
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise LogError(f"{path}, line 1: the column {doubles[0]!r} stands there twice.")
    kind = next((kind for kind, mark in MARKS.items() if mark in names), None)
    if kind is None and header.startswith('"'):
        raise LogError(
            f"{path}, line 1: its fields stand in quotation marks, allowed are fields without. "
            f"Export the file again without them, {_OR_MAP}"
        )
    if kind is None:
        raise LogError(
            f"{path}, line 1: neither an RTT log (with a column rtt_ms), nor RX (from_vehicle_id), "
            f"nor TX (vehicle_id). It has {_short(', '.join(names))!r}. Name another file, "
            f"{_OR_MAP}"
        )
    named = KIND_IN_NAME.search(path.stem)
    if named is not None and named.group(2).upper() != kind:
        raise LogError(
            f"{path}, line 1: by its name it is the {named.group(2).upper()} log, by its column "
            f"{MARKS[kind]} an {kind} log. Name the right file, or rename it."
        )
    return kind


def _table(path: Path, header: str, form: LogFormat | None) -> _Table:
    """Lay out the columns of a log, numbers before names."""
    if form is not None:
        return _mapped_table(path, header, form)
    names = [name.strip() for name in header.rstrip("\r\n").split(",")]
    kind = _kind(path, header, names)
    known = {column.name for column in SCHEMAS[kind]}
    for column in SCHEMAS[kind]:
        if column.name in names:
            continue
        # What may be missing is missing on purpose, unless a name is nearly the same.
        near = get_close_matches(
            column.name,
            [name for name in names if name not in known or column.required],
            n=1,
            cutoff=0.6 if column.required else 0.85,
        )
        if column.required or near:
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
        form=None,
    )


def _mapped_table(path: Path, header: str, form: LogFormat) -> _Table:
    """Lay out the columns of a log in somebody else's format."""
    theirs = [name.strip().strip('"') for name in form.split(header.rstrip("\r\n"))]
    if form.header_line == 0:
        theirs = [str(k + 1) for k in range(len(theirs))]
    line = max(form.header_line, 1)
    columns = []
    for column in sorted(SCHEMAS[form.kind], key=lambda column: column.text):
        name = form.columns.get(column.name)
        if name is None:
            if column.required and column.name not in form.constants:
                raise LogError(
                    f"{path}: the map names no column for {column.name}, which {form.kind} logs "
                    f'must have. Say `{column.name} = "…"` below columns, or give a constant.'
                )
        elif theirs.count(name) != 1:
            how = "twice" if name in theirs else "nowhere"
            raise LogError(
                f"{path}, line {line}: the map takes {column.name} from the column {name!r}, which "
                f"stands {how} in {_short(form.delimiter.join(theirs))!r}."
                f"{did_you_mean(name, theirs)} Correct the map's columns, delimiter or header-line."
            )
        else:
            columns.append((theirs.index(name), column))
    axis = f"accel_{form.forward_axis[-1]}"
    if form.forward_axis != "x" and axis not in form.columns:
        raise LogError(f"{path}: the map's forward-axis is {form.forward_axis}, but not {axis}.")
    pieces: dict[str, list[NDArray[Any]]] = {column.name: [] for _, column in columns}
    return _Table(path, form.kind, len(theirs), columns, pieces, form)


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
        values, refused = _parsed(texts[index], column, table.form)
        table.pieces[column.name].append(values)
        wrong.append(refused)
    name, latest_ms = TIME_COLUMN[table.kind], table.latest_ms
    time_ms = _turned_on(table, table.pieces[name][-1])
    table.pieces[name][-1] = time_ms
    backwards = np.diff(time_ms, prepend=latest_ms) < 0.0
    table.latest_ms = float(time_ms[-1])
    bad = np.flatnonzero(np.logical_or.reduce([*wrong, backwards]))
    if bad.size == 0:
        return
    k = int(bad[0])
    line = table.lines[k - len(rows)]
    for (index, column), refused in zip(table.columns, wrong, strict=True):
        if refused[k]:
            _refuse(table, line, rows[k], index, column)
    raise LogError(
        f"{table.path}, line {line}, column {name}: time runs back, from "
        f"{time_ms[k - 1] if k else latest_ms:g} to {time_ms[k]:g} ms. The board was started anew, "
        "or files were joined: split the log there, put each part into a folder of its own, with "
        "the other boards' logs in both folders, and calibrate with all of them."
    )


def _turned_on(table: _Table, time_ms: Floats) -> Floats:
    """Return times of a clock of 32 bits that may start at 0 again, and remember if it did."""
    time_ms = time_ms + table.turned_ms
    for k in np.flatnonzero(np.diff(time_ms, prepend=table.latest_ms) < 0.0).tolist():
        before = (time_ms[k - 1] if k else table.latest_ms) - table.turned_ms
        for turn in CLOCK_TURNS_MS:
            ends = turn - _NEAR_TURN_MS <= before <= turn
            if ends and time_ms[k] - table.turned_ms <= _NEAR_TURN_MS:
                time_ms[k:] += turn
                table.turned_ms += turn
                break
    return time_ms


def _parsed(
    texts: Sequence[str], column: Column, form: LogFormat | None
) -> tuple[NDArray[Any], Bools]:
    """Read fields of a column; return their values, and which of them are wrong."""
    empty = np.zeros(len(texts), dtype=bool)
    if column.text:
        names = [sys.intern(text.strip()) for text in texts]
        return np.array(names, dtype=object), np.array([not name for name in names])
    if form is not None:
        found = form.converter(column.name)(texts)
        # Somebody else's rows may be partly empty, as ours are.
        optional = column.may_be_empty or not column.required
        empty = np.array([optional and not text.strip() for text in texts])
    else:
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


def _refuse(table: _Table, line: int, fields: list[str], index: int, column: Column) -> NoReturn:
    character = sum(len(field) + 1 for field in fields[:index]) + 1
    kind = "a name" if column.text else "a number"
    bounds = "" if column.text else f" from {column.low:g} to {column.high:g}"
    empty = ", or nothing" if column.may_be_empty else ""
    text = fields[index]
    fits = unit_that_fits(text, column, table.form)
    remedy = fits and f"It would fit as {fits}. {remedy_for(column.name, fits, table.form)}"
    if table.form is None or column.text:
        raise LogError(
            f"{table.path}, line {line}, column {column.name} (character {character}): "
            f"{_short(text)!r}, allowed is {kind}{bounds}{empty}. "
            f"{remedy or 'Correct or remove the line.'}"
        )
    made = float(table.form.converter(column.name)([text])[0])
    unit = table.form.unit(column.name) if column.name in QUANTITY else "no unit"
    theirs = table.form.columns[column.name]
    said = (
        f"{table.path}, line {line}, column {theirs!r}: {_short(text)!r} in {unit} makes "
        f"{column.name} = {made:g}; allowed is {kind}{bounds}{empty}. "
        f"{remedy or 'Correct the line, or the map.'}"
    )
    raise WrongUnitError(said, column.name, fits) if fits else LogError(said)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
