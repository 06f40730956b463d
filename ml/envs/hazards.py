"""Commands to the peers: the planned braking, and the leader's slow changes of speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.envs.actuation import DT_S
from ml.keyed_random import Stream, fold, normal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.envs.episodes import EpisodePlan

_LEADER_PERIOD_TICKS = 10
_LEADER_SD = 0.015
_LEADER_TAU_S = 10.0
_LEADER_DECAY = float(np.exp(-_LEADER_PERIOD_TICKS * DT_S / _LEADER_TAU_S))


class PeerDirector:
    """Turns episode plans into per-tick commands for the peers of a batch."""

    def __init__(self, num_envs: int, num_slots: int) -> None:
        self._rows = np.arange(num_envs)
        self._slots = np.arange(num_slots)
        self._leader_noise = np.zeros(num_envs)
        self._leader_keys = np.zeros(num_envs, dtype=np.uint64)

    def reset(self, env_indices: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
        """Forget the leader's state of mind in the given convoys."""
        self._leader_keys[env_indices] = fold(keys, Stream.LEADER_SPEED)
        self._leader_noise[env_indices] = _LEADER_SD * normal(self._leader_keys[env_indices])

    @staticmethod
    def braking_now(plan: EpisodePlan, tick: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(num_envs,) bool: a planned braking (hazard or benign) is in progress."""
        return (plan.brake_slot > 0) & (tick >= plan.onset_tick) & (tick < plan.release_tick)

    def command(
        self,
        plan: EpisodePlan,
        tick: NDArray[np.int64],
        speed_mps: NDArray[np.float64],
        controlled: NDArray[np.bool_],
        command_mps: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Write this tick's commands for the peers.

        Args:
            plan: The batch's plans.
            tick: (num_envs,) int64, ticks since reset, before the step.
            speed_mps: (num_envs, num_slots) true speeds.
            controlled: (num_envs, num_slots) bool, written in columns 1 and up.
            command_mps: (num_envs, num_slots), written likewise.

        Returns:
            (num_envs, num_slots) float64 speed factors, NaN where unchanged.
        """
        braking = self.braking_now(plan, tick)
        is_braking = (self._slots == plan.brake_slot[:, None]) & braking[:, None]
        target = np.maximum(
            speed_mps - plan.brake_mps2[:, None] * DT_S,
            np.minimum(plan.final_speed_mps[:, None], speed_mps),
        )
        controlled[:, 1:] = is_braking[:, 1:]
        command_mps[:, 1:] = np.where(is_braking[:, 1:], target[:, 1:], np.nan)

        # An Ornstein–Uhlenbeck speed factor, renewed once a second.
        factor = np.full(speed_mps.shape, np.nan)
        renew = np.flatnonzero(tick % _LEADER_PERIOD_TICKS == 0)
        if renew.size:
            draw = normal(fold(self._leader_keys[renew], tick[renew]))
            fresh = _LEADER_SD * np.sqrt(1.0 - _LEADER_DECAY**2) * draw
            self._leader_noise[renew] = self._leader_noise[renew] * _LEADER_DECAY + fresh
            change = 1.0 + self._leader_noise[renew]
            factor[renew, plan.num_peers[renew]] = plan.leader_factor[renew] * change
        return factor
