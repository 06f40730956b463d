"""Do the intervals hold? Calibrate from drives whose truth is known, and count."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from ml.calibration.calibrate import Calibration, calibrate
from ml.calibration.fits.estimates import value_at
from ml.calibration.synthetic.logs import write_logs
from ml.calibration.synthetic.recording import record
from ml.espnow_emulator import MarginLoss
from ml.keyed_random import Stream, fold, normal
from ml.parameters import Parameters

HALF_HOUR_S: Final = 1800.0
_DRIVING_S, _CALIBRATING_S = 10.0, 9.0  # on two cores, of half an hour
LEVEL: Final = "level of the pair at 20 m (dB)"


@dataclass(slots=True)
class CoverageRow:
    """One parameter over all drives.

    Attributes:
        name: Dotted, or `LEVEL`.
        fitted: Truth, estimate, and both ends of the interval of each drive in which it was fitted.
        refused: In how many drives the logs could not tell it.
    """

    name: str
    fitted: list[tuple[float, float, float, float]] = field(default_factory=list)
    refused: int = 0

    def __str__(self) -> str:
        """Write it as a row of a table in Markdown."""
        name = self.name if self.name == LEVEL else f"`{self.name}`"
        if not self.fitted:
            return f"| {name} | | | | | {self.refused} |"
        truths, values, lows, highs = np.array(self.fitted).T
        truth, mean = f"{truths[0]:.3g}", f"{values.mean():.3g}"
        if np.ptp(truths) > 0.0:
            truth, mean = "differs", f"truth {(values - truths).mean():+.2g}"
        held = np.count_nonzero((lows <= truths) & (truths <= highs))
        width = f"{(highs - lows).mean():.3g}"
        cells = [name, truth, mean, width, f"{held} of {truths.size}", f"{self.refused}"]
        return f"| {' | '.join(cells)} |"


def coverage_study(
    radio: Parameters,
    prior: Parameters,
    prior_name: str,
    *,
    drives: int,
    duration_s: float = HALF_HOUR_S,
    on_part: Callable[[str], None],
) -> list[CoverageRow]:
    """Drive, write logs, read and fit them as a user's, and hold the intervals against the truth.

    Args:
        radio: What the drives are made with.
        prior: What calibration starts from.
        prior_name: Its name.
        drives: How many; seeds count from 1.
        duration_s: Of each.
        on_part: Told which of `drives` + 1 parts begins.
    """
    seeds = range(1, drives + 1)
    rows: dict[str, CoverageRow] = {}
    on_part("driving all of them")
    recordings = record(radio, num_cars=2, duration_s=duration_s, seeds=seeds, echo=True)
    for seed, recording in zip(seeds, recordings, strict=True):
        on_part(f"calibrating from drive {seed}")
        with tempfile.TemporaryDirectory(prefix="roadsense-coverage-") as folder:
            logs = write_logs(recording, radio, Path(folder), seed=seed)
            _count(rows, calibrate(logs, prior, prior_name), radio, seed)
    return sorted(rows.values(), key=lambda row: (not row.fitted, row.name))


def usual_s(drives: int, duration_s: float = HALF_HOUR_S) -> float:
    """Say about how long a study takes on two cores."""
    return (_DRIVING_S + _CALIBRATING_S * drives) * duration_s / HALF_HOUR_S


def table_of(rows: Sequence[CoverageRow]) -> str:
    """Write the study as a table in Markdown."""
    head = "| parameter | truth | mean estimate | mean width | intervals that hold it | refused |"
    return "\n".join([head, "|---|---|---|---|---|---|", *map(str, rows), ""])


def true_level_db(radio: Parameters, seed: int) -> float:
    """Margin at 20 m of the two boards of a made-up drive, as the channel draws it."""
    loss = radio.radio.loss
    assert isinstance(loss, MarginLoss)  # noqa: S101 - only that has a level
    gains = normal(fold(fold(seed, 0, 0), Stream.ANTENNA, np.arange(1, 3))) * loss.antenna_sd_db
    return loss.margin_20m_db + float(gains.sum())


def _count(
    rows: dict[str, CoverageRow], calibration: Calibration, radio: Parameters, seed: int
) -> None:
    """Enter one calibration of a drive of two boards into the rows."""
    for estimate in calibration.estimates:
        row = rows.setdefault(estimate.name, CoverageRow(estimate.name))
        truth = value_at(radio, estimate.name)
        if estimate.interval is None or truth is None:
            row.refused += 1
        else:
            row.fitted.append((truth, estimate.value, *estimate.interval))
    row = rows.setdefault(LEVEL, CoverageRow(LEVEL))
    level = float(calibration.fit.levels_db[0])
    row.fitted.append((true_level_db(radio, seed), level, *calibration.fit.level_interval(0)))
