"""The chance that a frame gets through at a margin, over all that fading may do to it."""

import math
from functools import lru_cache
from typing import Final

import numpy as np

from ml.arrays import Floats
from ml.compiled import compiled

LOWEST_DB: Final = -60.0
HIGHEST_DB: Final = 80.0
STEP_DB: Final = 0.1
LEAST_M: Final = 1.0
MOST_M: Final = 5.0
STEP_M: Final = 0.25
_DEEPEST_FADE_DB = -120.0
_HIGHEST_FADE_DB = 20.0
_DB_PER_NEPER = 10.0 / math.log(10.0)
_MARGINS = round((HIGHEST_DB - LOWEST_DB) / STEP_DB) + 1


@lru_cache(maxsize=8)
def reception_table(transition_db: float) -> Floats:
    """Tabulate E[1 / (1 + exp(−(M + F) / w))], F the power of Nakagami-m fading in dB.

    The mean over the fade is a sum over steps of 0.1 dB, which for so smooth an integrand is as
    good as exact.

    Args:
        transition_db: w.

    Returns:
        (17, 1401) float64, read-only: rows m = 1, 1.25, ... 5, columns M = −60, −59.9, ... 80 dB.
    """
    fades = round((_HIGHEST_FADE_DB - _DEEPEST_FADE_DB) / STEP_DB) + 1
    fade_db = _DEEPEST_FADE_DB + STEP_DB * np.arange(fades)
    lowest_db = LOWEST_DB + _DEEPEST_FADE_DB
    total_db = lowest_db + STEP_DB * np.arange(_MARGINS + fades - 1)
    gets_through = 1.0 / (1.0 + np.exp(-total_db / transition_db))
    x = fade_db / _DB_PER_NEPER
    rows = []
    for m in np.arange(LEAST_M, MOST_M + STEP_M / 2.0, STEP_M):
        weight = np.exp(m * x - m * np.exp(x))
        rows.append(np.correlate(gets_through, weight / weight.sum(), mode="valid"))
    table = np.array(rows)
    table.flags.writeable = False
    return table


@compiled
def gets_through(table: Floats, m: float, margin_db: float) -> float:
    """Look a chance up in a `reception_table`, linear in m and in the margin.

    m lies in [1, 5]; a margin beyond the table has the chance of its end.
    """
    column = (min(max(margin_db, LOWEST_DB), HIGHEST_DB) - LOWEST_DB) / STEP_DB
    left = min(int(column), _MARGINS - 2)
    right_share = column - left
    row = (m - LEAST_M) / STEP_M
    upper = int(row)
    lower_share = row - upper
    chance = table[upper, left] * (1.0 - right_share) + table[upper, left + 1] * right_share
    if lower_share > 0.0:
        other = (
            table[upper + 1, left] * (1.0 - right_share) + table[upper + 1, left + 1] * right_share
        )
        chance += lower_share * (other - chance)
    return float(chance)
