"""The simplest laws: keep a time headway, and brake when somebody says that he brakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.envs.actuation import MAX_ACCEL_MPS2, MAX_BRAKING_MPS2
from ml.evaluation.controllers.estimator import estimate
from ml.evaluation.controllers.protocol import Stateless

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.evaluation.controllers.estimator import Lead
    from ml.evaluation.controllers.views import EgoView, PeerView

_GAP_GAIN, _SPEED_GAIN = 0.2, 0.9
"""1/s² and 1/s. Without the leader's acceleration a string of such cars is stable where
k_v h + k_g h² / 2 ≥ 1 (Swaroop and Rajagopal, 1999): here for h ≥ 1.0 s."""


class ConstantTimeHeadway(Stateless):
    """Constant time headway: acceleration from the error of the gap and the relative speed.

    a = k_g (gap − s − h v) + k_v (v_lead − v) (Swaroop and Rajagopal, "Intelligent cruise control
    systems and traffic flow stability", 1999). k_g = 0.2 1/s², k_v = 0.9 1/s.

    Args:
        time_gap_s: h, s.
        standstill_m: s, m.
    """

    def __init__(self, time_gap_s: float = 0.8, standstill_m: float = 9.0) -> None:
        super().__init__(f"CTH {time_gap_s:g} s", standstill_m, time_gap_s)
        self._gap_s, self._standstill_m = time_gap_s, standstill_m

    def _follow(self, lead: Lead, own_mps: NDArray[np.float64]) -> NDArray[np.float64]:
        error_m = lead.gap_m - (self._standstill_m + self._gap_s * own_mps)
        wish = _GAP_GAIN * error_m + _SPEED_GAIN * (lead.speed_mps - own_mps)
        return np.where(lead.heard, np.clip(wish, -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2), 0.0)

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow the car in front; hold the speed while nobody is heard."""
        return self._follow(estimate(peers, ego).lead(), ego.speed_mps)
