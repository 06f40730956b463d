"""Split the levels of pairs into margin, boards and cars in between.

A pair's margin at 20 m is M20 + G_i + G_j less what the cars between cost. With boards that differ
by chance (N(0, σ_G²) each) that is a linear model with random effects; its solution and its
uncertainty are exact. What it shows: one pair says of M20 only what its two boards let through, and
three cars that never change places do not tell a car in the way from two good boards beside a bad
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ml.calibration.arrays import Floats
from ml.calibration.fits.estimates import Z_90

if TYPE_CHECKING:
    from ml.calibration.fits.link_frames import Group

_VAGUE_DB: Final = 1e3
_Z: Final = 1.645


Span = tuple[float, float, float]
"""An estimate in dB, and both ends of its 90 % interval."""


class MarginSplit(NamedTuple):
    """Parts of the levels.

    Attributes:
        margin_db: M20.
        first_car_db: What the first car in between costs, None where none ever stood there.
        boards_db: Name to offset.
    """

    margin_db: Span
    first_car_db: Span | None
    boards_db: dict[str, Span]


def split_levels(
    groups: Sequence[Group],
    levels_db: Floats,
    covariance: Floats,
    *,
    antenna_sd_db: float,
    next_car_db: float,
) -> MarginSplit:
    """Split.

    Args:
        groups: G of them.
        levels_db: (G,).
        covariance: (G, G).
        antenna_sd_db: σ_G, not fitted: a handful of boards does not show a spread.
        next_car_db: What each further car costs, not fitted.
    """
    boards = sorted({name for one, other, _ in groups for name in (one, other)})
    design = np.zeros((len(groups), 2 + len(boards)))
    shifted = levels_db.copy()
    for row, (one, other, between) in enumerate(groups):
        design[row, 0] = 1.0
        design[row, 1] = -1.0 if between else 0.0
        design[row, 2 + boards.index(one)] += 1.0
        design[row, 2 + boards.index(other)] += 1.0
        shifted[row] += next_car_db * max(between - 1, 0)
    spread = max(antenna_sd_db, 1e-3)
    precision = np.diag([_VAGUE_DB**-2, _VAGUE_DB**-2, *([spread**-2] * len(boards))])
    weight = np.linalg.inv(covariance + 1e-6 * np.eye(len(groups)))
    posterior = np.linalg.inv(design.T @ weight @ design + precision)
    x = posterior @ design.T @ weight @ shifted
    half = Z_90 * np.sqrt(np.diag(posterior))
    ends = np.stack([x, x - half, x + half], axis=-1).tolist()
    margin_db, first_car_db, *boards_db = map(tuple, ends)
    return MarginSplit(
        margin_db,
        first_car_db if design[:, 1].any() else None,
        dict(zip(boards, boards_db, strict=True)),
    )
