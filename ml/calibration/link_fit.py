"""Fit margin, slope, shadowing and slow bias to all links of some drives, by maximum likelihood.

Each directed link has the likelihood of `link_likelihood`; links are multiplied as if independent,
and the intervals make good for that: the scores (gradients) are summed over blocks of time, over
all links at once, and the blocks are drawn anew with replacement (a bootstrap of the estimating
equations, Hu and Kalbfleisch 2000), which needs no second fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.expected_loss import expected_loss
from ml.calibration.link_likelihood import Frames, Shape, log_likelihoods, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from ml.calibration.links import Link
    from ml.espnow_emulator.loss_parameters import MarginLoss

BLOCK_S: Final = 30.0
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
_LEVEL_DIFFERENCE_DB: Final = 0.2
_ENOUGH: Final = 0.01
_KNEE_M, _NEAREST_M, _REFERENCE_M = 60.0, 3.0, 20.0
_LONGEST_STEP: Final = 1.0
_LEVELS_DB: Final = (-40.0, 60.0)
_SAMPLED: Final = 300
_LEAST_OF_GROUP: Final = 2000
_SEED: Final = 20
_AT_LIMIT: Final = 1e-3

Group = tuple[str, str, int]
"""Two boards in order of their names, and how many cars stood between them."""


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

    @property
    def level_covariance(self) -> NDArray[np.float64]:
        """(G, G) of the levels."""
        return np.atleast_2d(np.cov(self.replicates[:, : len(self.groups)].T))


@dataclass(slots=True)
class _Job:
    """One link, ready to be scored."""

    frames: Frames
    group: NDArray[np.int64]  # of each frame, index
    near_db: NDArray[np.float64]  # what one unit of the near exponent costs
    far_db: NDArray[np.float64]
    block: NDArray[np.int64]


def fit_links(  # noqa: C901 - one descent, read from top to bottom
    links: Sequence[Link],
    prior: MarginLoss,
    free: Sequence[str],
    *,
    blackouts: Mapping[int, NDArray[np.float64]] | None = None,
    start: LinkFit | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> LinkFit:
    """Fit.

    Args:
        links: Of any number of drives, with at least one scored frame.
        prior: What is not fitted, and where to start.
        free: Which of `NAMES` to fit; the levels always are.
        blackouts: Index of a link to (K,) share of frames that its receiver loses anyway.
        start: An earlier fit of the same links, to start from.
        on_step: Told (step, most steps).
    """
    groups, jobs, blocks = _jobs(links, prior, blackouts or {})
    values = {name: float(getattr(prior, name)) for name in NAMES}
    if start is None:
        levels = np.array([_first_level(links, g, prior) for g in groups])
    else:
        levels = start.levels_db.copy()
        values |= {name: start.values[name] for name in free}
    names = tuple(free)
    theta = np.concatenate([levels, [_inner(n, values[n]) for n in names]])
    low = np.concatenate(
        [np.full(len(groups), _LEVELS_DB[0]), [_inner(n, _LIMITS[n][0]) for n in names]]
    )
    high = np.concatenate(
        [np.full(len(groups), _LEVELS_DB[1]), [_inner(n, _LIMITS[n][1]) for n in names]]
    )
    theta = np.clip(theta, low + 1e-6, high - 1e-6)
    step_sizes = np.full(theta.size, _DIFFERENCE)
    step_sizes[: len(groups)] = _LEVEL_DIFFERENCE_DB
    for k, name in enumerate(names):
        if name == "floor_loss":
            step_sizes[len(groups) + k] = 0.05

    def score(at: NDArray[np.float64], of: Sequence[_Job]) -> list[NDArray[np.float64]]:
        return _scores(of, at, names, values, prior, len(groups))

    total = score(theta, jobs)
    best = sum(float(part.sum()) for part in total)
    damping = 1e-3
    for step in range(_STEPS):
        if on_step is not None:
            on_step(step, _STEPS)
        gradient, information, _ = _gradient(
            score, theta, total, step_sizes, jobs, blocks, len(groups)
        )
        moved = False
        for _ in range(6):
            scale = np.diag(information)
            change = np.linalg.solve(information + np.diag(damping * scale + 1e-9), gradient)
            limit = np.where(np.arange(theta.size) < len(groups), 6.0, _LONGEST_STEP)
            change *= min(1.0, float((limit / np.maximum(np.abs(change), 1e-12)).min()))
            candidate = np.clip(theta + change, low, high)
            there = score(candidate, jobs)
            value = sum(float(part.sum()) for part in there)
            if value > best - 1e-6:
                gain, moved = value - best, True
                theta, total, best = candidate, there, value
                damping = max(damping / 10.0, 1e-6)
                break
            damping = max(damping * 10.0, 1e-3)
        if not moved or gain < _ENOUGH:
            break
    _, information, by_block = _gradient(score, theta, total, step_sizes, jobs, blocks, len(groups))
    # A forward difference is the slope half a step ahead: that is where it vanishes.
    theta = np.clip(theta + 0.5 * step_sizes, low, high)
    replicates = _replicates(theta, information, by_block, low, high)
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
        log_likelihood=best,
        frames=int(sum(np.count_nonzero(job.frames.outcome >= 0) for job in jobs)),
        blocks=blocks,
        at_limit=tuple(n for n, at in zip(names, held, strict=True) if at),
    )


def score_links(
    links: Sequence[Link],
    fit: LinkFit,
    margin: MarginLoss,
    levels_db: Mapping[Group, float],
    blackouts: Mapping[int, NDArray[np.float64]] | None = None,
) -> float:
    """Return the log likelihood per scored frame of links that need not be those of the fit."""
    groups, jobs, _ = _jobs(links, margin, blackouts or {})
    theta = np.array([levels_db.get(g, margin.margin_20m_db) for g in groups])
    parts = _scores(jobs, theta, (), fit.values, margin, len(groups))
    frames = sum(np.count_nonzero(job.frames.outcome >= 0) for job in jobs)
    return sum(float(part.sum()) for part in parts) / max(frames, 1)


def path_terms_db(
    distance_m: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What one unit of the near and of the far exponent costs at distances, in dB."""
    d = np.maximum(np.nan_to_num(distance_m, nan=_REFERENCE_M), _NEAREST_M)
    near = 10.0 * np.log10(np.minimum(d, _KNEE_M) / _REFERENCE_M)
    return near, 10.0 * np.log10(np.maximum(d, _KNEE_M) / _KNEE_M)


