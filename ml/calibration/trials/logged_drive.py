"""Drive the logged distances again on the fitted radio, and hold its losses against the logged.

Beside it stand two naive models: independent losses by distance, and a two-state chain.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ml.arrays import Bools, Floats
from ml.calibration.fits.link_frames import Group
from ml.calibration.logs.link import Link
from ml.calibration.synthetic.recording import exchange
from ml.calibration.trials.convoy import without_relays
from ml.calibration.trials.loss_statistics import (
    DISTANCES_M,
    STATISTICS,
    LossLog,
    mean_burst,
    split_half_noise,
)
from ml.espnow_emulator import BEACON_PERIOD_US, BroadcastChannel, MarginLoss, PayloadField
from ml.keyed_random import fold
from ml.parameters import Parameters

EMULATED: Final = "emulated"
_REPLICAS: Final = 6
_WITHIN: Final = 2.0
_PRESENT: Final = np.array([False, True, True])  # the first is nobody: a table has no column for it
_SLOTS_US: Final = np.array([0, 10_000, 60_000])
_SEED: Final = 26
_NAIVE_SEED: Final = 25
_UNKNOWN_M: Final = 20.0


@dataclass(frozen=True, slots=True)
class Gate:
    """One figure, measured and emulated."""

    name: str  # What it is
    measured: float  # On the logs
    noise: float  # Standard deviation, from halves of the log
    models: tuple[float, ...]  # Means over the replicas of each of `Judgement.models`
    spread: float  # Standard deviation of the emulated over replicas

    @property
    def met(self) -> bool:
        """Whether the emulated figure is as near as the noise allows."""
        if not np.isfinite(self.measured) or not np.isfinite(self.models[0]):
            return True
        away = abs(self.measured - self.models[0])
        return bool(away <= _WITHIN * float(np.hypot(self.noise, self.spread)))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Measured links against the models."""

    measured: LossLog  # What was logged
    models: dict[str, list[LossLog]]  # Name to replicas, `EMULATED` first
    gates: list[Gate]  # Figure by figure


def judge_links(
    links: Sequence[Link],
    parameters: Parameters,
    levels_db: Mapping[Group, float],
    on_part: Callable[[str, float], None],
) -> Judgement:
    """Emulate the drives of some links, and hold the losses against the logged ones.

    Args:
        links: Of the logs.
        parameters: The fitted ones.
        levels_db: Margin at 20 m of each group.
        on_part: Told what is being done, and how far it is in [0, 1].
    """
    measured = LossLog.of_links(links)
    what = "driving the logged drives again"
    lost = _emulate(parameters, links, levels_db, lambda share: on_part(what, share))
    on_part("comparing", 0.0)
    models = {
        EMULATED: [replace(measured, lost=one) for one in np.split(lost, _REPLICAS, axis=1)],
        "Gilbert–Elliott": _draw_gilbert_elliott(measured),
        "independent": _draw_independent(measured),
    }
    gates = []
    for name, statistic in STATISTICS.items():
        reached = [[statistic(log) for log in logs] for logs in models.values()]
        means = tuple(float(np.mean(values)) for values in reached)
        noise = float(split_half_noise(measured, statistic))
        spread = float(np.std(reached[0], ddof=1))
        gates.append(Gate(name, statistic(measured), noise, means, spread))
    return Judgement(measured, models, gates)


