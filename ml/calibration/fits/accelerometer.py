"""What a board's log says of its accelerometer: bias, noise and sign of its forward axis."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Floats, Ints
from ml.calibration.fits.estimates import Estimate, judged, kept, percentile_interval
from ml.calibration.logs.boards import Board
from ml.calibration.logs.link import Drive
from ml.calibration.runs import runs_of
from ml.parameters import Parameters

STANDING_MPS: Final = 0.5
LEAST_STANDING_S: Final = 20.0
_SETTLED_S: Final = 2.0
_BLOCK_S: Final = 20.0
_REPLICATES: Final = 1000
_SEED: Final = 23
_SLOPE_S: Final = 5.0
_LEAST_SWING: Final = 0.3
_LEAST_WINDOWS: Final = 12  # a minute
_LEAST_IN_WINDOW: Final = 10  # windows that are not mostly a gap
_LEAST_BOARDS: Final = 6


class Accelerometer(NamedTuple):
    """One board's forward axis; None where it hardly stood, or hardly changed its speed.

    The slope is that of the measured on the GPS acceleration over 5 s: 1 where all is well, -1
    where the board is mounted backwards.
    """

    board: str  # Its name
    standing_s: float  # How long it stood
    bias_mps2: float | None  # Mean at standstill
    white_sd_mps2: float | None  # Spread at standstill within stops
    white_replicates: Floats  # Of that spread, from blocks of 20 s drawn anew
    slope: float | None
    slope_interval: tuple[float, float] | None  # 90 %

    @property
    def is_backwards(self) -> bool:
        """Whether the sign is clearly the wrong one."""
        return self.slope_interval is not None and self.slope_interval[1] < 0.0


def accelerometer_estimates(
    drives: Sequence[Drive], prior: Parameters, estimates: list[Estimate]
) -> list[Accelerometer]:
    """Judge the accelerometers of all boards, and append to `estimates`.

    Raises:
        LogError: A noise that no accelerometer has.
    """
    every = [_fitted(board) for drive in drives for board in drive.boards]
    name = "sensors.accelerometer.white_sd_mps2"
    stood = [one for one in every if one.white_sd_mps2 is not None]
    if stood:
        weights = np.array([one.standing_s for one in stood])
        squares = np.average([one.white_replicates**2 for one in stood], axis=0, weights=weights)
        spreads = np.array([one.white_sd_mps2 for one in stood], dtype=np.float64)
        value = float(np.sqrt(np.average(np.square(spreads), weights=weights)))
        basis = f"{weights.sum():.0f} s at standstill; driving adds to it"
        interval = percentile_interval(np.sqrt(squares))
        estimates.append(judged(name, value, interval, prior, basis))
    else:
        reason = f"no board stood for {LEAST_STANDING_S:g} s with its accelerations logged"
        estimates.append(kept(name, prior, reason))
    reason = f"{len(stood)} boards show their biases; {_LEAST_BOARDS} are needed for a spread"
    estimates.append(kept("sensors.accelerometer.bias_sd_mps2", prior, reason))
    return every


def _fitted(board: Board) -> Accelerometer:
    """Judge the forward axis of a board by its TX log."""
    time_s, accel = board.time_ms / 1000.0, board.of_its_own("accel_x")
    speed = np.nan_to_num(board.of_its_own("speed"))
    stop = _stops(time_s, np.nan_to_num(board.of_its_own("speed"), nan=np.inf))
    standing = stop >= 0
    standing_s = float(np.count_nonzero(standing)) * board.period_ms / 1000.0
    slope = _slope(time_s, accel, speed)
    if standing_s < LEAST_STANDING_S:
        return Accelerometer(board.name, standing_s, None, None, np.zeros(0), *slope)
    at, a = time_s[standing], accel[standing]
    key = stop[standing] * 10**6 + (at // _BLOCK_S).astype(np.int64)
    block = np.unique(key, return_inverse=True)[1]
    within = a - (np.bincount(block, a) / np.bincount(block))[block]
    freedom = max(a.size - int(block.max()) - 1, 1)
    squares = _resampled(block, within**2) * a.size / freedom
    white_sd = float(np.sqrt((within**2).sum() / freedom))
    bias, replicates = float(a.mean()), np.sqrt(squares)
    return Accelerometer(board.name, standing_s, bias, white_sd, replicates, *slope)


def _stops(time_s: Floats, speed: Floats) -> Ints:
    """Number each stop, -1 elsewhere; its first and last two seconds still roll."""
    stop = np.full(time_s.size, -1, dtype=np.int64)
    for k, (begin, end) in enumerate(runs_of(speed < STANDING_MPS)):
        at_s = time_s[begin:end]
        settled = (at_s >= at_s[0] + _SETTLED_S) & (at_s <= at_s[-1] - _SETTLED_S)
        stop[begin:end][settled] = k
    return stop


def _slope(
    time_s: Floats, accel: Floats, speed: Floats
) -> tuple[float | None, tuple[float, float] | None]:
    edges = np.arange(time_s[0], time_s[-1], _SLOPE_S)
    if edges.size < _LEAST_WINDOWS:
        return None, None
    gained = np.diff(np.interp(edges, time_s, speed)) / _SLOPE_S
    window = np.clip(np.searchsorted(edges, time_s, side="right") - 1, 0, edges.size - 2)
    count = np.bincount(window, minlength=edges.size - 1)
    mean = np.bincount(window, accel, minlength=edges.size - 1) / np.maximum(count, 1)
    used = count > _LEAST_IN_WINDOW
    x, y = gained[used], mean[used]
    if x.size < _LEAST_WINDOWS or x.std() < _LEAST_SWING:
        return None, None
    generator = np.random.Generator(np.random.PCG64(_SEED))
    blocks = np.arange(x.size) // round(_BLOCK_S / _SLOPE_S)
    slopes = []
    for _ in range(_REPLICATES // 2):
        drawn = generator.integers(0, blocks[-1] + 1, blocks[-1] + 1)
        rows = np.concatenate([np.flatnonzero(blocks == b) for b in drawn])
        slopes.append(np.polyfit(x[rows], y[rows], 1)[0])
    return float(np.polyfit(x, y, 1)[0]), percentile_interval(np.array(slopes))


def _resampled(block: Ints, values: Floats) -> Floats:
    """Means of values with their blocks drawn anew, (_REPLICATES,)."""
    total, count = np.bincount(block, values), np.bincount(block)
    generator = np.random.Generator(np.random.PCG64(_SEED))
    picks = generator.integers(0, total.size, (_REPLICATES, total.size))
    means: Floats = total[picks].sum(axis=1) / count[picks].sum(axis=1)
    return means
