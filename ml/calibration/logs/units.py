"""Every column of a log against another one, or against physics, so that no wrong unit gets in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Floats, Ints
from ml.calibration.logs.log_map import UNITS, WrongUnitError, remedy_for
from ml.calibration.logs.reader import Log
from ml.calibration.logs.schema import TIME_COLUMN, LogKind
from ml.calibration.logs.trajectories import in_metres, is_somewhere, reference_for

_LEAST_ROWS: Final = 20
_SEGMENTS: Final = 60
_MOVED_M, _DRIVEN_M = 100.0, 300.0
_NEAR: Final = 0.12  # of a logarithm: mph and knots are 0.14 apart
_HARDLY: Final = 0.02
_FAR: Final = np.log(3.0)
_CRAWL_MPS: Final = 1.0
_FASTEST_MPS: Final = 100.0
_SHORTEST_MS, _LONGEST_MS = 2.0, 20_000.0
_SHORTEST_TRIP_MS: Final = 0.5
_GRAVITY_MPS2: Final = 9.81
_COURSE_M: Final = 3.0
_KMH, _KNOTS, _MPH = (UNITS["speed"][unit] for unit in ("km/h", "knots", "mph"))


class _Rows(NamedTuple):
    """Rows of a log that say something of one board."""

    at: Ints  # (K,) in the log
    time: str  # Column of its clock
    pose: tuple[str, str, str]  # Columns of its latitude, longitude and speed


@dataclass(frozen=True, slots=True)
class _Way:
    """What one board's fixes and speeds say of its way."""

    rows: Ints  # (F,) where fixes changed, in the log
    east_m: Floats  # (F,)
    north_m: Floats  # (F,)
    time_s: Floats  # (F,)
    driven_m: Floats  # (F,), by speed and time since the first; NaN without speeds


def check_units(log: Log) -> None:
    """Refuse a log one of whose columns is in another unit than its name says.

    Raises:
        LogError: With file, line, column, and the unit that would fit.
    """
    if log.kind is LogKind.RTT:
        _check_round_trips(log)
    for rows in _rows_of(log):
        _check_time(log, rows)
        way = _way_of(log, rows)
        if way is not None:
            _check_way(log, rows, way)
            if rows.pose[0] == "lat":
                _check_heading(log, way)
        _check_acceleration(log, rows)


def _rows_of(log: Log) -> Iterator[_Rows]:
    pose = ("lat", "lon", "speed")
    if log.kind is LogKind.RTT:
        yield _Rows(np.arange(log.rows), "send_time_ms", pose)
        return
    names = log.names["vehicle_id" if log.kind is LogKind.TX else "from_vehicle_id"]
    clock = "msg_timestamp" if "msg_timestamp" in log.columns else "timestamp_local_ms"
    for name in sorted(set(names.tolist())):
        rows = np.flatnonzero((names == name) & (log.columns["hop_count"] == 0.0))
        yield _Rows(rows, clock, pose)
    if "receiver_lat" in log.columns:
        own = ("receiver_lat", "receiver_lon", "receiver_speed")
        yield _Rows(np.arange(log.rows), "timestamp_local_ms", own)


def _refuse(log: Log, row: int, column: str, unit: str | None, why: str) -> None:
    form = log.form
    theirs = form.columns.get(column, column) if form else column
    value = log.columns[column][row]
    fits = (
        f"It would fit as {unit}. {remedy_for(column, unit, form)}"
        if unit
        else "No unit that is known would fit: look at what this column holds."
    )
    where = f"{log.path}, line {int(log.lines[row])}, column {theirs}"
    raise WrongUnitError(f"{where}: {value:.10g}, but {why}. {fits}", column, unit)


def _check_time(log: Log, rows: _Rows) -> None:
    """Hold the clock of messages against that of receptions, and both against what radios do."""
    local = TIME_COLUMN[log.kind]
    if rows.at.size < _LEAST_ROWS:
        return
    if rows.time != local:
        spans = [
            np.subtract(*np.percentile(log.columns[c][rows.at], [90.0, 10.0]))
            for c in (rows.time, local)
        ]
        if min(spans) > 0.0:
            ratio = float(np.log(spans[0] / spans[1]))
            for unit, factor in (("us", 1000.0), ("s", 0.001)):
                if abs(ratio - np.log(factor)) < _NEAR:
                    why = f"it runs {factor:g} times as fast as {local}"
                    _refuse(log, int(rows.at[-1]), rows.time, unit, why)
    if rows.pose[0] != "lat":
        return
    steps = np.diff(log.columns[rows.time][rows.at])
    steps = steps[steps > 0.0]
    step_ms = float(np.median(steps)) if steps.size else 0.0
    why = f"rows are then {step_ms:g} ms apart"
    if 0.0 < step_ms < _SHORTEST_MS:
        _refuse(log, int(rows.at[1]), rows.time, "s", f"{why}: no radio sends so often")
    if step_ms > _LONGEST_MS and log.form is None:
        why += "; if they really are, say so with a map (--map)"
        _refuse(log, int(rows.at[1]), rows.time, "us", why)


