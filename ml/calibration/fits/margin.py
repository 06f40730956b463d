"""The margin model without its channel: the loss it expects, and its fit to loss over distance.

The expected loss is computed by quadrature: shadowing, slow bias and antennas add up to one normal
variable; boards in a bad place are a mixture; fading is averaged per frame.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares
from scipy.special import expit, gammaincinv

from ml.arrays import Floats
from ml.calibration.fits.field_tables import LOSS_BY_DISTANCE, LossBin
from ml.espnow_emulator.parameters.loss import MarginLoss

REFERENCE_M: Final = 20.0
RAYLEIGH_FROM_M: Final = 80.0
NEAREST_M, _KNEE_M = 3.0, 60.0
_GRID_DB: Final = np.arange(-90.0, 90.0, 0.1)
_FADES: Final = 1000
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
_SHARES: Final = _WEIGHTS / _WEIGHTS.sum()
BOUNDS: Final = {
    "margin_20m_db": (3.0, 18.0),
    "exponent_far": (2.0, 3.5),
    "car_first_db": (3.0, 12.0),
}
"""What is fitted, and where it is looked for: the ranges that training draws from.

The exponent beyond 60 m may not fall below that of free space, 2. Without that bound the bins of
60 to 120 m, all with a car between, pull it below 1, and a radio that reaches for kilometres is
not believed on the strength of some hundred frames.
"""
_POINTS = 9
_AT_BOUND = 1e-3


class MarginFit(NamedTuple):
    """Fitted parameters and what they leave unexplained."""

    values: dict[str, float]  # The fitted parameters by name
    at_bound: tuple[str, ...]  # Names of those that the bounds hold back
    bins: tuple[LossBin, ...]  # What was fitted to
    fitted: Floats  # Loss that the parameters expect, a value per bin

    @property
    def residuals(self) -> Floats:
        """Expected less measured loss, per bin."""
        residuals: Floats = self.fitted - np.array([b.loss for b in self.bins])
        return residuals

    @property
    def rms(self) -> float:
        """Root of the mean squared residual."""
        return float(np.sqrt(np.mean(self.residuals**2)))


def path_terms_db(distance_m: Floats) -> tuple[Floats, Floats]:
    """What one unit of the near and of the far exponent costs at distances, in dB."""
    d = np.maximum(distance_m, NEAREST_M)
    near = 10.0 * np.log10(np.minimum(d, _KNEE_M) / REFERENCE_M)
    return near, 10.0 * np.log10(np.maximum(d, _KNEE_M) / _KNEE_M)


def mean_margin_db(margin: MarginLoss, distance_m: ArrayLike, cars_between: int) -> Floats:
    """Return the margin of a link between two ordinary boards, without anything that is drawn.

    The distance between the antennas, of any shape, counts as 3 m at least.
    """
    near, far = path_terms_db(np.asarray(distance_m, dtype=np.float64))
    next_db = margin.car_next_db * (cars_between - 1)
    cars_db = min(margin.car_first_db + next_db, margin.cars_cap_db) if cars_between else 0.0
    path_db = margin.exponent_near * near + margin.exponent_far * far
    return np.asarray(margin.margin_20m_db - path_db - cars_db)


def expected_loss(margin: MarginLoss, distance_m: ArrayLike, cars_between: int) -> Floats:
    """Return the share of frames lost at distances, over convoys, time and frames.

    Blackouts and collisions are left out.

    Returns:
        Loss in [0, 1], of the shape of `distance_m`, which is between the antennas.
    """
    d = np.asarray(distance_m, dtype=np.float64)
    mean_db = mean_margin_db(margin, d, cars_between)
    spread_db = np.sqrt(
        margin.shadowing_sd_db**2 + margin.bias_sd_db**2 + 2.0 * margin.antenna_sd_db**2
    )
    near = _reception(margin.fading_m, margin.transition_db)
    far = _reception(None if margin.fading_m is None else 1.0, margin.transition_db)
    q = margin.door_share
    doors = ((1.0 - q) ** 2, 2.0 * q * (1.0 - q), q**2)  # how many of two boards lie there
    received = np.zeros_like(mean_db)
    for count, share in enumerate(doors):
        at_db = mean_db[..., None] - count * margin.door_loss_db + spread_db * _NODES
        curves = (np.interp(at_db, _GRID_DB, chance) for chance in (near, far))
        received += share * (np.where(d[..., None] < RAYLEIGH_FROM_M, *curves) @ _SHARES)
    loss: Floats = 1.0 - (1.0 - margin.floor_loss) * received
    return loss


def loss_in_bin(margin: MarginLoss, b: LossBin) -> float:
    """Return the expected loss of a bin, all of its distances equally frequent."""
    edges = np.linspace(b.low_m, b.high_m, _POINTS + 1)
    return float(expected_loss(margin, (edges[1:] + edges[:-1]) / 2.0, b.cars_between).mean())


def fit_margin(
    margin: MarginLoss,
    bins: tuple[LossBin, ...] = LOSS_BY_DISTANCE,
    bounds: Mapping[str, tuple[float, float]] = BOUNDS,
) -> MarginFit:
    """Fit the parameters in `bounds` by least squares of the expected loss; the others stay.

    Each bin counts the same: their frames are not independent, so their numbers say little. What a
    further car costs and the cap are not fitted, since no bin has two cars between. The spread of
    antennas is among what stays, so that the result holds for the mean over boards.
    """
    names = list(bounds)
    low, high = np.array([bounds[name] for name in names]).T
    measured = np.array([b.loss for b in bins])

    def expected(x: Floats) -> Floats:
        candidate = margin.model_copy(update=dict(zip(names, map(float, x), strict=True)))
        return np.array([loss_in_bin(candidate, b) for b in bins])

    start = np.clip([getattr(margin, name) for name in names], low + 0.05, high - 0.05)
    found = least_squares(lambda x: expected(x) - measured, start, bounds=(low, high))
    values = dict(zip(names, map(float, found.x), strict=True))
    held = np.minimum(found.x - low, high - found.x) < _AT_BOUND * (high - low)
    at_bound = tuple(name for name, at in zip(names, held, strict=True) if at)
    return MarginFit(values, at_bound, bins, expected(found.x))


@lru_cache(maxsize=8)
def _reception(fading_m: float | None, transition_db: float) -> Floats:
    """Chance of reception over `_GRID_DB`, averaged over the fading of a frame."""
    if fading_m is None:
        fades_db = np.zeros(1)
    else:
        quantiles = (np.arange(_FADES) + 0.5) / _FADES
        fades_db = 10.0 * np.log10(gammaincinv(fading_m, quantiles) / fading_m)
    chance: Floats = expit((_GRID_DB[:, None] + fades_db) / transition_db).mean(axis=1)
    return chance
