"""Short names for the arrays of this room, whose shapes and units stand in docstrings; and runs."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def runs_of(inside: Bools) -> Ints:
    """Return where runs of True (K,) begin, and the row behind their end, (runs, 2)."""
    return np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
