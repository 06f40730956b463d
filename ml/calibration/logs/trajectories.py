"""Where a car was, from the positions its board logged: glitches out, staircase smoothed."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ml.arrays import Bools, Floats
from ml.espnow_emulator import GeoReference

_NOWHERE_DEG: Final = 1e-4
_JUMP_M, _JUMP_FACTOR = 25.0, 1.5
_HALF_DEG: Final = 180.0
_BELIEVED_AFTER_MS: Final = 30_000.0
BRIDGED_MS: Final = 5_000.0
STANDING_MPS: Final = 0.5
"""A car that is slower stands: a fix that is repeated then is its position."""
_FASTEST_MPS: Final = 60.0
_SPEED_OVER_MS: Final = 1_000.0


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A car's way in its own clock."""

    time_ms: Floats  # (K,) when fixes came, or a standing car's fix was repeated
    east_m: Floats  # (K,)
    north_m: Floats  # (K,)
    dropped: dict[str, int]  # Reason to rows that say nothing of the way
    rows_ms: Floats  # (rows,) times of all rows
    speed_mps: Floats  # (rows,) as logged; where nothing is logged, that of the fixes; else 0
    bridged_ms: float = BRIDGED_MS  # Fixes that are farther apart say nothing of between
    speed_known: bool = True  # Whether speeds, or fixes that tell them, were logged

    def at(self, time_ms: Floats) -> Floats:
        """Return positions (K, 2), NaN where no two fixes near enough to one another hold them.

        Receivers hold a fix until the next one; between the moments at which it changes, the car is
        taken to move in a straight line. Two fixes at the same place hold all time between them.
        """
        if self.time_ms.size == 0:
            return np.full((time_ms.size, 2), np.nan)
        right = np.searchsorted(self.time_ms, time_ms)
        first, last = np.clip(right - 1, 0, None), np.clip(right, None, self.time_ms.size - 1)
        before, after = self.time_ms[first], self.time_ms[last]
        nearest = np.minimum(np.abs(time_ms - before), np.abs(time_ms - after))
        axes = (self.east_m, self.north_m)
        stood = np.all([axis[first] == axis[last] for axis in axes], axis=0) & (first != last)
        stood &= self.speed_at(time_ms) < STANDING_MPS
        known = stood | ((after - before <= self.bridged_ms) & (nearest <= self.bridged_ms))
        xy = np.stack([np.interp(time_ms, self.time_ms, axis) for axis in axes], axis=-1)
        xy[~known] = np.nan
        return xy

    def speed_at(self, time_ms: Floats) -> Floats:
        """Return speeds (K,) in m/s."""
        if self.rows_ms.size == 0:
            return np.zeros(time_ms.size)
        return np.interp(time_ms, self.rows_ms, self.speed_mps)


def reference_for(lat_deg: Floats, lon_deg: Floats) -> GeoReference | None:
    """Return a plane that touches the earth in the middle of some positions; None without any.

    Longitudes may lie on both sides of 180 degrees east.
    """
    known = is_somewhere(lat_deg, lon_deg)
    if not known.any():
        return None
    lat = float(np.clip(np.median(lat_deg[known]), -80.0, 80.0))
    first = float(lon_deg[known][0])
    lon = first + float(np.median(_the_short_way(lon_deg[known] - first)))
    return GeoReference.at(lat, lon - 360.0 * np.sign(lon) if abs(lon) > _HALF_DEG else lon)


def is_somewhere(lat_deg: Floats, lon_deg: Floats) -> Bools:
    """Tell which rows have a fix at all: no fix is logged as nothing, or as 0, 0."""
    with np.errstate(invalid="ignore"):
        nowhere = (np.abs(lat_deg) < _NOWHERE_DEG) & (np.abs(lon_deg) < _NOWHERE_DEG)
    return np.isfinite(lat_deg) & np.isfinite(lon_deg) & ~nowhere


def in_metres(reference: GeoReference, lat_deg: Floats, lon_deg: Floats) -> tuple[Floats, Floats]:
    """Return metres east and north of the reference, the short way round the earth."""
    east_m = _the_short_way(lon_deg - reference.lon_deg) * reference.east_m_per_deg
    return east_m, (lat_deg - reference.lat_deg) * reference.north_m_per_deg


def _the_short_way(degrees: Floats) -> Floats:
    """Return differences of longitudes within half a turn; others keep their bits."""
    with np.errstate(invalid="ignore"):
        far = np.abs(degrees) > _HALF_DEG
    return np.where(far, (degrees + _HALF_DEG) % (2.0 * _HALF_DEG) - _HALF_DEG, degrees)


