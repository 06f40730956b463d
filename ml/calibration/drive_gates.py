"""Hold the losses of a simulated drive against the recorded one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.calibration.fits.field_tables import CONVOY_DRIVE, DriveStatistics
from ml.calibration.fits.link_statistics import (
    autocorrelation,
    mean_burst_frames,
    share_of_time_beyond,
    window_sd,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WINDOW_FRAMES = 100
_LOSS_WITHIN = 0.03
_BURST_WITHIN = 0.15
_AUTOCORRELATION_WITHIN = 0.07
_SD_WITHIN = 0.25
_AGE_FACTORS = {0.3: 1.5, 0.5: 1.5, 1.0: 3.0}


@dataclass(frozen=True, slots=True)
class Gate:
    """One figure and where it may lie.

    Attributes:
        name: What it is.
        figure: Reached.
        recorded: On the recorded drive.
        low: Least allowed.
        high: Most allowed.
    """

    name: str
    figure: float
    recorded: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        """Whether the figure lies within its bounds."""
        return self.low <= self.figure <= self.high

    def __str__(self) -> str:
        """Say all of it in a line."""
        return (
            f"{self.name}: {self.figure:.4f}, recorded {self.recorded:g}, allowed "
            f"{self.low:.4f} to {self.high:.4f}"
        )


def statistics_of(
    latency_ms: NDArray[np.float64], generated_us: NDArray[np.int64]
) -> DriveStatistics:
    """Compute of a simulated drive what was computed of the recorded one.

    Args:
        latency_ms: (frames, drives, links), NaN where a frame was lost.
        generated_us: (frames, drives, links), when they were sampled.
    """
    lost = np.isnan(latency_ms)
    frames = len(lost)
    return DriveStatistics(
        loss=float(lost.mean()),
        mean_burst_frames=mean_burst_frames(lost),
        autocorrelation={lag: autocorrelation(lost, lag) for lag in CONVOY_DRIVE.autocorrelation},
        window_sd=window_sd(lost, _WINDOW_FRAMES),
        age_beyond=share_of_time_beyond(
            latency_ms.reshape(frames, -1),
            generated_us.reshape(frames, -1),
            tuple(CONVOY_DRIVE.age_beyond),
        ),
    )


def judge(reached: DriveStatistics, recorded: DriveStatistics = CONVOY_DRIVE) -> list[Gate]:
    """Return the gates of a drive, in the order of `DriveStatistics`.

    Loss within .03, mean burst within 15 %, autocorrelation within .07, spread of windows within
    25 %, shares of time beyond .3 and .5 s within a factor of 1.5, beyond 1 s within 3.
    """
    gates = [
        _within("loss", reached.loss, recorded.loss, _LOSS_WITHIN),
        _within(
            "mean burst (frames)",
            reached.mean_burst_frames,
            recorded.mean_burst_frames,
            _BURST_WITHIN * recorded.mean_burst_frames,
        ),
    ]
    for lag, target in recorded.autocorrelation.items():
        name = f"autocorrelation at {lag / 10:g} s"
        gates.append(_within(name, reached.autocorrelation[lag], target, _AUTOCORRELATION_WITHIN))
    spread = recorded.window_sd
    gates.append(
        _within("sd of loss in 10-s windows", reached.window_sd, spread, _SD_WITHIN * spread)
    )
    for age_s, target in recorded.age_beyond.items():
        figure, factor = reached.age_beyond[age_s], _AGE_FACTORS[age_s]
        name = f"share of time older than {age_s:g} s"
        gates.append(Gate(name, figure, target, target / factor, target * factor))
    return gates


def _within(name: str, figure: float, recorded: float, width: float) -> Gate:
    return Gate(name, figure, recorded, recorded - width, recorded + width)
