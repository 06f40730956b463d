"""How an episode ends, and whether that end is the policy's doing."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from ml.envs.actuation import DT_S
from ml.envs.episodes import ROAD_END_MARGIN_M

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.envs.ground_truth import GroundTruth


class EpisodeStatus(IntEnum):
    """The state of an episode. A car that is missing is never taken for one that arrived."""

    RUNNING = 0
    COLLISION = 1
    """The ego touched the car in front: terminated."""
    TIME_LIMIT = 2
    """Truncated."""
    ROAD_END = 3
    """The first car came near the road's end: truncated."""
    PEERS_COLLIDED = 4
    """Two peers touched: truncated, the episode is invalid."""
    VEHICLE_MISSING = 5
    """SUMO no longer knows a car that should be there: truncated, the episode is invalid."""

    @property
    def is_invalid(self) -> bool:
        """Whether metrics must leave the episode out and count it."""
        return self >= EpisodeStatus.PEERS_COLLIDED


def judge(
    truth: GroundTruth,
    expected: NDArray[np.bool_],
    tick: NDArray[np.int64],
    episode_ticks: int,
    road_length_m: float,
) -> NDArray[np.int64]:
    """Decide each convoy's `EpisodeStatus` after a tick; the gravest wins.

    Args:
        truth: Ground truth of the batch.
        expected: (num_envs, num_slots) bool, cars that must be there.
        tick: (num_envs,) int64 ticks since reset.
        episode_ticks: Time limit.
        road_length_m: Length of the road.

    Returns:
        (num_envs,) int64 of `EpisodeStatus`.
    """
    status = np.zeros(tick.size, dtype=np.int64)
    status[tick >= episode_ticks] = EpisodeStatus.TIME_LIMIT
    # A car that reaches the end vanishes from SUMO: stop a tick and a margin before that.
    reach = truth.route_pos_m + 2.0 * DT_S * truth.speed_mps
    near_end = np.where(truth.present, reach, 0.0).max(axis=1) >= road_length_m - ROAD_END_MARGIN_M
    status[near_end] = EpisodeStatus.ROAD_END
    status[truth.peer_gap_m <= 0.0] = EpisodeStatus.PEERS_COLLIDED
    status[truth.gap_m <= 0.0] = EpisodeStatus.COLLISION
    status[(expected & ~truth.present).any(axis=1)] = EpisodeStatus.VEHICLE_MISSING
    return status