def trajectory(
    reference: GeoReference,
    time_ms: Floats,
    lat_deg: Floats,
    lon_deg: Floats,
    speed_mps: Floats,
    *,
    own_speed: bool = True,
    bridged_ms: float = BRIDGED_MS,
) -> Trajectory:
    """Make a trajectory of logged rows (K,).

    A fix that is farther from the last believed one than the speed allows is a glitch, unless
    nothing else comes for 30 s. A fix that is repeated is the position of a car that stands. Where
    the speed is not known, a car stands whose fix has been the same for longer than `bridged_ms`.

    Args:
        reference: Where the metres belong.
        time_ms: When the rows were written.
        lat_deg: NaN or 0 where there was no fix.
        lon_deg: The same.
        speed_mps: NaN where it is not known.
        own_speed: Whether the speed is this car's; another's bounds its way and tells no more.
        bridged_ms: The longest time without a fix over which the car went in a straight line.
    """
    measured = np.isfinite(speed_mps)
    speed = np.nan_to_num(speed_mps) if measured.any() else np.full(time_ms.size, _FASTEST_MPS)
    known = is_somewhere(lat_deg, lon_deg)
    changed = np.zeros(time_ms.size, dtype=bool)
    moved = [np.diff(axis[known], prepend=np.nan) != 0.0 for axis in (lat_deg, lon_deg)]
    changed[known] = moved[0] | moved[1]
    fixes = np.flatnonzero(changed)
    east, north = in_metres(reference, lat_deg[fixes], lon_deg[fixes])
    good = _believable(time_ms[fixes], east, north, speed[fixes])
    of_fix = np.cumsum(changed) - 1
    bad_rows = known & (of_fix >= 0) & ~np.concatenate([good, [True]])[of_fix]
    dropped = {"position glitch": int(bad_rows.sum()), "no position yet": int((~known).sum())}
    standing = measured & (speed < STANDING_MPS) if own_speed else np.zeros_like(known)
    if not (own_speed and measured.any()) and fixes.size:
        last_ms = np.zeros(fixes.size)
        np.maximum.at(last_ms, of_fix[known], time_ms[known])
        standing = (last_ms - time_ms[fixes] > bridged_ms)[of_fix]
    rows = np.flatnonzero(known & ~bad_rows & (changed | standing))
    at_ms, east, north = time_ms[rows], east[of_fix[rows]], north[of_fix[rows]]
    if not own_speed:
        speed = np.zeros(time_ms.size)
    elif not measured.any():
        speed = _speed_of(time_ms, at_ms, east, north)
    told = own_speed and bool(measured.any() or at_ms.size > 1)
    return Trajectory(at_ms, east, north, dropped, time_ms, speed, bridged_ms, told)


def _believable(time_ms: Floats, east_m: Floats, north_m: Floats, speed_mps: Floats) -> Bools:
    """Tell which fixes (K,) are no glitches."""
    good = np.zeros(time_ms.size, dtype=bool)
    last = -1
    refused_since = 0.0
    for k in range(time_ms.size):
        now = time_ms[k]
        if last >= 0:
            elapsed_s = (now - time_ms[last]) / 1000.0
            fastest = max(speed_mps[last], speed_mps[k])
            away = np.hypot(east_m[k] - east_m[last], north_m[k] - north_m[last])
            if away > _JUMP_M + _JUMP_FACTOR * fastest * elapsed_s:
                refused_since = refused_since or now
                if now - refused_since < _BELIEVED_AFTER_MS:
                    continue
        good[k] = True
        last, refused_since = k, 0.0
    return good


def _speed_of(time_ms: Floats, at_ms: Floats, east_m: Floats, north_m: Floats) -> Floats:
    """Return speeds (K,) at times, of a car with fixes at other times, over a second or more."""
    if at_ms.size < 2:  # noqa: PLR2004 - two ends
        return np.zeros(time_ms.size)
    ends = np.stack([time_ms - _SPEED_OVER_MS, time_ms + _SPEED_OVER_MS])
    ends = np.clip(ends, at_ms[0], at_ms[-1])
    way = [np.diff(np.interp(ends, at_ms, axis), axis=0)[0] for axis in (east_m, north_m)]
    speed: Floats = 1000.0 * np.hypot(*way) / np.maximum(np.diff(ends, axis=0)[0], 1.0)
    return speed
