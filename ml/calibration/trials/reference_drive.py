"""The reference drive on a radio, and what its losses are like."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from ml.arrays import Floats, Ints
from ml.calibration.synthetic.drive import reference_drive
from ml.calibration.trials.convoy import drawn_always, record_direct_links
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
_LAGS: Final = (1, 2, 5, 10)
_AGES_S: Final = (0.3, 0.5, 1.0)
_CONVOYS: Final = 96
_SEED: Final = 11


def neighbours_on_reference_drive(
    radio: RadioParameters,
    num_convoys: int,
    *,
    seed: int = _SEED,
    overrides: Mapping[str, Floats] | None = None,
) -> tuple[Floats, Ints]:
    """Let E convoys, each with boards of its own, drive the reference drive.

    Returns:
        Latencies (ticks, E, 3) in ms, NaN where lost, from car 1 to 0, from 2 to 1 and from 1 to
        2; and when the frames were sampled, (ticks, E, 3) in µs.
    """
    links = record_direct_links(
        radio, reference_drive(num_convoys), receivers=_RECEIVERS, seed=seed, overrides=overrides
    )
    return links.latency_ms[:, :, _RECEIVERS, _SOURCES], links.generated_us[:, :, _SOURCES]


def drive_statistics(parameters: Parameters) -> dict[str, float]:
    """Return what the reference drive is like with a radio, over many convoys.

    What logs of one's boards leave open is drawn for each.
    """
    overrides = drawn_always(parameters, _CONVOYS)
    drives = neighbours_on_reference_drive(parameters.radio, _CONVOYS, overrides=overrides)
    return statistics_of(*drives)


def statistics_of(latency_ms: Floats, generated_us: Ints) -> dict[str, float]:
    """Compute of a simulated drive what was computed of the recorded one, see `CONVOY_DRIVE`.

    Latencies are (frames, drives, links), NaN where a frame was lost, and so are the times of
    sampling.
    """
    frames, _, together = latency_ms.shape
    latency_ms = latency_ms.reshape(frames, -1)
    log = LossLog.of_losses(np.isnan(latency_ms))
    memory = {lag: autocorrelation_at(log, lag, together=together) for lag in _LAGS}
    older = share_of_time_beyond(latency_ms, generated_us.reshape(frames, -1), _AGES_S)
    # Where nothing is lost, there is no burst and no memory.
    return {
        "loss": loss(log),
        "mean burst (frames)": float(np.nan_to_num(mean_burst(log))),
        **{f"autocorrelation at {k / 10:g} s": float(np.nan_to_num(memory[k])) for k in _LAGS},
        "sd of loss in 10-s windows": window_spread(log),
        **{f"share of time older than {age_s:g} s": share for age_s, share in older.items()},
    }


def share_of_time_beyond(
    latency_ms: Floats, generated_us: Ints, ages_s: Sequence[float]
) -> dict[float, float]:
    """Return for which share of time the newest message of a link was older than each age.

    Exact between receptions, where the age grows with time; frames arrive in order. Latencies are
    (frames, links), NaN where a frame was lost, and so are the times of sampling.
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
