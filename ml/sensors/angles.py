"""Headings in degrees, in compiled loops."""

from __future__ import annotations

import math
from typing import Final

from ml.compiled import compiled

FULL_CIRCLE_DEG: Final = 360.0
_HALF_CIRCLE_DEG: Final = 180.0


@compiled
def full_circle(heading_deg: float) -> float:
    """Bring a heading into [0, 360)."""
    if 0.0 <= heading_deg < FULL_CIRCLE_DEG:
        return heading_deg
    turned_deg = heading_deg % FULL_CIRCLE_DEG
    # The remainder of a tiny negative angle rounds to 360.
    return turned_deg if turned_deg < FULL_CIRCLE_DEG else 0.0


@compiled
def turn_between(from_deg: float, to_deg: float) -> float:
    """Return the shorter turn from one heading to another, in [−180, 180)."""
    turn_deg = to_deg - from_deg
    if -_HALF_CIRCLE_DEG <= turn_deg < _HALF_CIRCLE_DEG:
        return turn_deg
    return turn_deg - math.floor((turn_deg + _HALF_CIRCLE_DEG) / FULL_CIRCLE_DEG) * FULL_CIRCLE_DEG
