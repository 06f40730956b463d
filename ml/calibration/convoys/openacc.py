"""Read recordings in the layout of the OpenACC database (docs/drives.md).

Some lines of `key,value,…` come first; then a header and rows at 10 Hz::

    Vehicle_order,first car,second car
    Time,Speed1,E1,N1,Lon1,Lat1,Alt1,Speed2,E2,N2,Lon2,Lat2,Alt2,IVS1

Car 1 drives in front. Speeds are m/s, `IVSk` is the bumper gap of car k to the next car behind that
has columns. A cell may be empty; of a car there may be no columns at all. What is not named here is
not read, but for `Ek` and `Nk`, metres east and north, which speeds are held against.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from io import StringIO
from itertools import islice, pairwise
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import numpy as np

from ml.arrays import Floats, Ints
from ml.calibration.convoys.recorded import RecordedConvoy
from ml.errors import LogError

_TIME: Final = "Time"
_CAR: Final = re.compile(r"(Speed|IVS|E|N)(\d+)")
_MOST_LINES_BEFORE: Final = 50
_MOST_BYTES: Final = 1_000_000_000
_FASTEST_MPS: Final = 70.0
_LEAST_SPEED_MPS: Final = -0.5
"""What interpolation makes of a car that stands; it counts as 0."""
_MOST_GAP_M: Final = 2000.0
_STEP_S, _STEP_WITHIN_S = 0.1, 0.01
_MOVING_M: Final = 1.0
_COMPARED_ROWS, _LEAST_COMPARED = 10, 30
_WITHIN, _NEAR = 0.35, 0.1
_UNITS: Final = {3.6: "km/h", 1.944: "knots", 2.237: "mph", 3.281: "ft/s"}


class _Table(NamedTuple):
    """What was read of a file: columns by name, (rows,) float64, and the line of each row."""

    path: Path
    columns: dict[str, Floats]
    lines: Ints
    keys: dict[str, list[str]]

    def refuse(self, row: int, column: str, why: str) -> NoReturn:
        """Raise an error about a value."""
        value = self.columns[column][row]
        raise LogError(f"{self.path}, line {self.lines[row]}, column {column}: {value:g}, {why}")


def is_openacc(path: Path) -> bool:
    """Tell by a file's first lines whether it has this layout."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            heads = [file.readline(16_384) for _ in range(_MOST_LINES_BEFORE)]
    except OSError:
        return False
    return any(head.startswith(f"{_TIME},") and "Speed" in head for head in heads)


def read_openacc(path: Path, on_bytes: Callable[[int], None] = lambda _at: None) -> RecordedConvoy:
    """Read a recording.

    Args:
        path: A CSV file, UTF-8.
        on_bytes: Told how many bytes were read.

    Raises:
        LogError: With file, line and value of what is wrong, and the remedy.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise LogError(
            f"{path}: cannot be read ({error.strerror}). Check the name and its permissions."
        ) from error
    table = _read(path, raw)
    on_bytes(len(raw))
    cars = _cars(table)
    _check_time(table)
    speed = np.stack([table.columns[f"Speed{car}"] for car in cars], axis=1)
    gap = np.stack([table.columns[f"IVS{car}"] for car in cars[:-1]], axis=1)
    _check_units(table, cars)
    order = slice(None, None, -1)  # the last car first
    return RecordedConvoy(
        time_s=table.columns[_TIME],
        speed_mps=np.ascontiguousarray(np.maximum(speed, 0.0)[:, order]),
        gap_m=np.ascontiguousarray(gap[:, order]),
        names=tuple(_name(table.keys, car, cars) for car in cars[order]),
        source=path,
        sha256=sha256(raw).hexdigest(),
    )


def _read(path: Path, raw: bytes) -> _Table:
    """Read the columns that are used.

    Raises:
        LogError: It is no text, has no header, or a cell of these columns is no number.
    """
    if len(raw) > _MOST_BYTES:
        raise LogError(f"{path}: {len(raw):,} bytes, allowed are {_MOST_BYTES:,}. Split the file.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LogError(
            f"{path}: byte 0x{raw[error.start]:02x} at place {error.start} is not UTF-8 text. Save "
            "the file as UTF-8."
        ) from error
    lines = _lines(path, text)
    keys, names, head = _header(path, lines)
    wanted = [k for k, name in enumerate(names) if name == _TIME or _CAR.fullmatch(name)]
    doubles = [names[k] for k in wanted if names.count(names[k]) > 1]
    if doubles:
        raise LogError(f"{path}, line {head}: the column {doubles[0]} stands there twice.")
    numbers, rows = [], []
    for number, fields in lines:
        if not any(map(str.strip, fields)):
            continue
        if len(fields) != len(names):
            raise LogError(
                f"{path}, line {number}: {len(fields)} cells, allowed are the {len(names)} of the "
                "header. The line was cut off, or a comma is a decimal one: write it anew."
            )
        numbers.append(number)
        rows.append([fields[k] for k in wanted])
    if len(rows) <= _COMPARED_ROWS:
        raise LogError(f"{path}: {len(rows)} rows below the header; a second is needed at least.")
    cells = zip(*rows, strict=True)
    columns = {
        names[k]: _numbers(path, names[k], column, numbers)
        for k, column in zip(wanted, cells, strict=True)
    }
    return _Table(path, columns, np.array(numbers, dtype=np.int64), keys)


def _lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line.

    Raises:
        LogError: A line is no CSV.
    """
    rows = csv.reader(StringIO(text))
    number = 0
    while True:
        number += 1
        try:
            yield number, next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise LogError(
                f"{path}, line {number}: no cells with commas between them ({error}). Save the "
                "file as CSV again."
            ) from error


