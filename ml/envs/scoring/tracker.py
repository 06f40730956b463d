"""What is remembered of each running episode, and what is said of it when it ends."""

from typing import NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.compiled import compiled
from ml.envs.config import KINDS
from ml.envs.episodes.drawn import EpisodePlan
from ml.envs.scoring.metrics import BRAKING_MPS2
from ml.envs.scoring.reward import TERMS
from ml.envs.scoring.termination import EpisodeStatus
from ml.envs.truth.ground_truth import GroundTruth
from ml.vehicle import DT_S, HEADWAY_SPEED_MPS

_TOTALS = ("headway_s", "headway_ticks", "distance_m", "braking_ticks", "ticks", "false_brakes",
           "min_gap_m", "max_decel_mps2")  # fmt: skip
(_HEADWAY_S, _HEADWAY_TICKS, _DISTANCE_M, _BRAKING_TICKS, _TICKS, _FALSE_BRAKES, _MIN_GAP_M,
 _MAX_DECEL_MPS2) = range(len(_TOTALS))  # fmt: skip

EpisodeSummary = dict[str, float | int | str | bool]


class Memory(NamedTuple):
    """What `record_tick` adds a tick to."""

    terms: Floats
    """(num_envs, 8), sums over the running episode; so is the next."""
    firing: Floats
    """(num_envs, 8), ticks in which a term is not 0."""
    totals: Floats
    """(num_envs, 8), a column for each of `_TOTALS`."""
    was_needless: Bools
    """(num_envs,), of the tick before."""
    hardest_mps2: Floats
    """(num_envs,), the ego's hardest braking since the onset of a benign slowing."""
    peer_hardest_mps2: Floats
    """(num_envs,), the same of the peer that slows."""
    window: Floats
    """(2, 8), terms and firing, summed over the batch since the last report."""


class EpisodeTracker:
    """Sums over each running episode, up to its crash, and over the ticks since the last report.

    Metrics are those of `ml.envs.scoring.metrics`.
    """

    def __init__(self, num_envs: int, weights: Floats) -> None:
        self._weights = weights
        self._memory = Memory(
            terms=np.zeros((num_envs, len(TERMS))),
            firing=np.zeros((num_envs, len(TERMS))),
            totals=np.zeros((num_envs, len(_TOTALS))),
            was_needless=np.zeros(num_envs, dtype=bool),
            hardest_mps2=np.zeros(num_envs),
            peer_hardest_mps2=np.zeros(num_envs),
            window=np.zeros((2, len(TERMS))),
        )
        # By how much more was paid under earlier weights, per term; 0 without a curriculum.
        self._paid_otherwise = np.zeros((num_envs, len(TERMS)))
        self._window_ticks = 0

    def reset(self, rows: Ints, start: GroundTruth) -> None:
        """Begin new episodes in the given convoys, whose rows `start` has."""
        for sums in self._memory[:-1]:
            sums[rows] = 0
        self._paid_otherwise[rows] = 0.0
        totals, speed_mps = self._memory.totals, start.speed_mps[:, 0]
        moving = speed_mps > HEADWAY_SPEED_MPS
        headway_s = start.gap_m / np.maximum(speed_mps, HEADWAY_SPEED_MPS)
        totals[rows, _HEADWAY_S] = np.where(moving, headway_s, 0.0)
        totals[rows, _HEADWAY_TICKS] = moving
        totals[rows, _MIN_GAP_M] = start.gap_m

    def set_weights(self, weights: Floats) -> None:
        """Weigh the terms in another way, (8,), from the next tick on."""
        self._paid_otherwise += self._memory.terms * (self._weights - weights)
        self._weights[:] = weights

    def begin_tick(self) -> Memory:
        """Count a tick of the whole batch and return what `record_tick` adds it to."""
        self._window_ticks += self._memory.was_needless.size
        return self._memory

    def summary(
        self, row: int, plan: EpisodePlan, status: int, tick: int, episode: int
    ) -> EpisodeSummary:
        """Describe the episode that ends in convoy `row`."""
        totals = dict(zip(_TOTALS, self._memory.totals[row].tolist(), strict=True))
        terms, paid = self._memory.terms[row], self._paid_otherwise[row]
        moving = totals["headway_ticks"] > 0
        summary: EpisodeSummary = {
            "episode": episode,
            "kind": KINDS[int(plan.kind[row])],
            "num_peers": int(plan.num_peers[row]),
            "brake_rank": int(plan.brake_slot[row]),
            "status": EpisodeStatus(status).name.lower(),
            "invalid": EpisodeStatus(status).is_invalid,
            "collision": totals["min_gap_m"] <= 0.0,
            "return": float(terms @ self._weights) + float(paid.sum()),
            "duration_s": tick * DT_S,
            "distance_m": totals["distance_m"],
            "headway_s": totals["headway_s"] / totals["headway_ticks"] if moving else float("nan"),
            "false_brakes": int(totals["false_brakes"]),
            "braking_share": totals["braking_ticks"] / max(totals["ticks"], 1.0),
            "min_gap_m": totals["min_gap_m"],
            "max_decel_mps2": totals["max_decel_mps2"],
        }
        for i, name in enumerate(TERMS):
            summary[f"reward_{name}"] = float(terms[i] * self._weights[i] + paid[i])
            summary[f"firing_{name}"] = float(self._memory.firing[row, i])
        return summary

    def drain(self) -> dict[str, float]:
        """Mean of each weighted term per tick, and its firing rate, since the last call."""
        window = self._memory.window
        means, firing = window / max(self._window_ticks, 1)
        report = {
            f"reward/{name}": float(m) for name, m in zip(TERMS, means * self._weights, strict=True)
        }
        report |= {f"reward_firing/{name}": float(f) for name, f in zip(TERMS, firing, strict=True)}
        window[:] = 0.0
        self._window_ticks = 0
        return report


@compiled
def record_tick(
    truth: GroundTruth, terms: Floats, needless: Bools, over: Bools, memory: Memory
) -> None:
    """Add a tick of the whole batch.

    Args:
        truth: The batch after the tick.
        terms: (num_envs, 8), as `fill_terms` fills them.
        needless: (num_envs,), the same.
        over: (num_envs,), whose ego has crashed in an earlier tick.
        memory: Updated.
    """
    totals, window = memory.totals, memory.window
    for e in range(needless.size):
        for t in range(terms.shape[1]):
            window[0, t] += terms[e, t]
            window[1, t] += terms[e, t] != 0.0
        if over[e]:
            continue
        for t in range(terms.shape[1]):
            memory.terms[e, t] += terms[e, t]
            memory.firing[e, t] += terms[e, t] != 0.0
        speed, accel, gap = truth.speed_mps[e, 0], truth.accel_mps2[e, 0], truth.gap_m[e]
        if speed > HEADWAY_SPEED_MPS:
            totals[e, _HEADWAY_S] += gap / speed
            totals[e, _HEADWAY_TICKS] += 1.0
        totals[e, _DISTANCE_M] += (speed - 0.5 * DT_S * accel) * DT_S
        totals[e, _MIN_GAP_M] = max(min(totals[e, _MIN_GAP_M], gap), 0.0)
        # An event begins where needless braking does.
        totals[e, _FALSE_BRAKES] += needless[e] and not memory.was_needless[e]
        memory.was_needless[e] = needless[e]
        if gap > 0.0:  # what the impact did is not the driver's
            totals[e, _TICKS] += 1.0
            totals[e, _BRAKING_TICKS] += accel < -BRAKING_MPS2
            totals[e, _MAX_DECEL_MPS2] = max(totals[e, _MAX_DECEL_MPS2], -accel)
