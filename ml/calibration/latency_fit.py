"""Round trips to the latency stack: a fixed part, contention, and a wait that some frames have.

A round trip is S + 2 (airtime + DIFS) and, either way, a backoff U{0 … CW} slots and, with some
probability, an exponential wait. S is twice the sum of the delays in sender and receiver, whose
split no round trip shows. The distribution is convolved on a grid and held against the histogram.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import minimize

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ml.espnow_emulator import MacParameters

GRID_MS: Final = 0.05
LONGEST_MS: Final = 120.0
_REPLICATES: Final = 2000
_OUTLIERS: Final = 1e-4
_SEED: Final = 21
_WHOLE: Final = 1e-6
_BLOCK: Final = 200
LEAST_ROUND_TRIPS: Final = 500


@dataclass(frozen=True, slots=True)
class LatencyFit:
    """What round trips say.

    Attributes:
        fixed_ms: S / 2, the delays of sender and receiver together.
        wait_probability: Share of frames that wait.
        wait_mean_ms: Mean of that wait.
        replicates: (B, 3), the same from blocks drawn anew.
        round_trips: How many it rests on.
        resolution_ms: Of the log: 1 where it holds whole milliseconds, else the grid's.
        edges_ms: (H + 1,) of the histogram.
        measured: (H,) shares.
        fitted: (H,) shares.
    """

    fixed_ms: float
    wait_probability: float
    wait_mean_ms: float
    replicates: NDArray[np.float64]
    round_trips: int
    resolution_ms: float
    edges_ms: NDArray[np.float64]
    measured: NDArray[np.float64]
    fitted: NDArray[np.float64]


def fit_latency(
    round_trip_ms: NDArray[np.float64], mac: MacParameters, *, from_stamps: bool
) -> LatencyFit:
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
    blur = _rounding(whole=whole, from_stamps=from_stamps, resolution=resolution)
    base = _contention(mac)

    def shares(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return _histogram(x, base, blur, resolution, edges.size - 1)

    def loss(x: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
        return -float(weights @ np.log(shares(x))) / float(weights.sum())

    quick = float(np.percentile(round_trip_ms, 0.5))
    known = 2.0 * (mac.airtime_us + mac.difs_us) / 1000.0
    mean_wait = max(float(round_trip_ms.mean()) - quick, 0.5) / 2.0
    starts = [
        np.array([max(quick - known, 0.2), share, np.log(mean_wait / share)])
        for share in (0.3, 0.85)
    ]
    found = min((_minimise(loss, s, counts) for s in starts), key=lambda r: float(r[1]))
    x = found[0]
    replicates = _replicates(x, shares, bins)
    fixed, probability, wait = _outer(x)
    return LatencyFit(
        fixed_ms=float(fixed),
        wait_probability=float(probability),
        wait_mean_ms=float(wait),
        replicates=replicates,
        round_trips=int(round_trip_ms.size),
        resolution_ms=resolution,
        edges_ms=edges,
        measured=counts / counts.sum(),
        fitted=shares(x),
    )


def _replicates(
    x: NDArray[np.float64],
    shares: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    bins: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Draw blocks of round trips with replacement, and take one Newton step each."""
    slopes = []
    for k, step in enumerate((0.02, 0.02, 0.02)):
        # Half of a difference across the end of a scale would be flat.
        middle = np.array([max(x[0], 0.02), np.clip(x[1], 0.02, 0.98), x[2]])
        up, down = middle.copy(), middle.copy()
        up[k] += step
        down[k] -= step
        slopes.append((np.log(shares(up)) - np.log(shares(down))) / (2.0 * step))
    by_trip = np.stack(slopes, axis=-1)[bins]
    information = by_trip.T @ by_trip
    blocks = max(bins.size // _BLOCK, 1)
    by_block = np.stack([part.sum(axis=0) for part in np.array_split(by_trip, blocks)])
    by_block -= by_block.mean(axis=0)
    generator = np.random.Generator(np.random.PCG64(_SEED))
    weights = generator.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=_REPLICATES)
    few = np.sqrt(blocks / max(blocks - x.size, 1))  # few blocks spread too little
    drawn = x + few * np.linalg.solve(information, ((weights - 1.0) @ by_block).T).T
    return np.stack([_outer(row) for row in drawn])


