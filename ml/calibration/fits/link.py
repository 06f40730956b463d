"""Fit margin, slope, shadowing and slow bias to all links of some drives, by maximum likelihood.

Each directed link has the likelihood of `link_likelihood`; links are multiplied as if independent,
and the intervals make good for that: the scores (gradients) are summed over blocks of time, over
all links at once, and the blocks are drawn anew with replacement (a bootstrap of the estimating
equations, Hu and Kalbfleisch 2000), which needs no second fit.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Floats
from ml.calibration.fits.estimates import percentile_interval
from ml.calibration.fits.link_frames import Group, Job, jobs_of
from ml.calibration.fits.link_likelihood import Point, Shape, log_likelihoods
from ml.calibration.fits.margin import REFERENCE_M, expected_loss
from ml.calibration.logs.link import Link
from ml.espnow_emulator.parameters.loss import MarginLoss

REPLICATES: Final = 2000
_LIMITS: Final = {
    "exponent_near": (-1.0, 6.0),
    "exponent_far": (-1.0, 8.0),
    "shadowing_sd_db": (0.3, 18.0),
    "shadowing_distance_m": (0.5, 300.0),
    "bias_sd_db": (0.15, 12.0),
    "bias_time_s": (1.5, 600.0),
    "floor_loss": (1e-4, 0.6),
}
NAMES: Final = tuple(_LIMITS)
_LOGARITHMIC: Final = frozenset(NAMES[2:6])
_MEMORY: Final = "shadowing_distance_m"
_LEVELS_DB: Final = (-40.0, 60.0)
_FIRST_LEVELS_DB: Final = (-30.0, 35.0)
_SAMPLED: Final = 300
_STEPS: Final = 25
_DIFFERENCE, _LEVEL_DIFFERENCE_DB, _FLOOR_DIFFERENCE = 0.02, 0.1, 0.05
_ENOUGH: Final = 0.01
_LONGEST_STEP, _LONGEST_LEVEL_STEP_DB = 1.0, 6.0
_SEED: Final = 20
_AT_LIMIT: Final = 1e-3
_WORKERS: Final = os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class LinkFit:
    """What was fitted."""

    groups: tuple[Group, ...]  # Pairs of boards and cars between, each with a level
    levels_db: Floats  # (G,), margin at 20 m of each group, cars in between included
    values: dict[str, float]  # Fitted and fixed ones of `NAMES`
    free: tuple[str, ...]  # Names that were fitted
    replicates: Floats  # (B, G + F), bootstrap: levels, then free values on their scales
    at_limit: tuple[str, ...]  # Names that ran into their limits

    def interval(self, name: str) -> tuple[float, float]:
        """Return the 90 % bootstrap interval of a fitted value."""
        return percentile_interval(self.replicates[:, len(self.groups) + self.free.index(name)])

    def level_interval(self, group: int) -> tuple[float, float]:
        """Return the 90 % bootstrap interval of a group's level in dB."""
        return percentile_interval(self.replicates[:, group])

    @property
    def levels(self) -> dict[Group, tuple[float, float]]:
        """90 % interval of the level of each group, in dB."""
        return {group: self.level_interval(k) for k, group in enumerate(self.groups)}

    @property
    def level_covariance(self) -> Floats:
        """(G, G) of the levels."""
        return np.atleast_2d(np.cov(self.replicates[:, : len(self.groups)].T))


class _Scale(NamedTuple):
    """Where the P parameters of a fit are looked for: levels, then free values, transformed."""

    groups: int  # G, how many levels there are
    names: tuple[str, ...]  # Of the free values
    fixed: dict[str, float]  # Values of all names, of which those that are free are overwritten
    low: Floats  # (P,)
    high: Floats  # (P,)
    difference: Floats  # (P,), step of the forward difference that gives a slope
    longest: Floats  # (P,), step of the descent

    def values(self, theta: Floats) -> dict[str, float]:
        """Return the values of all names at a place."""
        free = zip(self.names, theta[self.groups :], strict=True)
        return self.fixed | {name: float(_outer(name, np.array([at]))[0]) for name, at in free}

    def point(self, theta: Floats) -> Point:
        """Return what the likelihood is taken at."""
        near, far, *shape = self.values(theta).values()
        return Point(theta[: self.groups], near, far, Shape(*shape))


