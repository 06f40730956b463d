"""How an episode ends, and whether that end is the policy's doing."""

from enum import IntEnum
from typing import NamedTuple

from ml.arrays import Bools, Ints
from ml.compiled import compiled
from ml.envs.episodes.drawn import ROAD_END_MARGIN_M
from ml.envs.truth.ground_truth import GroundTruth
from ml.vehicle import DT_S


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
    SIMULATOR_LOST = 6
    """SUMO itself went away in mid-episode: truncated, the episode is invalid."""

    @property
    def is_invalid(self) -> bool:
        """Whether metrics must leave the episode out and count it."""
        return self >= EpisodeStatus.PEERS_COLLIDED


# What a compiled loop writes must be plain numbers.
_RUNNING, _COLLISION, _TIME_LIMIT, _ROAD_END, _PEERS_COLLIDED, _VEHICLE_MISSING, _ = (
    int(status) for status in EpisodeStatus
)


class Rules(NamedTuple):
    """What ends an episode."""

    episode_ticks: int
    """Time limit."""
    road_length_m: float
    stop_at_collision: bool
    """Whether the ego's crash does."""


@compiled
def decide_status(
    truth: GroundTruth, expected: Bools, tick: Ints, rules: Rules, status: Ints
) -> None:
    """Decide each convoy's `EpisodeStatus` after a tick; the gravest wins.

    Args:
        truth: The batch after the tick.
        expected: (num_envs, num_slots) bool, cars that must be there.
        tick: (num_envs,) int64 ticks since reset.
        rules: What ends an episode.
        status: (num_envs,) int64, filled.
    """
    for e in range(tick.size):
        status[e] = _TIME_LIMIT if tick[e] >= rules.episode_ticks else _RUNNING
        missing = False
        for v in range(expected.shape[1]):
            present = truth.present[e, v]
            missing |= expected[e, v] and not present
            # A car that reaches the end vanishes from SUMO: stop a tick and a margin before that.
            reach = truth.route_pos_m[e, v] + 2.0 * DT_S * truth.speed_mps[e, v]
            if present and reach >= rules.road_length_m - ROAD_END_MARGIN_M:
                status[e] = _ROAD_END
        if truth.peer_gap_m[e] <= 0.0:
            status[e] = _PEERS_COLLIDED
        if rules.stop_at_collision and truth.gap_m[e] <= 0.0:
            status[e] = _COLLISION
        if missing:
            status[e] = _VEHICLE_MISSING
