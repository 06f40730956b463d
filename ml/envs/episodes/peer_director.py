"""Commands to the peers: the planned braking, and the leader's slow changes of speed."""

import math

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words
from ml.compiled import inlined
from ml.envs.episodes.drawn import EpisodePlan
from ml.keyed_random import Stream, extend_one, fold, normal, normal_pair_one
from ml.vehicle import DT_S

_LEADER_PERIOD_TICKS = 10
_LEADER_SD = 0.015
_LEADER_TAU_S = 10.0
_LEADER_DECAY = math.exp(-_LEADER_PERIOD_TICKS * DT_S / _LEADER_TAU_S)
_LEADER_FRESH_SD = _LEADER_SD * math.sqrt(1.0 - _LEADER_DECAY**2)


class PeerDirector:
    """Turns episode plans into per-tick commands for the peers of a batch.

    Args:
        limit_mps: The speed that a speed factor of 1 stands for (`Road.fastest_mps`).
        script_mps: (num_envs, num_slots, ticks) float64, the speed that a peer shall have at the
            end of each tick of its episode; NaN where the plan or SUMO drives it. `ticks` is 0
            where nothing is scripted. Kept, and changed where episodes begin.
    """

    def __init__(self, limit_mps: float, script_mps: Floats) -> None:
        self._limit_mps = limit_mps
        self._script_mps = script_mps
        num_envs = script_mps.shape[0]
        self._leader_noise = np.zeros(num_envs)
        self._leader_keys = np.zeros(num_envs, dtype=np.uint64)

    def reset(self, env_indices: Ints, keys: Words, script_mps: Floats) -> None:
        """Begin episodes in some convoys, (n,), whose rows `script_mps` has."""
        self._script_mps[env_indices] = script_mps
        self._leader_keys[env_indices] = fold(keys, Stream.LEADER_SPEED)
        self._leader_noise[env_indices] = _LEADER_SD * normal(self._leader_keys[env_indices])

    @staticmethod
    def braking_now(plan: EpisodePlan, tick: Ints) -> Bools:
        """(num_envs,) bool: a planned braking (hazard or benign) is in progress."""
        return (plan.brake_slot > 0) & (tick >= plan.onset_tick) & (tick < plan.release_tick)

    def command(
        self,
        plan: EpisodePlan,
        tick: Ints,
        speed_mps: Floats,
        controlled: Bools,
        command_mps: Floats,
    ) -> Floats:
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
        factor = np.empty(speed_mps.shape)
        _command(
            plan,
            tick,
            speed_mps,
            self._script_mps,
            self._limit_mps,
            self._leader_keys,
            self._leader_noise,
            controlled,
            command_mps,
            factor,
        )
        return factor


@inlined
def _command(
    plan: EpisodePlan,
    tick: Ints,
    speed_mps: Floats,
    script_mps: Floats,
    limit_mps: float,
    leader_keys: Words,
    leader_noise: Floats,
    controlled: Bools,
    command_mps: Floats,
    factor: Floats,
) -> None:
    """Fill the peers' columns of the last three; see `PeerDirector.command`."""
    for e in range(tick.size):
        factor[e, 0] = np.nan
        for v in range(1, speed_mps.shape[1]):
            controlled[e, v] = False
            command_mps[e, v] = factor[e, v] = np.nan
        v = plan.brake_slot[e]
        if v > 0 and plan.onset_tick[e] <= tick[e] < plan.release_tick[e]:
            speed = speed_mps[e, v]
            controlled[e, v] = True
            slowest_mps = min(plan.final_speed_mps[e], speed)
            command_mps[e, v] = max(speed - plan.brake_mps2[e] * DT_S, slowest_mps)
        if tick[e] < script_mps.shape[2]:
            for v in range(1, speed_mps.shape[1]):
                wanted_mps = script_mps[e, v, tick[e]]
                if not np.isnan(wanted_mps):
                    controlled[e, v] = True
                    command_mps[e, v] = wanted_mps
        if tick[e] % _LEADER_PERIOD_TICKS == 0:
            # An Ornstein–Uhlenbeck speed factor, renewed once a second.
            draw, _ = normal_pair_one(extend_one(leader_keys[e], tick[e]))
            leader_noise[e] = leader_noise[e] * _LEADER_DECAY + _LEADER_FRESH_SD * draw
            wish_mps = plan.leader_speed_mps[e] * (1.0 + leader_noise[e])
            factor[e, plan.num_peers[e]] = wish_mps / limit_mps
