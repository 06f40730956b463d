"""What is remembered of each running episode, and what is said of it when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.envs.actuation import DT_S
from ml.envs.config import KINDS
from ml.envs.reward import FALSE_BRAKE_MPS2, TERMS, has_cause_to_brake
from ml.envs.termination import EpisodeStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.envs.config import RewardWeights
    from ml.envs.episodes import EpisodePlan
    from ml.envs.ground_truth import GroundTruth

_HEADWAY_SPEED_MPS = 5.0
"""Time headway is averaged above this speed; below it the standstill distance decides."""


class EpisodeTracker:
    """Sums over each running episode, and over the ticks since the last report."""

    def __init__(self, num_envs: int, weights: RewardWeights) -> None:
        self._weights = np.array([getattr(weights, name) for name in TERMS])
        self._terms = np.zeros((num_envs, len(TERMS)))
        self._sums = {
            name: np.zeros(num_envs)
            for name in (
                "headway_s",
                "headway_ticks",
                "distance_m",
                "braking_ticks",
                "false_brakes",
            )
        }
        self._min_gap_m = np.full(num_envs, np.inf)
        self._max_braking = np.zeros(num_envs)
        self._was_false = np.zeros(num_envs, dtype=bool)
        self._window = np.zeros(len(TERMS))
        self._fired = np.zeros(len(TERMS))
        self._window_ticks = 0

    def reset(self, rows: NDArray[np.int64]) -> None:
        """Begin new episodes in the given convoys."""
        self._terms[rows] = 0.0
        for values in self._sums.values():
            values[rows] = 0.0
        self._min_gap_m[rows] = np.inf
        self._max_braking[rows] = 0.0
        self._was_false[rows] = False

    def record(
        self,
        terms: dict[str, NDArray[np.float64]],
        truth: GroundTruth,
        braking_now: NDArray[np.bool_],
    ) -> None:
        """Add a tick of the whole batch."""
        stacked = np.stack([terms[name] for name in TERMS], axis=1)
        self._terms += stacked
        self._window += stacked.sum(axis=0)
        self._fired += (stacked != 0.0).sum(axis=0)
        self._window_ticks += stacked.shape[0]

        speed, accel = truth.speed_mps[:, 0], truth.accel_mps2[:, 0]
        fast = speed > _HEADWAY_SPEED_MPS
        hard = accel < -FALSE_BRAKE_MPS2
        false = hard & ~has_cause_to_brake(truth, braking_now)
        sums = self._sums
        sums["headway_s"] += np.where(fast, truth.gap_m / np.maximum(speed, 1.0), 0.0)
        sums["headway_ticks"] += fast
        sums["distance_m"] += speed * DT_S
        sums["braking_ticks"] += hard
        sums["false_brakes"] += false & ~self._was_false
        self._was_false = false
        np.minimum(self._min_gap_m, truth.gap_m, out=self._min_gap_m)
        np.maximum(self._max_braking, -accel, out=self._max_braking)

    def summary(
        self, row: int, plan: EpisodePlan, status: int, tick: int, episode: int
    ) -> dict[str, float | int | str | bool]:
        """Describe the episode that ends in convoy `row`."""
        sums = {name: float(values[row]) for name, values in self._sums.items()}
        moving = sums["headway_ticks"] > 0
        summary: dict[str, float | int | str | bool] = {
            "episode": episode,
            "kind": KINDS[int(plan.kind[row])],
            "num_peers": int(plan.num_peers[row]),
            "brake_rank": int(plan.brake_slot[row]),
            "status": EpisodeStatus(status).name.lower(),
            "invalid": EpisodeStatus(status).is_invalid,
            "collision": status == EpisodeStatus.COLLISION,
            "return": float(self._terms[row] @ self._weights),
            "duration_s": tick * DT_S,
            "distance_m": sums["distance_m"],
            "time_headway_s": sums["headway_s"] / sums["headway_ticks"] if moving else float("nan"),
            "false_brakes": int(sums["false_brakes"]),
            "braking_share": sums["braking_ticks"] / max(tick, 1),
            "min_gap_m": float(self._min_gap_m[row]),
            "max_braking_mps2": float(self._max_braking[row]),
        }
        for i, name in enumerate(TERMS):
            summary[f"reward_{name}"] = float(self._terms[row, i] * self._weights[i])
        return summary

    def drain(self) -> dict[str, float]:
        """Mean of each weighted term per tick, and its firing rate, since the last call."""
        ticks = max(self._window_ticks, 1)
        report = {
            f"reward/{name}": float(self._window[i] * self._weights[i] / ticks)
            for i, name in enumerate(TERMS)
        }
        report |= {
            f"reward_firing/{name}": float(self._fired[i] / ticks) for i, name in enumerate(TERMS)
        }
        self._window[:] = 0.0
        self._fired[:] = 0.0
        self._window_ticks = 0
        return report