def _emulate(
    parameters: Parameters,
    links: Sequence[Link],
    levels_db: Mapping[Group, float],
    on_share: Callable[[float], None],
) -> Bools:
    """Lose the frames of L logged drives anew, R times over: (K, R · L), replica by replica.

    Every link is driven by itself with the level of its pair, since it is these boards that are to
    be met and not boards in general; so nobody stands between, and what a car between costs is in
    the level.
    """
    loss = parameters.radio.loss
    assert isinstance(loss, MarginLoss)  # noqa: S101 - calibrations have no other
    alone = loss.model_copy(update={"antenna_sd_db": 0.0, "door_share": 0.0})
    radio = without_relays(parameters.radio.model_copy(update={"loss": alone}))
    rows, drives, nodes = max(link.outcome.size for link in links), len(links) * _REPLICAS, 3
    channel = BroadcastChannel(radio, num_envs=drives, num_nodes=nodes, receivers=(1, 2))
    everybody = np.arange(drives)
    level = np.array([_level(link, levels_db, loss.margin_20m_db) for link in links])
    overrides = {"radio.loss.margin_20m_db": np.tile(level, _REPLICAS)}
    channel.reset(everybody, fold(_SEED, everybody), present=_PRESENT, overrides=overrides)
    receiver_m, sender_m = (np.tile(way, _REPLICAS) for way in _ways(links, rows))
    two_way = np.tile([link.two_way for link in links], _REPLICAS)
    lost = np.zeros((rows, drives), dtype=bool)
    payload = np.zeros((drives, nodes, len(PayloadField)))
    xy_m = np.zeros((drives, nodes, 2))
    sending = np.tile(_PRESENT, (drives, 1))
    for k in range(rows):
        if k % 500 == 0:
            on_share(k / rows)
        xy_m[:, 1, 1], xy_m[:, 2, 1] = sender_m[k], receiver_m[k]
        t_us = np.tile(k * BEACON_PERIOD_US + _SLOTS_US, (drives, 1))
        now_us = np.full(drives, (k + 1) * BEACON_PERIOD_US)
        table = exchange(channel, t_us, now_us, payload, xy_m, sending)
        came = table.heard & (table.sequence == k)
        lost[k] = ~(came[:, 1, 0] & (came[:, 0, 1] | ~two_way))
    return lost


def _level(link: Link, levels_db: Mapping[Group, float], otherwise: float) -> float:
    """The level of a link, over the cars that stood between, by how often they did."""
    betweens, counts = np.unique(link.between[link.scored], return_counts=True)
    levels = [levels_db.get((*link.pair, int(b)), otherwise) for b in betweens]
    mean = float(np.average(levels, weights=counts)) if counts.size else otherwise
    return float(np.clip(mean, -60.0, 80.0))


def _ways(links: Sequence[Link], rows: int) -> tuple[Floats, Floats]:
    """Where the receiver is along its way, and where the sender; (rows, L) each."""
    along, ahead = np.zeros((rows, len(links))), np.zeros((rows, len(links)))
    for k, link in enumerate(links):
        # Beyond its end, a shorter log stays where it ended.
        at = np.minimum(np.arange(rows), link.outcome.size - 1)
        along[:, k] = np.cumsum(np.clip(link.travel_m, 0.0, 100.0))[at]
        known = np.flatnonzero(np.isfinite(link.distance_m))
        gap_m = np.interp(at, known, link.distance_m[known]) if known.size else _UNKNOWN_M
        ahead[:, k] = along[:, k] + gap_m
    return along, ahead


def _loss_by_distance(log: LossLog) -> Floats:
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


def _draw_independent(log: LossLog) -> list[LossLog]:
    """Lose each frame on its own, with the measured share of its link and distance."""
    generator = np.random.Generator(np.random.PCG64(_NAIVE_SEED))
    share = _loss_by_distance(log)
    return [replace(log, lost=generator.random(share.shape) < share) for _ in range(_REPLICAS)]


def _draw_gilbert_elliott(log: LossLog) -> list[LossLog]:
    """Lose frames in the bad state of a chain of measured loss and mean burst (Gilbert 1960)."""
    generator = np.random.Generator(np.random.PCG64(_NAIVE_SEED + 1))
    share = np.clip(_loss_by_distance(log), 0.0, 0.999)
    links = share.shape[1]
    burst = [mean_burst(LossLog.of_losses(lost[:, None])) for lost, _ in log.links()]
    leave = 1.0 / np.nan_to_num(burst, nan=1.0)
    # A burst cannot be shorter than the loss allows: p / (1 - p) at least.
    leave = np.minimum(leave, np.where(share > 0.0, (1.0 - share) / np.maximum(share, 1e-9), 1.0))
    enter = share / (1.0 - share) * leave
    bad = generator.random((_REPLICAS, links)) < share[0]
    lost = np.zeros((_REPLICAS, *share.shape), dtype=bool)
    for t in range(len(share)):
        u = generator.random((_REPLICAS, links))
        bad = np.where(bad, u >= leave[t], u < enter[t])
        lost[:, t] = bad
    return [replace(log, lost=one) for one in lost]
