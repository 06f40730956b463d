"""A position that stands still between two fixes, and comes late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.sensors.sensor_parameters import TICK_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.sensors.sensor_parameters import PositionParameters


class PositionHold:
    """Sample and hold: a fix every period, reported after a delay, kept until the next report.

    Every vehicle has its fixes at a phase of its own. Until its first report of an episode a
    vehicle keeps the position that it had at the start.

    Args:
        parameters: Period and delay.
        num_envs: E.
        num_vehicles: V.
    """

    def __init__(self, parameters: PositionParameters, num_envs: int, num_vehicles: int) -> None:
        self._period = round(parameters.hold_period_s / TICK_S)
        self._delay = round(parameters.hold_delay_s / TICK_S)
        self._phase = np.zeros((num_envs, num_vehicles), dtype=np.int64)
        self._fix_m = np.zeros((2, num_envs, num_vehicles))
        self._reported_m = np.zeros((2, num_envs, num_vehicles))

    def reset(self, env_indices: NDArray[np.int64], draw: NDArray[np.float64]) -> None:
        """Set the phases of an episode from uniform draws (K, V)."""
        self._phase[env_indices] = np.floor(draw * self._period).astype(np.int64)

    def start(self, env_indices: NDArray[np.int64], position_m: NDArray[np.float64]) -> None:
        """Begin an episode with positions (2, K, V)."""
        self._fix_m[:, env_indices] = position_m
        self._reported_m[:, env_indices] = position_m

    def update(
        self, tick: NDArray[np.int64], position_m: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return what is reported at a tick (E,), given what a fix at it would say (2, E, V)."""
        since_fix = (tick[:, None] - self._phase) % self._period
        np.copyto(self._fix_m, position_m, where=since_fix == 0)
        np.copyto(self._reported_m, self._fix_m, where=since_fix == self._delay)
        return self._reported_m.copy()
