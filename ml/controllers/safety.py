"""Laws that were written down as rules: Responsibility-Sensitive Safety, and UN Regulation 157."""

import numpy as np
from numpy.typing import NDArray

from ml.controllers.car_following import ConstantTimeHeadway
from ml.controllers.protocol import braking_within, follow, in_front, missing_to_rss_m
from ml.envs.truth.reference_driver import BRAKING_JERK_MPS3
from ml.onboard.estimator import estimate
from ml.onboard.views import EgoView, PeerView
from ml.vehicle import DT_S, MAX_BRAKING_MPS2

_G_MPS2 = 9.81
CAREFUL_DELAY_S = 0.4 + 0.75
"""To perceive a risk, and to react."""
CAREFUL_MPS2 = 0.774 * _G_MPS2


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
