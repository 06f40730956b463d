"""Arrays by what they hold, as annotations name them; shapes and units stand in docstrings."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Keys = NDArray[np.uint64]
"""Keys of `ml.keyed_random`, and what else are 64 bits without a sign."""
