"""When a car brakes, on recordings: the one definition, for cases and for events."""

from typing import Final

import numpy as np

from ml.arrays import Floats, Ints
from ml.calibration.runs import runs_of
from ml.vehicle import DT_S, REACTION_MPS2

PAUSE_S: Final = 0.5
_PAUSE_TICKS: Final = round(PAUSE_S / DT_S)


def brakings_of(accel_mps2: Floats) -> Ints:
    """Return where brakings begin, and the tick behind their end, (N, 2).

    A car brakes while its acceleration is ≤ −1 m/s² (`REACTION_MPS2`). A pause of up to half a
    second, also one in which nothing is known, is part of the braking: what is measured flickers.

    Args:
        accel_mps2: (T,) in ticks of 0.1 s, NaN where unknown.
    """
    runs = runs_of(accel_mps2 <= -REACTION_MPS2)
    paused = runs[1:, 0] - runs[:-1, 1] <= _PAUSE_TICKS
    begins = np.concatenate([[True], ~paused])[: len(runs)]
    ends = np.concatenate([~paused, [True]])[: len(runs)]
    return np.stack([runs[begins, 0], runs[ends, 1]], axis=1)
