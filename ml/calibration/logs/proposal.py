"""Propose a map for a log in somebody else's format, by the names of its columns and its values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from ml.arrays import Floats
from ml.calibration.logs.log_map import QUANTITY, LogFormat, WrongUnitError
from ml.calibration.logs.reader import read_log
from ml.calibration.logs.schema import SCHEMAS, LogKind
from ml.calibration.logs.units import check_units
from ml.errors import LogError

_LINES: Final = 400
_TRIES: Final = 6
_ORIGIN_M: Final = 1000.0
_NAMES: Final[dict[str, str]] = {
    "rtt_ms": r"rtt|round ?trip|delay|latency|ping ?time|elapsed",
    "send_time_ms": r"(send|sent|pub\w*|tx|request)\b.*(time|stamp|ts)|^(t ?)?(send|sent|pub)$",
    "recv_time_ms": r"(recv|receive\w*|sub\w*|rx|reply|echo)\b.*(time|stamp|ts)|^(recv|sub)$",
    "lost": r"^(lost|loss|dropped|missing)$",
    "sequence": r"seq|count|packet|number|^(no|nr|num|id|pkt|n|fcnt|zahler|zaehler)$|msg ?id",
    "from_vehicle_id": r"from|sender|source|src|device|node|addr|adr|mac|eui",
    "vehicle_id": r"vehicle|car|board|receiver ?id|gateway",
    "msg_timestamp": r"(msg|message|sender|remote|gen\w*)\b.*(time|stamp)",
    "timestamp_local_ms": r"time|stamp|zeit|date|uptime|millis|micros|^t$",
    "peer_lat": r"peer.*(lat|north)",
    "peer_lon": r"peer.*(lon|lng|east)",
    "lat": r"\blat|north|^(y|utm ?n)$",
    "lon": r"\blon|lng|east|^(x|utm ?e)$",
    "speed": r"speed|velocity|geschw|^v$",
    "heading": r"heading|course|bearing|yaw",
    "source_mac": r"^mac",
    "accel_x": r"acc\w* ?x|^ax$",
    "accel_y": r"acc\w* ?y|^ay$",
    "accel_z": r"acc\w* ?z|^az$",
    "hop_count": r"^hops?( ?count)?$",
    "rssi_dbm": r"rssi|pegel|signal",
    "fix_age_ms": r"fix ?age",
}
"""Our columns, and how others call them, in the order in which they choose."""
_SAID: Final = (
    (r"km ?/? ?h\b|kph", "speed", "km/h"),
    (r"knots?\b|\bkts?\b|\bkn\b", "speed", "knots"),
    (r"\bmph\b", "speed", "mph"),
    (r"\bm ?/ ?s\b|\bmps\b", "speed", "m/s"),
    (r"\brad(ians?)?\b", "angle", "radians"),
    (r"\brad(ians?)?\b", "position", "radians"),
    (r"utm|north|east|\bm\b", "position", "metres"),
    (r"[uµ]s\b|micros", "time", "us"),
    (r"\bms\b|millis", "time", "ms"),
    (r"\bs(ec(onds?)?)?\b", "time", "s"),
    (r"\bg\b", "acceleration", "g"),
)
"""Units that a column's name may tell."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A map that may fit, and what it leaves out."""

    form: LogFormat  # As it would be read
    unused: tuple[str, ...]  # Columns of the file that nothing is taken from
    trouble: str  # What still stands against reading the file so; empty if nothing does

    def toml(self, file: str) -> str:
        """Return the map as the text of a TOML file, for a file of this name."""
        form, lines = self.form, ["[[log]]", f'files = "{file}"', f'kind = "{self.form.kind}"']
        if form.delimiter != ",":
            lines.append(f"delimiter = {_quoted(form.delimiter)}")
        if form.decimal_comma:
            lines.append("decimal-comma = true")
        if form.header_line != 1:
            lines.append(f"header-line = {form.header_line}")
        if any(form.origin):
            lines.append(f"origin = [{form.origin[0]:.1f}, {form.origin[1]:.1f}]")
        if "accel_x" in form.columns:
            lines.append(f'forward-axis = "{form.forward_axis}"')
        for name, content in (
            ("columns", form.columns),
            ("units", form.units),
            ("constants", form.constants),
        ):
            if content:
                lines += ["", f"[log.{name}]"]
                lines += [f"{key} = {_quoted(value)}" for key, value in content.items()]
        if self.unused:
            lines += ["", f"# Not used: {', '.join(self.unused)}."]
        if self.trouble:
            lines += ["# As it stands, the file cannot be read with this map:"]
            lines += [f"#   {line}" for line in self.trouble.splitlines()]
        return "\n".join(lines) + "\n"