def _jobs(
    links: Sequence[Link], prior: MarginLoss, blackouts: Mapping[int, NDArray[np.float64]]
) -> tuple[tuple[Group, ...], list[_Job], int]:
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
        near, far = path_terms_db(link.distance_m)
        frames = prepare(
            link.outcome,
            link.distance_m,
            link.travel_m,
            link.time_s,
            standstill_mps=prior.standstill_mps,
            two_way=link.two_way,
            blackout=blackouts.get(k),
        )
        group = np.array([number.get((*link.pair, int(b)), 0) for b in range(9)])[
            np.minimum(link.between, 8)
        ]
        jobs.append(_Job(frames, group, near, far, np.searchsorted(distinct, keys[k])))
    return tuple(groups), jobs, distinct.size


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


def _scores(
    jobs: Sequence[_Job],
    theta: NDArray[np.float64],
    names: Sequence[str],
    fixed: Mapping[str, float],
    prior: MarginLoss,
    num_groups: int,
) -> list[NDArray[np.float64]]:
    """Log likelihoods per frame, an array for each link."""
    values = dict(fixed)
    values |= {n: _outer(n, theta[num_groups + k]) for k, n in enumerate(names)}
    shape = Shape(*(values[name] for name in NAMES[2:]))
    return [
        log_likelihoods(
            job.frames,
            theta[job.group]
            - values["exponent_near"] * job.near_db
            - values["exponent_far"] * job.far_db,
            shape,
            prior,
        )
        for job in jobs
    ]


def _gradient(
    score: Callable[[NDArray[np.float64], Sequence[_Job]], list[NDArray[np.float64]]],
    theta: NDArray[np.float64],
    here: list[NDArray[np.float64]],
    steps: NDArray[np.float64],
    jobs: Sequence[_Job],
    blocks: int,
    num_groups: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Gradient, information (outer products of the frames' scores), and scores by block."""
    columns = []
    for k in range(theta.size):
        up = theta.copy()
        up[k] += steps[k]
        # A level moves the links of its own pair alone.
        moved = [n for n, job in enumerate(jobs) if k >= num_groups or (job.group == k).any()]
        column = [np.zeros(part.size) for part in here]
        for n, there in zip(moved, score(up, [jobs[n] for n in moved]), strict=True):
            column[n] = (there - here[n]) / steps[k]
        columns.append(column)
    information = np.zeros((theta.size, theta.size))
    by_block = np.zeros((blocks, theta.size))
    for n, job in enumerate(jobs):
        frame_scores = np.stack([column[n] for column in columns], axis=-1)
        information += frame_scores.T @ frame_scores
        for k in range(theta.size):
            by_block[:, k] += np.bincount(job.block, frame_scores[:, k], minlength=blocks)
    return by_block.sum(axis=0), information, by_block


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
    change = np.linalg.solve(information + ridge, ((weights - 1.0) @ centred).T).T
    drawn: NDArray[np.float64] = np.clip(theta + small * change, low, high)
    return drawn


def _first_level(links: Sequence[Link], group: Group, prior: MarginLoss) -> float:
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
    low, high = _LEVELS_DB
    for _ in range(30):
        middle = 0.5 * (low + high)
        at = alone.model_copy(update={"margin_20m_db": middle})
        if float(expected_loss(at, some, 0).mean()) > wanted:
            low = middle
        else:
            high = middle
    return min(max(middle, -30.0), 35.0)


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


def with_free(fit: LinkFit, margin: MarginLoss) -> MarginLoss:
    """Return a margin model with what was fitted in place."""
    return margin.model_copy(update={name: fit.values[name] for name in fit.free})
