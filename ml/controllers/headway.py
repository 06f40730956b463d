"""The simplest laws: keep a time headway, and brake when somebody says that he brakes."""

import numpy as np
from numpy.typing import NDArray

from ml.controllers.follower import USUAL_STANDSTILL_M, Follower, follow, in_front
from ml.onboard.estimator import Lead, estimate
from ml.onboard.views import EgoView, PeerView

_GAP_GAIN, _SPEED_GAIN = 0.2, 0.9
"""1/s² and 1/s. A string of such cars is stable where k_g h² / 2 + k_v h ≥ 1 (its transfer function
never exceeds 1): here for h ≥ 1.0 s."""


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

    def keep_headway(self, lead: Lead, ego: EgoView) -> NDArray[np.float64]:
        """Return that within the vehicle's limits, 0 while nobody is heard, (E,) m/s²."""
        return follow(lead, self.law(lead, ego))


class Threshold(ConstantTimeHeadway):
    """Brake when a peer, any peer, says that it brakes; else follow at a constant headway.

    The rule of an emergency electronic brake light (SAE J2945/1, EEBL): while a message of the
    last second reports a deceleration beyond the threshold and its sender is not faster than the
    ego, brake as hard as it does, but at least with the threshold.

    Args:
        time_gap_s: Time gap, s.
        standstill_m: Gap at standstill, m.
        threshold_mps2: Deceleration that counts as braking, m/s².
    """

    kind, usual_gap_s = "threshold", 0.8
    _FRESH_S = 1.0

    def __init__(
        self,
        time_gap_s: float | None = None,
        standstill_m: float = USUAL_STANDSTILL_M,
        threshold_mps2: float = 2.0,
    ) -> None:
        super().__init__(time_gap_s, standstill_m)
        self._threshold_mps2 = threshold_mps2

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow, or brake with the hardest."""
        known = estimate(peers, ego)
        wish = self.keep_headway(in_front(known), ego)
        matters = peers.heard & (peers.age_s <= self._FRESH_S)
        matters &= known.speed_mps <= ego.speed_mps[:, None]
        hardest = np.where(matters, -peers.accel_mps2, 0.0).max(axis=1)
        return np.where(hardest > self._threshold_mps2, np.minimum(wish, -hardest), wish)
