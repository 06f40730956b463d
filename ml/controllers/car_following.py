"""Car-following models of the traffic sciences, and laws that were written down as rules.

They were made for a driver who sees the car in front; here they are shown what the newest message
says of it, predicted to now. Parameters of each: time gap, s, and standstill distance, m.
"""

import numpy as np
from numpy.typing import NDArray

from ml.controllers.protocol import (
    Follower,
    braking_within,
    follow,
    in_front,
    missing_to_rss_m,
)
from ml.envs.truth.reference_driver import BRAKING_JERK_MPS3
from ml.onboard.estimator import Lead, estimate
from ml.onboard.views import EgoView, PeerView
from ml.vehicle import DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2

_CONTACT_M = 0.1
_G_MPS2 = 9.81
CAREFUL_DELAY_S = 0.4 + 0.75
"""To perceive a risk, and to react."""
CAREFUL_MPS2 = 0.774 * _G_MPS2
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


class RssFollower(ConstantTimeHeadway):
    """Responsibility-Sensitive Safety, with the age of what is known as the response time.

    Below the safe distance (`missing_to_rss_m`) and a margin of half the standstill distance the
    proper response is to brake fully; above it, a constant headway. The own response time is 0.2 s:
    a tick to see and a tick to act.
    """

    kind, usual_gap_s = "RSS", 0.8
    _MARGIN_SHARE = 0.5
    _RESPONSE_S = 0.2

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow above the safe distance, brake below it; hold the speed while nobody is heard."""
        lead, v = in_front(estimate(peers, ego)), ego.speed_mps
        margin_m = self._MARGIN_SHARE * self.standstill_m
        missing_m = missing_to_rss_m(lead, v, self._RESPONSE_S, margin_m)
        unsafe = lead.heard & (missing_m > 0.0) & (v > 0.0)
        return np.where(unsafe, -MAX_BRAKING_MPS2, follow(lead, self.law(lead, ego)))


def careful_braking(
    since_s: NDArray[np.float64], accel_mps2: NDArray[np.float64], dt_s: float
) -> NDArray[np.float64]:
    """Acceleration of the careful driver for the next `dt_s`.

    UN Regulation No. 157, Annex 3, appendix 3: 0.4 s to perceive a risk and 0.75 s to react, then
    braking that builds up at 12.65 m/s³ to 0.774 g.

    Args:
        since_s: (E,) since the risk could be seen, s; negative where there is none.
        accel_mps2: (E,) own acceleration now, m/s².
        dt_s: s.

    Returns:
        (E,) float64, m/s²; 0 before the braking begins.
    """
    braking = np.maximum(-CAREFUL_MPS2, accel_mps2 - BRAKING_JERK_MPS3 * dt_s)
    reacts = since_s >= CAREFUL_DELAY_S - 1e-9  # counted in steps, which round
    return np.where(reacts, np.minimum(braking, 0.0), 0.0)


class CarefulDriver(ConstantTimeHeadway):
    """The competent and careful human driver of UN Regulation No. 157, told by radio.

    The regulation says how such a driver answers a risk (`careful_braking`), not how they follow:
    here at a constant headway, calmly. A risk is a lead that reports a deceleration beyond 1 m/s²,
    which an accelerometer's error is not, or that the ego would have to brake harder than 2 m/s²
    for, were it to keep its speed. The answer lasts until the ego is slower and the risk is gone.
    It remembers for how long the risk could be seen, s; −0.1 where there is none.
    """

    kind, usual_gap_s, fresh = "careful driver", 1.0, -DT_S
    _RISK_MPS2, _CALM_MPS2, _MARGIN_M = 1.0, 2.0, 2.0

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow calmly, or answer a risk after 1.15 s; hold the speed while nobody is heard."""
        lead, since_s = in_front(estimate(peers, ego)), self.memory
        closing = np.maximum(ego.speed_mps - lead.speed_mps, 0.0)
        needed = braking_within(closing, lead.gap_m - self._MARGIN_M)
        risk = lead.heard & ((lead.accel_mps2 < -self._RISK_MPS2) | (needed > self._CALM_MPS2))
        alert = risk | ((since_s >= 0.0) & (closing > 0.0))
        self.memory = np.where(alert, np.maximum(since_s, -DT_S) + DT_S, -DT_S)
        calm = np.maximum(follow(lead, self.law(lead, ego)), -self._CALM_MPS2)
        return np.where(alert, careful_braking(self.memory, ego.last_command_mps2, DT_S), calm)
