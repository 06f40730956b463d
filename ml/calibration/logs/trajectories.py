"""Where a car was, from the positions its board logged: glitches out, staircase smoothed."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ml.arrays import Bools, Floats
from ml.espnow_emulator import GeoReference

_NOWHERE_DEG: Final = 1e-4
_JUMP_M, _JUMP_FACTOR = 25.0, 1.5
_BELIEVED_AFTER_MS: Final = 30_000.0
_BRIDGED_MS: Final = 5_000.0


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A car's way in its own clock."""

    time_ms: Floats  # (K,) when fixes came
    east_m: Floats  # (K,)
    north_m: Floats  # (K,)
    dropped: dict[str, int]  # Reason to rows that say nothing of the way
    rows_ms: Floats  # (rows,) times of all rows
    speed_mps: Floats  # (rows,) as logged, 0 where unknown

    def at(self, time_ms: Floats) -> Floats:
        """Return positions (K, 2), NaN where no two fixes within 5 s of one another hold them.

        Receivers hold a fix until the next one; between the moments at which it changes, the car is
        taken to move in a straight line.
        """
        if self.time_ms.size == 0:
            return np.full((time_ms.size, 2), np.nan)
        right = np.searchsorted(self.time_ms, time_ms)
        before = self.time_ms[np.clip(right - 1, 0, None)]
        after = self.time_ms[np.clip(right, None, self.time_ms.size - 1)]
        nearest = np.minimum(np.abs(time_ms - before), np.abs(time_ms - after))
        known = (after - before <= _BRIDGED_MS) & (nearest <= _BRIDGED_MS)
        axes = (self.east_m, self.north_m)
        xy = np.stack([np.interp(time_ms, self.time_ms, axis) for axis in axes], axis=-1)
        xy[~known] = np.nan
        return xy

    def speed_at(self, time_ms: Floats) -> Floats:
        """Return speeds (K,) in m/s."""
        if self.rows_ms.size == 0:
            return np.zeros(time_ms.size)
        return np.interp(time_ms, self.rows_ms, self.speed_mps)


def reference_for(lat_deg: Floats, lon_deg: Floats) -> GeoReference | None:
    """Return a plane that touches the earth in the middle of some positions; None without any."""
    known = is_somewhere(lat_deg, lon_deg)
    if not known.any():
        return None
    lat = float(np.clip(np.median(lat_deg[known]), -80.0, 80.0))
    return GeoReference.at(lat, float(np.median(lon_deg[known])))


def is_somewhere(lat_deg: Floats, lon_deg: Floats) -> Bools:
    """Tell which rows have a fix at all: no fix is logged as nothing, or as 0, 0."""
    with np.errstate(invalid="ignore"):
        nowhere = (np.abs(lat_deg) < _NOWHERE_DEG) & (np.abs(lon_deg) < _NOWHERE_DEG)
    return np.isfinite(lat_deg) & np.isfinite(lon_deg) & ~nowhere


def in_metres(reference: GeoReference, lat_deg: Floats, lon_deg: Floats) -> tuple[Floats, Floats]:
    """Return metres east and north of the reference."""
    east_m = (lon_deg - reference.lon_deg) * reference.east_m_per_deg
    return east_m, (lat_deg - reference.lat_deg) * reference.north_m_per_deg


def trajectory(
    reference: GeoReference, time_ms: Floats, lat_deg: Floats, lon_deg: Floats, speed_mps: Floats
) -> Trajectory:
    """Make a trajectory of logged rows (K,).

    A fix that is farther from the last believed one than the speed allows is a glitch, unless
    nothing else comes for 30 s.
    """
    speed = np.nan_to_num(speed_mps)
    known = is_somewhere(lat_deg, lon_deg)
    changed = np.zeros(time_ms.size, dtype=bool)
    moved = [np.diff(axis[known], prepend=np.nan) != 0.0 for axis in (lat_deg, lon_deg)]
    changed[known] = moved[0] | moved[1]
    fixes = np.flatnonzero(changed)
    east, north = in_metres(reference, lat_deg[fixes], lon_deg[fixes])
    good = np.zeros(fixes.size, dtype=bool)
    last = -1
    refused_since = 0.0
    for k in range(fixes.size):
        now = time_ms[fixes[k]]
        if last >= 0:
            elapsed_s = (now - time_ms[fixes[last]]) / 1000.0
            fastest = max(speed[fixes[last]], speed[fixes[k]])
            away = np.hypot(east[k] - east[last], north[k] - north[last])
            if away > _JUMP_M + _JUMP_FACTOR * fastest * elapsed_s:
                refused_since = refused_since or now
                if now - refused_since < _BELIEVED_AFTER_MS:
                    continue
        good[k] = True
        last, refused_since = k, 0.0
    of_fix = np.cumsum(changed) - 1
    bad_rows = known & (of_fix >= 0) & ~np.concatenate([good, [True]])[of_fix]
    dropped = {"position glitch": int(bad_rows.sum()), "no position yet": int((~known).sum())}
    at_ms, east, north = time_ms[fixes][good], east[good], north[good]
    return Trajectory(at_ms, east, north, dropped, time_ms, speed)
