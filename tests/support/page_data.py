"""The data of an episode's page, read as docs/watch.md says."""

from __future__ import annotations

import numpy as np


def decoded(column):
    """Decode a column as docs/watch.md says."""
    steps = []
    for step in column["values"]:
        steps += [0] * int(step) if isinstance(step, str) else [step]
    known = np.array([step for step in steps if step is not None], dtype=np.int64)
    for _ in range(column["order"]):
        known = known.cumsum()
    values = np.full(len(steps), np.nan)
    values[[step is not None for step in steps]] = known * column["unit"]
    return values
