"""The simplest laws: keep a time headway, and brake when somebody says that he brakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.controllers.protocol import USUAL_STANDSTILL_M, Stateless
from ml.onboard.estimator import estimate
from ml.vehicle import MAX_ACCEL_MPS2, MAX_BRAKING_MPS2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.onboard.estimator import Lead
    from ml.onboard.views import EgoView, PeerView

_GAP_GAIN, _SPEED_GAIN = 0.2, 0.9
"""1/s² and 1/s. A string of such cars is stable where k_g h² / 2 + k_v h ≥ 1 (its transfer function
never exceeds 1): here for h ≥ 1.0 s."""


def keep_headway(
    lead: Lead, own_mps: NDArray[np.float64], time_gap_s: float, standstill_m: float
) -> NDArray[np.float64]:
    """Constant-time-headway law: a = k_g (gap − s − h v) + k_v (v_lead − v).

    The law of Ioannou and Chien, "Autonomous intelligent cruise control" (1993), with
    k_g = 0.2 1/s² and k_v = 0.9 1/s, within the vehicle's limits; 0 while nobody is heard.

    Args:
        lead: The car in front.
        own_mps: (E,) own speed, m/s.
        time_gap_s: h, s.
        standstill_m: s, m.

    Returns:
        (E,) float64, m/s².
    """
    gap_m = np.where(lead.heard, lead.gap_m, 0.0)
    error_m = gap_m - (standstill_m + time_gap_s * own_mps)
    wish = _GAP_GAIN * error_m + _SPEED_GAIN * (lead.speed_mps - own_mps)
    return np.where(lead.heard, np.clip(wish, -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2), 0.0)


class ConstantTimeHeadway(Stateless):
    """Follow the car in front at a constant time headway (`keep_headway`).

    Args:
        time_gap_s: h, s.
        standstill_m: s, m.
    """

    def __init__(self, time_gap_s: float = 0.8, standstill_m: float = USUAL_STANDSTILL_M) -> None:
        super().__init__("CTH", time_gap_s, standstill_m)

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow; hold the speed while nobody is heard."""
        lead = estimate(peers, ego).lead()
        return keep_headway(lead, ego.speed_mps, self.time_gap_s, self.standstill_m)


class Threshold(Stateless):
    """Brake when a peer, any peer, says that it brakes; else follow at a constant headway.

    The rule of an emergency electronic brake light (SAE J2945/1, EEBL): while a message of the
    last second reports a deceleration beyond the threshold and its sender is not faster than the
    ego, brake as hard as it does, but at least with the threshold.

    Args:
        time_gap_s: Of the following (`keep_headway`), s.
        standstill_m: m.
        threshold_mps2: Deceleration that counts as braking, m/s².
    """

    _FRESH_S = 1.0

    def __init__(
        self,
        time_gap_s: float = 0.8,
        standstill_m: float = USUAL_STANDSTILL_M,
        threshold_mps2: float = 2.0,
    ) -> None:
        super().__init__("threshold", time_gap_s, standstill_m)
        self._threshold_mps2 = threshold_mps2

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow, or brake with the hardest."""
        known = estimate(peers, ego)
        wish = keep_headway(known.lead(), ego.speed_mps, self.time_gap_s, self.standstill_m)
        matters = peers.heard & (peers.age_s <= self._FRESH_S)
        matters &= known.speed_mps <= ego.speed_mps[:, None]
        hardest = np.where(matters, -peers.accel_mps2, 0.0).max(axis=1)
        return np.where(hardest > self._threshold_mps2, np.minimum(wish, -hardest), wish)
