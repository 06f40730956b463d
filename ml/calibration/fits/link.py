"""Fit margin, slope, shadowing and slow bias to all links of some drives, by maximum likelihood.

Each directed link has the likelihood of `link_likelihood`; links are multiplied as if independent,
and the intervals make good for that: the scores (gradients) are summed over blocks of time, over
all links at once, and the blocks are drawn anew with replacement (a bootstrap of the estimating
equations, Hu and Kalbfleisch 2000), which needs no second fit.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.fits.link_jobs import LEVELS_DB, Group, Job, first_level, jobs_of
from ml.calibration.fits.link_likelihood import Point, Shape, log_likelihoods

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from ml.calibration.logs.links import Link
    from ml.espnow_emulator.parameters.loss import MarginLoss

REPLICATES: Final = 2000
NAMES: Final = (
    "exponent_near",
    "exponent_far",
    "shadowing_sd_db",
    "shadowing_distance_m",
    "bias_sd_db",
    "bias_time_s",
    "floor_loss",
)
_LOGARITHMIC: Final = frozenset(NAMES[2:6])
_LIMITS: Final = {
    "exponent_near": (-1.0, 6.0),
    "exponent_far": (-1.0, 8.0),
    "shadowing_sd_db": (0.3, 18.0),
    "shadowing_distance_m": (0.5, 300.0),
    "bias_sd_db": (0.15, 12.0),
    "bias_time_s": (1.5, 600.0),
    "floor_loss": (1e-4, 0.6),
}
_STEPS: Final = 25
_DIFFERENCE: Final = 0.02
_LEVEL_DIFFERENCE_DB: Final = 0.1
_ENOUGH: Final = 0.01
_LONGEST_STEP: Final = 1.0
_SEED: Final = 20
_AT_LIMIT: Final = 1e-3
_MEMORY: Final = "shadowing_distance_m"
_WORKERS: Final = os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class LinkFit:
    """What was fitted.

    Attributes:
        groups: Pairs of boards and cars between, each with a level.
        levels_db: (G,), margin at 20 m of each group, cars in between included.
        values: Fitted and fixed ones of `NAMES`.
        free: Names that were fitted.
        replicates: (B, G + F), bootstrap replicates: levels, then free values on their own scales.
        log_likelihood: Of all scored frames.
        frames: How many those are.
        blocks: How many blocks the replicates are drawn from.
        at_limit: Names that ran into their limits.
    """

    groups: tuple[Group, ...]
    levels_db: NDArray[np.float64]
    values: dict[str, float]
    free: tuple[str, ...]
    replicates: NDArray[np.float64]
    log_likelihood: float
    frames: int
    blocks: int
    at_limit: tuple[str, ...]

    def interval(self, name: str, level: float = 0.9) -> tuple[float, float]:
        """Return the bootstrap interval of a fitted value."""
        column = self.replicates[:, len(self.groups) + self.free.index(name)]
        tail = 50.0 * (1.0 - level)
        low, high = np.percentile(column, [tail, 100.0 - tail])
        return float(low), float(high)

    def level_interval(self, group: int, level: float = 0.9) -> tuple[float, float]:
        """Return the bootstrap interval of a group's level in dB."""
        tail = 50.0 * (1.0 - level)
        low, high = np.percentile(self.replicates[:, group], [tail, 100.0 - tail])
        return float(low), float(high)

    @property
    def level_covariance(self) -> NDArray[np.float64]:
        """(G, G) of the levels."""
        return np.atleast_2d(np.cov(self.replicates[:, : len(self.groups)].T))


@dataclass(slots=True)
class _Slopes:
    """What the likelihood says at one place, and which way it rises.

    Attributes:
        value: Log likelihood of all frames.
        gradient: (P,).
        information: (P, P), outer products of the frames' scores.
        by_block: (blocks, P), the gradient by blocks of time.
    """

    value: float
    gradient: NDArray[np.float64]
    information: NDArray[np.float64]
    by_block: NDArray[np.float64]


