"""What is remembered of each running episode, and what is said of it when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.envs.config import KINDS
from ml.envs.scoring.reward import FALSE_BRAKE_MPS2, TERMS
from ml.envs.scoring.termination import EpisodeStatus
from ml.vehicle import DT_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.envs.episodes.drawn import EpisodePlan

    Memory = tuple[
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.float64],
    ]

_HEADWAY_SPEED_MPS = 5.0
"""Time headway is averaged above this speed; below it the standstill distance decides."""

_SUMS = ("headway_s", "headway_ticks", "distance_m", "braking_ticks", "false_brakes")
_HEADWAY_S, _HEADWAY_TICKS, _DISTANCE_M, _BRAKING_TICKS, _FALSE_BRAKES = range(len(_SUMS))


class EpisodeTracker:
    """Sums over each running episode, and over the ticks since the last report."""

    def __init__(self, num_envs: int, weights: NDArray[np.float64]) -> None:
        self._weights = weights
        self._terms = np.zeros((num_envs, len(TERMS)))
        self._firing = np.zeros((num_envs, len(TERMS)))
        self._sums = np.zeros((num_envs, len(_SUMS)))
        self._min_gap_m = np.full(num_envs, np.inf)
        self._max_braking = np.zeros(num_envs)
        self._was_needless = np.zeros(num_envs, dtype=bool)
        self._window = np.zeros((2, len(TERMS)))
        self._window_ticks = 0
        self._memory: Memory = (
            self._terms,
            self._firing,
            self._sums,
            self._min_gap_m,
            self._max_braking,
            self._was_needless,
            self._window,
        )

    def reset(self, rows: NDArray[np.int64]) -> None:
        """Begin new episodes in the given convoys."""
        self._terms[rows] = 0.0
        self._firing[rows] = 0.0
        self._sums[rows] = 0.0
        self._min_gap_m[rows] = np.inf
        self._max_braking[rows] = 0.0
        self._was_needless[rows] = False

    def begin_tick(self) -> Memory:
        """Count a tick of the whole batch and return what `record_tick` adds it to."""
        self._window_ticks += self._was_needless.size
        return self._memory

    def summary(
        self, row: int, plan: EpisodePlan, status: int, tick: int, episode: int
    ) -> dict[str, float | int | str | bool]:
        """Describe the episode that ends in convoy `row`."""
        sums = dict(zip(_SUMS, self._sums[row].tolist(), strict=True))
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
            summary[f"firing_{name}"] = float(self._firing[row, i])
        return summary

    def drain(self) -> dict[str, float]:
        """Mean of each weighted term per tick, and its firing rate, since the last call."""
        means, firing = self._window / max(self._window_ticks, 1)
        report = {
            f"reward/{name}": float(m) for name, m in zip(TERMS, means * self._weights, strict=True)
        }
        report |= {f"reward_firing/{name}": float(f) for name, f in zip(TERMS, firing, strict=True)}
        self._window[:] = 0.0
        self._window_ticks = 0
        return report


@compiled
def record_tick(
    terms: NDArray[np.float64],
    needless: NDArray[np.bool_],
    speed_mps: NDArray[np.float64],
    accel_mps2: NDArray[np.float64],
    gap_m: NDArray[np.float64],
    memory: Memory,
) -> None:
    """Add a tick of the whole batch; the first two as `fill_terms` fills them."""
    term_sums, firing, sums, min_gap_m, max_braking_mps2, was_needless, window = memory
    for e in range(needless.size):
        for t in range(terms.shape[1]):
            term_sums[e, t] += terms[e, t]
            window[0, t] += terms[e, t]
            firing[e, t] += terms[e, t] != 0.0
            window[1, t] += terms[e, t] != 0.0
        speed, accel = speed_mps[e, 0], accel_mps2[e, 0]
        if speed > _HEADWAY_SPEED_MPS:
            sums[e, _HEADWAY_S] += gap_m[e] / speed
            sums[e, _HEADWAY_TICKS] += 1.0
        sums[e, _DISTANCE_M] += speed * DT_S
        sums[e, _BRAKING_TICKS] += accel < -FALSE_BRAKE_MPS2
        # An event begins where needless braking does.
        sums[e, _FALSE_BRAKES] += needless[e] and not was_needless[e]
        was_needless[e] = needless[e]
        min_gap_m[e] = min(min_gap_m[e], gap_m[e])
        max_braking_mps2[e] = max(max_braking_mps2[e], -accel)
