"""Make links ready for the fit: groups that share a level, blocks of time, expected distances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.fits.expected_loss import expected_loss
from ml.calibration.fits.link_likelihood import Frames, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ml.calibration.logs.links import Link
    from ml.espnow_emulator.parameters.loss import MarginLoss

BLOCK_S: Final = 30.0
LEVELS_DB: Final = (-40.0, 60.0)
_NEAREST_M, _REFERENCE_M = 3.0, 20.0
_LEAST_RELIABLE: Final = 0.5
_SAMPLED: Final = 300
_LEAST_OF_GROUP: Final = 2000

Group = tuple[str, str, int]
"""Two boards in order of their names, and how many cars stood between them."""


@dataclass(slots=True)
class Job:
    """One link, ready to be scored."""

    frames: Frames
    groups: frozenset[int]
    block: NDArray[np.int64]


def jobs_of(
    links: Sequence[Link],
    prior: MarginLoss,
    blackouts: Mapping[int, NDArray[np.float64]],
    position_error_m: float,
) -> tuple[tuple[Group, ...], list[Job], int]:
    """Return the groups of some links, a job for each link, and how many blocks of time there are.

    Args:
        links: Of any number of drives.
        prior: For the floor at standstill.
        blackouts: Index of a link to (K,) share of frames that its receiver loses anyway.
        position_error_m: See `expected_distance_m`.
    """
    links = [_without_rare(link, links) for link in links]
    groups = sorted(
        {(*link.pair, int(b)) for link in links for b in np.unique(link.between[link.scored])}
    )
    number = {group: k for k, group in enumerate(groups)}
    begins: dict[int, float] = {}
    for link in links:
        first = float(link.time_s[0])
        begins[link.drive] = min(begins.get(link.drive, first), first)
    keys = [
        link.drive * 10**6 + ((link.time_s - begins[link.drive]) // BLOCK_S).astype(np.int64)
        for link in links
    ]
    distinct = np.unique(np.concatenate(keys))
    jobs = []
    for k, link in enumerate(links):
        group = np.array([number.get((*link.pair, int(b)), 0) for b in range(9)])[
            np.minimum(link.between, 8)
        ]
        frames = prepare(
            link.outcome,
            expected_distance_m(link, position_error_m),
            link.travel_m,
            link.time_s,
            standstill_mps=prior.standstill_mps,
            two_way=link.two_way,
            blackout=blackouts.get(k),
            group=group,
        )
        mine = frozenset(map(int, np.unique(group[link.scored])))
        jobs.append(Job(frames, mine, np.searchsorted(distinct, keys[k])))
    return tuple(groups), jobs, distinct.size


def expected_distance_m(link: Link, error_m: float) -> NDArray[np.float64]:
    """Return the distances that measured ones stand for, (K,).

    Errors of positions spread distances, and a slope over spread distances comes out too flat
    (attenuation: Fuller, Measurement Error Models, 1987). So logarithms of distances are drawn
    towards their mean, by the share of their variance that is error.
    """
    known = link.scored & np.isfinite(link.distance_m)
    if error_m == 0.0 or not known.any():
        return link.distance_m
    nearest = np.maximum(link.distance_m, _NEAREST_M)
    of_error = float(np.mean((error_m / nearest[known]) ** 2))
    logarithm = np.log(nearest)
    centre, variance = float(logarithm[known].mean()), float(logarithm[known].var())
    reliability = max(1.0 - of_error / max(variance, 1e-9), _LEAST_RELIABLE)
    expected: NDArray[np.float64] = np.exp(centre + reliability * (logarithm - centre))
    return expected


def _without_rare(link: Link, links: Sequence[Link]) -> Link:
    """Leave out rows of a number of cars between that a pair has too few of to tell a level."""
    pair = [other for other in links if other.pair == link.pair]
    count = np.bincount(np.concatenate([other.between[other.scored] for other in pair]))
    rare = (count < _LEAST_OF_GROUP) & (count < count.max())
    if not rare.any():
        return link
    known = np.minimum(link.between, count.size - 1)
    outcome = np.where(rare[known], -1, link.outcome).astype(np.int8)
    return replace(link, outcome=outcome)


def first_level(links: Sequence[Link], group: Group, prior: MarginLoss) -> float:
    """The level at which the model loses as many as were lost."""
    distances, lost = [], []
    for link in links:
        mine = link.scored & (link.between == group[2])
        if link.pair == group[:2] and mine.any():
            two = 2.0 if link.two_way else 1.0
            share = float(link.lost[mine].mean())
            lost.append((1.0 - (1.0 - share) ** (1.0 / two), int(mine.sum())))
            distances.append(np.nan_to_num(link.distance_m[mine], nan=_REFERENCE_M))
    wanted = sum(share * rows for share, rows in lost) / sum(rows for _, rows in lost)
    every = np.concatenate(distances)
    some = every[:: max(every.size // _SAMPLED, 1)]
    alone = prior.model_copy(update={"antenna_sd_db": 0.0, "door_share": 0.0})
    low, high = LEVELS_DB
    for _ in range(30):
        middle = 0.5 * (low + high)
        at = alone.model_copy(update={"margin_20m_db": middle})
        if float(expected_loss(at, some, 0).mean()) > wanted:
            low = middle
        else:
            high = middle
    return min(max(middle, -30.0), 35.0)
