"""What a tick was worth and whether it was the last, for the whole batch in one compiled loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.envs.scoring.reward import fill_terms
from ml.envs.scoring.termination import EpisodeStatus, decide_status
from ml.envs.scoring.tracker import record_tick

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.envs.episodes.drawn import EpisodePlan
    from ml.envs.scoring.tracker import EpisodeTracker, Memory
    from ml.envs.truth.ground_truth import GroundTruth

_COLLISION = int(EpisodeStatus.COLLISION)


def judge_tick(
    truth: GroundTruth,
    expected: NDArray[np.bool_],
    tick: NDArray[np.int64],
    plan: EpisodePlan,
    tracker: EpisodeTracker,
    weights: NDArray[np.float64],
    time_gap_s: NDArray[np.float64],
    withheld_mps2: NDArray[np.float64],
    wrecked: NDArray[np.bool_],
    *,
    episode_ticks: int,
    road_length_m: float,
    stop_at_collision: bool,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Decide who has ended, reward the tick and add it to what is remembered of the episodes.

    Args:
        truth: Ground truth of the batch.
        expected: (num_envs, num_slots) bool, cars that must be there.
        tick: (num_envs,) int64 ticks since reset, this one included.
        plan: The episodes' plans; a planned braking is cause enough for the ego to brake.
        tracker: Remembers the episodes.
        weights: (6,) of the reward's terms.
        time_gap_s: (num_envs,) that each driver has set.
        withheld_mps2: (num_envs,) what the safety layer took off each wish.
        wrecked: (num_envs,) bool, whose crash is over; set where an ego crashes and drives on.
        episode_ticks: Time limit.
        road_length_m: Length of the road.
        stop_at_collision: Whether the ego's crash ends its episode.

    Returns:
        Each convoy's `EpisodeStatus`, (num_envs,) int64, and reward, (num_envs,) float64.
    """
    status = np.empty(tick.size, dtype=np.int64)
    reward = np.empty(tick.size)
    _judge(
        truth.present,
        truth.route_pos_m,
        truth.speed_mps,
        truth.accel_mps2,
        truth.gap_m,
        truth.peer_gap_m,
        truth.ttc_s,
        truth.drac_mps2,
        truth.jerk_mps3,
        expected,
        tick,
        episode_ticks,
        road_length_m,
        stop_at_collision,
        plan.brake_slot,
        plan.onset_tick,
        plan.release_tick,
        weights,
        time_gap_s,
        withheld_mps2,
        tracker.begin_tick(),
        wrecked,
        status,
        reward,
    )
    return status, reward


@compiled
def _judge(
    present: NDArray[np.bool_],
    route_pos_m: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    accel_mps2: NDArray[np.float64],
    gap_m: NDArray[np.float64],
    peer_gap_m: NDArray[np.float64],
    ttc_s: NDArray[np.float64],
    drac_mps2: NDArray[np.float64],
    jerk_mps3: NDArray[np.float64],
    expected: NDArray[np.bool_],
    tick: NDArray[np.int64],
    episode_ticks: int,
    road_length_m: float,
    stop_at_collision: bool,  # noqa: FBT001 (numba takes no keyword-only arguments)
    brake_slot: NDArray[np.int64],
    onset_tick: NDArray[np.int64],
    release_tick: NDArray[np.int64],
    weights: NDArray[np.float64],
    time_gap_s: NDArray[np.float64],
    withheld_mps2: NDArray[np.float64],
    memory: Memory,
    wrecked: NDArray[np.bool_],
    status: NDArray[np.int64],
    reward: NDArray[np.float64],
) -> None:
    """Fill the last three; see `judge_tick`."""
    decide_status(
        present,
        route_pos_m,
        speed_mps,
        gap_m,
        peer_gap_m,
        expected,
        tick,
        episode_ticks,
        road_length_m,
        stop_at_collision,
        status,
    )
    num_envs = tick.size
    terms = np.empty((num_envs, weights.size))
    braking, collided, needless = np.empty((3, num_envs), dtype=np.bool_)
    for e in range(num_envs):
        begun = tick[e] - 1  # commands were given before the tick was counted
        braking[e] = brake_slot[e] > 0 and onset_tick[e] <= begun < release_tick[e]
        if stop_at_collision:
            collided[e] = status[e] == _COLLISION
        else:
            collided[e] = gap_m[e] <= 0.0 and not wrecked[e]
            wrecked[e] |= collided[e]
    fill_terms(
        speed_mps,
        accel_mps2,
        gap_m,
        ttc_s,
        drac_mps2,
        jerk_mps3,
        time_gap_s,
        withheld_mps2,
        braking,
        collided,
        terms,
        needless,
    )
    record_tick(terms, needless, speed_mps, accel_mps2, gap_m, memory)
    # Not a matrix product, whose rounding may depend on the batch's size.
    for e in range(num_envs):
        reward[e] = terms[e, 0] * weights[0]
        for t in range(1, weights.size):
            reward[e] += terms[e, t] * weights[t]
