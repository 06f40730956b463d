"""The self-test of a board from its own log: forward axis, bias, and how late its GPS is.

* Axis and sign: `ml.calibration.fits.forward_axis`.
* Bias: the mean of the forward axis in stops; without any, its mean less what the GPS speed gained.
* Delay: over some three seconds the GPS speed gains what the accelerometer, integrated, gained a
  while before. The delay is the shift at which a straight line through both leaves the least. It is
  that of a fix's moment behind the accelerometer's, beyond the age that the log gives.

What the log cannot tell is refused, in words. Intervals are 90 %: of the bias from the spread of
its blocks of 5 s, of the delay from blocks of 20 s drawn anew.
"""

from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.calibration.fits.estimates import Z_90, percentile_interval
from ml.calibration.fits.forward_axis import AxisFit, forward_axis, swings_of
from ml.calibration.logs.board_log import BoardLog
from ml.calibration.logs.stops import LEAST_STANDING_S, stops_of
from ml.sensors import SensorParameters

_SLOPES: Final = (0.5, 2.0)
# Bias.
_BLOCK_S: Final = 5.0
_SLOW_S: Final = 20.0
"""Over which grades and the like go on, so that windows of 5 s are not independent."""
_MOST_BIAS_ERROR_MPS2: Final = 0.3
# Delay.
_DELAYS_S: Final = np.arange(-0.3, 2.001, 0.02)
_APART_S: Final = 3.0
"""Over a second GPS speed gains little beside its own error, which goes on for some seconds."""
_MOST_APART_S: Final = 8.0
_EVERY_S: Final = 0.5
"""Gains that begin closer together than this tell hardly more."""
_GAP_S: Final = 0.5
_LEAST_PAIRS: Final = 60
_LEAST_CORRELATION: Final = 0.5
_MOST_DELAY_ERROR_S: Final = 0.15
_REPLICATES: Final = 300
_SEED: Final = 29


class Finding(NamedTuple):
    """A value that a log tells, or why it does not.

    Attributes:
        value: 0 where it is not told.
        interval: 90 %.
        basis: What it rests on.
        refusal: Why it is not told; empty where it is.
    """

    value: float
    interval: tuple[float, float]
    basis: str
    refusal: str

    @property
    def is_told(self) -> bool:
        """Whether the log tells it."""
        return not self.refusal


class SelfTest(NamedTuple):
    """What a board's log says of the board.

    Attributes:
        board: Its name.
        axis: Which axis of its accelerometer points forward.
        bias: Of that axis, its sign turned, m/s².
        delay: How late a fix is, beyond the age that the log gives, s.
    """

    board: str
    axis: AxisFit
    bias: Finding
    delay: Finding

    @property
    def is_usable(self) -> bool:
        """Whether its rows can be fused."""
        return self.axis.is_told and self.bias.is_told

    @property
    def delay_to_apply_s(self) -> float:
        """The delay found; where none is, that of the parameters."""
        usual_s = SensorParameters().position.hold_delay_s
        return max(self.delay.value, 0.0) if self.delay.is_told else usual_s

    @property
    def verdict(self) -> str:
        """What follows, in a sentence without its full stop."""
        if not self.axis.is_told:
            return f"refused: {self.axis.refusal}"
        if not self.bias.is_told:
            return f"refused: {self.bias.refusal}"
        if not self.delay.is_told:
            return f"good, with the usual delay of {self.delay_to_apply_s:g} s"
        return "good"

    def forward_mps2(self, log: BoardLog) -> Floats:
        """Return the forward acceleration of each row (K,), its bias taken off; NaN: unknown."""
        return self.axis.sign * log.accel_mps2[:, self.axis.axis] - self.bias.value


def self_test(log: BoardLog) -> SelfTest:
    """Test a board by what it logged of itself.

    Args:
        log: Of the board; a drive with stops, of ten minutes or more, tells everything.
    """
    axis = _axis(log)
    if not axis.is_told:
        untold = _refused("without a forward axis there is none")
        return SelfTest(log.name, axis, untold, untold)
    accel = axis.sign * log.accel_mps2[:, axis.axis]
    bias = _bias(log, accel)
    return SelfTest(log.name, axis, bias, _delay(log, accel - bias.value))