def _header(
    path: Path, lines: Iterator[tuple[int, list[str]]]
) -> tuple[dict[str, list[str]], list[str], int]:
    """Read up to the header: keys and their values, names of the columns, and its line.

    Raises:
        LogError: There is none.
    """
    keys: dict[str, list[str]] = {}
    for number, fields in islice(lines, _MOST_LINES_BEFORE):
        names = [field.strip() for field in fields]
        if names[:1] == [_TIME]:
            return keys, names, number
        if names:
            keys[names[0]] = names[1:]
    raise LogError(
        f"{path}: none of its first {_MOST_LINES_BEFORE} lines is a header that begins with Time. "
        "A recording in OpenACC's layout has one: docs/drives.md."
    )


def _numbers(path: Path, name: str, cells: Sequence[str], lines: Sequence[int]) -> Floats:
    """Read a column; empty cells are NaN."""
    try:
        values = np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
    except ValueError:
        values = np.array([_number(cell) for cell in cells])
    wrong = np.flatnonzero(np.isinf(values))
    if wrong.size:
        row = int(wrong[0])
        raise LogError(
            f"{path}, line {lines[row]}, column {name}: {cells[row][:40]!r}, allowed is a number, "
            "or nothing where it is not known. Correct the cell, or empty it."
        )
    return values


def _number(cell: str) -> float:
    """Read a cell: NaN if it is empty, infinite if it is no number."""
    try:
        return float(cell) if cell.strip() else np.nan
    except ValueError:
        return np.inf


def _cars(table: _Table) -> list[int]:
    """Return the numbers of the cars, from the first one on, and check their values.

    Raises:
        LogError: Fewer than two cars, no gap of one of them, or a value that cannot be.
    """
    columns = table.columns
    found = [_CAR.fullmatch(name) for name in columns]
    cars = sorted(int(match[2]) for match in found if match and match[1] == "Speed")
    if len(cars) < 2:  # noqa: PLR2004
        raise LogError(
            f"{table.path}: {len(cars)} columns Speed1, Speed2, …; a convoy has two cars at least."
        )
    missing = next((car for car in cars[:-1] if f"IVS{car}" not in columns), None)
    if missing is not None:
        raise LogError(
            f"{table.path}: the column IVS{missing} is missing, the gap behind car {missing}. Add "
            "it, or take out the columns of the cars on one side of it."
        )
    for car in cars:
        name = f"Speed{car}"
        speed = columns[name]
        if (speed > _FASTEST_MPS).any():
            row = int(np.nanargmax(speed))
            table.refuse(
                row, name, f"allowed is up to {_FASTEST_MPS:g} m/s. {_divide('km/h', 3.6)}"
            )
        if (speed < _LEAST_SPEED_MPS).any():
            table.refuse(int(np.nanargmin(speed)), name, "allowed is a speed from 0 on.")
    for car in cars[:-1]:
        gap = columns[f"IVS{car}"]
        if (np.abs(gap) > _MOST_GAP_M).any():
            row = int(np.nanargmax(np.abs(gap)))
            table.refuse(
                row,
                f"IVS{car}",
                f"allowed are up to {_MOST_GAP_M:g} m. Is it in cm? Divide by 100.",
            )
    return cars


