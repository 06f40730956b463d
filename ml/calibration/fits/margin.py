"""Fit the margin model to the measured loss over distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import least_squares

from ml.calibration.fits.expected_loss import expected_loss
from ml.calibration.fits.field_tables import LOSS_BY_DISTANCE, LossBin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml.calibration.arrays import Floats
    from ml.espnow_emulator.parameters.loss import MarginLoss

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


@dataclass(frozen=True, slots=True)
class MarginFit:
    """Fitted parameters and what they leave unexplained.

    Attributes:
        margin: The parameters, with the fitted ones in place.
        values: The fitted ones by name.
        at_bound: Names of those that the bounds hold back.
        bins: What was fitted to.
        fitted: Loss that the parameters expect, a value per bin.
    """

    margin: MarginLoss
    values: dict[str, float]
    at_bound: tuple[str, ...]
    bins: tuple[LossBin, ...]
    fitted: Floats

    @property
    def residuals(self) -> Floats:
        """Expected less measured loss, per bin."""
        residuals: Floats = self.fitted - np.array([b.loss for b in self.bins])
        return residuals

    @property
    def rms(self) -> float:
        """Root of the mean squared residual."""
        return float(np.sqrt(np.mean(self.residuals**2)))


def loss_in_bin(margin: MarginLoss, b: LossBin) -> float:
    """Return the expected loss of a bin, all of its distances equally frequent."""
    edges = np.linspace(b.low_m, b.high_m, _POINTS + 1)
    return float(expected_loss(margin, (edges[1:] + edges[:-1]) / 2.0, b.cars_between).mean())


def fit_margin(
    margin: MarginLoss,
    bins: tuple[LossBin, ...] = LOSS_BY_DISTANCE,
    bounds: Mapping[str, tuple[float, float]] = BOUNDS,
) -> MarginFit:
    """Fit some parameters by least squares of the expected loss; the others stay.

    Each bin counts the same: their frames are not independent, so their numbers say little. What a
    further car costs and the cap are not fitted, since no bin has two cars between.

    Args:
        margin: Where to start, and what all other parameters are: the spread of antennas among
            them, so that the result holds for the mean over boards.
        bins: Measured losses.
        bounds: Name to (low, high) of each parameter to fit.
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
    return MarginFit(
        margin=margin.model_copy(update=values),
        values=values,
        at_bound=tuple(name for name, at in zip(names, held, strict=True) if at),
        bins=tuple(bins),
        fitted=expected(found.x),
    )
