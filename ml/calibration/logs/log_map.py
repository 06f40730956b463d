"""A map from somebody else's log format to ours: which column is which, and in what unit."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ml.arrays import Floats
from ml.calibration.logs.schema import SCHEMAS, Column, LogKind
from ml.errors import LogError, did_you_mean
from ml.espnow_emulator import GeoReference

_MOMENTS: Final = ("timestamp_local_ms", "msg_timestamp", "send_time_ms", "recv_time_ms")
_LARGEST_BYTES: Final = 100_000
_PLANE: Final = GeoReference.at(0.0, 0.0)
_PLANE_LON_DEG: Final = 10.0  # away from 0, 0, which means no fix
_FARTHEST_M: Final = 100_000.0
UNITS: Final[dict[str, dict[str, float]]] = {
    "time": {"ms": 1.0, "s": 1000.0, "us": 0.001, "iso": 1.0},
    "position": {"degrees": 1.0, "1e-7 degrees": 1e-7, "radians": 180.0 / np.pi, "metres": 1.0},
    "speed": {"m/s": 1.0, "km/h": 1.0 / 3.6, "knots": 1852.0 / 3600.0, "mph": 0.44704},
    "angle": {"degrees": 1.0, "radians": 180.0 / np.pi},
    "acceleration": {"m/s2": 1.0, "g": 9.80665},
}
"""What a column may be in, and by what it is multiplied to become ours, which stands first."""
QUANTITY: Final = {
    **dict.fromkeys(("lat", "lon", "peer_lat", "peer_lon"), "position"),
    **dict.fromkeys(("receiver_lat", "receiver_lon"), "position"),
    **dict.fromkeys(("speed", "receiver_speed"), "speed"),
    "heading": "angle",
    **dict.fromkeys(("accel_x", "accel_y", "accel_z"), "acceleration"),
    **dict.fromkeys(("timestamp_local_ms", "msg_timestamp", "send_time_ms"), "time"),
    **dict.fromkeys(("recv_time_ms", "rtt_ms", "fix_age_ms", "peer_fix_age_ms"), "time"),
}
"""Of our columns that have a unit, what they measure."""


class WrongUnitError(LogError):
    """A column is in another unit than it is taken to be in."""

    def __init__(self, message: str, column: str, unit: str | None) -> None:
        """Remember our name of the column, and the unit that would fit, if one would."""
        super().__init__(message)
        self.column = column
        self.unit = unit


class LogFormat(BaseModel):
    """How the files of one format are read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-")
    )

    kind: LogKind
    files: str = "*"
    delimiter: Literal[",", ";", "\t", "|", " "] = ","
    decimal_comma: bool = False
    header_line: int = Field(default=1, ge=0, le=10_000)
    columns: dict[str, str]
    constants: dict[str, str | float] = {}
    units: dict[str, str] = {}
    origin: tuple[float, float] = (0.0, 0.0)
    clock_start: str | None = None
    forward_axis: Literal["x", "-x", "y", "-y", "z", "-z"] = "x"

    @model_validator(mode="after")
    def _known(self) -> LogFormat:
        known = [column.name for column in SCHEMAS[self.kind]]
        for section, content in (("columns", self.columns), ("constants", self.constants)):
            for name in content:
                if name not in known:
                    raise ValueError(
                        f"{section}.{name}: no column of {self.kind} logs."
                        f"{did_you_mean(name, known)}"
                    )
        for name, unit in self.units.items():
            quantity = QUANTITY.get(name, name)
            if quantity not in UNITS:
                raise ValueError(
                    f"units.{name}: has no unit.{did_you_mean(name, [*UNITS, *QUANTITY])}"
                )
            if unit not in UNITS[quantity]:
                allowed = ", ".join(UNITS[quantity])
                raise ValueError(f"units.{name} = {unit!r}: allowed is {allowed}.")
        if self.clock_start is not None and np.isnan(_moment(self.clock_start)):
            raise ValueError(
                f"clock-start = {self.clock_start!r}: allowed is a time such as "
                "2031-05-02T10:00:00Z."
            )
        if self.decimal_comma and self.delimiter == ",":
            raise ValueError("decimal-comma: then the delimiter cannot be a comma, too.")
        return self

    def unit(self, column: str) -> str:
        """Return in which unit one of our columns stands in the file."""
        quantity = QUANTITY[column]
        return self.units.get(column, self.units.get(quantity, next(iter(UNITS[quantity]))))

    def split(self, line: str) -> list[str]:
        """Return the fields of a line."""
        if self.delimiter == " ":
            return line.split()
        if '"' in line:
            return next(csv.reader([line], delimiter=self.delimiter))
        return line.split(self.delimiter)

    def converter(self, column: str) -> Callable[[Sequence[str]], Floats]:
        """Return what reads fields of one of our columns; what is no number becomes NaN."""
        unit = self.unit(column) if column in QUANTITY else ""
        if unit == "iso":
            return lambda texts: np.array([_moment(text) for text in texts])
        factor = UNITS[QUANTITY[column]][unit] if unit else 1.0
        shift, less = 0.0, 0.0
        if column in _MOMENTS and self.clock_start is not None:
            shift = _moment(self.clock_start)
        if unit == "metres":
            is_lat = column.endswith("lat")
            less = self.origin[1] if is_lat else self.origin[0]
            factor = 1.0 / (_PLANE.north_m_per_deg if is_lat else _PLANE.east_m_per_deg)
            shift = 0.0 if is_lat else _PLANE_LON_DEG

        def read(texts: Sequence[str]) -> Floats:
            plain = [text.replace(",", ".") for text in texts] if self.decimal_comma else texts
            values = (np.array([_number(text) for text in plain]) - less) * factor + shift
            if unit == "metres":
                with np.errstate(invalid="ignore"):
                    values[np.abs(values - shift) > _FARTHEST_M * factor] = np.inf
            return values

        return read

    def turned(self, columns: dict[str, Floats]) -> None:
        """Turn accelerations so that x points forward."""
        sign, name = -1.0 if self.forward_axis[0] == "-" else 1.0, f"accel_{self.forward_axis[-1]}"
        if self.forward_axis == "x" or name not in columns:
            return
        before = columns.get("accel_x")
        columns["accel_x"] = sign * columns[name]
        beside = "accel_y" if name == "accel_x" else name
        if beside in columns and before is not None:
            columns[beside] = -columns[beside] if name == "accel_x" else -sign * before


