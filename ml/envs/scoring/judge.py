"""What a tick was worth and whether it was the last, for the whole batch in one compiled loop."""

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.compiled import compiled
from ml.envs.config import EnvConfig, RewardWeights
from ml.envs.episodes.drawn import BENIGN, HAZARD, EpisodePlan
from ml.envs.scoring.metrics import overreaction_share
from ml.envs.scoring.reward import TERMS, fill_terms
from ml.envs.scoring.termination import EpisodeStatus, Rules, decide_status
from ml.envs.scoring.tracker import EpisodeTracker, Memory, record_tick
from ml.envs.truth.escape import would_escape
from ml.envs.truth.ground_truth import GroundTruth
from ml.envs.truth.lanes import car_in_front
from ml.envs.truth.reference_driver import ReferenceArrays
from ml.vehicle import DT_S

# What a compiled loop reads must be a plain number.
_COLLISION, _HAZARD, _BENIGN = int(EpisodeStatus.COLLISION), int(HAZARD), int(BENIGN)
_SAFETY, _COLLISION_TERM = TERMS.index("safety"), TERMS.index("collision")


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
        cost: (num_envs,) float64 in [0, 2], how dangerous the last tick was: what the reward's
            terms `safety` and `collision` charge, without their weights.
    """

    def __init__(self, config: EnvConfig, num_envs: int, road_length_m: float) -> None:
        self._weights = np.array([getattr(config.reward, term) for term in TERMS])
        self._rules = Rules(round(config.episode_s / DT_S), road_length_m, config.stop_at_collision)
        self.tracker = EpisodeTracker(num_envs, self._weights)
        self.wrecked, self.needless = np.zeros((2, num_envs), dtype=bool)
        self.cost = np.zeros(num_envs)

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
        reference: ReferenceArrays,
        time_gap_s: Floats,
        withheld_mps2: Floats,
    ) -> tuple[Ints, Floats]:
        """Judge a tick.

        Args:
            truth: Ground truth of the batch.
            expected: (num_envs, num_slots) bool, cars that must be there.
            tick: (num_envs,) int64 ticks since reset, this one included.
            plan: The episodes' plans; a planned braking is cause enough for the ego to brake.
            reference: The reference egos after the tick; a crash of theirs is not charged.
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
            plan,
            reference,
            self._weights,
            time_gap_s,
            withheld_mps2,
            self.tracker.begin_tick(),
            self.wrecked,
            (status, reward, self.needless, self.cost),
        )
        return status, reward


@compiled
def _judge(
    truth: GroundTruth,
    expected: Bools,
    tick: Ints,
    rules: Rules,
    plan: EpisodePlan,
    reference: ReferenceArrays,
    weights: Floats,
    time_gap_s: Floats,
    withheld_mps2: Floats,
    memory: Memory,
    wrecked: Bools,
    found: tuple[Ints, Floats, Bools, Floats],
) -> None:
    """Fill the last one and update the two before; see `Judge.tick`."""
    status, reward, needless, cost = found
    decide_status(truth, expected, tick, rules, status)
    num_envs = tick.size
    terms, overreacted = np.empty((num_envs, weights.size)), np.zeros(num_envs)
    braking, charged, calm, over = np.zeros((4, num_envs), dtype=np.bool_)
    for e in range(num_envs):
        begun = tick[e] - 1  # commands were given before the tick was counted
        since_onset = plan.brake_slot[e] > 0 and plan.onset_tick[e] <= begun
        braking[e] = since_onset and begun < plan.release_tick[e]
        calm[e] = plan.kind[e] != _HAZARD
        over[e] = wrecked[e]
        if rules.stop_at_collision:
            collided = status[e] == _COLLISION
        else:
            collided = truth.gap_m[e] <= 0.0 and not wrecked[e]
            wrecked[e] |= collided
        charged[e] = collided and _avoidable(truth, plan, reference, e)
        if since_onset and plan.kind[e] == _BENIGN and not (collided or wrecked[e]):
            own, peer = memory.hardest_mps2[e], memory.peer_hardest_mps2[e]
            before = overreaction_share(own - max(peer, plan.brake_mps2[e]))
            # Whoever slows may brake harder later, as it follows somebody itself.
            memory.hardest_mps2[e] = own = max(own, -truth.accel_mps2[e, 0])
            peer = max(peer, -truth.accel_mps2[e, plan.brake_slot[e]])
            memory.peer_hardest_mps2[e] = peer
            now = overreaction_share(own - max(peer, plan.brake_mps2[e]))
            overreacted[e] = now - before
    fill_terms(
        truth, time_gap_s, withheld_mps2, braking, charged, calm, overreacted, terms, needless
    )
    record_tick(truth, terms, needless, over, memory)
    # Not a matrix product, whose rounding may depend on the batch's size.
    for e in range(num_envs):
        cost[e] = abs(terms[e, _SAFETY] + terms[e, _COLLISION_TERM])
        reward[e] = terms[e, 0] * weights[0]
        for t in range(1, weights.size):
            reward[e] += terms[e, t] * weights[t]


@compiled
def _avoidable(truth: GroundTruth, plan: EpisodePlan, reference: ReferenceArrays, e: int) -> bool:
    """Whether the reference ego of convoy `e` has not crashed, and need not."""
    if reference.collided[e]:
        return False
    if plan.kind[e] != _HAZARD:
        return True
    lead = car_in_front(truth.route_pos_m, truth.lateral_m, e, reference.route_pos_m[e])
    return would_escape(
        reference.gap_m[e],
        reference.speed_mps[e],
        reference.accel_mps2[e],
        (truth.speed_mps[e, lead], truth.accel_mps2[e, lead], plan.final_speed_mps[e]),
    )
