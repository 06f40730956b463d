"""How long a frame is on its way: a constant and a log-normal tail."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.espnow_emulator.in_flight import NEVER_US
from ml.keyed_random import extend_one, normal_pair_one

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.espnow_emulator.radio_parameters import LatencyParameters


class LogNormalLatency:
    """Draws the latency of every frame on every link, base + median · exp(sigma · normal).

    Args:
        parameters: See `LatencyParameters` for what they rest on.
        num_envs: E.
    """

    def __init__(self, parameters: LatencyParameters, num_envs: int) -> None:
        self._base_us = np.full(num_envs, parameters.base_ms * 1000.0)
        self._median_us = np.full(num_envs, parameters.tail_median_ms * 1000.0)
        self._sigma = np.full(num_envs, parameters.tail_sigma)

    def reset(
        self,
        env_indices: NDArray[np.int64],
        base_ms: NDArray[np.float64],
        tail_median_ms: NDArray[np.float64],
        tail_sigma: NDArray[np.float64],
    ) -> None:
        """Set the parameters of the given convoys for an episode, (K,) each."""
        self._base_us[env_indices] = base_ms * 1000.0
        self._median_us[env_indices] = tail_median_ms * 1000.0
        self._sigma[env_indices] = tail_sigma

    def arrivals_us(
        self,
        keys: NDArray[np.uint64],
        sequence: NDArray[np.int64],
        sent_us: NDArray[np.int64],
        lost: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Say when each frame arrives.

        Args:
            keys: (E, R, S) uint64 of the links.
            sequence: (E, S) int64, the frames' numbers.
            sent_us: (E, S) int64.
            lost: (E, R, S) bool.

        Returns:
            (E, R, S) int64, true time; NEVER_US where the frame is lost.
        """
        arrival_us = np.empty(keys.shape, dtype=np.int64)
        _fly(keys, sequence, sent_us, lost, self._base_us, self._median_us, self._sigma, arrival_us)
        return arrival_us


@compiled
def _fly(
    keys: NDArray[np.uint64],
    sequence: NDArray[np.int64],
    sent_us: NDArray[np.int64],
    lost: NDArray[np.bool_],
    base_us: NDArray[np.float64],
    median_us: NDArray[np.float64],
    sigma: NDArray[np.float64],
    arrival_us: NDArray[np.int64],
) -> None:
    """Fill `arrival_us`; arguments as for `LogNormalLatency.arrivals_us`, parameters (E,)."""
    for e in range(keys.shape[0]):
        for r in range(keys.shape[1]):
            for s in range(keys.shape[2]):
                if lost[e, r, s]:
                    arrival_us[e, r, s] = NEVER_US
                    continue
                spread, _ = normal_pair_one(extend_one(keys[e, r, s], sequence[e, s]))
                latency_us = math.exp(spread * sigma[e]) * median_us[e] + base_us[e]
                arrival_us[e, r, s] = sent_us[e, s] + np.int64(np.rint(latency_us))
