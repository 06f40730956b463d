"""Car-following models of the traffic sciences, driving by radio the car that they describe.

They were made for a driver who sees the car in front; here they are shown what the newest message
says of it, predicted to now. Parameters of each: time gap, s, and standstill distance, m.
"""

import numpy as np
from numpy.typing import NDArray

from ml.controllers.protocol import Follower, follow, in_front
from ml.onboard.estimator import Lead, estimate
from ml.onboard.views import EgoView, PeerView
from ml.vehicle import DT_S, MAX_ACCEL_MPS2

_CONTACT_M = 0.1
_GAP_GAIN, _SPEED_GAIN = 0.2, 0.9
"""1/s² and 1/s. A string of such cars is stable where k_g h² / 2 + k_v h ≥ 1 (its transfer function
never exceeds 1): here for h ≥ 1.0 s."""
_BRAKES_MPS2 = 2.0
"""Deceleration that counts as braking."""


class ConstantTimeHeadway(Follower):
    """Constant time headway: a = k_g (gap − s − h v) + k_v (v_lead − v).

    The law of Ioannou and Chien, "Autonomous intelligent cruise control" (1993), with
    k_g = 0.2 1/s² and k_v = 0.9 1/s; h is the time gap, s the standstill distance.
    """

    kind, usual_gap_s = "CTH", 0.8

    def law(self, lead: Lead, ego: EgoView) -> NDArray[np.float64]:
        """Return the law's acceleration, (E,) m/s²."""
        error_m = lead.gap_m - (self.standstill_m + self.time_gap_s * ego.speed_mps)
        return _GAP_GAIN * error_m + _SPEED_GAIN * (lead.speed_mps - ego.speed_mps)


class Threshold(ConstantTimeHeadway):
    """Brake when a peer, any peer, says that it brakes; else follow at a constant headway.

    The rule of an emergency electronic brake light (SAE J2945/1, EEBL): while a message of the
    last second reports a deceleration beyond 2 m/s² and its sender is not faster than the ego,
    brake as hard as it does.
    """

    kind, usual_gap_s = "threshold", 0.8
    _FRESH_S = 1.0

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow, or brake with the hardest."""
        known = estimate(peers, ego)
        lead = in_front(known)
        wish = follow(lead, self.law(lead, ego))
        matters = peers.heard & (peers.age_s <= self._FRESH_S)
        matters &= known.speed_mps <= ego.speed_mps[:, None]
        hardest = np.where(matters, -peers.accel_mps2, 0.0).max(axis=1)
        return np.where(hardest > _BRAKES_MPS2, np.minimum(wish, -hardest), wish)


class IntelligentDriver(Follower):
    """Intelligent Driver Model (Treiber, Hennecke and Helbing, Phys. Rev. E 62, 1805, 2000).

    a = a_max [1 − (v / v_0)⁴ − (s* / gap)²],
    s* = s_0 + max(0, v T + v (v − v_lead) / (2 √(a_max b))),
    with a_max = 2.0 m/s², b = 2.5 m/s² and the desired speed v_0 = 45 m/s, above every limit.
    T is the time gap, s_0 the standstill distance.
    """

    kind, usual_gap_s = "IDM", 1.5
    _A_MPS2, _B_MPS2, _DESIRED_MPS = 2.0, 2.5, 45.0

    def law(self, lead: Lead, ego: EgoView) -> NDArray[np.float64]:
        """Return the model's acceleration, (E,) m/s²."""
        v = ego.speed_mps
        dynamic = v * (v - lead.speed_mps) / (2.0 * np.sqrt(self._A_MPS2 * self._B_MPS2))
        wished_m = self.standstill_m + np.maximum(0.0, v * self.time_gap_s + dynamic)
        crowding = (wished_m / np.maximum(lead.gap_m, _CONTACT_M)) ** 2
        wish: NDArray[np.float64]
        wish = self._A_MPS2 * (1.0 - (v / self._DESIRED_MPS) ** 4 - crowding)
        return wish


class AdaptiveCruiseControl(Follower):
    """The ACC law of SUMO's car-following model "ACC", without its emergency override.

    From measurements of a production ACC (Milanés and Shladover, Transportation Research C 48,
    2014), modes by Xiao, Wang and van Arem (2017) and, for collision avoidance, the project
    TransAID. With e = gap − s − h v and Δ = v_lead − v, the acceleration is 0.23 e + 0.07 Δ in gap
    control (|e| < 0.2 m, |Δ| < 0.1 m/s), 0.04 e + 0.8 Δ when closing a gap (e ≥ 0), and
    0.8 e + 0.23 Δ to avoid a collision (e < 0). SUMO tests the deviation from the desired speed
    instead of Δ for gap control; the paper means Δ. h is the time gap, s the standstill distance.
    """

    kind, usual_gap_s = "ACC", 1.1

    def law(self, lead: Lead, ego: EgoView) -> NDArray[np.float64]:
        """Return the acceleration of the mode that holds, (E,) m/s²."""
        v = ego.speed_mps
        e, delta = lead.gap_m - self.standstill_m - self.time_gap_s * v, lead.speed_mps - v
        settled = (np.abs(e) < 0.2) & (np.abs(delta) < 0.1)  # noqa: PLR2004 (the paper's numbers)
        closing, avoiding = 0.04 * e + 0.8 * delta, 0.8 * e + 0.23 * delta
        return np.where(settled, 0.23 * e + 0.07 * delta, np.where(e < 0.0, avoiding, closing))


class Krauss(Follower):
    """The safe speed of Krauss ("Microscopic modeling of traffic flow", 1998, eq. 4.5).

    v_safe = −b τ + √(b² τ² + v_lead² + 2 b gap): the speed from which a driver of reaction time τ
    who brakes at b = 4.5 m/s² can still stop behind a leader who does so now. The ego takes the
    smaller of v_safe and v + 2.6 m/s² · 0.1 s, as SUMO's default model does. τ is the time gap; the
    standstill distance is subtracted from the gap.
    """

    kind, usual_gap_s = "Krauss", 1.0
    _B_MPS2 = 4.5

    def law(self, lead: Lead, ego: EgoView) -> NDArray[np.float64]:
        """Return what leads to the safe speed within a tick, (E,) m/s²."""
        gap_m = np.maximum(lead.gap_m - self.standstill_m, 0.0)
        bt = self._B_MPS2 * self.time_gap_s
        safe = -bt + np.sqrt(bt**2 + lead.speed_mps**2 + 2.0 * self._B_MPS2 * gap_m)
        return np.minimum((safe - ego.speed_mps) / DT_S, MAX_ACCEL_MPS2)