class _Slopes(NamedTuple):
    """What the likelihood says at one place, and which way it rises."""

    value: float  # Log likelihood of all frames
    gradient: Floats  # (P,)
    information: Floats  # (P, P), outer products of the frames' scores
    by_block: Floats  # (blocks, P), the gradient by blocks of time


def fit_links(
    links: Sequence[Link],
    prior: MarginLoss,
    free: Sequence[str],
    *,
    position_error_m: float = 0.0,
    start: LinkFit | None = None,
    on_step: Callable[[int, int], None] = lambda _step, _steps: None,
) -> LinkFit:
    """Fit, by damped Newton steps (Levenberg and Marquardt) on the scores' outer products.

    Args:
        links: Of any number of drives, with at least one scored frame.
        prior: What is not fitted, and where to start.
        free: Which of `NAMES` to fit; the levels always are.
        position_error_m: Standard deviation, per axis, of the distance between two boards as
            their positions give it.
        start: An earlier fit, to start from.
        on_step: Told (step, most steps).
    """
    groups, jobs, blocks = jobs_of(links, prior, position_error_m)
    values = {name: float(getattr(prior, name)) for name in NAMES}
    if start is None:
        levels = np.array([_first_level(links, g, prior) for g in groups])
    else:
        levels = start.levels_db.copy()
        values |= {name: start.values[name] for name in free}
    scale = _scale_of(len(groups), tuple(free), values)
    inner = [_inner(name, values[name]) for name in free]
    theta = np.clip(np.concatenate([levels, inner]), scale.low + 1e-6, scale.high - 1e-6)
    here = _slopes(jobs, theta, scale, prior, blocks)
    damping = 1e-3
    for step in range(_STEPS):
        on_step(step, _STEPS)
        gain = 0.0
        for _ in range(6):
            damped = here.information + damping * np.diag(np.diag(here.information))
            change = np.linalg.solve(damped + 1e-9 * np.eye(theta.size), here.gradient)
            change *= min(1.0, float((scale.longest / np.maximum(np.abs(change), 1e-12)).min()))
            candidate = np.clip(theta + change, scale.low, scale.high)
            if 0.5 * float((candidate - theta) @ here.gradient) < _ENOUGH:
                theta = candidate  # so near that to look there again would change nothing
                break
            there = _slopes(jobs, candidate, scale, prior, blocks)
            if there.value > here.value - 1e-6:
                gain = there.value - here.value
                theta, here = candidate, there
                damping = max(damping / 10.0, 1e-6)
                break
            damping = max(damping * 10.0, 1e-3)
        if gain < _ENOUGH:
            break
    replicates = _replicates(theta, here, scale)
    for k, name in enumerate(free, start=len(groups)):
        replicates[:, k] = _outer(name, replicates[:, k])
    held = np.minimum(theta - scale.low, scale.high - theta)[len(groups) :] < _AT_LIMIT
    return LinkFit(
        groups=groups,
        levels_db=theta[: len(groups)],
        values=scale.values(theta),
        free=scale.names,
        replicates=replicates,
        at_limit=tuple(n for n, at in zip(free, held, strict=True) if at),
    )


def _scale_of(groups: int, names: tuple[str, ...], values: dict[str, float]) -> _Scale:
    low, high = (
        np.array([_LEVELS_DB[end]] * groups + [_inner(n, _LIMITS[n][end]) for n in names])
        for end in (0, 1)
    )
    differences = [_FLOOR_DIFFERENCE if n == "floor_loss" else _DIFFERENCE for n in names]
    difference = np.array([_LEVEL_DIFFERENCE_DB] * groups + differences)
    longest = np.array([_LONGEST_LEVEL_STEP_DB] * groups + [_LONGEST_STEP] * len(names))
    return _Scale(groups, names, values, low, high, difference, longest)


