"""Where a board was that only echoes: known when an echo comes back, and not while frames are lost.

What is done carelessly here puts losses at wrong distances, or leaves them out, and nothing else:
so the slope over distance comes out wrong by all of that.
"""

from typing import Final

import numpy as np

from ml.arrays import Bools, Floats
from ml.calibration.logs.trajectories import Trajectory, is_somewhere

_LONGEST_GAP_MS, _BEYOND_END_MS = 30_000.0, 5_000.0
_NEXT: Final = 1.5
_LEAST_SPACINGS: Final = 10
_SLACK, _MOSTLY = 0.15, 0.8


def when_fixed(time_ms: Floats, lat_deg: Floats, lon_deg: Floats) -> Floats:
    """Say for each echo when its position was new.

    A fix shows with the first echo after it. Where echoes were lost it came before that echo: after
    the last one that came, and in step with the fixes that were seen at once, if a receiver has any
    step; else in the middle of the span in which it may have come. The echo's own time would let a
    board that drives ahead trail behind wherever frames are lost, and only there, so that losses
    would seem to happen at short distance.

    Args:
        time_ms: (K,) of the pings that were echoed, in order.
        lat_deg: (K,), of the board that echoes.
        lon_deg: (K,), of the board that echoes.

    Returns:
        (K,), in order; where no fix is new the echo's own time.
    """
    known = is_somewhere(lat_deg, lon_deg)
    new: Bools = np.zeros(time_ms.size, dtype=bool)
    new[1:] = (np.diff(lat_deg) != 0.0) | (np.diff(lon_deg) != 0.0)
    new[1:] &= known[1:] & known[:-1]
    since_ms = np.diff(time_ms, prepend=time_ms[:1])
    if not new.any() or not (since_ms > 0.0).any():
        return time_ms
    at_once = new & (since_ms <= _NEXT * np.median(since_ms[since_ms > 0.0]))
    in_a_row = at_once[new][1:] & at_once[new][:-1]
    spacings = np.diff(time_ms[new])[in_a_row]
    if spacings.size < _LEAST_SPACINGS:
        return np.where(new, time_ms - 0.5 * since_ms, time_ms)
    apart_ms = float(np.median(spacings))
    middle = time_ms - 0.5 * np.minimum(since_ms, apart_ms)
    regular = np.abs(spacings - apart_ms) < _SLACK * apart_ms
    if regular.mean() < _MOSTLY:
        return np.where(new, middle, time_ms)
    apart_ms = float(spacings[regular].mean())
    seen_ms = (time_ms - 0.5 * since_ms)[at_once]
    right = np.clip(np.searchsorted(seen_ms, time_ms), 1, max(seen_ms.size - 1, 1))
    nearest = np.where(time_ms - seen_ms[right - 1] <= seen_ms[right] - time_ms, right - 1, right)
    # What was seen at once was new half a ping before: that leaves room for rounding down.
    steps = np.floor((time_ms - seen_ms[nearest]) / apart_ms)
    in_step = seen_ms[nearest] + steps * apart_ms
    possible = (in_step > time_ms - since_ms) & (in_step <= time_ms)
    return np.where(new, np.where(possible, in_step, middle), time_ms)


def echoed_positions(way: Trajectory, me: Trajectory, time_ms: Floats) -> Floats:
    """Return where the echoing board was at times (K,), (K, 2); NaN where nothing holds it.

    Between two fixes it went from one to the other as the pinging board did, as far as it went
    along with that one: a car of a convoy keeps its distance while both brake and set off; one that
    is parked stays. Up to 30 s are bridged so, and any time between two fixes at one place: to
    leave rows out there would leave out losses alone.
    """
    if way.time_ms.size < 2:  # noqa: PLR2004 - two ends
        return way.at(time_ms)
    right = np.clip(np.searchsorted(way.time_ms, time_ms), 1, way.time_ms.size - 1)
    left = right - 1
    begin_ms, end_ms = way.time_ms[left], way.time_ms[right]
    share = np.clip((time_ms - begin_ms) / np.maximum(end_ms - begin_ms, 1e-9), 0.0, 1.0)[:, None]
    fixes = np.stack([way.east_m, way.north_m], axis=-1)
    mine = me.at(way.time_ms)
    went, i_went = fixes[right] - fixes[left], mine[right] - mine[left]
    along = (went * i_went).sum(axis=1) / np.maximum((i_went**2).sum(axis=1), 1.0)
    bow = me.at(time_ms) - (mine[left] + share * i_went)
    xy: Floats = fixes[left] + share * went + np.clip(along, 0.0, 1.0)[:, None] * bow
    beyond_ms = np.maximum(begin_ms - time_ms, time_ms - end_ms)
    stood = ~went.any(axis=1)
    xy[(~stood & (end_ms - begin_ms > _LONGEST_GAP_MS)) | (beyond_ms > _BEYOND_END_MS)] = np.nan
    return xy
