"""What the losses of all links say of the radio's loss model, and what they cannot tell.

The levels of pairs are split into margin, boards and cars in between. A pair's margin at 20 m is
M20 + G_i + G_j less what the cars between cost. With boards that differ by chance (N(0, σ_G²) each)
that is a linear model with random effects; its solution and its uncertainty are exact. What it
shows: one pair says of M20 only what its two boards let through, and three cars that never change
places do not tell a car in the way from two good boards beside a bad one.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Floats
from ml.calibration.fits.estimates import Z_90, Estimate, judged, kept
from ml.calibration.fits.link import NAMES, LinkFit, fit_links
from ml.calibration.fits.link_frames import Group
from ml.calibration.fits.margin import path_terms_db
from ml.calibration.logs.link import Link
from ml.console import counted
from ml.espnow_emulator import MarginLoss
from ml.parameters import Parameters

_LEAST_LOSSES: Final = 150
_LEAST_SPREAD_DB: Final = 0.7
_LEAST_FAR, _LEAST_FAR_SPREAD_DB = 1500, 0.6
_LEAST_KNOWN: Final = 0.5
_BASIS: Final = "likelihood of the losses"
NOWHERE: Final = "the logs do not say where both boards were"
"""Why nothing is said of margin and exponents."""
_UNMEASURED: Final = "the logs do not say how fast the cars drove, nor where they were"
_WANDERS: Final = "without positions, how the distance changed is in it, too"
_LOSS: Final = "radio.loss."
_VAGUE_DB: Final = 1e3
Span = tuple[float, float, float]
"""An estimate in dB, and both ends of its 90 % interval."""


class MarginSplit(NamedTuple):
    """Parts of the levels."""

    margin_db: Span  # M20
    first_car_db: Span | None  # Cost of the first car in between, None where none stood there
    boards_db: dict[str, Span]  # Name to offset
    own_db: Span  # Margin at 20 m of two of these very boards, nothing between
    own_spread_db: float  # How these boards differ from one another, standard deviation
    own_first_car_db: Span | None = None  # What a car costs that fits the two above


def loss_estimates(
    links: Sequence[Link],
    prior: Parameters,
    estimates: list[Estimate],
    on_part: Callable[[str, float], None],
) -> tuple[LinkFit, MarginSplit]:
    """Fit the losses of one link or more, split their levels, and append to `estimates`.

    The prior has a margin model; `on_part` is told what is being done, and how far it is in [0, 1].

    Raises:
        LogError: A fit that is no radio.
    """
    loss = prior.radio.loss
    assert isinstance(loss, MarginLoss)  # noqa: S101 - the caller has looked
    reasons = _refusals(links)
    fit = _fitted(links, prior, loss, reasons, on_part)
    levels = _placed_levels(fit, links)
    split_them = partial(
        split_levels, *levels, antenna_sd_db=loss.antenna_sd_db, next_car_db=loss.car_next_db
    )
    split = split_them()
    # These boards have the levels that they have: what the logs cannot part is parted by the prior.
    low, high = prior.domain_randomisation.get(_LOSS + "car_first_db", (loss.car_first_db,) * 2)
    car_db = loss.car_first_db, max((high - low) / (2.0 * Z_90), 0.1)
    own = split_them(first_car_db=car_db)
    split = split._replace(
        own_db=own.own_db, own_spread_db=own.own_spread_db, own_first_car_db=own.first_car_db
    )
    name, car_name = _LOSS + "margin_20m_db", _LOSS + "car_first_db"
    if reasons.get("exponent_near") == NOWHERE:
        estimates.append(kept(name, prior, NOWHERE))
    else:
        boards, sd_db = len(split.boards_db), loss.antenna_sd_db
        basis = (
            f"levels of the pairs; {counted(boards, 'board')} that may differ by {sd_db:g} dB each"
        )
        value, low, high = split.margin_db
        estimates.append(judged(name, value, (low, high), prior, basis))
    if not any(link.speed_known for link in links):
        # Fitted all the same, with a speed that is supposed: the spreads need some such memory.
        reasons.setdefault("shadowing_distance_m", _UNMEASURED)
    if reasons.get("exponent_near") == NOWHERE:
        reasons |= dict.fromkeys(("bias_sd_db", "bias_time_s"), _WANDERS)
    estimates += [
        kept(_LOSS + name, prior, reasons[name])
        if name in reasons
        else judged(_LOSS + name, fit.values[name], fit.interval(name), prior, _BASIS)
        for name in NAMES
    ]
    if split.first_car_db is None:
        estimates.append(kept(car_name, prior, "no car ever stood between two others"))
        return fit, split
    basis = "levels of pairs with a car between"
    value, low, high = split.first_car_db
    found = judged(car_name, value, (low, high), prior, basis)
    if not found.is_fitted:
        remedy = "; let the cars change places, so that boards and places part"
        found = replace(found, why=found.why + remedy)
    estimates.append(found)
    return fit, split


def kept_losses(prior: Parameters, why: str) -> list[Estimate]:
    """Keep all that losses would tell."""
    names = ("margin_20m_db", *NAMES, "car_first_db")
    return [kept(_LOSS + name, prior, why) for name in names]


def _placed_levels(fit: LinkFit, links: Sequence[Link]) -> tuple[tuple[Group, ...], Floats, Floats]:
    """Return groups, levels and covariance of pairs whose distance is known, of all without any."""
    placed = {link.pair for link in links if np.isfinite(link.distance_m[link.scored]).any()}
    at = [k for k, group in enumerate(fit.groups) if group[:2] in placed or not placed]
    covariance = fit.level_covariance[np.ix_(at, at)]
    return tuple(fit.groups[k] for k in at), fit.levels_db[at], covariance


def _fitted(
    links: Sequence[Link],
    prior: Parameters,
    loss: MarginLoss,
    reasons: dict[str, str],
    on_part: Callable[[str, float], None],
) -> LinkFit:
    """Fit up to three times, each time without what the last fit could not tell."""
    position = prior.sensors.position
    apart_m = position.sd_m * float(np.sqrt(2.0 * (1.0 - position.common_share)))
    what, fit = "fitting the links", None
    for _ in range(3):
        fit = fit_links(
            links,
            loss,
            [name for name in NAMES if name not in reasons],
            position_error_m=apart_m,
            start=fit,
            on_step=lambda k, n, what=what: on_part(what, k / n),  # type: ignore[misc]
        )
        refused = {}
        for name in fit.free:
            if name in fit.at_limit:
                refused[name] = "the fit runs into the limit of what is looked for"
                continue
            found = judged(_LOSS + name, fit.values[name], fit.interval(name), prior, _BASIS)
            if not found.is_fitted:
                refused[name] = found.why
        reasons |= refused
        if not refused:
            break
        what = "fitting again without what they cannot tell"
    assert fit is not None  # noqa: S101 - the loop ran
    return fit


def _refusals(links: Sequence[Link]) -> dict[str, str]:
    """What the logs cannot carry, seen before any fit: name to reason."""
    distance = np.concatenate([link.distance_m[link.scored] for link in links])
    losses = sum(int(link.lost.sum()) for link in links)
    known = np.isfinite(distance)
    near, far = path_terms_db(distance[known])
    reasons = {}
    if known.mean() < _LEAST_KNOWN:
        reasons["exponent_near"] = NOWHERE
    elif near.std() < _LEAST_SPREAD_DB:
        low, high = np.percentile(distance[known], [5.0, 95.0])
        reasons["exponent_near"] = (
            f"the distance hardly changed ({low:.0f} to {high:.0f} m): fall back and close up"
        )
    beyond = far > 0.0
    if known.mean() < _LEAST_KNOWN:
        reasons["exponent_far"] = NOWHERE
    elif beyond.sum() < _LEAST_FAR or far[beyond].std() < _LEAST_FAR_SPREAD_DB:
        farthest_m = np.max(distance[known], initial=0.0)
        reasons["exponent_far"] = (
            f"{int(beyond.sum())} frames from beyond 60 m, up to {farthest_m:.0f} m; "
            f"some {_LEAST_FAR} over different distances are needed, to 100 m and more"
        )
    if losses < _LEAST_LOSSES:
        reason = f"{losses} losses in all; {_LEAST_LOSSES} are needed"
        reasons |= dict.fromkeys(NAMES[2:], reason)
    return reasons


def split_levels(
    groups: Sequence[Group],
    levels_db: Floats,
    covariance: Floats,
    *,
    antenna_sd_db: float,
    next_car_db: float,
    first_car_db: tuple[float, float] | None = None,
) -> MarginSplit:
    """Split the levels (G,) of G groups, of covariance (G, G).

    `antenna_sd_db` is σ_G, which is not fitted since a handful of boards does not show a spread;
    nor is `next_car_db`, what each further car costs. `first_car_db`, mean and standard deviation,
    is what is known of the first one's cost; default: nothing.
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
    car_db, car_sd_db = first_car_db or (0.0, _VAGUE_DB)
    known = np.array([_VAGUE_DB**-2, car_sd_db**-2, *([spread**-2] * len(boards))])
    pull = np.array([0.0, car_db * car_sd_db**-2, *([0.0] * len(boards))])
    weight = np.linalg.inv(covariance + 1e-6 * np.eye(len(groups)))
    posterior = np.linalg.inv(design.T @ weight @ design + np.diag(known))
    x = posterior @ (design.T @ weight @ shifted + pull)
    # Of these boards: two of them have the margin and twice the mean offset.
    own = np.array([1.0, 0.0, *([2.0 / len(boards)] * len(boards))])
    at = np.append(x, own @ x)
    half = Z_90 * np.sqrt(np.append(np.diag(posterior), own @ posterior @ own))
    ends = np.stack([at, at - half, at + half], axis=-1).tolist()
    margin_db, cost_db, *boards_db, own_db = map(tuple, ends)
    return MarginSplit(
        margin_db,
        cost_db if design[:, 1].any() else None,
        dict(zip(boards, boards_db, strict=True)),
        own_db,
        round(float(x[2:].std()), 6),
    )