def _minimise(
    loss: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    start: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float]:
    options = {"xatol": 2e-3, "fatol": 1e-7, "maxiter": 400}
    simplex = start + np.vstack([np.zeros(3), np.diag([0.15, -0.1, 0.15])])
    found = minimize(
        loss,
        start,
        (weights,),
        method="Nelder-Mead",
        options={**options, "initial_simplex": simplex},
    )
    found = minimize(loss, found.x, (weights,), method="Nelder-Mead", options=options)
    return found.x, float(found.fun)


def _outer(x: NDArray[np.float64]) -> NDArray[np.float64]:
    wait = float(np.exp(np.clip(x[2], -4.0, 4.0)))
    return np.array([max(x[0], 0.0) / 2.0, float(np.clip(x[1], 0.0, 1.0)), wait])


def _contention(mac: MacParameters) -> NDArray[np.float64]:
    """Distribution over the grid of what both ways take at least, and their backoffs."""
    known = 2.0 * (mac.airtime_us + mac.difs_us) / 1000.0
    slots = np.arange(mac.cw + 1)
    both = np.convolve(np.ones(slots.size), np.ones(slots.size)) / slots.size**2
    at_ms = known + np.arange(both.size) * mac.slot_us / 1000.0
    return _spread(at_ms, both)


def _spread(at_ms: NDArray[np.float64], mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put masses on the grid, shared between neighbours."""
    size = round(LONGEST_MS / GRID_MS)
    place = at_ms / GRID_MS
    left = place.astype(np.int64)
    share = place - left
    grid = np.zeros(size + 2)
    np.add.at(grid, np.minimum(left, size), mass * (1.0 - share))
    np.add.at(grid, np.minimum(left + 1, size), mass * share)
    return grid[:size]


def _rounding(*, whole: bool, from_stamps: bool, resolution: float) -> NDArray[np.float64]:
    """Kernel over the grid that turns round trips into what is logged, to be rounded down."""
    if not whole or not from_stamps:
        return np.ones(1)
    per_ms = round(resolution / GRID_MS)
    return np.ones(per_ms) / per_ms  # the moment within a millisecond at which it was sent


def _histogram(
    x: NDArray[np.float64],
    base: NDArray[np.float64],
    blur: NDArray[np.float64],
    resolution: float,
    bins: int,
) -> NDArray[np.float64]:
    fixed, share, log_wait = x
    probability, wait = float(np.clip(share, 0.0, 1.0)), np.exp(np.clip(log_wait, -4.0, 4.0))
    size = base.size
    edges = np.exp(-np.arange(size + 1) * GRID_MS / wait)
    one = probability * (edges[:-1] - edges[1:])
    one[0] += 1.0 - probability
    n = 2 * size
    spectrum = np.fft.rfft(one, n) ** 2 * np.fft.rfft(base, n)
    shift = max(fixed, 0.0) / GRID_MS
    # Half a step back for either wait: their masses stand at the beginnings of their steps.
    move = _spread(np.array([shift * GRID_MS]), np.ones(1))
    spectrum *= np.fft.rfft(move, n)
    if blur.size > 1:
        spectrum *= np.fft.rfft(blur, n)
    density = np.clip(np.fft.irfft(spectrum, n)[:size], 0.0, None)
    per_bin = round(resolution / GRID_MS)
    shares = np.add.reduceat(
        density, np.arange(0, bins * per_bin, per_bin)[:bins].clip(max=size - 1)
    )
    out: NDArray[np.float64] = (1.0 - _OUTLIERS) * shares[:bins] / shares.sum() + _OUTLIERS / bins
    return out
