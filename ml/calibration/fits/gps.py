"""What a parked board's log says of GPS: how far its position wanders, and how long that takes."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.optimize import minimize

from ml.arrays import Bools, Floats
from ml.calibration.fits.estimates import Z_90, Estimate, judged, kept
from ml.calibration.logs.boards import Board
from ml.calibration.logs.link import Drive
from ml.calibration.logs.trajectories import (
    STANDING_MPS,
    Trajectory,
    in_metres,
    is_somewhere,
    reference_for,
)
from ml.calibration.runs import runs_of
from ml.compiled import compiled
from ml.errors import LogError
from ml.parameters import Parameters

PARKED_S: Final = 1200.0
"""GPS errors wander over minutes: a shorter stop shows a spread that says nothing."""
MOST_GPS_SD_M: Final = 100.0
_PARKED_TAUS: Final = 8.0
_LEAST_WHITE_M: Final = 0.01


class GpsWander(NamedTuple):
    """Spread and memory of a parked board's position."""

    board: str  # Its name
    parked_s: float  # The longest stop
    sd_m: float  # Per axis
    sd_interval: tuple[float, float]  # 90 %
    tau_s: float  # Correlation time
    tau_interval: tuple[float, float]  # 90 %


def position_estimates(
    drives: Sequence[Drive], prior: Parameters, estimates: list[Estimate]
) -> None:
    """Fit the positions of all boards that were parked, and append to `estimates`.

    Raises:
        LogError: A GPS that wanders farther than any receiver does.
    """
    every = [fit_gps(board, drive.ways[board.name]) for drive in drives for board in drive.boards]
    wanders = [wander for wander in every if wander is not None]
    sd_name, tau_name = "sensors.position.sd_m", "sensors.position.tau_s"
    if not wanders:
        reason = (
            f"no board was parked for {PARKED_S / 60.0:.0f} minutes and eight correlation times: "
            "GPS errors wander over minutes, and a short stop shows none of that"
        )
        estimates += [kept(name, prior, reason) for name in (sd_name, tau_name)]
        return
    best = max(wanders, key=lambda w: w.parked_s / w.tau_s)
    basis = f"{best.board} parked for {best.parked_s / 60.0:.0f} min"
    estimates.append(judged(sd_name, best.sd_m, best.sd_interval, prior, basis))
    estimates.append(judged(tau_name, best.tau_s, best.tau_interval, prior, basis))


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

    def loss(x: Floats) -> float:
        sd_m, tau_s, white_m = map(float, np.exp(x))
        return float(sum(_wander_loss(sd_m, tau_s, white_m, t_s, axis) for axis in axes))

    start = np.log([2.0, 90.0, 0.2])
    best = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-3, "maxiter": 600})
    at = np.maximum(best.x, [-np.inf, -np.inf, np.log(_LEAST_WHITE_M)])
    hessian = _curvature(loss, at)
    spread = Z_90 * np.sqrt(np.clip(np.diag(np.linalg.pinv(hessian)), 1e-6, 4.0))[:2]
    at = at[:2]
    (sd, tau), (sd_low, tau_low), (sd_high, tau_high) = (
        np.exp(x).tolist() for x in (at, at - spread, at + spread)
    )
    if sd > MOST_GPS_SD_M:
        raise LogError(
            f"{board.tx.path}: its GPS seems to wander by {sd:,.0f} m while parked; allowed is up "
            f"to {MOST_GPS_SD_M:.0f} m. Latitude and longitude may be swapped or in other units, "
            "or the car was not parked and its speed is logged as 0."
        )
    if parked_s < _PARKED_TAUS * tau:
        return None
    return GpsWander(board.name, parked_s, sd, (sd_low, sd_high), tau, (tau_low, tau_high))


def _longest(time_ms: Floats, standing: Bools) -> tuple[float, float]:
    """When the longest stop begins and ends; (0, 0) without any."""
    stops = [(float(time_ms[begin]), float(time_ms[end - 1])) for begin, end in runs_of(standing)]
    return max(stops, key=lambda stop: stop[1] - stop[0], default=(0.0, 0.0))


def _fixes(
    board: Board, way: Trajectory, begin_ms: float, end_ms: float
) -> tuple[Floats, list[Floats]]:
    """One position a second as it was logged: times (K,) in s, and east and north (K,) in m.

    Not those of the trajectory, which holds changes only: a parked board's fix may stay where it
    was, and to leave that out would make it wander faster.
    """
    time_ms, lat, lon = board.time_ms, board.of_its_own("lat"), board.of_its_own("lon")
    inside = (time_ms >= begin_ms) & (time_ms <= end_ms) & is_somewhere(lat, lon)
    inside &= np.diff(np.floor(time_ms / 1000.0), prepend=-1.0) > 0.0
    reference = reference_for(lat[inside], lon[inside])
    if reference is None:
        return np.zeros(0), []
    east, north = in_metres(reference, lat[inside], lon[inside])
    there = way.at(time_ms[inside])
    away = np.hypot(*(there - np.nanmedian(there, axis=0)).T - np.stack([east, north]))
    near = away < MOST_GPS_SD_M  # a glitch is not in the trajectory
    return time_ms[inside][near] / 1000.0, [east[near], north[near]]


@compiled
def _wander_loss(sd_m: float, tau_s: float, white_m: float, t_s: Floats, values: Floats) -> float:
    """Negative log likelihood of an Ornstein-Uhlenbeck process, white noise and an unknown mean.

    White noise is what the receiver and the steps of the log add: fixes in single precision come
    in steps of 0.4 m. The mean is fitted by generalised least squares; the likelihood is the
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


def _curvature(function: Callable[[Floats], float], at: Floats, step: float = 0.05) -> Floats:
    """Second derivatives of a function (P, P), by central differences."""
    out = np.zeros((at.size, at.size))
    for i, e_i in enumerate(step * np.eye(at.size)):
        for j, e_j in enumerate(step * np.eye(at.size)):
            corners = [function(at + a * e_i + b * e_j) for a in (1, -1) for b in (1, -1)]
            out[i, j] = (corners[0] - corners[1] - corners[2] + corners[3]) / (4.0 * step**2)
    return out
