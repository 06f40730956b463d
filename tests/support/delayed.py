"""A controller whose commands take effect later, as a slow vehicle's do."""

from __future__ import annotations

import numpy as np


class Delayed:
    """A law around another one.

    Args:
        inner: The law.
        ticks: How much later, in ticks of 0.1 s; until then an episode's speed is held.
    """

    def __init__(self, inner, ticks):
        self.inner = inner
        self.name = f"{inner.name}, {ticks} ticks late"
        self.standstill_m, self.time_gap_s = inner.standstill_m, inner.time_gap_s
        self.knows = inner.knows
        self._pending = np.zeros((ticks, 0))

    def reset(self, rows, num_envs):
        """Forget the commands of these convoys that are still to come."""
        self.inner.reset(rows, num_envs)
        if self._pending.shape[1] != num_envs:
            self._pending = np.zeros((self._pending.shape[0], num_envs))
        self._pending[:, rows] = 0.0

    def act(self, peers, ego):
        """Return what the law inside decided some ticks ago."""
        queue = np.concatenate([self._pending, self.inner.act(peers, ego)[None]])
        self._pending = queue[1:]
        return queue[0]
