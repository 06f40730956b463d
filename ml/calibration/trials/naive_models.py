"""The models beside the margin model: independent losses by distance, and a two-state chain."""

from dataclasses import replace
from typing import Final

import numpy as np

from ml.calibration.arrays import Floats
from ml.calibration.trials.loss_statistics import DISTANCES_M, LossLog, mean_burst

_SEED: Final = 25


def loss_by_distance(log: LossLog) -> Floats:
    """Share lost at each row of each link, by the bins of `DISTANCES_M` of that link alone."""
    out = np.zeros(log.lost.shape)
    size = len(DISTANCES_M) + 1
    for k, (losses, scored) in enumerate(log.links()):
        bins = np.searchsorted(DISTANCES_M, np.nan_to_num(log.distance_m[:, k]), side="right")
        count = np.bincount(bins[scored], minlength=size)
        lost = np.bincount(bins[losses], minlength=size)
        overall = lost.sum() / max(count.sum(), 1)
        out[:, k] = np.where(count > 0, lost / np.maximum(count, 1), overall)[bins]
    return out


def draw_independent(log: LossLog, replicas: int) -> list[LossLog]:
    """Lose each frame on its own, with the measured share of its link and distance."""
    generator = np.random.Generator(np.random.PCG64(_SEED))
    share = loss_by_distance(log)
    return [replace(log, lost=generator.random(share.shape) < share) for _ in range(replicas)]


def draw_gilbert_elliott(log: LossLog, replicas: int) -> list[LossLog]:
    """Lose frames in the bad state of a chain of measured loss and mean burst (Gilbert 1960)."""
    generator = np.random.Generator(np.random.PCG64(_SEED + 1))
    share = np.clip(loss_by_distance(log), 0.0, 0.999)
    links = share.shape[1]
    burst = [mean_burst(LossLog.of_losses(lost[:, None])) for lost, _ in log.links()]
    leave = 1.0 / np.nan_to_num(burst, nan=1.0)
    # A burst cannot be shorter than the loss allows: p / (1 - p) at least.
    leave = np.minimum(leave, np.where(share > 0.0, (1.0 - share) / np.maximum(share, 1e-9), 1.0))
    enter = share / (1.0 - share) * leave
    bad = generator.random((replicas, links)) < share[0]
    lost = np.zeros((replicas, *share.shape), dtype=bool)
    for t in range(len(share)):
        u = generator.random((replicas, links))
        bad = np.where(bad, u >= leave[t], u < enter[t])
        lost[:, t] = bad
    return [replace(log, lost=one) for one in lost]
