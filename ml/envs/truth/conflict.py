"""How close two cars are to a crash, if both keep their speed."""

from ml.compiled import compiled

TTC_HORIZON_S = 60.0
"""A longer time to collision is given as this: the cars are not on a collision course."""
_CONTACT_M = 1e-3


@compiled
def time_to_collision_s(gap_m: float, closing_mps: float) -> float:
    """Time to collision, gap / closing (Hayward, 1972): 0 in contact, at most `TTC_HORIZON_S`."""
    if closing_mps <= 0.0:
        return TTC_HORIZON_S
    return min(max(gap_m, 0.0) / closing_mps, TTC_HORIZON_S)


@compiled
def needed_braking_mps2(gap_m: float, closing_mps: float) -> float:
    """Deceleration rate to avoid a crash (DRAC), closing² / (2 gap) (Cooper and Ferguson, 1976).

    0 where the cars do not close. From contact on, the gap counts as 1 mm.
    """
    closing = max(closing_mps, 0.0)
    return closing * closing / (2.0 * max(gap_m, _CONTACT_M))
