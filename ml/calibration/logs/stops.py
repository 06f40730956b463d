"""Where a car stood, by its logged speed."""

from typing import Final

import numpy as np

from ml.arrays import Floats, Ints
from ml.calibration.logs.trajectories import STANDING_MPS
from ml.calibration.runs import runs_of

LEAST_STANDING_S: Final = 20.0
"""Stops of this length altogether tell the noise and the bias of an accelerometer."""
_SETTLED_S: Final = 2.0


def stops_of(time_s: Floats, speed_mps: Floats) -> Ints:
    """Number each stop, -1 elsewhere; its first and last two seconds still roll.

    Args:
        time_s: (K,) float64, in order.
        speed_mps: (K,) float64; NaN where it is not known, which is no stop.

    Returns:
        (K,) int64.
    """
    stop = np.full(time_s.size, -1, dtype=np.int64)
    for k, (begin, end) in enumerate(runs_of(speed_mps < STANDING_MPS)):
        at_s = time_s[begin:end]
        settled = (at_s >= at_s[0] + _SETTLED_S) & (at_s <= at_s[-1] - _SETTLED_S)
        stop[begin:end][settled] = k
    return stop
