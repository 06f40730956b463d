"""Cooperative laws of platooning, which feed the accelerations of others forward."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ml.controllers.protocol import USUAL_STANDSTILL_M, Stateless
from ml.errors import EvaluationError
from ml.onboard.estimator import estimate
from ml.vehicle import DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.onboard.views import EgoView, PeerView


class PathCacc(Stateless):
    """California PATH's CACC, as Plexe implements it (Segata et al., VNC 2014).

    a = (1 − C) a_1 + C a_0 − (2 ξ − C (ξ + √(ξ² − 1))) ω (v − v_1) − C (ξ + √(ξ² − 1)) ω (v − v_0)
    − ω² ε, with ε the wished gap less the gap, 1 the car in front and 0 the platoon's leader, here
    the furthest peer that is heard (Rajamani, "Vehicle Dynamics and Control", ch. 7.6).
    C = 0.5, ξ = 1, ω = 0.2 as in Plexe (caccOmegaN, which enters without 2π).

    The original keeps a constant distance (time gap 0); a time gap is added to it here, so that
    its frontier can be drawn. It was made for a platoon whose cars all obey it, and lives by its
    feed-forward: where the car in front brakes and the leader does not, it brakes half as hard,
    and the feedback (0.3 1/s on speeds, 0.04 1/s² on the gap) is too weak to make up for it. So
    it crashes on truth as well: at 0.5 s in 91 of 120 avoidable hazards of `convoy:200`, namely
    in 0 of 14 with one peer, 5 of 20 where the leader brakes and 86 of 86 where another peer
    does. With C = 0 (60 hazards, 1.1 s) it crashes in none, with ω = 2π · 0.2 in 6: this is
    the law's, not ours.

    Args:
        time_gap_s: s; 0 for the original.
        standstill_m: m; 5 in Plexe.
    """

    _C, _XI, _OMEGA = 0.5, 1.0, 0.2

    def __init__(self, time_gap_s: float = 0.5, standstill_m: float = USUAL_STANDSTILL_M) -> None:
        super().__init__("PATH CACC", time_gap_s, standstill_m)

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow; hold the speed while nobody is heard."""
        known, v = estimate(peers, ego), ego.speed_mps
        front, rows = known.lead(), np.arange(ego.speed_mps.size)
        first = np.where(known.heard, known.gap_m, -np.inf).argmax(axis=1)
        leader_mps, leader_mps2 = known.speed_mps[rows, first], known.accel_mps2[rows, first]
        root = self._XI + math.sqrt(self._XI**2 - 1.0)
        to_leader = self._C * root * self._OMEGA
        to_front = (2.0 * self._XI - self._C * root) * self._OMEGA
        gap_m = np.where(front.heard, front.gap_m, 0.0)
        error_m = self.standstill_m + self.time_gap_s * v - gap_m
        accel = (
            (1.0 - self._C) * front.accel_mps2
            + self._C * leader_mps2
            - to_front * (v - front.speed_mps)
            - to_leader * (v - leader_mps)
            - self._OMEGA**2 * error_m
        )
        return np.where(front.heard, np.clip(accel, -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2), 0.0)


class Ploeg(Stateless):
    """Ploeg's CACC (Ploeg et al., "Design and experimental evaluation of CACC", ITSC 2011).

    u' = (−u + k_p e + k_d e' + u_1) / h with e = gap − r − h v, e' = v_1 − v − h a,
    k_p = 0.2 1/s², k_d = 0.7 1/s. The original is sent the acceleration u_1 that the car in front
    intends; our message carries the one that it has.

    Args:
        time_gap_s: h, s.
        standstill_m: r, m.

    Raises:
        EvaluationError: The time gap is not above 0.
    """

    _KP, _KD = 0.2, 0.7

    def __init__(self, time_gap_s: float = 0.5, standstill_m: float = USUAL_STANDSTILL_M) -> None:
        if time_gap_s <= 0.0:
            raise EvaluationError(
                f"ploeg: time gap {time_gap_s:g} s; its law divides by the time gap, which must "
                "be above 0"
            )
        super().__init__("Ploeg", time_gap_s, standstill_m)
        self._u = np.zeros(0)

    def reset(self, rows: NDArray[np.int64], num_envs: int) -> None:
        """Begin with no acceleration wished."""
        if self._u.size != num_envs:
            self._u = np.zeros(num_envs)
        self._u[rows] = 0.0

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow; hold the speed while nobody is heard."""
        lead, v, h = estimate(peers, ego).lead(), ego.speed_mps, self.time_gap_s
        gap_m = np.where(lead.heard, lead.gap_m, 0.0)
        error_m = gap_m - self.standstill_m - h * v
        error_mps = lead.speed_mps - v - h * ego.accel_mps2
        wish = self._KP * error_m + self._KD * error_mps + lead.accel_mps2
        # Exact over a tick for a constant wish, and stable for any h.
        u = wish + (self._u - wish) * math.exp(-DT_S / h)
        u = np.clip(u, -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)
        self._u = np.where(lead.heard, u, 0.0)
        return self._u.copy()
