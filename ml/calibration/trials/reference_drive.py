"""The reference drive on a radio, and its losses held against those of the recorded one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ml.calibration.arrays import Floats, Ints
from ml.calibration.fits.field_tables import CONVOY_DRIVE, DriveStatistics
from ml.calibration.synthetic.drive import reference_drive
from ml.calibration.trials.convoy import record_direct_links
from ml.calibration.trials.loss_statistics import (
    LossLog,
    autocorrelation_at,
    loss,
    mean_burst,
    window_spread,
)
from ml.espnow_emulator import RadioParameters
from ml.parameters import Parameters

# Receiver and source of each link between neighbours; the source of column s is car s + 1, or the
# car in front of it where that would be the receiver itself.
_RECEIVERS, _SOURCES = (0, 1, 2), (0, 1, 0)
_AGE_FACTORS: Final = {0.3: 1.5, 0.5: 1.5, 1.0: 3.0}
_CONVOYS: Final = 96
_SEED: Final = 11


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


def neighbours_on_reference_drive(
    radio: RadioParameters,
    num_convoys: int,
    *,
    seed: int = _SEED,
    overrides: Mapping[str, Floats] | None = None,
) -> tuple[Floats, Ints]:
    """Drive the reference drive, and record the links between neighbours.

    Args:
        radio: To be tried.
        num_convoys: How many convoys drive it, E, each with boards of its own.
        seed: Of all draws.
        overrides: As in `BroadcastChannel.reset`.

    Returns:
        Latencies (ticks, E, 3) in ms, NaN where lost, from car 1 to 0, from 2 to 1 and from 1 to
        2; and when the frames were sampled, (ticks, E, 3) in µs.
    """
    links = record_direct_links(
        radio, reference_drive(num_convoys), receivers=_RECEIVERS, seed=seed, overrides=overrides
    )
    return links.latency_ms[:, :, _RECEIVERS, _SOURCES], links.generated_us[:, :, _SOURCES]


def drive_statistics(parameters: Parameters) -> DriveStatistics:
    """Return what the reference drive is like with a radio, over many convoys."""
    return statistics_of(*neighbours_on_reference_drive(parameters.radio, _CONVOYS))


def statistics_of(latency_ms: Floats, generated_us: Ints) -> DriveStatistics:
    """Compute of a simulated drive what was computed of the recorded one.

    Args:
        latency_ms: (frames, drives, links), NaN where a frame was lost.
        generated_us: (frames, drives, links), when they were sampled.
    """
    frames, _, together = latency_ms.shape
    latency_ms = latency_ms.reshape(frames, -1)
    log = LossLog.of_losses(np.isnan(latency_ms))
    memory = {
        lag: autocorrelation_at(log, lag, together=together) for lag in CONVOY_DRIVE.autocorrelation
    }
    return DriveStatistics(
        loss=loss(log),
        # Where nothing is lost, there is no burst and no memory.
        mean_burst_frames=float(np.nan_to_num(mean_burst(log))),
        autocorrelation={lag: float(np.nan_to_num(figure)) for lag, figure in memory.items()},
        window_sd=window_spread(log),
        age_beyond=share_of_time_beyond(
            latency_ms, generated_us.reshape(frames, -1), tuple(CONVOY_DRIVE.age_beyond)
        ),
    )


def judge(reached: DriveStatistics, recorded: DriveStatistics = CONVOY_DRIVE) -> list[Gate]:
    """Return the gates of a drive, in the order of `DriveStatistics`.

    Loss within 0.03, mean burst within 15 %, autocorrelation within 0.07, spread of windows within
    25 %, shares of time beyond 0.3 and 0.5 s within a factor of 1.5, beyond 1 s within 3.
    """
    burst, spread = recorded.mean_burst_frames, recorded.window_sd
    figures = [
        ("loss", reached.loss, recorded.loss, 0.03),
        ("mean burst (frames)", reached.mean_burst_frames, burst, 0.15 * burst),
        *(
            (f"autocorrelation at {lag / 10:g} s", reached.autocorrelation[lag], target, 0.07)
            for lag, target in recorded.autocorrelation.items()
        ),
        ("sd of loss in 10-s windows", reached.window_sd, spread, 0.25 * spread),
    ]
    gates = [
        Gate(name, figure, target, target - width, target + width)
        for name, figure, target, width in figures
    ]
    for age_s, target in recorded.age_beyond.items():
        factor = _AGE_FACTORS[age_s]
        name = f"share of time older than {age_s:g} s"
        gates.append(
            Gate(name, reached.age_beyond[age_s], target, target / factor, target * factor)
        )
    return gates


def share_of_time_beyond(
    latency_ms: Floats, generated_us: Ints, ages_s: Sequence[float]
) -> dict[float, float]:
    """Return for which share of time the newest message of a link was older than each age.

    Exact between receptions, where the age grows with time; frames arrive in order.

    Args:
        latency_ms: (frames, links), NaN where a frame was lost.
        generated_us: (frames, links), when they were sampled.
        ages_s: The ages.
    """
    beyond_us = dict.fromkeys(ages_s, 0.0)
    whole_us = 0.0
    for latency, generated in zip(latency_ms.T, generated_us.T, strict=True):
        heard = ~np.isnan(latency)
        sampled_us = generated[heard]
        arrived_us = sampled_us + 1000.0 * latency[heard]
        end_us = arrived_us[1:] - sampled_us[:-1]  # age just before the next reception
        begin_us = arrived_us[:-1] - sampled_us[:-1]
        whole_us += float((end_us - begin_us).sum())
        for age_s in ages_s:
            over_us = end_us - np.maximum(begin_us, 1e6 * age_s)
            beyond_us[age_s] += float(np.maximum(over_us, 0.0).sum())
    return {age_s: beyond / whole_us for age_s, beyond in beyond_us.items()}