def fit_links(  # noqa: C901 - one descent, read from top to bottom
    links: Sequence[Link],
    prior: MarginLoss,
    free: Sequence[str],
    *,
    blackouts: Mapping[int, NDArray[np.float64]] | None = None,
    position_error_m: float = 0.0,
    start: LinkFit | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> LinkFit:
    """Fit.

    Args:
        links: Of any number of drives, with at least one scored frame.
        prior: What is not fitted, and where to start.
        free: Which of `NAMES` to fit; the levels always are.
        blackouts: Index of a link to (K,) share of frames that its receiver loses anyway.
        position_error_m: Standard deviation, per axis, of the distance between two boards as
            their positions give it.
        start: An earlier fit, to start from.
        on_step: Told (step, most steps).
    """
    groups, jobs, blocks = jobs_of(links, prior, blackouts or {}, position_error_m)
    values = {name: float(getattr(prior, name)) for name in NAMES}
    if start is None:
        levels = np.array([first_level(links, g, prior) for g in groups])
    else:
        levels = start.levels_db.copy()
        values |= {name: start.values[name] for name in free}
    names = tuple(free)
    theta = np.concatenate([levels, [_inner(n, values[n]) for n in names]])
    low = np.concatenate(
        [np.full(len(groups), LEVELS_DB[0]), [_inner(n, _LIMITS[n][0]) for n in names]]
    )
    high = np.concatenate(
        [np.full(len(groups), LEVELS_DB[1]), [_inner(n, _LIMITS[n][1]) for n in names]]
    )
    theta = np.clip(theta, low + 1e-6, high - 1e-6)
    step_sizes = np.full(theta.size, _DIFFERENCE)
    step_sizes[: len(groups)] = _LEVEL_DIFFERENCE_DB
    for k, name in enumerate(names):
        if name == "floor_loss":
            step_sizes[len(groups) + k] = 0.05

    def slopes(at: NDArray[np.float64]) -> _Slopes:
        return _slopes(jobs, at, step_sizes, names, values, prior, len(groups), blocks)

    here = slopes(theta)
    damping = 1e-3
    for step in range(_STEPS):
        if on_step is not None:
            on_step(step, _STEPS)
        gain = 0.0
        for _ in range(6):
            scale = np.diag(np.diag(here.information))
            change = np.linalg.solve(
                here.information + damping * scale + 1e-9 * np.eye(theta.size), here.gradient
            )
            limit = np.where(np.arange(theta.size) < len(groups), 6.0, _LONGEST_STEP)
            change *= min(1.0, float((limit / np.maximum(np.abs(change), 1e-12)).min()))
            candidate = np.clip(theta + change, low, high)
            if 0.5 * float((candidate - theta) @ here.gradient) < _ENOUGH:
                theta = candidate  # so near that to look there again would change nothing
                break
            there = slopes(candidate)
            if there.value > here.value - 1e-6:
                gain = there.value - here.value
                theta, here = candidate, there
                damping = max(damping / 10.0, 1e-6)
                break
            damping = max(damping * 10.0, 1e-3)
        if gain < _ENOUGH:
            break
    replicates = _replicates(theta, here.information, here.by_block, low, high)
    for k, name in enumerate(names):
        column = len(groups) + k
        values[name] = _outer(name, theta[column])
        replicates[:, column] = _outer_all(name, replicates[:, column])
    held = np.minimum(theta - low, high - theta)[len(groups) :] < _AT_LIMIT
    return LinkFit(
        groups=groups,
        levels_db=theta[: len(groups)],
        values=values,
        free=names,
        replicates=replicates,
        log_likelihood=here.value,
        frames=int(sum(np.count_nonzero(job.frames.outcome >= 0) for job in jobs)),
        blocks=blocks,
        at_limit=tuple(n for n, at in zip(names, held, strict=True) if at),
    )


def _point(
    theta: NDArray[np.float64],
    names: Sequence[str],
    fixed: Mapping[str, float],
    num_groups: int,
) -> Point:
    values = dict(fixed)
    values |= {n: _outer(n, theta[num_groups + k]) for k, n in enumerate(names)}
    return Point(
        theta[:num_groups],
        values["exponent_near"],
        values["exponent_far"],
        Shape(*(values[name] for name in NAMES[2:])),
    )


def _slopes(
    jobs: Sequence[Job],
    theta: NDArray[np.float64],
    steps: NDArray[np.float64],
    names: Sequence[str],
    fixed: Mapping[str, float],
    prior: MarginLoss,
    num_groups: int,
    blocks: int,
) -> _Slopes:
    """Score all links at a place and a step away from it along each parameter."""
    points = [_point(theta, names, fixed, num_groups)]
    points += [_point(theta + step, names, fixed, num_groups) for step in np.diag(steps)]
    alone = num_groups + names.index(_MEMORY) if _MEMORY in names else -1
    work: list[tuple[int, list[int]]] = []
    for n, job in enumerate(jobs):
        # A level moves the links of its own group alone.
        moved = [k for k in range(theta.size) if k >= num_groups or k in job.groups]
        work.append((n, [0, *(k + 1 for k in moved if k != alone)]))
        if alone >= 0:
            work.append((n, [alone + 1]))

    def run(part: tuple[int, list[int]]) -> NDArray[np.float64]:
        n, which = part
        return log_likelihoods(jobs[n].frames, [points[k] for k in which], prior)

    with ThreadPoolExecutor(_WORKERS) as pool:
        found = list(pool.map(run, work))
    value = 0.0
    information = np.zeros((theta.size, theta.size))
    by_block = np.zeros((blocks, theta.size))
    for n, job in enumerate(jobs):
        parts = [(w[1], f) for w, f in zip(work, found, strict=True) if w[0] == n]
        here = parts[0][1][0]
        scores = np.zeros((theta.size, here.size))
        for which, rows in parts:
            for k, row in zip(which, rows, strict=True):
                if k > 0:
                    scores[k - 1] = (row - here) / steps[k - 1]
        value += float(here.sum())
        information += scores @ scores.T
        for k in range(theta.size):
            by_block[:, k] += np.bincount(job.block, scores[k], minlength=blocks)
    # A forward difference is the slope half a step ahead; the information tells what lies between.
    gradient = by_block.sum(axis=0) + 0.5 * steps * np.diag(information)
    return _Slopes(value, gradient, information, by_block)


def _replicates(
    theta: NDArray[np.float64],
    information: NDArray[np.float64],
    by_block: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Draw blocks with replacement and take one Newton step each; (REPLICATES, P)."""
    blocks = len(by_block)
    generator = np.random.Generator(np.random.PCG64(_SEED))
    weights = generator.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=REPLICATES)
    centred = by_block - by_block.mean(axis=0)
    small = np.sqrt(blocks / max(blocks - theta.size, 1))  # few blocks spread too little
    ridge = np.diag(1e-6 * np.diag(information) + 1e-9)
    inverse = np.linalg.inv(information + ridge)
    change = small * ((weights - 1.0) @ centred) @ inverse
    # Links that share their shadowing say no more than independent ones would: few blocks may.
    wider = np.maximum(np.sqrt(np.diag(inverse)) / np.maximum(change.std(axis=0), 1e-12), 1.0)
    drawn: NDArray[np.float64] = np.clip(theta + wider * change, low, high)
    return drawn


def _inner(name: str, value: float) -> float:
    """Map a value to the scale on which it is fitted."""
    if name in _LOGARITHMIC:
        return float(np.log(value))
    if name == "floor_loss":
        return float(np.log(value / (1.0 - value)))
    return value


def _outer(name: str, inner: float) -> float:
    return float(_outer_all(name, np.array([inner]))[0])


def _outer_all(name: str, inner: NDArray[np.float64]) -> NDArray[np.float64]:
    if name in _LOGARITHMIC:
        return np.exp(inner)
    if name == "floor_loss":
        return 1.0 / (1.0 + np.exp(-inner))
    return inner
