"""When each node sends: once per interval of 100 ms, at a phase of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ml.compiled import elementwise
from ml.keyed_random import Stream, fold, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.espnow_emulator.radio_parameters import RadioParameters

BEACON_PERIOD_US: Final = 100_000


class BeaconSchedule:
    """The sampling times of all sources.

    Args:
        parameters: Of the radio; its section `beacon` fixes the phase or leaves it to be drawn.
        num_envs: E.
        num_sources: S.

    Attributes:
        phase_us: (E, S) int64 in [0, 100,000), constant over an episode.
    """

    def __init__(self, parameters: RadioParameters, *, num_envs: int, num_sources: int) -> None:
        self._parameters = parameters.beacon
        self.phase_us: NDArray[np.int64] = np.zeros((num_envs, num_sources), np.int64)

    def reset(
        self,
        env_indices: NDArray[np.int64],
        episode_keys: NDArray[np.uint64],
        *,
        source_keys: NDArray[np.int64] | None = None,
    ) -> None:
        """Draw the phases of an episode.

        Args:
            env_indices: (K,) which convoys.
            episode_keys: (K,) uint64.
            source_keys: (S,) or (K, S) integers that name the sources; 1, 2, ... (the vehicle
                slots of the peers) if left out.
        """
        if source_keys is None:
            source_keys = np.arange(1, self.phase_us.shape[1] + 1)
        if self._parameters.phase_ms is not None:
            self.phase_us[env_indices] = round(self._parameters.phase_ms * 1000.0)
            return
        key = fold(episode_keys[:, None], Stream.BEACON_PHASE, source_keys)
        self.phase_us[env_indices] = np.floor(uniform(key) * BEACON_PERIOD_US).astype(np.int64)

    def generated_us(self, tick: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return when the beacons handed over at a tick were sampled.

        Args:
            tick: (E,) int64, the tick k that was just simulated.

        Returns:
            (E, S) int64: (k - 1) * 100,000 + phase, in true time of the episode.
        """
        return _generated_us(tick[:, None], self.phase_us)


@elementwise("int64(int64, int64)")
def _generated_us(tick: int, phase_us: int) -> int:
    return (tick - 1) * BEACON_PERIOD_US + phase_us