def _way_of(log: Log, rows: _Rows, scale: float = 1.0) -> _Way | None:
    """Return the way of a board that moved, by its fixes, times a scale, or by its speed."""
    lat, lon = (scale * log.columns[name][rows.at] for name in rows.pose[:2])
    known = is_somewhere(lat, lon)
    changed = np.zeros(known.size, dtype=bool)
    changed[known] = (np.diff(lat[known], prepend=np.nan) != 0.0) | (
        np.diff(lon[known], prepend=np.nan) != 0.0
    )
    reference = reference_for(lat, lon)
    if reference is None or np.count_nonzero(changed) < _LEAST_ROWS:
        return None
    east, north = in_metres(reference, lat[changed], lon[changed])
    time_s = log.columns[rows.time][rows.at] / 1000.0
    speed = log.columns.get(rows.pose[2], np.full(log.rows, np.nan))[rows.at]
    if np.isfinite(speed).any():
        speed = np.where(speed >= _CRAWL_MPS, speed, 0.0)  # a parked car's GPS shows a little
        parts = 0.5 * (speed[1:] + speed[:-1]) * np.diff(time_s)
        driven = np.concatenate([[0.0], np.cumsum(parts)])[changed]
        # A wrong speed or clock may say that a car drove which its fixes show at rest.
        moved = driven[-1] > _DRIVEN_M
    else:
        driven, moved = np.full(np.count_nonzero(changed), np.nan), False
    spread = np.hypot(*(np.subtract(*np.percentile(x, [90.0, 10.0])) for x in (east, north)))
    if not (moved or spread > _MOVED_M):
        return None
    return _Way(rows.at[changed], east, north, time_s[changed], driven)


class _Pace(NamedTuple):
    """What a way's fixes say beside its speeds."""

    ratio: float  # Logarithm of the way between fixes by that of the speed; 0 without a speed
    by_fixes_mps: float  # Half of the way is driven faster, by its fixes
    stands: bool  # Whether the speed is 0 all the time
    row: int  # In the middle of the way


