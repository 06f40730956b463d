"""Which axis of a board's accelerometer points forward, and with which sign, from GPS speed.

Over windows of five seconds the speed gained is held against each axis. A board that lies askew
shows the gain on two axes, as cosine and sine of the angle; gravity and bias are constant and do
not count.
"""

from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats

WINDOW_S: Final = 5.0
"""Long beside the second by which GPS speed lags and is held."""
LEAST_WINDOWS: Final = 12  # a minute
LEAST_SWING_MPS2: Final = 0.3
_LEAST_FILLED: Final = 0.5
_LEAST_CORRELATION: Final = 0.3
_SURELY: Final = 2.58  # standard deviations, since the best of three axes is taken
_MOST_ASKEW_DEG: Final = 35.0
_NAMES: Final = "xyz"


class Swings(NamedTuple):
    """Windows of time in which both speed and accelerations are known."""

    gained_mps2: Floats  # (W,), what the GPS speed gained in each, by its length
    mean_mps2: Floats  # (W, A), mean of each axis
    begin_s: Floats  # (W,), when each begins

    @property
    def tell(self) -> bool:
        """Whether there are enough, and the speed changed enough from one to the next."""
        gained = self.gained_mps2
        return gained.size >= LEAST_WINDOWS and float(gained.std()) >= LEAST_SWING_MPS2


class AxisFit(NamedTuple):
    """The forward axis of one board: -1 times its y where `axis` is 1 and `sign` -1."""

    axis: int  # 0, 1 or 2: x, y or z; x where it cannot be told
    sign: int  # 1 or -1; 1 where it cannot be told
    correlation: float  # Of that axis, its sign turned, with the speed gained; 0 where unknown
    slope: float  # Of that axis, its sign turned, on the speed gained: 1 where all is well
    askew_deg: float  # By how much the forward direction lies beside that axis
    windows: int  # Of five seconds, that it rests on
    refusal: str  # Why it cannot be told; empty where it can

    @property
    def is_told(self) -> bool:
        """Whether the log tells the axis."""
        return not self.refusal

    @property
    def name(self) -> str:
        """The axis as one writes it: `x`, `-y`."""
        return ("-" if self.sign < 0 else "") + _NAMES[self.axis]


def forward_axis(time_s: Floats, speed_mps: Floats, accel_mps2: Floats) -> AxisFit:
    """Find the axis of an accelerometer that points forward.

    Args:
        time_s: (K,) float64, in order, of any clock.
        speed_mps: (K,) float64, by GPS, held or not; NaN where unknown.
        accel_mps2: (K, 3) float64, x, y and z of the board, with gravity or without; NaN where
            unknown.

    Returns:
        The axis; where the log cannot tell it, x with a reason.
    """
    for what, values in (("speed", speed_mps), ("acceleration", accel_mps2)):
        if not np.isfinite(values).any():
            return _untold(0, f"the log holds no {what}")
    swings = swings_of(time_s, speed_mps, accel_mps2)
    count = swings.gained_mps2.size
    if not swings.tell:
        swing = float(swings.gained_mps2.std()) if count else 0.0
        return _untold(
            count,
            f"the speed hardly changed ({count} windows of {WINDOW_S:g} s with a spread of "
            f"{swing:.2f} m/s²; {LEAST_WINDOWS} with {LEAST_SWING_MPS2:g} are needed): "
            "set off and brake a few times",
        )
    gained = swings.gained_mps2 - swings.gained_mps2.mean()
    means = swings.mean_mps2 - swings.mean_mps2.mean(axis=0)
    slopes = gained @ means / (gained @ gained)
    spread = means.std(axis=0)
    correlations = slopes * gained.std() / np.where(spread > 0.0, spread, np.inf)
    # An axis that shakes has a slope by chance: slopes count by their correlations.
    believed = slopes * np.abs(correlations)
    axis = int(np.argmax(np.abs(believed)))
    found = float(np.abs(correlations[axis]))
    # Fisher's z: the least correlation that this many windows leave.
    least = float(np.tanh(np.arctanh(min(found, 1.0 - 1e-9)) - _SURELY / np.sqrt(count - 3)))
    if least < _LEAST_CORRELATION:
        return _untold(
            count,
            f"no axis goes with the GPS speed (most does {_NAMES[axis]}, correlation {found:.2f} "
            f"over {count} windows of {WINDOW_S:g} s): is the board fixed, and is the column "
            "speed of this board?",
        )
    length = float(np.linalg.norm(believed))
    askew_deg = float(np.degrees(np.arccos(min(abs(believed[axis]) / length, 1.0))))
    if askew_deg > _MOST_ASKEW_DEG:
        return _untold(
            count,
            f"the forward direction lies {askew_deg:.0f}° beside the nearest axis, "
            f"{_NAMES[axis]}: mount the board so that one axis points forward",
        )
    sign = 1 if slopes[axis] > 0.0 else -1
    return AxisFit(axis, sign, found, float(abs(slopes[axis])), askew_deg, count, "")


def swings_of(time_s: Floats, speed_mps: Floats, accel_mps2: Floats) -> Swings:
    """Cut a log into windows, and leave out those that are mostly a gap.

    Args:
        time_s: (K,) in order.
        speed_mps: (K,), NaN where unknown.
        accel_mps2: (K, A), NaN where unknown.
    """
    known: Bools = (
        np.isfinite(time_s) & np.isfinite(speed_mps) & np.isfinite(accel_mps2).all(axis=1)
    )
    at_s, speed, accel = time_s[known], speed_mps[known], accel_mps2[known]
    axes = accel_mps2.shape[1]
    edges = np.arange(at_s[0], at_s[-1], WINDOW_S) if at_s.size else np.zeros(0)
    windows = edges.size - 1
    if windows < 1:
        return Swings(np.zeros(0), np.zeros((0, axes)), np.zeros(0))
    steps = np.diff(at_s)
    period_s = float(np.median(steps[steps > 0.0])) if (steps > 0.0).any() else WINDOW_S
    inside = at_s < edges[-1]
    window = np.searchsorted(edges, at_s[inside], side="right") - 1
    count = np.bincount(window, minlength=windows)
    sums = [np.bincount(window, axis[inside], minlength=windows) for axis in accel.T]
    used = count >= max(_LEAST_FILLED * WINDOW_S / period_s, 1.0)
    gained = np.diff(np.interp(edges, at_s, speed)) / WINDOW_S
    means = np.stack(sums, axis=-1)[used] / count[used, None]
    return Swings(gained[used], means, edges[:-1][used])


def _untold(windows: int, refusal: str) -> AxisFit:
    return AxisFit(0, 1, 0.0, 0.0, 0.0, windows, refusal)
