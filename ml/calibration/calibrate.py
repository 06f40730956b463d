"""From logs to a parameter file: read, align, fit what the logs carry, keep the rest and say so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.fits.blackout import Blackout, find_blackout
from ml.calibration.fits.estimates import Estimate, judged, kept
from ml.calibration.fits.latency_estimates import latency_estimates
from ml.calibration.fits.link import NAMES, LinkFit, fit_links
from ml.calibration.fits.link_likelihood import path_terms_db
from ml.calibration.fits.margin_split import MarginSplit, split_levels
from ml.calibration.fits.sensor_estimates import SensorFindings, sensor_estimates
from ml.calibration.logs.links import Drive, Link, read_drive
from ml.calibration.logs.reader import Log, read_log
from ml.errors import LogError
from ml.espnow_emulator import MarginLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ml.calibration.fits.latency import LatencyFit
    from ml.parameters import Parameters

LEAST_FRAMES: Final = 3000
_LEAST_LOSSES: Final = 150
_LEAST_SPREAD_DB: Final = 0.7
_LEAST_FAR, _LEAST_FAR_SPREAD_DB = 1500, 0.6
_LOSS: Final = "radio.loss."
_UNIDENTIFIABLE: Final = {
    "radio.loss.fading_m": "loss alone does not show it: it trades against the margin",
    "radio.loss.transition_db": "loss alone does not show it",
    "radio.loss.antenna_sd_db": "a handful of boards does not show how boards differ",
    "radio.loss.bias_common_share": "its effect on one receiver's links is too small for one drive",
    "radio.mac.h_rx_ms": "a round trip shows only the sum of both delays, which h_tx_ms takes up",
}


@dataclass(slots=True)
class Calibration:
    """All that came out.

    Attributes:
        prior_name: Of the parameters started from.
        prior: Those.
        estimates: One for each parameter that was looked at.
        logs: What was read.
        drives: What they held.
        links: One-way links, or two-way ones where there was nothing else.
        blackouts: (drive, receiver) to what was found.
        shares: Index of a link to what its receiver lost in blackouts, per row.
        fit: Of the links, None without any.
        split: Of its levels.
        latency: Of round trips, None without any.
        sensors: Of the boards.
        notes: What else is to be said.
    """

    prior_name: str
    prior: Parameters
    estimates: list[Estimate]
    logs: list[Log]
    drives: list[Drive]
    links: list[Link]
    blackouts: dict[tuple[int, str], Blackout | None]
    shares: dict[int, NDArray[np.float64]]
    fit: LinkFit | None
    split: MarginSplit | None
    latency: LatencyFit | None
    sensors: SensorFindings
    notes: list[str] = field(default_factory=list)

    def estimate(self, name: str) -> Estimate | None:
        """Return the estimate of a parameter, if it was looked at."""
        return next((e for e in self.estimates if e.name == name), None)


def read_logs(
    paths: Sequence[Path], on_part: Callable[[str, float], None] | None = None
) -> tuple[list[Log], list[Drive]]:
    """Read logs; those in one folder are of one drive.

    Raises:
        LogError: Whatever is wrong with one of them.
    """
    say = on_part or (lambda _what, _share: None)
    if len({path.resolve() for path in paths}) < len(paths):
        raise LogError("a log is named twice. Name each once.")
    total = sum(path.stat().st_size if path.is_file() else 1 for path in paths)
    logs, done = [], 0
    for path in paths:

        def on_rows(size: int, path: Path = path) -> None:
            nonlocal done
            done += size
            say(f"reading {path.name}", min(done / max(total, 1), 1.0))

        say(f"reading {path.name}", min(done / max(total, 1), 1.0))
        logs.append(read_log(path, on_rows))
    folders = list(dict.fromkeys(log.path.resolve().parent for log in logs))
    say("aligning clocks", 1.0)
    return logs, [
        read_drive([log for log in logs if log.path.resolve().parent == folder], number)
        for number, folder in enumerate(folders)
    ]


def calibrate(
    paths: Sequence[Path],
    prior: Parameters,
    prior_name: str,
    on_part: Callable[[str, float], None] | None = None,
) -> Calibration:
    """Calibrate.

    Args:
        paths: Logs of one or more drives, a folder for each drive.
        prior: What the file holds where the logs cannot tell.
        prior_name: Its name.
        on_part: Told what is being done, and how far it is in [0, 1].

    Raises:
        LogError: Logs that cannot be read, hold too little, or fit nothing plausible.
    """
    say = on_part or (lambda _what, _share: None)
    if not isinstance(prior.radio.loss, MarginLoss):
        raise LogError(
            f"the parameters {prior_name!r} have the loss model {prior.radio.loss.model!r}; only "
            "'margin' can be calibrated. Name another with --prior, such as clean."
        )
    logs, drives = read_logs(paths, on_part)
    links = [link for drive in drives for link in drive.links]
    round_trips = [link for drive in drives for link in drive.round_trips]
    scored = sum(int(link.scored.sum()) for link in links)
    if not links and not round_trips:
        raise LogError(
            "these logs hold no link: needed are an RTT log, or the TX logs of two boards and the "
            "RX log of at least one of them, of the same drive and in one folder."
            + "".join(f"\n  {note}" for drive in drives for note in drive.notes)
        )
    if links and scored < LEAST_FRAMES:
        raise LogError(
            f"{scored} frames can be judged; allowed are {LEAST_FRAMES} or more (five minutes of "
            "10 Hz). Record longer: half an hour tells most."
        )
    say("looking for blackouts", 0.0)
    blackouts, shares = _blackouts(links, lambda share: say("looking for blackouts", share))
    estimates: list[Estimate] = []
    fit, split = None, None
    if links:
        fit, split = _fit_loss(links, prior, shares, estimates, say)
    estimates += _blackout_estimates(blackouts, prior)
    latency = latency_estimates(logs, prior, estimates)
    sensors = sensor_estimates(drives, prior, estimates)
    for name, reason in _UNIDENTIFIABLE.items():
        value = prior
        for part in name.split("."):
            value = getattr(value, part)
        if value is not None:
            estimates.append(kept(name, float(value), reason))  # type: ignore[arg-type]
    notes = [note for drive in drives for note in drive.notes] + sensors.notes
    return Calibration(
        prior_name,
        prior,
        estimates,
        logs,
        drives,
        links,
        blackouts,
        shares,
        fit,
        split,
        latency,
        sensors,
        notes,
    )


def _blackouts(
    links: Sequence[Link], on_share: Callable[[float], None]
) -> tuple[dict[tuple[int, str], Blackout | None], dict[int, NDArray[np.float64]]]:
    found: dict[tuple[int, str], Blackout | None] = {}
    keys = sorted({(link.drive, link.receiver) for link in links})
    for k, key in enumerate(keys):
        found[key] = find_blackout([x for x in links if (x.drive, x.receiver) == key])
        on_share((k + 1) / len(keys))
    shares = {}
    for k, link in enumerate(links):
        blackout = found[link.drive, link.receiver]
        if blackout is not None:
            shares[k] = blackout.share_lost(link.receiver_s)
    return found, shares


def _refusals(links: Sequence[Link]) -> dict[str, str]:
    """What the logs cannot carry, seen before any fit: name to reason."""
    rows = [(link.distance_m[link.scored], link.lost[link.scored]) for link in links]
    distance = np.concatenate([d for d, _ in rows])
    losses = int(sum(lost.sum() for _, lost in rows))
    known = np.isfinite(distance)
    near, far = path_terms_db(distance[known])
    reasons = {}
    if known.mean() < 0.5:  # noqa: PLR2004 - mostly unknown
        reasons["exponent_near"] = "the logs do not say where both boards were"
    elif near.std() < _LEAST_SPREAD_DB:
        low, high = np.percentile(distance[known], [5.0, 95.0])
        reasons["exponent_near"] = (
            f"the distance hardly changed ({low:.0f} to {high:.0f} m): fall back and close up"
        )
    beyond = far > 0.0
    if beyond.sum() < _LEAST_FAR or far[beyond].std() < _LEAST_FAR_SPREAD_DB:
        reasons["exponent_far"] = (
            f"{int(beyond.sum())} frames from beyond 60 m, up to {np.max(distance[known]):.0f} m; "
            f"some {_LEAST_FAR} over different distances are needed, to 100 m and more"
        )
    if losses < _LEAST_LOSSES:
        for name in NAMES[2:]:
            reasons[name] = f"{losses} losses in all; {_LEAST_LOSSES} are needed"
    return reasons


def _fit_loss(  # noqa: C901, PLR0912 - parameter by parameter, in the order of the file
    links: Sequence[Link],
    prior: Parameters,
    shares: Mapping[int, NDArray[np.float64]],
    estimates: list[Estimate],
    say: Callable[[str, float], None],
) -> tuple[LinkFit, MarginSplit]:
    loss = prior.radio.loss
    assert isinstance(loss, MarginLoss)  # noqa: S101 - checked before
    reasons = _refusals(links)
    free = [name for name in NAMES if name not in reasons]
    fit = None
    position = prior.sensors.position
    apart_m = position.sd_m * float(np.sqrt(2.0 * (1.0 - position.common_share)))
    for turn in range(3):
        what = "fitting the links" if turn == 0 else "fitting again without what they cannot tell"
        fit = fit_links(
            links,
            loss,
            free,
            blackouts=shares,
            position_error_m=apart_m,
            start=fit,
            on_step=lambda k, n: say(what, k / n),  # noqa: B023
        )
        refused = {}
        for name in free:
            if name in fit.at_limit:
                refused[name] = "the fit runs into the limit of what is looked for"
                continue
            found = judged(
                _LOSS + name,
                fit.values[name],
                fit.interval(name),
                prior,
                float(getattr(loss, name)),
                "likelihood of the losses",
            )
            if not found.is_fitted:
                refused[name] = found.reason
        if not refused:
            break
        reasons |= refused
        free = [name for name in free if name not in refused]
    assert fit is not None  # noqa: S101 - the loop ran
    split = split_levels(
        fit.groups,
        fit.levels_db,
        fit.level_covariance,
        antenna_sd_db=loss.antenna_sd_db,
        next_car_db=loss.car_next_db,
    )
    has_distance = "the logs do not say where" not in reasons.get("exponent_near", "")
    margin_name, car_name = _LOSS + "margin_20m_db", _LOSS + "car_first_db"
    boards = len(split.boards_db)
    if has_distance:
        estimates.append(
            judged(
                margin_name,
                split.margin_db,
                split.margin_interval,
                prior,
                loss.margin_20m_db,
                f"levels of the pairs; {boards} boards that may differ by "
                f"{loss.antenna_sd_db:g} dB each",
            )
        )
    else:
        estimates.append(kept(margin_name, loss.margin_20m_db, reasons["exponent_near"]))
    for name in NAMES:
        before = float(getattr(loss, name))
        if name in reasons:
            estimates.append(kept(_LOSS + name, before, reasons[name]))
        else:
            estimates.append(
                Estimate(
                    _LOSS + name,
                    fit.values[name],
                    fit.interval(name),
                    before,
                    "",
                    "likelihood of the losses",
                )
            )
    if split.first_car_db is None or split.first_car_interval is None:
        estimates.append(kept(car_name, loss.car_first_db, "no car ever stood between two others"))
    else:
        found = judged(
            car_name,
            split.first_car_db,
            split.first_car_interval,
            prior,
            loss.car_first_db,
            "levels of pairs with a car between",
        )
        if not found.is_fitted:
            found = kept(
                car_name,
                loss.car_first_db,
                found.reason + "; let the cars change places, so that boards and places part",
            )
        estimates.append(found)
    return fit, split


def _blackout_estimates(
    blackouts: Mapping[tuple[int, str], Blackout | None], prior: Parameters
) -> list[Estimate]:
    found = [b for b in blackouts.values() if b is not None]
    loss = prior.radio.loss
    assert isinstance(loss, MarginLoss)  # noqa: S101 - checked before
    before = loss.blackout
    names = ("loss", "length_s", "period_s")
    usual = {"loss": 0.42, "length_s": 1.25, "period_s": 10.0}
    if not found:
        reason = "no receiver lost frames in step with its clock; another day may differ"
        return [
            kept(f"{_LOSS}blackout.{n}", float(getattr(before, n) if before else usual[n]), reason)
            for n in names
        ]
    best = max(found, key=lambda b: b.strength)
    estimates = []
    for column, name in enumerate(names):
        low, high = np.percentile(best.replicates[:, column], [5.0, 95.0])
        value = float(getattr(best, name))
        estimates.append(
            Estimate(
                f"{_LOSS}blackout.{name}",
                value,
                (min(float(low), value), max(float(high), value)),
                float(getattr(before, name) if before else usual[name]),
                "",
                f"folded losses; {len(found)} of {len(blackouts)} receivers have them",
            )
        )
    return estimates