def _check_time(table: _Table) -> None:
    """Check that time runs on, in seconds, at 10 Hz.

    Raises:
        LogError: It does not.
    """
    time_s = table.columns[_TIME]
    if np.isnan(time_s).any():
        table.refuse(int(np.argmax(np.isnan(time_s))), _TIME, "allowed is a time. Remove the row.")
    steps = np.diff(time_s)
    if (steps <= 0.0).any():
        row = 1 + int(np.argmax(steps <= 0.0))
        table.refuse(
            row, _TIME, f"after {time_s[row - 1]:g}: time must run on. Split the file there."
        )
    usual = float(np.median(steps))
    if abs(usual - _STEP_S) > _STEP_WITHIN_S:
        unit = " It is in milliseconds: divide by 1000." if round(usual) == 100 else ""  # noqa: PLR2004
        table.refuse(
            1, _TIME, f"rows are {usual:g} s apart, allowed are {_STEP_S:g} s (10 Hz).{unit}"
        )


def _check_units(table: _Table, cars: Sequence[int]) -> None:
    """Hold speeds against the ways between positions, and against how gaps change.

    Raises:
        LogError: The median of the ratios says that a column has another unit.
    """
    columns = table.columns
    for car in cars:
        if f"E{car}" not in columns or f"N{car}" not in columns:
            continue
        way_m = np.hypot(*(_changes(columns[f"{axis}{car}"]) for axis in "EN"))
        driven_m = _driven_m(columns, car)
        moving = (way_m > _MOVING_M) & np.isfinite(driven_m)
        if moving.sum() >= _LEAST_COMPARED:
            ratio = float(np.median(driven_m[moving] / way_m[moving]))
            _refuse_unit(table, f"Speed{car}", ratio, "the positions")
    for ahead, behind in pairwise(cars):
        opened_m = _driven_m(columns, ahead) - _driven_m(columns, behind)
        found_m = _changes(columns[f"IVS{ahead}"])
        wide = (np.abs(opened_m) > _MOVING_M) & np.isfinite(found_m)
        if wide.sum() < _LEAST_COMPARED:
            continue
        with np.errstate(divide="ignore"):
            ratio = float(np.median(opened_m[wide] / found_m[wide]))
        if ratio < 0.0:
            table.refuse(
                int(np.flatnonzero(wide)[0]), f"IVS{ahead}",
                f"which shrinks where car {ahead} is faster than car {behind} behind it. Car 1 "
                "must be the first one: number the columns anew.",
            )  # fmt: skip
        _refuse_unit(table, f"Speed{ahead}", ratio, f"the changes of IVS{ahead}")


def _changes(values: Floats) -> Floats:
    return values[_COMPARED_ROWS:] - values[:-_COMPARED_ROWS]


def _driven_m(columns: dict[str, Floats], car: int) -> Floats:
    """What a car drove within so many rows, by its speed; NaN where time jumps."""
    speed, time_s = columns[f"Speed{car}"], columns[_TIME]
    step_s = np.diff(time_s)
    step_s[step_s > 2.0 * _STEP_S] = np.nan
    way = np.concatenate(([0.0], 0.5 * (speed[1:] + speed[:-1]) * step_s))
    # A sum that is not poisoned by a hole beyond its rows.
    return np.convolve(way, np.ones(_COMPARED_ROWS), mode="full")[_COMPARED_ROWS : way.size]


def _refuse_unit(table: _Table, column: str, ratio: float, what: str) -> None:
    """Refuse a column whose values are so many times too large.

    Raises:
        LogError: It is.
    """
    if not np.isfinite(ratio) or abs(ratio - 1.0) <= _WITHIN:
        return
    factor = min(_UNITS, key=lambda known: abs(known / ratio - 1.0))
    remedy = "Are speeds in m/s, gaps and positions in m?"
    if abs(factor / ratio - 1.0) <= _NEAR:
        remedy = _divide(_UNITS[factor], factor)
    row = int(np.nanargmax(table.columns[column]))
    table.refuse(row, column, f"{ratio:.2f} times what {what} say in m/s. {remedy}")


def _divide(unit: str, factor: float) -> str:
    return f"It seems to be in {unit}: divide the speeds by {factor:g}."


def _name(keys: dict[str, list[str]], car: int, cars: Sequence[int]) -> str:
    """Name a car as `Vehicle_order` does: one name per number, or one per car with columns."""
    order = [name for name in keys.get("Vehicle_order", []) if name]
    if len(order) == len(cars):
        return order[cars.index(car)]
    return order[car - 1] if car <= len(order) else f"car {car}"
