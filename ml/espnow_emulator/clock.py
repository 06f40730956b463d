"""The clock of each board, and when it sends by that clock: once per 100 ms, at its own phase."""

from typing import Final

import numpy as np

from ml.arrays import Floats, Ints, Words
from ml.compiled import compiled, elementwise
from ml.espnow_emulator.parameters.radio import RadioParameters
from ml.keyed_random import Stream, extend_one, fold, normal, uniform, uniform_one

BEACON_PERIOD_US: Final = 100_000


class NodeClocks:
    """One clock per node and convoy, drawn anew for each episode.

    A clock shows `offset_ms + floor(t (1 + drift) / 1000)` at true time t in µs, in exact integer
    arithmetic but for the drift. The offset is a whole number of milliseconds, so that nothing
    which a board computes from differences of its own readings depends on it.

    Args:
        parameters: Of the radio; its section `clock` gives the spread of offsets and drifts.
        num_envs: E.
        num_nodes: N.

    Attributes:
        offset_ms: (E, N) int64.
        drift_ppm: (E, N) float64; positive runs fast.
    """

    def __init__(self, parameters: RadioParameters, *, num_envs: int, num_nodes: int) -> None:
        self._parameters = parameters.clock
        self.offset_ms: Ints = np.zeros((num_envs, num_nodes), np.int64)
        self.drift_ppm: Floats = np.zeros((num_envs, num_nodes))

    def reset(
        self,
        env_indices: Ints,
        episode_keys: Words,
        *,
        node_keys: Ints | None = None,
    ) -> None:
        """Draw the clocks of an episode.

        Args:
            env_indices: (K,) which convoys.
            episode_keys: (K,) uint64.
            node_keys: (N,) or (K, N) integers that name the nodes: the same key, the same clock.
                default: 0, 1, ... (the vehicle slots); the ego is 0.
        """
        if node_keys is None:
            node_keys = np.arange(self.offset_ms.shape[1])
        key = fold(episode_keys[:, None], Stream.CLOCK, node_keys)
        span_ms = self._parameters.offset_range_s * 1000.0
        limit = self._parameters.drift_limit_ppm
        drift = normal(fold(key, 1)) * self._parameters.drift_sd_ppm
        self.offset_ms[env_indices] = np.floor(uniform(key) * span_ms).astype(np.int64)
        self.drift_ppm[env_indices] = np.clip(drift, -limit, limit)

    def local_ms(self, t_us: Ints) -> Ints:
        """Return what each clock shows at a true time.

        Args:
            t_us: True time, (E,) or (E, N, ...) int64.

        Returns:
            (E, N, ...) int64, floored.
        """
        if t_us.ndim == 1:
            t_us = t_us[:, None]
        shape = (*self.offset_ms.shape, *(1,) * (t_us.ndim - 2))
        return _local_ms(t_us, self.drift_ppm.reshape(shape), self.offset_ms.reshape(shape))


class BeaconSchedule:
    """The sampling times of all nodes.

    Args:
        parameters: Of the radio; its section `beacon` fixes the phase or leaves it to be drawn.
        clocks: Of the nodes, (E, N): a fast clock moves its node's beacons forward.

    Attributes:
        phase_us: (E, N) int64 in [0, 100,000), at the beginning of the episode.
    """

    def __init__(self, parameters: RadioParameters, clocks: NodeClocks) -> None:
        self._parameters = parameters.beacon
        self._clocks = clocks
        self._jitter_us = parameters.beacon.jitter_ms * 1000.0
        nodes = clocks.offset_ms.shape
        self.phase_us: Ints = np.zeros(nodes, np.int64)
        self._jitter_key = np.zeros(nodes, np.uint64)

    def reset(self, env_indices: Ints, episode_keys: Words) -> None:
        """Draw the phases of an episode in convoys (K,) with keys (K,)."""
        episode, slots = episode_keys[:, None], np.arange(self.phase_us.shape[1])
        self._jitter_key[env_indices] = fold(episode, Stream.BEACON_JITTER, slots)
        if self._parameters.phase_ms is not None:
            self.phase_us[env_indices] = round(self._parameters.phase_ms * 1000.0)
            return
        key = fold(episode, Stream.BEACON_PHASE, slots)
        self.phase_us[env_indices] = np.floor(uniform(key) * BEACON_PERIOD_US).astype(np.int64)

    def generated_us(self, tick: Ints) -> Ints:
        """Return when the beacons handed over at a tick were sampled.

        Args:
            tick: (E,) int64, the tick k that was just simulated.

        Returns:
            (E, N) int64, true time of the episode: (k - 1) * 100,000 + phase, less what the
            node's clock has gained (a millisecond in 50 s at most), plus a jitter of its own for
            each beacon; held within the tick, [(k - 1) * 100,000, k * 100,000 - 1], so that each
            node sends exactly once per tick.
        """
        generated_us = np.empty(self.phase_us.shape, np.int64)
        drift_ppm, jitter = self._clocks.drift_ppm, (self._jitter_us, self._jitter_key)
        _fill_times(tick, self.phase_us, drift_ppm, jitter, generated_us)
        return generated_us


@compiled
def _fill_times(
    tick: Ints,
    phase_us: Ints,
    drift_ppm: Floats,
    jitter: tuple[float, Words],
    generated_us: Ints,
) -> None:
    """Fill `generated_us` (E, N); see `BeaconSchedule.generated_us`."""
    jitter_us, jitter_key = jitter
    for e in range(phase_us.shape[0]):
        begin_us = (tick[e] - 1) * BEACON_PERIOD_US
        for n in range(phase_us.shape[1]):
            gained_us = np.int64(np.rint(drift_ppm[e, n] * 1e-6 * begin_us))
            t_us = begin_us + phase_us[e, n] - gained_us
            if jitter_us > 0.0:
                t_us += np.int64(uniform_one(extend_one(jitter_key[e, n], tick[e])) * jitter_us)
            generated_us[e, n] = min(max(t_us, begin_us), begin_us + BEACON_PERIOD_US - 1)


@compiled
def elapsed_one_ms(t_us: int, drift_ppm: float) -> int:
    """How far one clock has moved on since true time 0, floored, inside a compiled loop."""
    correction_us = np.rint(t_us * (drift_ppm * 1e-6))
    return int(t_us + np.int64(correction_us)) // 1000


@elementwise("int64(int64, float64, int64)")
def _local_ms(t_us: int, drift_ppm: float, offset_ms: int) -> int:
    return offset_ms + elapsed_one_ms(t_us, drift_ppm)