@dataclass(frozen=True, slots=True)
class LogMap:
    """The formats of some files, the first that fits a name counts."""

    path: Path  # Where it stands
    formats: tuple[LogFormat, ...]  # In order

    def format_of(self, path: Path) -> LogFormat | None:
        """Return how a file is to be read; None: it has our own format."""
        return next((f for f in self.formats if fnmatch(path.name, f.files)), None)


def read_log_map(path: Path) -> LogMap:
    """Read a map.

    Args:
        path: A TOML file with a table `[[log]]` for each format.

    Raises:
        LogError: With file and line of what is wrong.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise LogError(f"{path}: larger than 100 kB. This is no map of a log format.")
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
    except OSError as error:
        raise LogError(
            f"{path}: cannot be read ({error.strerror}). `roadsense logs map FILE` proposes a map."
        ) from error
    except UnicodeDecodeError as error:
        raise LogError(f"{path}: byte {error.start} is not UTF-8. Save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise LogError(f"{path}: no TOML: {error}. Correct that place.") from error
    entries = content.get("log")
    if set(content) != {"log"} or not isinstance(entries, list) or not entries:
        raise LogError(
            f"{path}: allowed is a table [[log]] for each format, and nothing else. "
            "`roadsense logs map FILE` proposes one."
        )
    formats = []
    for number, entry in enumerate(entries, start=1):
        try:
            formats.append(LogFormat.model_validate(entry))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise LogError(_said(path, text, number, first)) from error
    return LogMap(path, tuple(formats))


def unit_that_fits(text: str, column: Column, form: LogFormat | None) -> str | None:
    """Return in which unit a value that a column does not allow would be allowed."""
    quantity = QUANTITY.get(column.name)
    if quantity is None:
        return None
    now = next(iter(UNITS[quantity])) if form is None else form.unit(column.name)
    value = _number(text.replace(",", ".") if form and form.decimal_comma else text)
    for unit, factor in UNITS[quantity].items():
        if unit in (now, "iso") or factor >= UNITS[quantity][now]:
            continue
        if column.low <= value * factor <= column.high:
            return unit
    # Metres are neither more nor less than degrees.
    return "metres" if quantity == "position" and now != "metres" and np.isfinite(value) else None


def remedy_for(column: str, unit: str, form: LogFormat | None) -> str:
    """Say what to do about a column that is in another unit than it was taken to be in."""
    if form is None:
        ours = next(iter(UNITS[QUANTITY[column]]))
        return (
            f"Log {column} in {ours}, or read the file with --map and a map that says "
            f'`units = {{ {column} = "{unit}" }}`: `roadsense logs map FILE` proposes one.'
        )
    quantity = QUANTITY[column]
    return f'Write `{quantity} = "{unit}"`, or `{column} = "{unit}"`, below units in the map.'


def _said(path: Path, text: str, number: int, item: Any) -> str:
    """Say what is wrong with the numbered [[log]] of a map, and in which line."""
    where = ".".join(str(part) for part in item["loc"])
    message = str(item["msg"]).removeprefix("Value error, ")
    parts = [str(part) for part in item["loc"]] or re.split(r"[: ]", message)[0].split(".")
    key, lines = parts[-1], text.splitlines()
    heads = [k for k, line in enumerate(lines) if re.match(r"\s*\[\[\s*log\s*\]\]", line)]
    line = heads[number - 1] if number <= len(heads) else 0
    for part in parts:
        word = re.compile(rf"(?<![\w-]){re.escape(part)}(?![\w-])")
        line = next((k for k in range(line, len(lines)) if word.search(lines[k])), line)
    line += 1
    if item["type"] == "extra_forbidden":
        known = [name.replace("_", "-") for name in LogFormat.model_fields]
        message = f"unknown key.{did_you_mean(key, known)} Known are {', '.join(known)}"
    elif item["type"] == "missing":
        message = "is missing"
    return f"{path}, line {line}: {where + ': ' if where else ''}{message} Correct that line."


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _moment(text: str) -> float:
    """Return a date and time as ms since 1970; without a zone it is taken for UTC."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return np.nan
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return 1000.0 * moment.timestamp()
