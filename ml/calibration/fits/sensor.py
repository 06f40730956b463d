"""What a board's log says of its sensors: the accelerometer's bias, noise and sign, and GPS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import minimize

from ml.calibration.logs.trajectories import is_somewhere, reference_for
from ml.compiled import compiled
from ml.errors import LogError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.calibration.logs.boards import Board
    from ml.calibration.logs.trajectories import Trajectory

STANDING_MPS: Final = 0.5
_SETTLED_S: Final = 2.0
LEAST_STANDING_S: Final = 20.0
_BLOCK_S: Final = 20.0
_REPLICATES: Final = 1000
_SEED: Final = 23
_SLOPE_S: Final = 5.0
_LEAST_SWING: Final = 0.3
PARKED_S: Final = 1200.0
"""GPS errors wander over minutes: a shorter stop shows a spread that says nothing."""
_PARKED_TAUS: Final = 8.0
MOST_GPS_SD_M: Final = 100.0
_LEAST_WHITE_M: Final = 0.01


@dataclass(frozen=True, slots=True)
class Accelerometer:
    """One board's forward axis.

    Attributes:
        board: Its name.
        standing_s: How long it stood.
        bias_mps2: Mean at standstill, None where it hardly stood.
        bias_interval: 90 %.
        white_sd_mps2: Spread at standstill within stops.
        white_replicates: From blocks of 20 s drawn anew.
        slope: Of the measured on the GPS acceleration over 5 s: 1 where all is well, -1 where the
            board is mounted backwards; None where the car hardly changed its speed.
        slope_interval: 90 %.
    """

    board: str
    standing_s: float
    bias_mps2: float | None
    bias_interval: tuple[float, float] | None
    white_sd_mps2: float | None
    white_replicates: NDArray[np.float64]
    slope: float | None
    slope_interval: tuple[float, float] | None

    @property
    def is_backwards(self) -> bool:
        """Whether the sign is clearly the wrong one."""
        return self.slope_interval is not None and self.slope_interval[1] < 0.0


@dataclass(frozen=True, slots=True)
class GpsWander:
    """Spread and memory of a parked board's position.

    Attributes:
        board: Its name.
        parked_s: The longest stop.
        sd_m: Per axis.
        sd_interval: 90 %.
        tau_s: Correlation time.
        tau_interval: 90 %.
    """

    board: str
    parked_s: float
    sd_m: float
    sd_interval: tuple[float, float]
    tau_s: float
    tau_interval: tuple[float, float]


def fit_accelerometer(board: Board) -> Accelerometer:
    """Judge the forward axis of a board by its TX log."""
    columns, own = board.tx.columns, board.own
    time_s = board.tx.time_ms[own] / 1000.0
    accel, speed = columns["accel_x"][own], np.nan_to_num(columns["speed"][own])
    spell = _stops(time_s, speed)
    standing = spell >= 0
    standing_s = float(np.count_nonzero(standing)) * board.period_ms / 1000.0
    slope, slope_interval = _slope(time_s, accel, speed)
    if standing_s < LEAST_STANDING_S:
        return Accelerometer(
            board.name, standing_s, None, None, None, np.zeros(0), slope, slope_interval
        )
    at, a = time_s[standing], accel[standing]
    block = np.unique(
        spell[standing] * 10**6 + (at // _BLOCK_S).astype(np.int64), return_inverse=True
    )[1]
    within = a - (np.bincount(block, a) / np.bincount(block))[block]
    freedom = max(a.size - int(block.max()) - 1, 1)
    means = _resampled(block, a)
    squares = _resampled(block, within**2) * a.size / freedom
    low, high = np.percentile(means, [5.0, 95.0])
    return Accelerometer(
        board.name,
        standing_s,
        float(a.mean()),
        (float(low), float(high)),
        float(np.sqrt((within**2).sum() / freedom)),
        np.sqrt(squares),
        slope,
        slope_interval,
    )


def fit_gps(board: Board, way: Trajectory) -> GpsWander | None:
    """Fit the wander of a parked board's fixes; None where it did not park for long enough.

    Raises:
        LogError: A spread that no receiver has.
    """
    standing = way.speed_mps < 2.0 * STANDING_MPS
    begin, end = _longest(way.rows_ms, standing)
    parked_s = (end - begin) / 1000.0
    t_s, axes = _fixes(board, way, begin, end)
    if parked_s < PARKED_S or t_s.size < PARKED_S / 10.0:
        return None

    def loss(x: NDArray[np.float64]) -> float:
        sd_m, tau_s, white_m = map(float, np.exp(x))
        return float(sum(_wander_loss(sd_m, tau_s, white_m, t_s, axis) for axis in axes))

    start = np.log([2.0, 90.0, 0.2])
    best = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-3, "maxiter": 600})
    at = np.maximum(best.x, [-np.inf, -np.inf, np.log(_LEAST_WHITE_M)])
    hessian = _curvature(loss, at)
    spread = 1.645 * np.sqrt(np.clip(np.diag(np.linalg.pinv(hessian)), 1e-6, 4.0))[:2]
    at = at[:2]
    (sd, tau), (sd_low, tau_low), (sd_high, tau_high) = (
        np.exp(x) for x in (at, at - spread, at + spread)
    )
    if sd > MOST_GPS_SD_M:
        raise LogError(
            f"{board.tx.path}: its GPS seems to wander by {sd:,.0f} m while parked; allowed is up "
            f"to {MOST_GPS_SD_M:.0f} m. Latitude and longitude may be swapped or in other units, "
            "or the car was not parked and its speed is logged as 0."
        )
    if parked_s < _PARKED_TAUS * tau:
        return None
    return GpsWander(
        board.name,
        parked_s,
        float(sd),
        (float(sd_low), float(sd_high)),
        float(tau),
        (float(tau_low), float(tau_high)),
    )


def _stops(time_s: NDArray[np.float64], speed: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number each stop, -1 elsewhere; its first and last two seconds still roll."""
    slow = speed < STANDING_MPS
    change = np.flatnonzero(np.diff(slow.astype(np.int8), prepend=0, append=0))
    spell = np.full(time_s.size, -1, dtype=np.int64)
    for k, (begin, end) in enumerate(zip(change[::2], change[1::2], strict=True)):
        inside = slice(begin, end)
        quiet = (time_s[inside] >= time_s[begin] + _SETTLED_S) & (
            time_s[inside] <= time_s[end - 1] - _SETTLED_S
        )
        spell[inside][quiet] = k
    return spell


