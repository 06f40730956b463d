"""What a tick was worth and whether it was the last, for the whole batch in one compiled loop."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.compiled import compiled
from ml.envs.config import EnvConfig, RewardWeights
from ml.envs.episodes.drawn import EpisodePlan
from ml.envs.scoring.reward import fill_terms, weights_of
from ml.envs.scoring.termination import EpisodeStatus, Rules, decide_status
from ml.envs.scoring.tracker import EpisodeTracker, Memory, record_tick
from ml.envs.truth.ground_truth import GroundTruth
from ml.vehicle import DT_S

_COLLISION = int(EpisodeStatus.COLLISION)


class Judge:
    """Decides who has ended, rewards each tick and remembers the episodes.

    Args:
        config: What an episode is like; its weights are the reward's.
        num_envs: Convoys in the batch.
        road_length_m: Length of the road.

    Attributes:
        tracker: Remembers the episodes.
        wrecked: (num_envs,) bool, whose crash is over; set where an ego crashes and drives on.
        needless: (num_envs,) bool, who braked without cause in the last tick.
    """

    def __init__(self, config: EnvConfig, num_envs: int, road_length_m: float) -> None:
        self._weights = weights_of(config.reward)
        self._rules = Rules(round(config.episode_s / DT_S), road_length_m, config.stop_at_collision)
        self.tracker = EpisodeTracker(num_envs, self._weights)
        self.wrecked, self.needless = np.zeros((2, num_envs), dtype=bool)

    def set_reward_weights(self, weights: RewardWeights) -> None:
        """Weigh the reward's terms in another way from now on."""
        self._weights[:] = weights_of(weights)

    def reset(self, rows: NDArray[np.int64], start: GroundTruth) -> None:
        """Begin new episodes in the given convoys, whose rows `start` has."""
        self.wrecked[rows] = False
        self.tracker.reset(rows, start)

    def tick(
        self,
        truth: GroundTruth,
        expected: NDArray[np.bool_],
        tick: NDArray[np.int64],
        plan: EpisodePlan,
        time_gap_s: NDArray[np.float64],
        withheld_mps2: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Judge a tick.

        Args:
            truth: Ground truth of the batch.
            expected: (num_envs, num_slots) bool, cars that must be there.
            tick: (num_envs,) int64 ticks since reset, this one included.
            plan: The episodes' plans; a planned braking is cause enough for the ego to brake.
            time_gap_s: (num_envs,) that each driver has set.
            withheld_mps2: (num_envs,) what the safety layer took off each wish.

        Returns:
            Each convoy's `EpisodeStatus`, (num_envs,) int64, and reward, (num_envs,) float64.
        """
        found = _Found(np.empty(tick.size, np.int64), np.empty(tick.size), self.needless)
        _judge(
            truth,
            expected,
            tick,
            self._rules,
            _Brakings(plan.brake_slot, plan.onset_tick, plan.release_tick),
            self._weights,
            time_gap_s,
            withheld_mps2,
            self.tracker.begin_tick(),
            self.wrecked,
            found,
        )
        return found.status, found.reward


class _Brakings(NamedTuple):
    """The planned brakings of an `EpisodePlan`, (num_envs,) int64 each."""

    slot: NDArray[np.int64]
    onset_tick: NDArray[np.int64]
    release_tick: NDArray[np.int64]


class _Found(NamedTuple):
    """What the judge says of a tick, (num_envs,) each."""

    status: NDArray[np.int64]
    reward: NDArray[np.float64]
    needless: NDArray[np.bool_]


@compiled
def _judge(
    truth: GroundTruth,
    expected: NDArray[np.bool_],
    tick: NDArray[np.int64],
    rules: Rules,
    brakings: _Brakings,
    weights: NDArray[np.float64],
    time_gap_s: NDArray[np.float64],
    withheld_mps2: NDArray[np.float64],
    memory: Memory,
    wrecked: NDArray[np.bool_],
    found: _Found,
) -> None:
    """Fill the last one and update the two before; see `Judge.tick`."""
    status, reward, needless = found
    decide_status(truth, expected, tick, rules, status)
    num_envs = tick.size
    terms = np.empty((num_envs, weights.size))
    braking, collided = np.empty((2, num_envs), dtype=np.bool_)
    for e in range(num_envs):
        begun = tick[e] - 1  # commands were given before the tick was counted
        braking[e] = (
            brakings.slot[e] > 0 and brakings.onset_tick[e] <= begun < brakings.release_tick[e]
        )
        if rules.stop_at_collision:
            collided[e] = status[e] == _COLLISION
        else:
            collided[e] = truth.gap_m[e] <= 0.0 and not wrecked[e]
            wrecked[e] |= collided[e]
    fill_terms(truth, time_gap_s, withheld_mps2, braking, collided, terms, needless)
    record_tick(truth, terms, needless, wrecked & ~collided, memory)
    # Not a matrix product, whose rounding may depend on the batch's size.
    for e in range(num_envs):
        reward[e] = terms[e, 0] * weights[0]
        for t in range(1, weights.size):
            reward[e] += terms[e, t] * weights[t]
