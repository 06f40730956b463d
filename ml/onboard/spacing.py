"""The gap that the ego shall keep."""

from typing import TypeVar

from ml.arrays import Floats
from ml.compiled import compiled
from ml.vehicle import WANTED_STANDSTILL_M

Number = TypeVar("Number", float, Floats)

_ORDER = 8


@compiled
def wanted_gap_m(speed_mps: Number, time_gap_s: Number | float) -> Number:
    """Gap that the ego shall keep: the driver's time gap, and never less than at standstill.

    A maximum with its corner rounded (the norm of order 8), so that the gap's wish has a slope
    everywhere. A sum of the two, as controllers have it, is too much where it is slow and too
    little where it is fast: what a silence at the onset of a braking takes is a time.
    """
    gap: Number = (WANTED_STANDSTILL_M**_ORDER + (time_gap_s * speed_mps) ** _ORDER) ** (1 / _ORDER)
    return gap