def _pace_of(way: _Way) -> _Pace:
    """Compare parts of a way in which about as much of it lies, by fixes and by speed."""
    steps = (np.diff(axis, prepend=axis[0]) for axis in (way.east_m, way.north_m))
    both = (np.cumsum(np.hypot(*steps)), way.driven_m - way.driven_m[0])
    measures = [x for x in both if x[-1] > 0.0]
    along = sum((x / x[-1] for x in measures), start=np.zeros(way.rows.size))
    cuts = np.unique(np.searchsorted(along, np.linspace(0.0, along[-1], _SEGMENTS + 1)))
    cuts = cuts[cuts < way.rows.size]
    away = np.hypot(np.diff(way.east_m[cuts]), np.diff(way.north_m[cuts]))
    elapsed, driven = np.diff(way.time_s[cuts]), np.diff(way.driven_m[cuts])
    told = bool(np.isfinite(driven).all())
    stands = told and float(driven.sum()) < _HARDLY * float(np.median(away)) * away.size
    by_fixes = away[elapsed > 0.0] / elapsed[elapsed > 0.0]
    ratio, fixes_mps = 0.0, float(np.median(by_fixes)) if by_fixes.size else 0.0
    if told and not stands and (driven > 0.0).any():
        with np.errstate(divide="ignore"):
            ratio = float(np.log(np.median(away[driven > 0.0] / driven[driven > 0.0])))
    return _Pace(ratio, fixes_mps, stands, int(way.rows[cuts[cuts.size // 2]]))


def _check_way(log: Log, rows: _Rows, way: _Way) -> None:
    """Hold the speed against the way between fixes."""
    pace = _pace_of(way)
    lat, _, speed = rows.pose
    if pace.stands:
        why = "the fixes move on: leave the column empty if no speed is measured"
        _refuse(log, pace.row, speed, None, why)
    of_speed = f"speed is {np.exp(-pace.ratio):.3g} times the way between fixes"
    of_fixes = f"fixes then move at {pace.by_fixes_mps:,.3g} m/s"
    taken_for = [(1.0 / UNITS["speed"][unit], unit) for unit in ("km/h", "knots", "mph")]
    candidates = [
        (pace.ratio - np.log(factor), column, unit, why)
        for factor, column, unit, why in (
            *(
                (factor, speed, "m/s" if log.form else None, f"{of_speed}, as if m/s were {unit}")
                for factor, unit in taken_for
            ),
            (_KMH, speed, "km/h", of_speed),
            (_KNOTS, speed, "knots", of_speed),
            (_MPH, speed, "mph", of_speed),
            (1000.0, rows.time, "s", of_fixes),
            (0.001, rows.time, "us", of_fixes),
        )
    ]
    if np.nanmax(np.abs(log.columns[lat][rows.at])) <= 0.5 * np.pi:
        in_degrees = _way_of(log, rows, 180.0 / np.pi)
        if in_degrees is not None:
            candidates.append((_pace_of(in_degrees).ratio, lat, "radians", of_fixes))
    off, column, unit, why = min(candidates, key=lambda candidate: abs(candidate[0]))
    if abs(off) < min(_NEAR, abs(pace.ratio)):
        _refuse(log, pace.row, column, unit, why)
    if abs(pace.ratio) > _FAR:
        why = f"the way between fixes is {np.exp(pace.ratio):.3g} times what the speed says"
        _refuse(log, pace.row, speed, None, why)
    if pace.by_fixes_mps > _FASTEST_MPS:
        in_s = pace.by_fixes_mps / 1000.0 < 0.5 * _FASTEST_MPS
        _refuse(log, pace.row, rows.time if in_s else lat, "s" if in_s else None, of_fixes)


def _check_heading(log: Log, way: _Way) -> None:
    """Hold the heading against the course from fix to fix."""
    heading = log.columns["heading"][way.rows][1:]
    east, north = np.diff(way.east_m), np.diff(way.north_m)
    used = np.isfinite(heading) & (np.hypot(east, north) > _COURSE_M)
    if np.count_nonzero(used) < _LEAST_ROWS:
        return
    course, heading = np.arctan2(east, north)[used], heading[used]
    in_degrees, in_radians = (
        float(np.cos(x - course).mean()) for x in (np.radians(heading), heading)
    )
    if in_degrees < 0.5 and in_radians > 0.9 and np.abs(heading).max() < 2.1 * np.pi:  # noqa: PLR2004
        why = "the fixes go elsewhere"
        _refuse(log, int(way.rows[1:][used][0]), "heading", "radians", why)


def _check_acceleration(log: Log, rows: _Rows) -> None:
    """Hold accelerations against gravity."""
    axes = [f"accel_{axis}" for axis in "xyz"]
    if rows.pose[0] != "lat" or any(name not in log.columns for name in axes):
        return
    total = np.sqrt(sum(log.columns[name][rows.at] ** 2 for name in axes))
    if total.size < _LEAST_ROWS:
        return
    low, middle, high = np.percentile(total, [25.0, 50.0, 75.0])
    if abs(middle - 1.0) < 0.05 and high - low < 0.1:  # noqa: PLR2004 - one g, and steady
        why = f"all three axes together are {middle:.2f}, where gravity alone is {_GRAVITY_MPS2}"
        _refuse(log, int(rows.at[0]), "accel_z", "g", why)


def _check_round_trips(log: Log) -> None:
    """Hold round trips against the two clocks that they lie between, and against the air."""
    trips = log.columns["rtt_ms"]
    rows = np.flatnonzero((log.columns["lost"] == 0.0) & (trips > 0.0))
    if rows.size < _LEAST_ROWS:
        return
    usual = float(np.median(trips[rows]))
    spent = log.columns["recv_time_ms"][rows] - log.columns["send_time_ms"][rows]
    if "rtt_ms" not in log.lacks and np.isfinite(spent).any():
        ratio = usual / max(float(np.nanmedian(spent)), 1e-9)
        for unit, factor in (("us", 1000.0), ("s", 0.001)):
            if abs(np.log(ratio / factor)) < 0.5:  # noqa: PLR2004 - stamps may be whole
                why = f"recv_time_ms less send_time_ms is {float(np.nanmedian(spent)):.3g}"
                _refuse(log, int(rows[0]), "rtt_ms", unit, why)
    if usual < _SHORTEST_TRIP_MS:
        column = "recv_time_ms" if "rtt_ms" in log.lacks else "rtt_ms"
        why = f"half of all round trips take less than {usual:.3g} ms: no radio is so fast"
        _refuse(log, int(rows[0]), column, "s", why)