def _refused(why: str) -> Finding:
    return Finding(0.0, (0.0, 0.0), "", why)


def _axis(log: BoardLog) -> AxisFit:
    if not np.isfinite(log.accel_mps2).any():
        return AxisFit(0, 1, 0.0, 0.0, 0.0, 0, "its log holds no accelerations")
    axis = forward_axis(log.time_s, log.speed_mps, log.accel_mps2)
    if axis.is_told and not _SLOPES[0] <= axis.slope <= _SLOPES[1]:
        why = (
            f"its axis {axis.name} gains {axis.slope:.2g} times what the GPS speed gains, allowed "
            f"is {_SLOPES[0]:g} to {_SLOPES[1]:g}: are its accelerations in m/s² (0.1: they are in "
            "g), and its speeds in m/s (0.28: they are in km/h)?"
        )
        return axis._replace(refusal=why)
    return axis


def _bias(log: BoardLog, accel: Floats) -> Finding:
    """Find the mean of the forward axis where the car has no acceleration."""
    stop = stops_of(log.time_s, log.speed_mps)
    used = (stop >= 0) & np.isfinite(accel)
    standing_s = np.count_nonzero(used) * log.period_s
    if standing_s >= LEAST_STANDING_S:
        key = stop[used] * 10**6 + (log.time_s[used] // _BLOCK_S).astype(np.int64)
        block = np.unique(key, return_inverse=True)[1]
        means = np.bincount(block, accel[used]) / np.bincount(block)
        error = Z_90 * float(means.std(ddof=1)) / np.sqrt(means.size)
        return _within(float(accel[used].mean()), error, f"{standing_s:.0f} s in stops")
    swings = swings_of(log.time_s, log.speed_mps, accel[:, None])
    left = swings.mean_mps2[:, 0] - swings.gained_mps2
    independent = left.size * _BLOCK_S / _SLOW_S
    if independent < 3.0:  # noqa: PLR2004 - a minute
        return _refused(
            f"it stood for {standing_s:.0f} s with its accelerations logged, and drove for less "
            f"than a minute; {LEAST_STANDING_S:g} s in stops tell the bias: stop now and then for "
            "half a minute"
        )
    error = Z_90 * float(left.std()) / np.sqrt(independent)
    found = _within(float(left.mean()), error, f"{left.size * _BLOCK_S:.0f} s of driving")
    if found.is_told:
        return found
    return _refused(
        f"it stood for {standing_s:.0f} s, and while driving the bias is only known to "
        f"±{error:.2f} m/s², allowed is ±{_MOST_BIAS_ERROR_MPS2:g}: stop now and then for half a "
        "minute"
    )


def _within(value: float, error: float, basis: str) -> Finding:
    if error > _MOST_BIAS_ERROR_MPS2:
        return _refused(
            f"the bias is only known to ±{error:.2f} m/s² ({basis}), allowed is "
            f"±{_MOST_BIAS_ERROR_MPS2:g}: is the board fixed to the car?"
        )
    return Finding(value, (value - error, value + error), basis, "")


def _delay(log: BoardLog, accel: Floats) -> Finding:
    """Find by how much GPS speed lags behind the integrated acceleration."""
    moment_s, block, gained, ran = _gains(log, accel)
    if moment_s.size < _LEAST_PAIRS:
        return _refused(
            f"{moment_s.size} pairs of fixes about {_APART_S:g} s apart, "
            f"needed are {_LEAST_PAIRS}: drive for longer"
        )
    moments = _block_sums(block, gained, ran)
    generator = np.random.Generator(np.random.PCG64(_SEED))
    count = moments.shape[-1]
    weights = generator.multinomial(count, np.full(count, 1.0 / count), _REPLICATES).T
    best, correlation = _least(moments.sum(axis=-1)[..., None])
    replicates = _least(moments @ weights)[0]
    low, high = percentile_interval(replicates)
    delay, found = float(best[0]), float(correlation[0])
    if found < _LEAST_CORRELATION:
        return _refused(
            f"GPS speed and integrated acceleration hardly go together (correlation {found:.2f}, "
            f"needed is {_LEAST_CORRELATION:g}): speed up and brake more"
        )
    if high - low > 2.0 * _MOST_DELAY_ERROR_S or not _DELAYS_S[0] < delay < _DELAYS_S[-1]:
        return _refused(
            f"it lies between {low:.2f} and {high:.2f} s, allowed is ±{_MOST_DELAY_ERROR_S:g}: "
            "speed up and brake more"
        )
    return Finding(
        delay, (low, high), f"{moment_s.size} gains of speed, correlation {found:.2f}", ""
    )


def _gains(log: BoardLog, accel: Floats) -> tuple[Floats, Ints, Floats, Floats]:
    """Pairs of fixes some seconds apart: moments and blocks (P,), gains (P,) and (D, P).

    The gains are those of the GPS speed, and of the integrated acceleration at each delay.
    """
    steps_s = np.diff(log.time_s, prepend=log.time_s[:1])
    is_gap: Bools = (steps_s > _GAP_S) | ~np.isfinite(accel)
    ran = np.cumsum(np.where(is_gap, 0.0, accel * steps_s))
    gaps = np.cumsum(is_gap)
    moment_s = log.time_s[log.fixes.row] - log.fixes.age_s
    order = np.argsort(moment_s, kind="stable")
    period_s = float(np.median(np.diff(moment_s[order]))) if order.size > 1 else _APART_S
    every = max(round(_EVERY_S / max(period_s, 1e-3)), 1)
    moment_s, speed = moment_s[order[::every]], log.fixes.speed_mps[order[::every]]
    apart = max(round(_APART_S / max(every * period_s, 1e-3)), 1)
    first, last = moment_s[:-apart], moment_s[apart:]
    ends_s = [
        np.clip(ends - extreme, log.time_s[0], log.time_s[-1])
        for ends, extreme in ((first, _DELAYS_S[-1]), (last, _DELAYS_S[0]))
    ]
    began, ended = (np.interp(at_s, log.time_s, gaps) for at_s in ends_s)
    used = (last - first > 0.0) & (last - first <= _MOST_APART_S) & (began == ended)
    used &= (first - _DELAYS_S[-1] >= log.time_s[0]) & (last - _DELAYS_S[0] <= log.time_s[-1])
    first, last = first[used], last[used]
    shifted = [
        np.interp(ends[None, :] - _DELAYS_S[:, None], log.time_s, ran) for ends in (last, first)
    ]
    block = np.unique((first // _SLOW_S).astype(np.int64), return_inverse=True)[1]
    return first, block, (speed[apart:] - speed[:-apart])[used], shifted[0] - shifted[1]


def _block_sums(block: Ints, gained: Floats, ran: Floats) -> Floats:
    """Sums over blocks of 1, y, y², x, x² and x y, (6, D, B); x (D, P) is `ran`, y is `gained`."""
    starts = np.searchsorted(block, np.arange(block[-1] + 1))
    y = np.broadcast_to(gained, ran.shape)
    terms = (np.ones(ran.shape), y, y * y, ran, ran * ran, ran * y)
    return np.stack([np.add.reduceat(term, starts, axis=1) for term in terms])


def _least(moments: Floats) -> tuple[Floats, Floats]:
    """Delay at which a line leaves the least, and its correlation, (R,); sums are (6, D, R)."""
    n, y, yy, x, xx, xy = moments
    spread_x, spread_y = xx - x * x / n, yy - y * y / n
    together = np.maximum(xy - x * y / n, 0.0)  # a slope below 0 is no explanation
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = np.nan_to_num(together**2 / (spread_x * spread_y))
    at = np.argmax(explained, axis=0)
    inner = np.clip(at, 1, _DELAYS_S.size - 2)
    column = np.arange(at.size)
    left, mid, right = (explained[inner + k, column] for k in (-1, 0, 1))
    bend = left - 2.0 * mid + right
    step_s = _DELAYS_S[1] - _DELAYS_S[0]
    aside = np.where(bend < 0.0, 0.5 * (left - right) / np.where(bend < 0.0, bend, -1.0), 0.0)
    delay = np.where(at == inner, _DELAYS_S[inner] + np.clip(aside, -1.0, 1.0) * step_s, np.nan)
    delay = np.where(np.isnan(delay), _DELAYS_S[at], delay)
    return delay, np.sqrt(explained[at, column])
