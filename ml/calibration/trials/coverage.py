"""Do the intervals hold? Calibrate from drives whose truth is known, and count."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ml.calibration.calibrate import Calibration, calibrate
from ml.calibration.fits.estimates import value_at
from ml.calibration.synthetic.logs import write_logs
from ml.calibration.synthetic.recording import record
from ml.console import markdown_table
from ml.espnow_emulator import MarginLoss
from ml.keyed_random import Stream, fold, normal, uniform
from ml.parameters import Parameters

HALF_HOUR_S: Final = 1800.0
_DRIVING_S, _CALIBRATING_S = 10.0, 9.0  # on two cores, of half an hour
LEVEL: Final = "level of the pair at 20 m (dB)"
RELAYED: Final = "share that the one relay sends on"
_OF_THE_DRIVE: Final = (LEVEL, RELAYED)
_RELAY, _RELAY_NODE = "a", 1  # of two boards it alone has somebody ahead
_RELAY_LEVEL: Final = 1  # the draw of its share, as in ml.espnow_emulator.relays


class Found(NamedTuple):
    """What one calibration says of a parameter: the truth, and an estimate with its interval."""

    truth: float
    value: float
    low: float
    high: float


Study = dict[str, list[Found | None]]
"""Dotted name of a parameter, `LEVEL` or `RELAYED`, to what each drive says; None: it refuses."""


def coverage_study(
    radio: Parameters,
    prior: Parameters,
    prior_name: str,
    *,
    drives: int,
    duration_s: float = HALF_HOUR_S,
    on_part: Callable[[str], None],
) -> Study:
    """Drive, write logs, read and fit them as a user's, and hold the intervals against the truth.

    Drives are made with the parameters `radio`, `duration_s` each, with seeds from 1 on;
    calibration starts from `prior`. `on_part` is told which of `drives` + 1 parts begins.
    """
    seeds = range(1, drives + 1)
    study: Study = {}
    on_part("driving all of them")
    recordings = record(radio, num_cars=2, duration_s=duration_s, seeds=seeds, echo=True)
    for seed, recording in zip(seeds, recordings, strict=True):
        on_part(f"calibrating from drive {seed}")
        with tempfile.TemporaryDirectory(prefix="roadsense-coverage-") as folder:
            logs = write_logs(recording, radio, Path(folder), seed=seed)
            _count(study, calibrate(logs, prior, prior_name), radio, seed)
    return study


def usual_s(drives: int, duration_s: float = HALF_HOUR_S) -> float:
    """Say about how long a study takes on two cores."""
    return (_DRIVING_S + _CALIBRATING_S * drives) * duration_s / HALF_HOUR_S


def table_of(study: Study) -> str:
    """Write the study as a table in Markdown, what was never fitted last."""
    columns = ("parameter", "truth", "mean estimate", "mean width", "intervals that hold it")
    rows = sorted(study.items(), key=lambda row: (not any(row[1]), row[0]))
    return markdown_table([*columns, "refused"], (_row(*row) for row in rows))


def _row(name: str, drives: list[Found | None]) -> list[str]:
    """Sum up a parameter over all drives."""
    label = name if name in _OF_THE_DRIVE else f"`{name}`"
    fitted = [found for found in drives if found is not None]
    refused = f"{len(drives) - len(fitted)}"
    if not fitted:
        return [label, "", "", "", "", refused]
    truths, values, lows, highs = np.array(fitted).T
    truth, mean = f"{truths[0]:.3g}", f"{values.mean():.3g}"
    if np.ptp(truths) > 0.0:
        truth, mean = "differs", f"truth {(values - truths).mean():+.2g}"
    held = np.count_nonzero((lows <= truths) & (truths <= highs))
    width = f"{(highs - lows).mean():.3g}"
    return [label, truth, mean, width, f"{held} of {truths.size}", refused]


def true_level_db(radio: Parameters, seed: int) -> float:
    """Margin at 20 m of the two boards of a synthetic drive, as the channel draws it."""
    loss = radio.radio.loss
    assert isinstance(loss, MarginLoss)  # noqa: S101 - only that has a level
    gains = normal(fold(fold(seed, 0, 0), Stream.ANTENNA, np.arange(1, 3))) * loss.antenna_sd_db
    return loss.margin_20m_db + float(gains.sum())


def true_share(radio: Parameters, seed: int) -> float:
    """Share that the relay of a synthetic drive sends on, as the channel draws it."""
    relay = radio.radio.relay
    key = fold(fold(seed, 0, 0), Stream.RELAYING, _RELAY_NODE, _RELAY_LEVEL)
    mean = relay.forward_probability
    within = min(relay.forward_spread, mean, 1.0 - mean)
    return mean + (2.0 * float(uniform(key)[0]) - 1.0) * within


def _count(study: Study, calibration: Calibration, radio: Parameters, seed: int) -> None:
    """Enter one calibration of a drive of two boards into the study."""
    for e in calibration.estimates:
        truth = value_at(radio, e.name)
        drives = study.setdefault(e.name, [])
        if e.interval is None or truth is None:
            drives.append(None)
        else:
            drives.append(Found(truth, e.value, *e.interval))
    assert calibration.fit is not None  # noqa: S101 - these logs hold links
    level = float(calibration.fit.levels_db[0])
    found = Found(true_level_db(radio, seed), level, *calibration.fit.level_interval(0))
    study.setdefault(LEVEL, []).append(found)
    relay = next((one for one in calibration.relays if one.board == _RELAY), None)
    study.setdefault(RELAYED, []).append(
        relay and Found(true_share(radio, seed), relay.share, *relay.share_interval)
    )
