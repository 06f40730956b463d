"""Do the intervals hold? Calibrate from drives whose truth is known, and count."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.calibrate import Calibration, calibrate
from ml.calibration.synthetic.logs import write_logs
from ml.calibration.synthetic.recording import record
from ml.espnow_emulator import MarginLoss
from ml.keyed_random import Stream, fold, normal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml.calibration.fits.estimates import Estimate
    from ml.parameters import Parameters

HALF_HOUR_S: Final = 1800.0
LEVEL: Final = "level of the pair at 20 m (dB)"
_FIRST_SEED: Final = 1


@dataclass(slots=True)
class CoverageRow:
    """One parameter over all drives.

    Attributes:
        name: Dotted, or `LEVEL`.
        truths: Of each drive in which it was fitted.
        estimates: As many.
        intervals: As many.
        refused: In how many drives the logs could not tell it.
    """

    name: str
    truths: list[float]
    estimates: list[float]
    intervals: list[tuple[float, float]]
    refused: int = 0

    @property
    def covered(self) -> int:
        """How many intervals hold the truth."""
        return sum(
            low <= truth <= high
            for truth, (low, high) in zip(self.truths, self.intervals, strict=True)
        )


def coverage_study(
    radio: Parameters,
    prior: Parameters,
    prior_name: str,
    *,
    drives: int,
    duration_s: float = HALF_HOUR_S,
    on_part: Callable[[str, float], None] | None = None,
) -> list[CoverageRow]:
    """Drive, write logs, read and fit them as a user's, and hold the intervals against the truth.

    Args:
        radio: What the drives are made with.
        prior: What calibration starts from.
        prior_name: Its name.
        drives: How many; seeds count from 1.
        duration_s: Of each.
        on_part: Told what is being done and how far it is.
    """
    say = on_part or (lambda _what, _share: None)
    seeds = range(_FIRST_SEED, _FIRST_SEED + drives)
    recordings = record(
        radio,
        num_cars=2,
        duration_s=duration_s,
        seeds=seeds,
        echo=True,
        on_tick=lambda k, n: say("driving", k / n),
    )
    rows: dict[str, CoverageRow] = {}
    for k, (seed, recording) in enumerate(zip(seeds, recordings, strict=True)):
        with tempfile.TemporaryDirectory(prefix="roadsense-coverage-") as folder:
            logs = write_logs(recording, radio, Path(folder), seed=seed)
            say(f"calibrating from drive {k + 1} of {drives}", k / drives)
            count(rows, calibrate(logs, prior, prior_name), radio, seed)
    return list(rows.values())


def count(
    rows: dict[str, CoverageRow], calibration: Calibration, radio: Parameters, seed: int
) -> None:
    """Enter one calibration of a drive of two boards into the rows."""
    for estimate in calibration.estimates:
        row = rows.setdefault(estimate.name, CoverageRow(estimate.name, [], [], []))
        _enter(row, estimate, _value_at(radio, estimate.name))
    if calibration.fit is not None:
        row = rows.setdefault(LEVEL, CoverageRow(LEVEL, [], [], []))
        row.truths.append(true_level_db(radio, seed))
        row.estimates.append(float(calibration.fit.levels_db[0]))
        row.intervals.append(calibration.fit.level_interval(0))


def true_level_db(radio: Parameters, seed: int) -> float:
    """Margin at 20 m of the two boards of a made-up drive, as the channel draws it."""
    loss = radio.radio.loss
    assert isinstance(loss, MarginLoss)  # noqa: S101 - only that has a level
    gains = normal(fold(fold(seed, 0, 0), Stream.ANTENNA, np.arange(1, 3))) * loss.antenna_sd_db
    return loss.margin_20m_db + float(gains.sum())


def table_of(rows: list[CoverageRow]) -> str:
    """Write the study as a table in Markdown."""
    lines = [
        "| parameter | truth | mean estimate | mean width | intervals that hold it | refused |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: (not r.truths, r.name)):
        if not row.truths:
            lines.append(f"| `{row.name}` | | | | | {row.refused} |")
            continue
        name = row.name if row.name == LEVEL else f"`{row.name}`"
        truth = f"{row.truths[0]:.3g}" if len(set(row.truths)) == 1 else "differs"
        mean = f"{np.mean(row.estimates):.3g}"
        if truth == "differs":
            error = np.array(row.estimates) - np.array(row.truths)
            mean = f"truth {error.mean():+.2g}"
        width = np.mean([high - low for low, high in row.intervals])
        share = f"{row.covered} of {len(row.truths)}"
        lines.append(f"| {name} | {truth} | {mean} | {width:.3g} | {share} | {row.refused} |")
    return "\n".join(lines) + "\n"


def _enter(row: CoverageRow, estimate: Estimate, truth: float | None) -> None:
    if estimate.interval is None or truth is None:
        row.refused += 1
        return
    row.truths.append(truth)
    row.estimates.append(estimate.value)
    row.intervals.append(estimate.interval)


def _value_at(parameters: Parameters, name: str) -> float | None:
    value: object = parameters
    for part in name.split("."):
        value = getattr(value, part, None)
        if value is None:
            return None
    return float(value)  # type: ignore[arg-type]
