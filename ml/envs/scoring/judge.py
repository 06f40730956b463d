"""What a tick was worth and whether it was the last, for the whole batch in one compiled loop."""

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.compiled import compiled
from ml.envs.config import EnvConfig, RewardWeights
from ml.envs.episodes.drawn import EpisodePlan
from ml.envs.scoring.reward import TERMS, fill_terms
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
        self._weights = np.array([getattr(config.reward, term) for term in TERMS])
        self._rules = Rules(round(config.episode_s / DT_S), road_length_m, config.stop_at_collision)
        self.tracker = EpisodeTracker(num_envs, self._weights)
        self.wrecked, self.needless = np.zeros((2, num_envs), dtype=bool)

    def set_reward_weights(self, weights: RewardWeights) -> None:
        """Weigh the reward's terms in another way from now on."""
        self.tracker.set_weights(np.array([getattr(weights, name) for name in TERMS]))

    def reset(self, rows: Ints, start: GroundTruth) -> None:
        """Begin new episodes in the given convoys, whose rows `start` has."""
        self.wrecked[rows] = False
        self.tracker.reset(rows, start)

    def tick(
        self,
        truth: GroundTruth,
        expected: Bools,
        tick: Ints,
        plan: EpisodePlan,
        time_gap_s: Floats,
        withheld_mps2: Floats,
    ) -> tuple[Ints, Floats]:
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
        status, reward = np.empty(tick.size, np.int64), np.empty(tick.size)
        _judge(
            truth,
            expected,
            tick,
            self._rules,
            (plan.brake_slot, plan.onset_tick, plan.release_tick),
            self._weights,
            time_gap_s,
            withheld_mps2,
            self.tracker.begin_tick(),
            self.wrecked,
            (status, reward, self.needless),
        )
        return status, reward


@compiled
def _judge(
    truth: GroundTruth,
    expected: Bools,
    tick: Ints,
    rules: Rules,
    brakings: tuple[Ints, Ints, Ints],
    weights: Floats,
    time_gap_s: Floats,
    withheld_mps2: Floats,
    memory: Memory,
    wrecked: Bools,
    found: tuple[Ints, Floats, Bools],
) -> None:
    """Fill the last one and update the two before; see `Judge.tick`."""
    (slot, onset_tick, release_tick), (status, reward, needless) = brakings, found
    decide_status(truth, expected, tick, rules, status)
    num_envs = tick.size
    terms = np.empty((num_envs, weights.size))
    braking, collided = np.empty((2, num_envs), dtype=np.bool_)
    for e in range(num_envs):
        begun = tick[e] - 1  # commands were given before the tick was counted
        braking[e] = slot[e] > 0 and onset_tick[e] <= begun < release_tick[e]
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
