"""A sensor at the ego's front that measures the distance to the car ahead; off by default."""

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words
from ml.keyed_random import Stream, extend, fold, normal
from ml.sensors.parameters import RangingParameters


class RangingSensor:
    """True gap plus white noise, once per tick, as far as the sensor sees.

    Bends, slopes and cars of other lanes do not disturb it.

    Args:
        parameters: Of the sensor.
        num_envs: E.

    Attributes:
        range_m: (E,) float64, the newest measurement, never below 0; 0 where it is not valid.
        is_valid: (E,) bool, whether there is one.
    """

    def __init__(self, parameters: RangingParameters, *, num_envs: int) -> None:
        self._parameters = parameters
        self._keys = np.zeros(num_envs, dtype=np.uint64)
        self.range_m: Floats = np.zeros(num_envs)
        self.is_valid: Bools = np.zeros(num_envs, dtype=bool)

    def reset(self, env_indices: Ints, episode_keys: Words) -> None:
        """Begin an episode in convoys (K,) with keys (K,); nothing is measured yet."""
        self._keys[env_indices] = fold(episode_keys, Stream.RANGING)
        self.range_m[env_indices] = 0.0
        self.is_valid[env_indices] = False

    def measure(self, env_indices: Ints, tick: Ints, gap_m: Floats) -> None:
        """Measure in the given convoys.

        Args:
            env_indices: (K,) which convoys.
            tick: (K,) int64, ticks since reset.
            gap_m: (K,) float64, true distance from the ego's front to the rear of the car ahead;
                infinite if there is none.
        """
        if not self._parameters.enabled:
            return
        noise_m = self._parameters.sd_m * normal(extend(self._keys[env_indices], tick))
        seen = gap_m <= self._parameters.max_range_m
        self.is_valid[env_indices] = seen
        self.range_m[env_indices] = np.where(seen, np.maximum(gap_m + noise_m, 0.0), 0.0)
