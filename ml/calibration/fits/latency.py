"""Round trips to the latency stack: a fixed part, contention, and a wait that some frames have.

A round trip is S + 2 (airtime + DIFS) and, either way, a backoff U{0 … CW} slots and, with some
probability, an exponential wait. S is twice the sum of the delays in sender and receiver, whose
split no round trip shows. The distribution is convolved on a grid and held against the histogram.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from scipy.optimize import brentq, minimize

from ml.arrays import Floats, Ints
from ml.calibration.fits.estimates import Estimate, judged, kept
from ml.calibration.logs.reader import Log
from ml.espnow_emulator import MacParameters
from ml.parameters import Parameters

GRID_MS: Final = 0.05
LONGEST_MS: Final = 120.0
_CHI_SQUARE: Final = 2.706  # 90 % of one degree of freedom
_OUTLIERS: Final = 1e-4
_WHOLE: Final = 1e-6
_BLOCK: Final = 200
LEAST_ROUND_TRIPS: Final = 500


@dataclass(frozen=True, slots=True)
class LatencyFit:
    """What round trips say."""

    fixed_ms: float  # S / 2, the delays of sender and receiver together
    wait_probability: float  # Share of frames that wait
    wait_mean_ms: float  # Mean of that wait
    intervals: Floats  # (3, 2), 90 % of each
    round_trips: int  # How many it rests on
    edges_ms: Floats  # (H + 1,) of the histogram
    measured: Floats  # (H,) shares
    fitted: Floats  # (H,) shares


def latency_estimates(
    logs: Sequence[Log], prior: Parameters, estimates: list[Estimate]
) -> LatencyFit | None:
    """Fit the round trips of all RTT logs, and append to `estimates`.

    Raises:
        LogError: A latency that no board has.
    """
    trips, from_stamps = [np.zeros(0)], True
    for columns in (log.columns for log in logs if "rtt_ms" in log.columns):
        came = (columns["lost"] == 0.0) & np.isfinite(columns["rtt_ms"])
        trips.append(columns["rtt_ms"][came])
        spent = columns["recv_time_ms"][came] - columns["send_time_ms"][came]
        from_stamps &= bool(np.nanmax(np.abs(spent - trips[-1]), initial=0.0) < _WHOLE)
    round_trip_ms = np.concatenate(trips)
    names = [f"radio.mac.{name}" for name in ("h_tx_ms", "wait_probability", "wait_mean_ms")]
    reason = "" if prior.radio.mac.enabled else "the prior has no latency stack"
    if len(trips) == 1:
        reason = "no RTT log: one-way latency has an unknown offset"
    elif round_trip_ms.size < LEAST_ROUND_TRIPS:
        reason = f"{round_trip_ms.size} round trips; {LEAST_ROUND_TRIPS} are needed"
    if reason:
        estimates += [kept(name, prior, reason) for name in names]
        return None
    fit = fit_latency(round_trip_ms, prior.radio.mac, from_stamps=from_stamps)
    values = (fit.fixed_ms, fit.wait_probability, fit.wait_mean_ms)
    basis = f"histogram of {fit.round_trips:,} round trips"
    for name, value, (low, high) in zip(names, values, fit.intervals, strict=True):
        known = prior.radio.mac.h_rx_ms if name == names[0] else 0.0
        interval = (max(float(low) - known, 0.0), float(high) - known)
        estimates.append(judged(name, max(value - known, 0.0), interval, prior, basis))
    return fit


def fit_latency(round_trip_ms: Floats, mac: MacParameters, *, from_stamps: bool) -> LatencyFit:
    """Fit by maximum likelihood of the histogram.

    Args:
        round_trip_ms: (K,), those that came back, in order of time.
        mac: Airtime, DIFS, slots and contention window.
        from_stamps: Whole milliseconds are differences of two whole stamps, so that a round trip
            of 3.4 ms is logged as 3 or 4; else they are rounded down.
    """
    whole = bool(np.all(np.abs(round_trip_ms - np.rint(round_trip_ms)) < _WHOLE))
    resolution = 1.0 if whole else 5.0 * GRID_MS
    edges = np.arange(0.0, LONGEST_MS + resolution, resolution)
    bins = np.clip((round_trip_ms / resolution + _WHOLE).astype(np.int64), 0, edges.size - 2)
    counts = np.bincount(bins, minlength=edges.size - 1).astype(np.float64)
    # Whole stamps: the moment within a millisecond at which a ping was sent blurs its round trip.
    moments = round(resolution / GRID_MS) if whole and from_stamps else 1
    blur = np.ones(moments) / moments
    base = _contention(mac)

    def shares(x: Floats) -> Floats:
        return _histogram(x, base, blur, resolution, edges.size - 1)

    def loss(x: Floats) -> float:
        return -float(counts @ np.log(shares(x))) / float(counts.sum())

    quick = float(np.percentile(round_trip_ms, 0.5))
    known = 2.0 * (mac.airtime_us + mac.difs_us) / 1000.0
    mean_wait = max(float(round_trip_ms.mean()) - quick, 0.5) / 2.0
    starts = [
        np.array([max(quick - known, 0.2), share, np.log(mean_wait / share)])
        for share in (0.3, 0.85)
    ]
    x, _ = min((_minimise(loss, start) for start in starts), key=lambda found: found[1])
    wider = _overdispersion(x, shares, bins)
    fixed, probability, wait = map(float, _outer(x))
    return LatencyFit(
        fixed_ms=fixed,
        wait_probability=probability,
        wait_mean_ms=wait,
        intervals=_intervals(x, lambda at: loss(at) * counts.sum(), wider),
        round_trips=int(round_trip_ms.size),
        edges_ms=edges,
        measured=counts / counts.sum(),
        fitted=shares(x),
    )


def _overdispersion(x: Floats, shares: Callable[[Floats], Floats], bins: Ints) -> float:
    """How much more the scores of blocks of round trips vary than if trips were independent."""
    # Half of a difference across the end of a scale would be flat.
    middle = np.array([max(x[0], 0.02), np.clip(x[1], 0.02, 0.98), x[2]])
    slopes = [
        (np.log(shares(middle + step)) - np.log(shares(middle - step))) / 0.04
        for step in 0.02 * np.eye(3)
    ]
    by_trip = np.stack(slopes, axis=-1)[bins]
    blocks = max(bins.size // _BLOCK, 4)
    by_block = np.stack([part.sum(axis=0) for part in np.array_split(by_trip, blocks)])
    by_block -= by_block.mean(axis=0)
    ratio = np.linalg.solve(by_trip.T @ by_trip, by_block.T @ by_block * blocks / (blocks - 3))
    return max(float(np.trace(ratio)) / x.size, 1.0)


def _intervals(x: Floats, fall: Callable[[Floats], float], wider: float) -> Floats:
    """Profile-likelihood intervals, (3, 2).

    The three trade against one another along a bent ridge, and a share of waits ends at 1: there
    standard errors say little. `fall` is the negative log likelihood.
    """
    least = fall(x)
    allowed = 0.5 * _CHI_SQUARE * wider
    ends = ((0.0, 2.0 * LONGEST_MS), (0.0, 1.0), (-4.0, 4.0))
    out = np.empty((3, 2))
    for k, way in product(range(3), (-1, 1)):
        rest = [i for i in range(3) if i != k]
        last = x[rest]

        def excess(at: float, k: int = k, rest: list[int] = rest) -> float:
            nonlocal last
            trial = np.empty(3)
            trial[k] = at

            def among(others: Floats) -> float:
                trial[rest] = others
                return fall(trial)

            simplex = last + np.vstack([np.zeros(2), np.diag([0.03, 0.02])])
            options = {"xatol": 1e-3, "fatol": 1e-2, "initial_simplex": simplex}
            found = minimize(among, last, method="Nelder-Mead", options=options)
            last = found.x
            return float(found.fun) - least - allowed

        at, step = float(x[k]), 0.02 * way
        while True:
            beyond = float(np.clip(at + step, *ends[k]))
            if excess(beyond) >= 0.0:
                at = float(brentq(excess, at, beyond, xtol=1e-3)) if excess(at) < 0.0 else at
                break
            at = beyond
            if at in ends[k]:
                break
            step *= 2.0
        edge = x.copy()
        edge[k] = at
        out[k, (way + 1) // 2] = _outer(edge)[k]
    return out


def _minimise(loss: Callable[[Floats], float], start: Floats) -> tuple[Floats, float]:
    options: dict[str, Any] = {"xatol": 2e-3, "fatol": 1e-7, "maxiter": 400}
    simplex = start + np.vstack([np.zeros(3), np.diag([0.15, -0.1, 0.15])])
    at = start
    for more in ({"initial_simplex": simplex}, {}):
        found = minimize(loss, at, method="Nelder-Mead", options=options | more)
        at = found.x
    return at, float(found.fun)


def _outer(x: Floats) -> Floats:
    wait = float(np.exp(np.clip(x[2], -4.0, 4.0)))
    return np.array([max(x[0], 0.0) / 2.0, float(np.clip(x[1], 0.0, 1.0)), wait])


def _contention(mac: MacParameters) -> Floats:
    """Distribution over the grid of what both ways take at least, and their backoffs."""
    known = 2.0 * (mac.airtime_us + mac.difs_us) / 1000.0
    slots = np.arange(mac.cw + 1)
    both = np.convolve(np.ones(slots.size), np.ones(slots.size)) / slots.size**2
    at_ms = known + np.arange(both.size) * mac.slot_us / 1000.0
    return _spread(at_ms, both)


def _spread(at_ms: Floats, mass: Floats) -> Floats:
    """Put masses on the grid, shared between neighbours."""
    size = round(LONGEST_MS / GRID_MS)
    place = at_ms / GRID_MS
    left = place.astype(np.int64)
    share = place - left
    grid = np.zeros(size + 2)
    np.add.at(grid, np.minimum(left, size), mass * (1.0 - share))
    np.add.at(grid, np.minimum(left + 1, size), mass * share)
    return grid[:size]


def _histogram(x: Floats, base: Floats, blur: Floats, resolution: float, bins: int) -> Floats:
    """Shares of round trips (bins,): base, two waits, what is fixed and rounding, convolved."""
    fixed, share, log_wait = x
    probability, wait = float(np.clip(share, 0.0, 1.0)), np.exp(np.clip(log_wait, -4.0, 4.0))
    size = base.size
    edges = np.exp(-np.arange(size + 1) * GRID_MS / wait)
    # Each step's mass goes to both of its ends, so that its mean stays where it is.
    right = wait / GRID_MS - 1.0 / np.expm1(GRID_MS / wait)
    waits = probability * (edges[:-1] - edges[1:])
    one = (1.0 - right) * waits
    one[1:] += right * waits[:-1]
    one[0] += 1.0 - probability
    n = 2 * size
    spectrum = np.fft.rfft(one, n) ** 2 * np.fft.rfft(base, n)
    shift = max(fixed, 0.0) / GRID_MS
    spectrum *= np.fft.rfft(_spread(np.array([shift * GRID_MS]), np.ones(1)), n)
    if blur.size > 1:
        spectrum *= np.fft.rfft(blur, n)
    density = np.clip(np.fft.irfft(spectrum, n)[:size], 0.0, None)
    per_bin = round(resolution / GRID_MS)
    shares = np.add.reduceat(density, np.arange(0, bins * per_bin, per_bin).clip(max=size - 1))
    out: Floats = (1.0 - _OUTLIERS) * shares / shares.sum() + _OUTLIERS / bins
    return out
