"""Make links ready for the fit: groups that share a level, blocks of time, cells of distance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Bools, Floats, Ints
from ml.calibration.fits.margin import NEAREST_M, RAYLEIGH_FROM_M, REFERENCE_M, path_terms_db
from ml.calibration.logs.link import LEFT_OUT, Link
from ml.espnow_emulator.parameters.loss import MarginLoss

BLOCK_S: Final = 30.0
STEPS: Final = 60
STEP_M: Final = (0.04, 40.0)
STEP_S: Final = (0.08, 80.0)
_BIAS_EVERY_S: Final = 0.2
_CELL_DB: Final = 0.05  # of distance: a twentieth of a decibel per unit of an exponent
_LEAST_RELIABLE: Final = 0.5
_LEAST_OF_GROUP: Final = 2000
_MOST_BETWEEN: Final = 8

Group = tuple[str, str, int]
"""Two boards in order of their names, and how many cars stood between them."""


class Frames(NamedTuple):
    """A link's frames, ready for the recursion.

    Distances are sorted into cells: what a frame's chance depends on besides the two processes is
    its place between the two ends of a cell.
    """

    outcome: NDArray[np.int8]  # (K,) int8, 0 lost, 1 received, -1 not scored
    left_alone: Floats  # (K,), share of frames that the receiver's blackouts do not take
    end: Ints  # (K, 2), both ends of the frame's cell
    share: Floats  # (K,), how far from the first towards the second
    end_group: Ints  # (C,), group whose level holds at an end
    end_near_db: Floats  # (C,), what one unit of the near exponent costs there
    end_far_db: Floats  # (C,), what one unit of the far exponent costs there
    end_beyond: Bools  # (C,), from 80 m on
    shadowing_step: Ints  # (K,), bin of what was travelled since the frame before
    bias_step: Ints  # (K,), bin of the time since the bias moved last, -1 where it stays
    two_way: bool  # Whether the frame went there and back


@dataclass(slots=True)
class Job:
    """One link, ready to be scored: its frames, its groups, and the block of each frame (K,)."""

    frames: Frames
    groups: frozenset[int]
    block: Ints


def jobs_of(
    links: Sequence[Link], prior: MarginLoss, position_error_m: float
) -> tuple[tuple[Group, ...], list[Job], int]:
    """Return the groups of some links, a job for each link, and how many blocks of time there are.

    Args:
        links: Of any number of drives.
        prior: For the floor at standstill.
        position_error_m: See `expected_distance_m`.
    """
    links = [_without_rare(link, links) for link in links]
    groups = sorted(
        {(*link.pair, int(b)) for link in links for b in np.unique(link.between[link.scored])}
    )
    number = {group: k for k, group in enumerate(groups)}
    begins: dict[int, float] = {}
    for link in links:
        begins[link.drive] = min(begins.get(link.drive, np.inf), float(link.time_s[0]))
    keys = [
        link.drive * 10**6 + ((link.time_s - begins[link.drive]) // BLOCK_S).astype(np.int64)
        for link in links
    ]
    distinct = np.unique(np.concatenate(keys))
    jobs = []
    for link, key in zip(links, keys, strict=True):
        of_between = [number.get((*link.pair, b), 0) for b in range(_MOST_BETWEEN + 1)]
        group = np.array(of_between)[np.minimum(link.between, _MOST_BETWEEN)]
        believed = replace(link, distance_m=expected_distance_m(link, position_error_m))
        frames = prepare(believed, standstill_mps=prior.standstill_mps, group=group)
        mine = frozenset(map(int, np.unique(group[link.scored])))
        jobs.append(Job(frames, mine, np.searchsorted(distinct, key)))
    return tuple(groups), jobs, distinct.size


def prepare(link: Link, *, standstill_mps: float, group: Ints | None = None) -> Frames:
    """Make the K frames of a link ready.

    Args:
        link: A distance that is NaN counts as 20 m.
        standstill_mps: The floor of the speed at which shadowing changes.
        group: (K,), which level holds; default: the first.
    """
    time_s, size = link.time_s, link.outcome.size
    elapsed_s = np.clip(np.diff(time_s, prepend=time_s[0]), 0.0, None)
    travelled = np.maximum(link.travel_m, standstill_mps * elapsed_s)
    # The bias takes seconds to move, so it need not at every frame.
    ticks = np.floor((time_s - time_s[0]) / _BIAS_EVERY_S)
    rows = np.flatnonzero(np.diff(ticks, prepend=-1.0) > 0.0)
    bias_step = np.full(size, -1, dtype=np.int64)
    bias_step[rows] = _step_bins(np.diff(time_s[rows], prepend=time_s[0]), *STEP_S)
    near_db, far_db = path_terms_db(np.nan_to_num(link.distance_m, nan=REFERENCE_M))
    place = (near_db + far_db) / _CELL_DB
    cell = np.floor(place).astype(np.int64)
    beyond = np.nan_to_num(link.distance_m) >= RAYLEIGH_FROM_M
    of_group = np.zeros(size, dtype=np.int64) if group is None else group
    first = np.stack([cell, beyond, of_group], axis=-1)
    both = np.concatenate([first, first + np.array([1, 0, 0])])
    ends, index = np.unique(both, axis=0, return_inverse=True)
    end_near_db, end_far_db = path_terms_db(REFERENCE_M * 10.0 ** (ends[:, 0] * _CELL_DB / 10.0))
    return Frames(
        outcome=link.outcome,
        left_alone=np.ones(size) if link.taken is None else 1.0 - link.taken,
        end=np.ascontiguousarray(index.reshape(2, -1).T),
        share=place - cell,
        end_group=ends[:, 2],
        end_near_db=end_near_db,
        end_far_db=end_far_db,
        end_beyond=ends[:, 1] > 0,
        shadowing_step=_step_bins(travelled, *STEP_M),
        bias_step=bias_step,
        two_way=link.two_way,
    )


def expected_distance_m(link: Link, error_m: float) -> Floats:
    """Return the distances that measured ones stand for, (K,).

    Errors of positions spread distances, and a slope over spread distances comes out too flat
    (attenuation: Fuller, Measurement Error Models, 1987). So logarithms of distances are drawn
    towards their mean, by the share of their variance that is error.
    """
    known = link.scored & np.isfinite(link.distance_m)
    if error_m == 0.0 or not known.any():
        return link.distance_m
    nearest = np.maximum(link.distance_m, NEAREST_M)
    of_error = float(np.mean((error_m / nearest[known]) ** 2))
    logarithm = np.log(nearest)
    centre, variance = float(logarithm[known].mean()), float(logarithm[known].var())
    reliability = max(1.0 - of_error / max(variance, 1e-9), _LEAST_RELIABLE)
    expected: Floats = np.exp(centre + reliability * (logarithm - centre))
    return expected


def _step_bins(values: Floats, low: float, high: float) -> Ints:
    """Sort step sizes into `STEPS` bins, evenly in the logarithm."""
    at = np.log(np.clip(values, low, high) / low) / np.log(high / low) * (STEPS - 1)
    bins: Ints = np.rint(at).astype(np.int64)
    return bins


def _without_rare(link: Link, links: Sequence[Link]) -> Link:
    """Leave out rows of a number of cars between that a pair has too few of to tell a level."""
    pair = [other for other in links if other.pair == link.pair]
    between = np.concatenate([other.between[other.scored] for other in pair])
    count = np.bincount(between, minlength=1)
    rare = (count < _LEAST_OF_GROUP) & (count < count.max())
    known = np.minimum(link.between, count.size - 1)
    return replace(link, outcome=np.where(rare[known], LEFT_OUT, link.outcome).astype(np.int8))
