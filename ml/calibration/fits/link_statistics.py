"""What a sequence of losses looks like: share, bursts, memory, and how old the news gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def mean_burst_frames(lost: NDArray[np.bool_]) -> float:
    """Return the mean number of frames lost in a row.

    Args:
        lost: (frames, ...) bool, time first; bursts of all links are pooled.
    """
    begins = lost[1:] & ~lost[:-1]
    count = int(np.count_nonzero(lost[0])) + int(np.count_nonzero(begins))
    return float(np.count_nonzero(lost) / max(count, 1))


def autocorrelation(lost: NDArray[np.bool_], lag: int) -> float:
    """Return the autocorrelation of the losses of drives that have links in common.

    Mean and variance are those of a drive, over all its links; covariances and variances are then
    summed over drives, so that what differs between drives counts for nothing.

    Args:
        lost: (frames, drives, links) bool.
        lag: In frames.

    Returns:
        Between -1 and 1; 0 where nothing ever changes.
    """
    mean = lost.mean(axis=(0, 2), keepdims=True)
    variance = float((mean * (1.0 - mean)).sum())
    if variance == 0.0:
        return 0.0
    centred = lost - mean
    covariance = float((centred[lag:] * centred[:-lag]).mean(axis=(0, 2)).sum())
    return covariance / variance


def window_sd(lost: NDArray[np.bool_], frames: int) -> float:
    """Return the standard deviation of the loss in windows along a link, over all links.

    Args:
        lost: (frames, ...) bool; deviations are from the link's own mean.
        frames: Length of a window.
    """
    count = len(lost) // frames
    windows = lost[: count * frames].reshape(count, frames, -1).mean(axis=1)
    return float(np.sqrt(windows.var(axis=0).mean()))


def share_of_time_beyond(
    latency_ms: NDArray[np.float64], generated_us: NDArray[np.int64], ages_s: Sequence[float]
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
    for link in range(latency_ms.shape[1]):
        heard = ~np.isnan(latency_ms[:, link])
        sampled_us = generated_us[heard, link]
        arrived_us = sampled_us + 1000.0 * latency_ms[heard, link]
        end_us = arrived_us[1:] - sampled_us[:-1]  # age just before the next reception
        begin_us = arrived_us[:-1] - sampled_us[:-1]
        whole_us += float((end_us - begin_us).sum())
        for age_s in ages_s:
            beyond_us[age_s] += float(
                np.maximum(end_us - np.maximum(begin_us, 1e6 * age_s), 0.0).sum()
            )
    return {age_s: beyond / whole_us for age_s, beyond in beyond_us.items()}
