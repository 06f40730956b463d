"""Cooperative laws of platooning, which feed the accelerations of others forward."""

import math

import numpy as np
from numpy.typing import NDArray

from ml.controllers.protocol import USUAL_STANDSTILL_M, Follower, follow, in_front
from ml.errors import ConfigError
from ml.onboard.estimator import Lead, estimate
from ml.onboard.views import EgoView, PeerView
from ml.vehicle import DT_S


class PathCacc(Follower):
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
        time_gap_s: Time gap, s; 0 for the original.
        standstill_m: Gap at standstill, m; 5 in Plexe.
    """

    kind, usual_gap_s = "PATH CACC", 0.5
    _C, _XI, _OMEGA = 0.5, 1.0, 0.2

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow; hold the speed while nobody is heard."""
        known, v, rows = estimate(peers, ego), ego.speed_mps, np.arange(ego.speed_mps.size)
        lead = in_front(known)
        first = np.where(known.heard, known.gap_m, -np.inf).argmax(axis=1)
        leader_mps, leader_mps2 = known.speed_mps[rows, first], known.accel_mps2[rows, first]
        root = self._XI + math.sqrt(self._XI**2 - 1.0)
        to_leader = self._C * root * self._OMEGA
        to_front = (2.0 * self._XI - self._C * root) * self._OMEGA
        error_m = self.standstill_m + self.time_gap_s * v - lead.gap_m
        wish = (
            (1.0 - self._C) * lead.accel_mps2
            + self._C * leader_mps2
            - to_front * (v - lead.speed_mps)
            - to_leader * (v - leader_mps)
            - self._OMEGA**2 * error_m
        )
        return follow(lead, wish)


class Ploeg(Follower):
    """Ploeg's CACC (Ploeg et al., "Design and experimental evaluation of CACC", ITSC 2011).

    u' = (−u + k_p e + k_d e' + u_1) / h with e = gap − r − h v, e' = v_1 − v − h a,
    k_p = 0.2 1/s², k_d = 0.7 1/s. The original is sent the acceleration u_1 that the car in front
    intends; our message carries the one that it has. h is the time gap, r the standstill distance;
    u is remembered.

    Raises:
        ConfigError: The time gap is not above 0.
    """

    kind, usual_gap_s = "Ploeg", 0.5
    _KP, _KD = 0.2, 0.7

    def __init__(
        self, time_gap_s: float | None = None, standstill_m: float = USUAL_STANDSTILL_M
    ) -> None:
        super().__init__(time_gap_s, standstill_m)
        if self.time_gap_s <= 0.0:
            raise ConfigError(
                f"ploeg: time gap {self.time_gap_s:g} s; its law divides by the time gap, which "
                "must be above 0"
            )

    def law(self, lead: Lead, ego: EgoView) -> NDArray[np.float64]:
        """Return u, (E,) m/s², after a tick of the wish that holds."""
        v, h = ego.speed_mps, self.time_gap_s
        error_m = lead.gap_m - self.standstill_m - h * v
        error_mps = lead.speed_mps - v - h * ego.accel_mps2
        wish = self._KP * error_m + self._KD * error_mps + lead.accel_mps2
        # Exact over a tick for a constant wish, and stable for any h.
        u = wish + (self.memory - wish) * math.exp(-DT_S / h)
        self.memory = follow(lead, u)
        return self.memory.copy()