def _slope(
    time_s: NDArray[np.float64], accel: NDArray[np.float64], speed: NDArray[np.float64]
) -> tuple[float | None, tuple[float, float] | None]:
    edges = np.arange(time_s[0], time_s[-1], _SLOPE_S)
    if edges.size < 12:  # noqa: PLR2004 - a minute
        return None, None
    gained = np.diff(np.interp(edges, time_s, speed)) / _SLOPE_S
    window = np.clip(np.searchsorted(edges, time_s, side="right") - 1, 0, edges.size - 2)
    count = np.bincount(window, minlength=edges.size - 1)
    mean = np.bincount(window, accel, minlength=edges.size - 1) / np.maximum(count, 1)
    used = count > 10  # noqa: PLR2004 - windows that are not mostly a gap
    x, y = gained[used], mean[used]
    if x.size < 12 or x.std() < _LEAST_SWING:  # noqa: PLR2004
        return None, None
    generator = np.random.Generator(np.random.PCG64(_SEED))
    blocks = np.arange(x.size) // round(_BLOCK_S / _SLOPE_S)
    slopes = []
    for _ in range(_REPLICATES // 2):
        rows = np.concatenate(
            [
                np.flatnonzero(blocks == b)
                for b in generator.integers(0, blocks[-1] + 1, blocks[-1] + 1)
            ]
        )
        slopes.append(np.polyfit(x[rows], y[rows], 1)[0])
    low, high = np.percentile(slopes, [5.0, 95.0])
    return float(np.polyfit(x, y, 1)[0]), (float(low), float(high))


def _resampled(block: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of values with their blocks drawn anew, (_REPLICATES,)."""
    total, count = np.bincount(block, values), np.bincount(block)
    generator = np.random.Generator(np.random.PCG64(_SEED))
    picks = generator.integers(0, total.size, (_REPLICATES, total.size))
    means: NDArray[np.float64] = total[picks].sum(axis=1) / count[picks].sum(axis=1)
    return means


def _longest(time_ms: NDArray[np.float64], standing: NDArray[np.bool_]) -> tuple[float, float]:
    change = np.flatnonzero(np.diff(standing.astype(np.int8), prepend=0, append=0))
    spells = [
        (float(time_ms[b]), float(time_ms[e - 1]))
        for b, e in zip(change[::2], change[1::2], strict=True)
    ]
    return max(spells, key=lambda spell: spell[1] - spell[0], default=(0.0, 0.0))


def _fixes(
    board: Board, way: Trajectory, begin_ms: float, end_ms: float
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """One position a second as it was logged: times (K,) in s, and east and north (K,) in m.

    Not those of the trajectory, which holds changes only: a parked board's fix may stay where it
    was, and to leave that out would make it wander faster.
    """
    columns, own = board.tx.columns, board.own
    time_ms, lat, lon = board.tx.time_ms[own], columns["lat"][own], columns["lon"][own]
    inside = (time_ms >= begin_ms) & (time_ms <= end_ms) & is_somewhere(lat, lon)
    inside &= np.diff(np.floor(time_ms / 1000.0), prepend=-1.0) > 0.0
    reference = reference_for(lat[inside], lon[inside])
    if reference is None:
        return np.zeros(0), []
    east = (lon[inside] - reference.lon_deg) * reference.east_m_per_deg
    north = (lat[inside] - reference.lat_deg) * reference.north_m_per_deg
    there = way.at(time_ms[inside])
    away = np.hypot(*(there - np.nanmedian(there, axis=0)).T - np.stack([east, north]))
    near = away < MOST_GPS_SD_M  # a glitch is not in the trajectory
    return time_ms[inside][near] / 1000.0, [east[near], north[near]]


@compiled
def _wander_loss(
    sd_m: float,
    tau_s: float,
    white_m: float,
    t_s: NDArray[np.float64],
    values: NDArray[np.float64],
) -> float:
    """Negative log likelihood of an Ornstein-Uhlenbeck process, white noise and an unknown mean.

    White noise is what the receiver and the steps of the log add: fixes in single precision come
    in steps of .4 m. The mean is fitted by generalised least squares; the likelihood is the
    restricted one. A Kalman filter of values, and of ones for the mean.
    """
    variance, noise = sd_m * sd_m, max(white_m, _LEAST_WHITE_M) ** 2
    spread, of_value, of_one = variance, 0.0, 0.0
    logarithms = squares = cross = ones = 0.0
    for k in range(values.size):
        if k > 0:
            keep = np.exp(-(t_s[k] - t_s[k - 1]) / tau_s)
            of_value *= keep
            of_one *= keep
            spread = keep * keep * spread + variance * (1.0 - keep * keep)
        total = spread + noise
        value, one = values[k] - of_value, 1.0 - of_one
        logarithms += np.log(total)
        squares += value * value / total
        cross += value * one / total
        ones += one * one / total
        gain = spread / total
        of_value += gain * value
        of_one += gain * one
        spread *= 1.0 - gain
    return float(0.5 * (logarithms + squares - cross * cross / ones + np.log(ones)))


def _curvature(
    function: object, at: NDArray[np.float64], step: float = 0.05
) -> NDArray[np.float64]:
    call = function
    assert callable(call)  # noqa: S101 - for the type checker
    out = np.zeros((at.size, at.size))
    for i in range(at.size):
        for j in range(at.size):
            e_i, e_j = np.eye(at.size)[i] * step, np.eye(at.size)[j] * step
            out[i, j] = (
                call(at + e_i + e_j)
                - call(at + e_i - e_j)
                - call(at - e_i + e_j)
                + call(at - e_i - e_j)
            ) / (4.0 * step**2)
    return out