def propose(path: Path) -> Proposal:
    """Look at the first lines of a log, and propose how it is read.

    Raises:
        LogError: It cannot be read, or has no rows of numbers.
    """
    lines = _first_lines(path)
    delimiter, width = _delimiter(path, lines)
    split = LogFormat(kind=LogKind.TX, columns={}, delimiter=delimiter).split
    rows = [(k, [field.strip() for field in split(line)]) for k, line in enumerate(lines, 1)]
    rows = [(k, fields) for k, fields in rows if len(fields) == width]
    comma = delimiter != "," and any(
        re.fullmatch(r"-?\d+,\d+", field) for _, fields in rows for field in fields
    )
    head_at, head = rows[0]
    headed = not any(re.search(r"\d", field[:1]) for field in head)
    names = [name.strip('"') for name in head] if headed else [str(k + 1) for k in range(width)]
    if not rows[headed:]:
        raise LogError(f"{path}: no row of {width} fields follows line {head_at}.")
    texts = dict(zip(names, zip(*(f for _, f in rows[headed:]), strict=True), strict=True))
    columns = _columns(names) if headed else {}
    kind = _kind(columns)
    allowed = {column.name for column in SCHEMAS[kind]}
    columns = {ours: theirs for ours, theirs in columns.items() if ours in allowed}
    numbers = {name: _numbers(values, comma=comma) for name, values in texts.items()}
    units = dict(_units(columns, texts, numbers))
    origin = (0.0, 0.0)
    placed = {"lat", "lon"} <= columns.keys() and all(
        np.isfinite(numbers[columns[c]]).any() for c in ("lat", "lon")
    )
    if units.get("position") == "metres" and placed:
        east, north = (
            float(np.nanmedian(numbers[columns[c]]) // _ORIGIN_M * _ORIGIN_M)
            for c in ("lon", "lat")
        )
        origin = (east, north)
    constants: dict[str, str | float] = {}
    if kind is LogKind.RX and "from_vehicle_id" not in columns:
        constants["from_vehicle_id"] = "sender"
    if kind is LogKind.TX and "vehicle_id" not in columns:
        constants["vehicle_id"] = path.stem
    form = LogFormat.model_validate(
        {
            "files": path.name,
            "kind": kind,
            "delimiter": delimiter,
            "decimal-comma": comma,
            "header-line": head_at if headed else 0,
            "columns": columns,
            "constants": constants,
            "units": units,
            "origin": origin,
        }
    )
    form, trouble = _tried(path, form)
    used = set(form.columns.values())
    return Proposal(form, tuple(name for name in names if name not in used), trouble)


def _first_lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            lines = [line.rstrip("\r\n")[:2000] for line in islice(file, _LINES)]
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({error.strerror}). Check the name.") from error
    if not any(line.strip() for line in lines):
        raise LogError(f"{path}: it is empty.")
    return lines


def _delimiter(path: Path, lines: Sequence[str]) -> tuple[str, int]:
    """Return what parts most lines into the same number of fields, and how many."""
    best, delimiter, width = (0.0, 0), ",", 1
    for sign in (";", "\t", "|", ",", " "):
        split = LogFormat(kind=LogKind.TX, columns={}, delimiter=sign).split
        counts = Counter(len(split(line)) for line in lines if line.strip())
        fields, share = counts.most_common(1)[0]
        if fields > 1 and (share, fields) > best and share > 0.5 * sum(counts.values()):
            best, delimiter, width = (share, fields), sign, fields
    if width == 1:
        raise LogError(
            f"{path}: its lines are not parted into columns by commas, semicolons, tabs, bars or "
            "blanks."
        )
    return delimiter, width


def _plain(name: str) -> str:
    """Return a column's name in small letters, with blanks for everything between words."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name)
    name = name.lower().replace("ä", "a").replace("ö", "o").replace("ü", "u")
    return re.sub(r"[^a-z0-9µ/]+", " ", name).strip()


def _columns(names: Sequence[str]) -> dict[str, str]:
    """Return which of their columns is which of ours."""
    free, columns = list(names), {}
    for ours, pattern in _NAMES.items():
        same = [name for name in free if name == ours]
        others = [name for name in free if name not in _NAMES]
        found = same or [name for name in others if re.search(pattern, _plain(name))]
        if found:
            columns[ours] = found[0]
            free.remove(found[0])
    return columns


def _kind(columns: dict[str, str]) -> LogKind:
    """Tell what a log is by what is in it; what is left of a kind's columns moves to its place."""
    if {"send_time_ms", "recv_time_ms"} <= columns.keys() or "rtt_ms" in columns:
        for ours in ("timestamp_local_ms", "msg_timestamp"):
            if "send_time_ms" not in columns and ours in columns:
                columns["send_time_ms"] = columns.pop(ours)
        return LogKind.RTT
    if "timestamp_local_ms" not in columns and "recv_time_ms" in columns:
        columns["timestamp_local_ms"] = columns.pop("recv_time_ms")
    if "msg_timestamp" not in columns and "send_time_ms" in columns:
        columns["msg_timestamp"] = columns.pop("send_time_ms")
    if {"sequence", "from_vehicle_id", "rssi_dbm"} & columns.keys():
        return LogKind.RX
    if "timestamp_local_ms" in columns:
        columns.setdefault("msg_timestamp", columns["timestamp_local_ms"])
    return LogKind.TX


def _numbers(texts: Sequence[str], *, comma: bool) -> Floats:
    out = np.full(len(texts), np.nan)
    for k, text in enumerate(texts):
        with suppress(ValueError):
            out[k] = float(text.replace(",", ".") if comma else text)
    return out


def _units(
    columns: dict[str, str], texts: Mapping[str, Sequence[str]], numbers: Mapping[str, Floats]
) -> Iterator[tuple[str, str]]:
    """Yield the units of columns that are not ours, by their names, else by their values."""
    for ours, theirs in columns.items():
        quantity = QUANTITY.get(ours)
        if quantity is None or theirs == ours:
            continue
        plain = _plain(theirs)
        said = [u for pattern, q, u in _SAID if q == quantity and re.search(pattern, plain)]
        unit = said[0] if said else _by_values(quantity, ours, texts[theirs], numbers[theirs])
        first = {"time": "ms", "position": "degrees", "speed": "m/s", "angle": "degrees"}
        if unit != first.get(quantity, "m/s2"):
            yield ("position" if quantity == "position" else ours), unit


def _by_values(quantity: str, ours: str, texts: Sequence[str], values: Floats) -> str:
    known = values[np.isfinite(values)]
    largest = float(np.max(np.abs(known), initial=0.0))
    if quantity == "time":
        return _time_by_values(ours, texts, known)
    if quantity == "position" and largest > 180.0:  # noqa: PLR2004 - degrees
        return "1e-7 degrees" if largest > 2e7 else "metres"  # noqa: PLR2004 - UTM ends before
    return {"acceleration": "m/s2", "speed": "m/s"}.get(quantity, "degrees")


def _time_by_values(ours: str, texts: Sequence[str], known: Floats) -> str:
    if known.size == 0:
        return "iso" if any(":" in text for text in texts) else "ms"
    if ours in ("rtt_ms", "fix_age_ms", "peer_fix_age_ms"):
        return "s" if np.median(known) < 0.5 else "ms"  # noqa: PLR2004
    for least, unit in ((1e15, "us"), (1e12, "ms"), (1e9, "s")):  # since 1970
        if least <= known.max() < 3.0 * least:
            return unit
    steps = np.diff(known)[np.diff(known) > 0.0]
    step = float(np.median(steps)) if steps.size else 100.0
    return "s" if step < 2.0 else "us" if step > 20_000.0 else "ms"  # noqa: PLR2004


def _tried(path: Path, form: LogFormat) -> tuple[LogFormat, str]:
    """Read the file so, take over the units that would fit; return what stands against it."""
    said = ""
    for _ in range(_TRIES):
        try:
            check_units(read_log(path, form=form))
        except WrongUnitError as error:
            said = str(error)
            if error.unit is None or form.units.get(error.column) == error.unit:
                return form, said
            units = form.units | {error.column: error.unit}
            form = form.model_copy(update={"units": units})
        except LogError as error:
            return form, str(error)
        else:
            return form, ""
    return form, said


def _quoted(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'
