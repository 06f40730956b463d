"""Drive the logged distances again on the emulator with the fitted parameters, and lose frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ml.calibration.fits.loss_statistics import LossLog, stack
from ml.espnow_emulator import BEACON_PERIOD_US, BroadcastChannel, MarginLoss, PayloadField
from ml.keyed_random import fold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from ml.calibration.fits.link_jobs import Group
    from ml.calibration.logs.links import Link
    from ml.parameters import Parameters

_SLOTS_US: Final = (10_000, 60_000)
_SEED: Final = 26
_UNKNOWN_M: Final = 20.0
_NODES: Final = 3  # the first is nobody: a table has no column for it
MOST_ROWS: Final = 20_000


def measured_log(links: Sequence[Link]) -> LossLog:
    """Put the links of a calibration side by side."""
    return stack(
        [
            LossLog(
                link.lost[:, None],
                link.scored[:, None],
                link.distance_m[:, None],
                link.between[:, None],
            )
            for link in links
        ]
    )


def emulate(
    parameters: Parameters,
    links: Sequence[Link],
    levels_db: Mapping[Group, float],
    *,
    replicas: int,
    on_share: Callable[[float], None] | None = None,
) -> list[LossLog]:
    """Lose the frames of the logged drives anew, some times over.

    Every link is driven by itself with the level of its pair, since it is these boards that are to
    be met and not boards in general; so nobody stands between, and what a car between costs is in
    the level.

    Args:
        parameters: The fitted ones.
        links: Of the logs.
        levels_db: Margin at 20 m of each group.
        replicas: How often.
        on_share: Told how far it is.

    Returns:
        A log for each replica.
    """
    loss = parameters.radio.loss
    assert isinstance(loss, MarginLoss)  # noqa: S101 - calibrations have no other
    alone = loss.model_copy(update={"antenna_sd_db": 0.0, "door_share": 0.0})
    radio = parameters.radio.model_copy(
        update={
            "loss": alone,
            "relay": parameters.radio.relay.model_copy(update={"max_hops": 0}),
        }
    )
    rows = max(link.outcome.size for link in links)
    channel = BroadcastChannel(
        radio, num_envs=len(links) * replicas, num_nodes=_NODES, receivers=(1, 2)
    )
    everybody = np.arange(len(links) * replicas)
    level = np.array([_level(link, levels_db, loss.margin_20m_db) for link in links])
    channel.reset(
        everybody,
        fold(_SEED, everybody),
        present=np.array([False, True, True]),
        overrides={"radio.loss.margin_20m_db": np.tile(level, replicas)},
    )
    receiver_m, gap_m = _ways(links, rows)
    lost = np.zeros((rows, len(links) * replicas), dtype=bool)
    two_way = np.tile([link.two_way for link in links], replicas)
    payload = np.zeros((everybody.size, _NODES, len(PayloadField)))
    xy_m = np.zeros((everybody.size, _NODES, 2))
    sending = np.broadcast_to(np.array([False, True, True]), (everybody.size, _NODES)).copy()
    for k in range(rows):
        if on_share is not None and k % 500 == 0:
            on_share(k / rows)
        xy_m[:, 2, 1] = np.tile(receiver_m[k], replicas)
        xy_m[:, 1, 1] = np.tile(receiver_m[k] + gap_m[k], replicas)
        t_us = np.full((everybody.size, _NODES), k * BEACON_PERIOD_US)
        t_us[:, 1] += _SLOTS_US[0]
        t_us[:, 2] += _SLOTS_US[1]
        now_us = np.full(everybody.size, (k + 1) * BEACON_PERIOD_US)
        channel.transmit(
            sending=sending,
            t_generated_us=t_us,
            timestamp_ms=t_us // 1000,
            payload=payload,
            node_xy_m=xy_m,
            now_us=now_us,
        )
        table = channel.deliver(now_us)
        came = table.heard & (table.sequence == k)
        arrived = came[:, 1, 0] & (came[:, 0, 1] | ~two_way)
        lost[k] = ~arrived
    measured = measured_log(links)
    return [
        LossLog(
            lost[:, r * len(links) : (r + 1) * len(links)],
            measured.scored,
            measured.distance_m,
            measured.between,
        )
        for r in range(replicas)
    ]


def _level(link: Link, levels_db: Mapping[Group, float], otherwise: float) -> float:
    """The level of a link, over the cars that stood between, by how often they did."""
    betweens, counts = np.unique(link.between[link.scored], return_counts=True)
    levels = [levels_db.get((*link.pair, int(b)), otherwise) for b in betweens]
    mean = float(np.average(levels, weights=counts)) if counts.size else otherwise
    return float(np.clip(mean, -60.0, 80.0))


def _ways(links: Sequence[Link], rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the receiver is along its way, and how far ahead the sender; (rows, L) each."""
    along, gaps = np.zeros((rows, len(links))), np.full((rows, len(links)), _UNKNOWN_M)
    for k, link in enumerate(links):
        size = link.outcome.size
        known = np.flatnonzero(np.isfinite(link.distance_m))
        if known.size:
            gaps[:size, k] = np.interp(np.arange(size), known, link.distance_m[known])
        along[:size, k] = np.cumsum(np.clip(link.travel_m, 0.0, 100.0))
        along[size:, k], gaps[size:, k] = along[size - 1, k], gaps[size - 1, k]
    return along, gaps
