"""What a board's log says of its accelerometer: bias, noise and sign of its forward axis."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Floats, Ints
from ml.calibration.fits.estimates import Estimate, judged, kept, percentile_interval
from ml.calibration.fits.forward_axis import WINDOW_S, AxisFit, forward_axis, swings_of
from ml.calibration.logs.boards import Board
from ml.calibration.logs.link import Drive
from ml.calibration.logs.stops import LEAST_STANDING_S, stops_of
from ml.console import counted
from ml.parameters import Parameters

_BLOCK_S: Final = 20.0
_REPLICATES: Final = 1000
_SEED: Final = 23
_LEAST_BOARDS: Final = 6
_LEAST_SPREAD_MPS2: Final = 1e-3  # far below the step of any 16-bit accelerometer's noise


class Accelerometer(NamedTuple):
    """One board's forward axis; None where it hardly stood, or hardly changed its speed.

    All is of the axis that was found, its sign turned: -1 times y where that points forward.
    """

    board: str  # Its name
    axis: AxisFit  # Which one points forward; x where the log cannot tell
    standing_s: float  # How long it stood
    bias_mps2: float | None  # Mean at standstill
    white_sd_mps2: float | None  # Spread at standstill within stops
    white_replicates: Floats  # Of that spread, from blocks of 20 s drawn anew
    slope_interval: tuple[float, float] | None  # 90 %, of the axis on the GPS acceleration

    @property
    def is_dead(self) -> bool:
        """Whether the axis shows the same value whatever happens."""
        return self.white_sd_mps2 is not None and self.white_sd_mps2 < _LEAST_SPREAD_MPS2

    @property
    def note(self) -> str:
        """What there is to say of it; empty where x points forward."""
        if self.is_dead:
            return (
                f"The accelerometer of {self.board} shows no noise at standstill on its axis "
                f"{self.axis.name}: it is not connected, or not logged. Nothing is taken from it."
            )
        if not self.axis.is_told:
            return (
                f"Which axis of the accelerometer of {self.board} points forward cannot be told: "
                f"{self.axis.refusal}. Its x is taken."
            )
        if self.axis.name == "x":
            return ""
        backwards = " is mounted backwards (braking reads as accelerating):"
        how = backwards if self.axis.name == "-x" else ":"
        return (
            f"The accelerometer of {self.board}{how} its axis {self.axis.name} points forward "
            f"(correlation {self.axis.correlation:.2f} with its GPS speed, slope "
            f"{self.axis.slope:.2f}), and is taken here. Turn the board, or tell its program."
        )


def accelerometer_estimates(
    drives: Sequence[Drive], prior: Parameters, estimates: list[Estimate]
) -> list[Accelerometer]:
    """Judge the accelerometers of all boards, and append to `estimates`.

    Raises:
        LogError: A noise that no accelerometer has.
    """
    every = [_fitted(board) for drive in drives for board in drive.boards]
    name = "sensors.accelerometer.white_sd_mps2"
    stood = [one for one in every if one.white_sd_mps2 is not None and not one.is_dead]
    dead = [one.board for one in every if one.is_dead]
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
        if dead:
            reason = f"the accelerometer of {', '.join(dead)} shows no noise at all: it is dead"
        estimates.append(kept(name, prior, reason))
    show = counted(len(stood), "board")
    reason = f"biases of {show} are known; {_LEAST_BOARDS} are needed for a spread"
    estimates.append(kept("sensors.accelerometer.bias_sd_mps2", prior, reason))
    return every


def _fitted(board: Board) -> Accelerometer:
    """Judge the forward axis of a board by its TX log."""
    time_s, logged_mps = board.time_ms / 1000.0, board.of_its_own("speed")
    axes = np.stack([board.of_its_own(f"accel_{axis}") for axis in "xyz"], axis=-1)
    axis = forward_axis(time_s, logged_mps, axes)
    accel = axis.sign * axes[:, axis.axis]
    slope_interval = _slope_interval(time_s, accel, logged_mps)
    stop = stops_of(time_s, logged_mps)
    standing = (stop >= 0) & np.isfinite(accel)
    standing_s = float(np.count_nonzero(standing)) * board.period_ms / 1000.0
    if standing_s < LEAST_STANDING_S:
        return Accelerometer(board.name, axis, standing_s, None, None, np.zeros(0), slope_interval)
    at, a = time_s[standing], accel[standing]
    key = stop[standing] * 10**6 + (at // _BLOCK_S).astype(np.int64)
    block = np.unique(key, return_inverse=True)[1]
    within = a - (np.bincount(block, a) / np.bincount(block))[block]
    freedom = max(a.size - int(block.max()) - 1, 1)
    squares = _resampled(block, within**2) * a.size / freedom
    white_sd = float(np.sqrt((within**2).sum() / freedom))
    bias, replicates = float(a.mean()), np.sqrt(squares)
    return Accelerometer(board.name, axis, standing_s, bias, white_sd, replicates, slope_interval)


def _slope_interval(time_s: Floats, accel: Floats, speed: Floats) -> tuple[float, float] | None:
    swings = swings_of(time_s, speed, accel[:, None])
    if not swings.tell:
        return None
    x, y = swings.gained_mps2, swings.mean_mps2[:, 0]
    blocks = np.arange(x.size) // round(_BLOCK_S / WINDOW_S)
    sums = np.stack([np.bincount(blocks, v) for v in (np.ones(x.size), x, y, x * x, x * y)])
    generator = np.random.Generator(np.random.PCG64(_SEED))
    picks = generator.integers(0, blocks[-1] + 1, (_REPLICATES, blocks[-1] + 1))
    n, sx, sy, sxx, sxy = sums[:, picks].sum(axis=-1)
    return percentile_interval((n * sxy - sx * sy) / (n * sxx - sx * sx))


def _resampled(block: Ints, values: Floats) -> Floats:
    """Means of values with their blocks drawn anew, (_REPLICATES,)."""
    total, count = np.bincount(block, values), np.bincount(block)
    generator = np.random.Generator(np.random.PCG64(_SEED))
    picks = generator.integers(0, total.size, (_REPLICATES, total.size))
    means: Floats = total[picks].sum(axis=1) / count[picks].sum(axis=1)
    return means
