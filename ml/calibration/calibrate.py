"""From logs to parameters: read, align, fit what the logs carry, keep the rest and say so."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from ml import __version__
from ml.calibration.fits.accelerometer import Accelerometer, accelerometer_estimates
from ml.calibration.fits.blackout import SHARE, Found, blackout_estimates, find_blackouts
from ml.calibration.fits.estimates import Estimate, kept, value_at
from ml.calibration.fits.gps import position_estimates
from ml.calibration.fits.latency import LEAST_ROUND_TRIPS, LatencyFit, latency_estimates
from ml.calibration.fits.link import LinkFit
from ml.calibration.fits.loss_estimates import NOWHERE, MarginSplit, kept_losses, loss_estimates
from ml.calibration.fits.relays import Relay, own_relays, relay_estimates
from ml.calibration.logs.link import Drive, Link
from ml.calibration.logs.log_map import LogMap
from ml.calibration.logs.reader import Log
from ml.calibration.logs.reading import read_logs
from ml.calibration.logs.schema import LogKind
from ml.console import counted
from ml.errors import LogError
from ml.espnow_emulator import MarginLoss
from ml.parameters import Boards, Parameters
from ml.section import is_drawn, limits, numbers_of

LEAST_FRAMES: Final = 3000
_MARGIN: Final = "radio.loss.margin_20m_db"
_MINE: Final = (
    "The boards that logged, on another drive: their own level, without the spread of boards. For "
    "training and judging what these very boards will drive with."
)
_AT_LARGE: Final = (
    "Other boards of their kind, in other cars: they differ as the prior's boards do, by far more "
    "than one pair shows. For training a policy that boards nobody has measured will carry."
)
_LOSSES: Final = "radio.loss."
_UNTOLD: Final = "which frames were lost"
_UNIDENTIFIABLE: Final = {
    "radio.loss.fading_m": "loss alone does not show it: it trades against the margin",
    "radio.loss.transition_db": "loss alone does not show it",
    "radio.loss.antenna_sd_db": "a handful of boards does not show how boards differ",
    "radio.loss.bias_common_share": "its effect on one receiver's links is too small for one drive",
    "radio.mac.h_rx_ms": "a round trip shows only the sum of both delays, which h_tx_ms takes up",
}


@dataclass(frozen=True, slots=True)
class Calibration:
    """All that came out."""

    prior_name: str  # Of the parameters to start from
    prior: Parameters  # The parameters to start from
    estimates: list[Estimate]  # One for each parameter that was looked at
    logs: list[Log]  # What was read
    drives: list[Drive]  # What they held
    links: list[Link]  # One-way links, or two-way ones where there was nothing else
    blackouts: Found  # (drive, receiver) to what was found
    fit: LinkFit | None  # Of the links, None where no lost frame can be told
    split: MarginSplit | None  # Of its levels
    latency: LatencyFit | None  # Of round trips, None without any
    accelerometers: list[Accelerometer]  # Of the boards
    relays: list[Relay]  # Boards that send on what they hear

    @property
    def uncalibrated(self) -> str:
        """Say what of the radio no log tells of; empty where losses are fitted."""
        if self.fit is not None:
            return ""
        what = "The radio is" if self.latency is None else "The radio's losses are"
        return (
            f"{what} not calibrated, but {self.prior_name}'s: these logs do not tell {_UNTOLD}. "
            "Only what is listed as fitted is of these boards."
        )

    @property
    def notes(self) -> list[str]:
        """What else is to be said."""
        return [
            *filter(None, [self.uncalibrated]),
            *(note for drive in self.drives for note in drive.notes),
            *(one.note for one in self.accelerometers if one.note),
        ]


def calibrate(
    paths: Sequence[Path],
    prior: Parameters,
    prior_name: str,
    on_part: Callable[[str, float], None] = lambda _what, _share: None,
    *,
    log_map: LogMap | None = None,
    distance_m: float | None = None,
) -> Calibration:
    """Calibrate.

    Args:
        paths: Logs of one or more drives, a folder for each drive.
        prior: What the file holds where the logs cannot tell.
        prior_name: Its name.
        on_part: Told what is being done, and how far it is in [0, 1].
        log_map: How logs in other formats are read.
        distance_m: Between two boards that stood, where no log holds a position.

    Raises:
        LogError: Logs that cannot be read, hold too little, or fit nothing plausible.
    """
    if not isinstance(prior.radio.loss, MarginLoss):
        raise LogError(
            f"the parameters {prior_name!r} have the loss model {prior.radio.loss.model!r}; only "
            "'margin' can be calibrated. Name another with --prior, such as clean."
        )
    if prior.boards is not None:  # what was known before is known of boards, not of these
        prior = prior.of_boards("at-large")
    logs, drives = read_logs(paths, on_part, log_map=log_map, distance_m=distance_m)
    told = _enough(logs, drives)
    what = "looking for blackouts"
    on_part(what, 0.0)
    blackouts, links = find_blackouts(told, lambda at: on_part(what, at))
    estimates: list[Estimate] = []
    fit = split = None
    if links:
        fit, split = loss_estimates(links, prior, estimates, on_part)
        estimates += blackout_estimates(blackouts, prior)
    else:
        estimates += kept_losses(prior, f"these logs do not tell {_UNTOLD}")
    latency = latency_estimates(logs, prior, estimates)
    relays = relay_estimates(drives, prior, estimates)
    accels = accelerometer_estimates(drives, prior, estimates)
    position_estimates(drives, prior, estimates)
    if fit is None and not any(e.is_fitted for e in estimates):
        _refuse_all(drives, estimates)
    estimates += [
        kept(name, prior, reason)
        for name, reason in _UNIDENTIFIABLE.items()
        if value_at(prior, name) is not None
    ]
    found = (logs, drives, links, blackouts, fit, split, latency, accels, relays)
    return Calibration(prior_name, prior, estimates, *found)


def _enough(logs: Sequence[Log], drives: Sequence[Drive]) -> list[Link]:
    """Return the links of all drives; none where the logs do not tell which frames were lost.

    They need not where there are round trips enough for latency, or only logs of what boards sent.

    Raises:
        LogError: There should be some, and there is none, or too little in them.
    """
    links = [link for drive in drives for link in drive.links]
    scored = sum(int(link.scored.sum()) for link in links)
    if all(log.kind is LogKind.TX for log in logs):
        return []
    if not links:
        raise LogError(
            "these logs hold no link of some length: needed are an RTT log; or an RX log that "
            "numbers what it received (a column sequence); or an RX log and its senders' TX logs, "
            "of the same drive and in one folder."
            + "".join(f"\n  {note}" for drive in drives for note in drive.notes)
        )
    trips = sum(
        int(np.isfinite(link.latency_ms).sum()) for drive in drives for link in drive.round_trips
    )
    if scored == 0 and trips >= LEAST_ROUND_TRIPS:
        return []
    if scored < LEAST_FRAMES and trips < LEAST_ROUND_TRIPS:
        raise LogError(
            f"{scored} frames can be judged; allowed are {LEAST_FRAMES} or more (five minutes of "
            f"10 Hz), or {LEAST_ROUND_TRIPS} round trips for latency alone. Record longer: half an "
            "hour tells most."
            + "".join(f"\n  {x}" for drive in drives for x in [*drive.left_out(), *drive.notes])
        )
    return links


def _refuse_all(drives: Sequence[Drive], estimates: Sequence[Estimate]) -> NoReturn:
    """Say why logs without a link fit nothing of the sensors either, and what would.

    Raises:
        LogError: Always.
    """
    whys = {e.why: f"{e.name}: {e.why}" for e in estimates if not e.name.startswith(_LOSSES)}
    raise LogError(
        f"these logs do not tell {_UNTOLD}, and nothing else can be fitted to them. For its "
        "sensors, let the car stand for 20 s with its accelerations logged, or park it for an hour "
        "and a half for its GPS; for the radio, name an RX log and its senders' TX logs, of the "
        "same drive and in one folder, or an RTT log."
        + "".join(f"\n  {x}" for x in [*whys.values(), *(n for d in drives for n in d.notes)])
    )


def calibrated(calibration: Calibration, boards: Boards = "mine") -> Parameters:
    """Return the prior with everything that was fitted in place.

    What was fitted is drawn from its interval in every episode; what was not, as before. The set
    `mine` holds the boards that logged, `at-large` others of their kind, which differ as the
    prior's do.
    """
    content: dict[str, Any] = json.loads(calibration.prior.model_dump_json())
    content["provenance"] = provenance(calibration)
    if any(b is not None for b in calibration.blackouts.values()):
        content["radio"]["loss"]["blackout"] = content["radio"]["loss"]["blackout"] or {}
    plain = Parameters.model_validate_json(json.dumps(content))
    fields = {name: field for name, field, _ in numbers_of(plain)}

    def cut(*numbers: float, name: str) -> list[float]:
        ends: list[float] = np.clip(numbers, *limits(fields[name])).tolist()
        return ends

    values: dict[str, float] = {}
    drawn: dict[str, list[float]] = {}
    for e in calibration.estimates:
        if e.interval is not None:
            values[e.name], *ends = cut(e.value, *e.interval, name=e.name)
            if is_drawn(fields[e.name]):
                drawn[e.name] = ends
    content["domain_randomisation"] |= drawn
    own_values, own_drawn = {**values}, {**drawn}
    for name, (value, low, high) in _own_boards(calibration).items():
        own_values[name], *own_drawn[name] = cut(value, low, high, name=name)
    before = {name: float(value_at(plain, name) or 0.0) for name in own_values}
    purposes = (calibration.uncalibrated,) * 2 if calibration.split is None else (_MINE, _AT_LARGE)
    content["board_sets"] = {
        "mine": {"purpose": purposes[0], "values": own_values, "drawn": own_drawn},
        "at-large": {"purpose": purposes[1], "values": before | values, "drawn": drawn},
    }
    content["boards"] = boards
    return Parameters.model_validate_json(json.dumps(content)).of_boards()


def _own_boards(calibration: Calibration) -> dict[str, tuple[float, float, float]]:
    """What differs from boards at large for the boards that logged: dotted name to value, ends."""
    own: dict[str, tuple[float, float, float]] = {}
    split = calibration.split
    margin = next(e for e in calibration.estimates if e.name == _MARGIN)
    if split is not None and margin.why != NOWHERE:
        own[_MARGIN] = split.own_db
        own["radio.loss.antenna_sd_db"] = (split.own_spread_db,) * 3
        own["radio.loss.door_share"] = (0.0, 0.0, 0.0)
        if split.own_first_car_db is not None:
            own["radio.loss.car_first_db"] = split.own_first_car_db
    share = next((e.value for e in calibration.estimates if e.name == SHARE), None)
    if share is not None:
        own[SHARE] = (share,) * 3
    return own | own_relays(calibration.relays)


def provenance(calibration: Calibration) -> str:
    """Say in words what the file rests on: fitted and kept values, files, hashes, rows."""
    logs, start = calibration.logs, calibration.prior_name
    of_them = counted(len(logs), "log")
    fitted = [(e, *e.interval) for e in calibration.estimates if e.interval is not None]
    lines = [
        f"Calibrated by roadsense {__version__} from {of_them}, starting from {start}.",
        "Fitted, with 90 % intervals:",
        *(f"{e.name} = {e.value:.4g} [{a:.4g}, {b:.4g}] ({e.why});" for e, a, b in fitted),
        "Kept from before:",
        *(f"{e.name} ({e.why});" for e in calibration.estimates if not e.is_fitted),
        "and all that is not named. Logs:",
        *(f"{x.path.name} (sha256 {x.sha256}; {rows_of(calibration, x)});" for x in logs),
        *calibration.notes,
    ]
    return "\n".join(lines)


def rows_of(calibration: Calibration, log: Log) -> str:
    """Say how many rows of a log there are, and which were dropped why."""
    reasons = [
        f"{count:,} {reason}"
        for drive in calibration.drives
        for reason, count in drive.dropped.get(str(log.path), {}).items()
        if count
    ]
    left_out = f"; left out: {', '.join(reasons)}" if reasons else ""
    return f"{log.rows:,} {log.kind} rows{left_out}"
