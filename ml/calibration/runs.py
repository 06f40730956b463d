"""Runs of what holds, in an array of yes and no."""

import numpy as np

from ml.arrays import Bools, Ints


def runs_of(inside: Bools) -> Ints:
    """Return where runs of True (K,) begin, and the row behind their end, (runs, 2)."""
    return np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
