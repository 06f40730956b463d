"""The loss that the margin model expects at a distance, averaged over everything it draws.

Computed by quadrature, without the channel: shadowing, slow bias and antennas add up to one normal
variable; boards in a bad place are a mixture; fading is averaged per frame.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import expit, gammaincinv

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ml.espnow_emulator.parameters.loss import MarginLoss

_NEAREST_M: Final = 3.0
_KNEE_M: Final = 60.0
_RAYLEIGH_FROM_M: Final = 80.0
_GRID_DB: Final = np.arange(-90.0, 90.0, 0.1)
_FADES: Final = 1000
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
_SHARES: Final = _WEIGHTS / _WEIGHTS.sum()


def mean_margin_db(
    margin: MarginLoss, distance_m: ArrayLike, cars_between: int
) -> NDArray[np.float64]:
    """Return the margin of a link between two ordinary boards, without anything that is drawn.

    Args:
        margin: The model's parameters.
        distance_m: Between the antennas, any shape; counted as 3 m at least.
        cars_between: How many cars stand between.
    """
    d = np.maximum(np.asarray(distance_m, dtype=np.float64), _NEAREST_M)
    near_db = 10.0 * margin.exponent_near * np.log10(np.minimum(d, _KNEE_M) / 20.0)
    far_db = 10.0 * margin.exponent_far * np.log10(np.maximum(d, _KNEE_M) / _KNEE_M)
    cars_db = 0.0
    if cars_between > 0:
        cars_db = margin.car_first_db + margin.car_next_db * (cars_between - 1)
    blocked_db = min(cars_db, margin.cars_cap_db)
    return np.asarray(margin.margin_20m_db - near_db - far_db - blocked_db, dtype=np.float64)


def expected_loss(
    margin: MarginLoss, distance_m: ArrayLike, cars_between: int
) -> NDArray[np.float64]:
    """Return the share of frames lost at a distance, over convoys, time and frames.

    Blackouts and collisions are left out.

    Args:
        margin: The model's parameters.
        distance_m: Between the antennas, any shape.
        cars_between: How many cars stand between.

    Returns:
        Loss in [0, 1], of the shape of `distance_m`.
    """
    d = np.asarray(distance_m, dtype=np.float64)
    mean_db = mean_margin_db(margin, d, cars_between)
    spread_db = np.sqrt(
        margin.shadowing_sd_db**2 + margin.bias_sd_db**2 + 2.0 * margin.antenna_sd_db**2
    )
    near = _reception(margin.fading_m, margin.transition_db)
    far = _reception(None if margin.fading_m is None else 1.0, margin.transition_db)
    doors = np.array([(1.0 - margin.door_share) ** 2, 2.0, margin.door_share**2])
    doors[1] *= margin.door_share * (1.0 - margin.door_share)
    received = np.zeros_like(mean_db)
    for count, share in enumerate(doors):
        at_db = mean_db[..., None] - count * margin.door_loss_db + spread_db * _NODES
        curve = np.where(
            d[..., None] < _RAYLEIGH_FROM_M,
            np.interp(at_db, _GRID_DB, near),
            np.interp(at_db, _GRID_DB, far),
        )
        received += share * (curve @ _SHARES)
    loss: NDArray[np.float64] = 1.0 - (1.0 - margin.floor_loss) * received
    return loss


@lru_cache(maxsize=8)
def _reception(fading_m: float | None, transition_db: float) -> NDArray[np.float64]:
    """Chance of reception over `_GRID_DB`, averaged over the fading of a frame."""
    if fading_m is None:
        fades_db = np.zeros(1)
    else:
        quantiles = (np.arange(_FADES) + 0.5) / _FADES
        fades_db = 10.0 * np.log10(gammaincinv(fading_m, quantiles) / fading_m)
    chance: NDArray[np.float64] = expit((_GRID_DB[:, None] + fades_db) / transition_db).mean(axis=1)
    return chance