def _slopes(
    jobs: Sequence[Job], theta: Floats, scale: _Scale, prior: MarginLoss, blocks: int
) -> _Slopes:
    """Score all links at a place and a step away from it along each parameter."""
    steps = scale.difference
    points = [scale.point(theta), *(scale.point(theta + step) for step in np.diag(steps))]
    alone = scale.groups + scale.names.index(_MEMORY) if _MEMORY in scale.names else -1
    work: list[tuple[int, list[int]]] = []
    for n, job in enumerate(jobs):
        # A level moves the links of its own group alone.
        moved = [k for k in range(theta.size) if k >= scale.groups or k in job.groups]
        work.append((n, [0, *(k + 1 for k in moved if k != alone)]))
        if alone >= 0:
            work.append((n, [alone + 1]))

    def run(part: tuple[int, list[int]]) -> Floats:
        n, which = part
        return log_likelihoods(jobs[n].frames, [points[k] for k in which], prior)

    with ThreadPoolExecutor(_WORKERS) as pool:
        found = list(pool.map(run, work))
    here: list[Floats] = []
    scores = [np.zeros((theta.size, job.block.size)) for job in jobs]
    for (n, which), rows in zip(work, found, strict=True):
        for k, row in zip(which, rows, strict=True):
            if k == 0:
                here.append(row)
            else:
                scores[n][k - 1] = (row - here[n]) / steps[k - 1]
    value = sum(float(row.sum()) for row in here)
    information = np.sum([score @ score.T for score in scores], axis=0)
    by_block = np.zeros((blocks, theta.size))
    for job, score in zip(jobs, scores, strict=True):
        for k in range(theta.size):
            by_block[:, k] += np.bincount(job.block, score[k], minlength=blocks)
    # A forward difference is the slope half a step ahead; the information tells what lies between.
    gradient = by_block.sum(axis=0) + 0.5 * steps * np.diag(information)
    return _Slopes(value, gradient, information, by_block)


def _replicates(theta: Floats, here: _Slopes, scale: _Scale) -> Floats:
    """Draw blocks with replacement and take one Newton step each; (REPLICATES, P)."""
    blocks = len(here.by_block)
    generator = np.random.Generator(np.random.PCG64(_SEED))
    weights = generator.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=REPLICATES)
    centred = here.by_block - here.by_block.mean(axis=0)
    small = np.sqrt(blocks / max(blocks - theta.size, 1))  # few blocks spread too little
    ridge = np.diag(1e-6 * np.diag(here.information) + 1e-9)
    inverse = np.linalg.inv(here.information + ridge)
    change = small * ((weights - 1.0) @ centred) @ inverse
    # Links that share their shadowing say no more than independent ones would: few blocks may.
    wider = np.maximum(np.sqrt(np.diag(inverse)) / np.maximum(change.std(axis=0), 1e-12), 1.0)
    drawn: Floats = np.clip(theta + wider * change, scale.low, scale.high)
    return drawn


def _first_level(links: Sequence[Link], group: Group, prior: MarginLoss) -> float:
    """The level at which the model loses as many as were lost."""
    distances, lost = [], []
    for link in links:
        mine = link.scored & (link.between == group[2])
        if link.pair == group[:2] and mine.any():
            share = float(link.lost[mine].mean())
            one_way = 1.0 - (1.0 - share) ** (1.0 / (2.0 if link.two_way else 1.0))
            lost.append((one_way, int(mine.sum())))
            distances.append(np.nan_to_num(link.distance_m[mine], nan=REFERENCE_M))
    wanted = sum(share * rows for share, rows in lost) / sum(rows for _, rows in lost)
    every = np.concatenate(distances)
    some = every[:: max(every.size // _SAMPLED, 1)]
    alone = prior.model_copy(update={"antenna_sd_db": 0.0, "door_share": 0.0})
    low, high = _LEVELS_DB
    for _ in range(30):
        middle = 0.5 * (low + high)
        at = alone.model_copy(update={"margin_20m_db": middle})
        if float(expected_loss(at, some, 0).mean()) > wanted:
            low = middle
        else:
            high = middle
    return float(np.clip(middle, *_FIRST_LEVELS_DB))


def _inner(name: str, value: float) -> float:
    """Map a value to the scale on which it is fitted."""
    if name in _LOGARITHMIC:
        return float(np.log(value))
    if name == "floor_loss":
        return float(np.log(value / (1.0 - value)))
    return value


def _outer(name: str, inner: Floats) -> Floats:
    """Map values back from the scale on which they are fitted."""
    if name in _LOGARITHMIC:
        return np.exp(inner)
    if name == "floor_loss":
        return 1.0 / (1.0 + np.exp(-inner))
    return inner
