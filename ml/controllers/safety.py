"""Laws that were written down as rules: Responsibility-Sensitive Safety, and UN Regulation 157."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.controllers.headway import keep_headway
from ml.controllers.protocol import USUAL_STANDSTILL_M, Stateless
from ml.envs.truth.reference_driver import BRAKING_JERK_MPS3
from ml.onboard.estimator import estimate
from ml.vehicle import DT_S, MAX_BRAKING_MPS2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.onboard.views import EgoView, PeerView

_G_MPS2 = 9.81


class RssFollower(Stateless):
    """Responsibility-Sensitive Safety, with the age of what is known as the response time.

    Safe distance = v ρ + v² / (2 b_min) − v_lead² / (2 b_max) (Shalev-Shwartz, Shammah and
    Shashua, arXiv:1708.06374, definition 1; the ego does not accelerate while it responds), with
    both braking at 8 m/s² and ρ the own response time and the age of the newest message: the lead
    may have braked ever since, so its speed and place are those of the message. Below the safe
    distance and a margin the proper response is to brake fully; above it, a constant headway.

    Args:
        time_gap_s: Of the following (`keep_headway`), s.
        standstill_m: Of the following, m; half of it is the margin.
        response_s: Own response time, s: a tick to see and a tick to act.
    """

    _MARGIN_SHARE = 0.5

    def __init__(
        self,
        time_gap_s: float = 0.8,
        standstill_m: float = USUAL_STANDSTILL_M,
        response_s: float = 0.2,
    ) -> None:
        super().__init__("RSS", time_gap_s, standstill_m)
        self._response_s = response_s

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow above the safe distance, brake below it; hold the speed while nobody is heard."""
        lead, v = estimate(peers, ego).lead(), ego.speed_mps
        wish = keep_headway(lead, v, self.time_gap_s, self.standstill_m)
        own_stop_m = v * self._response_s + v**2 / (2.0 * MAX_BRAKING_MPS2)
        lead_stops_m = lead.gap_sent_m + lead.speed_sent_mps**2 / (2.0 * MAX_BRAKING_MPS2)
        safe = own_stop_m + self._MARGIN_SHARE * self.standstill_m <= lead_stops_m
        unsafe = lead.heard & ~safe & (v > 0.0)
        return np.where(unsafe, -MAX_BRAKING_MPS2, wish)


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


CAREFUL_DELAY_S = 0.4 + 0.75
CAREFUL_MPS2 = 0.774 * _G_MPS2


class CarefulDriver(Stateless):
    """The competent and careful human driver of UN Regulation No. 157, told by radio.

    The regulation says how such a driver answers a risk (`careful_braking`), not how they follow:
    here at a constant headway, calmly. A risk is a lead that reports a deceleration beyond 1 m/s²,
    which an accelerometer's error is not, or that the ego would have to brake harder than 2 m/s²
    for, were it to keep its speed. The answer lasts until the ego is slower and the risk is gone.

    Args:
        time_gap_s: Of the following (`keep_headway`), s.
        standstill_m: m.
    """

    _RISK_MPS2, _CALM_MPS2, _MARGIN_M = 1.0, 2.0, 2.0

    def __init__(self, time_gap_s: float = 1.0, standstill_m: float = USUAL_STANDSTILL_M) -> None:
        super().__init__("careful driver", time_gap_s, standstill_m)
        self._since_s = np.zeros(0)

    def reset(self, rows: NDArray[np.int64], num_envs: int) -> None:
        """Begin with no risk seen."""
        if self._since_s.size != num_envs:
            self._since_s = np.full(num_envs, -DT_S)
        self._since_s[rows] = -DT_S

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow calmly, or answer a risk after 1.15 s; hold the speed while nobody is heard."""
        lead, v = estimate(peers, ego).lead(), ego.speed_mps
        closing = np.maximum(v - lead.speed_mps, 0.0)
        needed = closing**2 / (2.0 * np.maximum(lead.gap_m - self._MARGIN_M, 0.1))
        risk = lead.heard & ((lead.accel_mps2 < -self._RISK_MPS2) | (needed > self._CALM_MPS2))
        alert = risk | ((self._since_s >= 0.0) & (closing > 0.0))
        self._since_s = np.where(alert, np.maximum(self._since_s, -DT_S) + DT_S, -DT_S)
        calm = keep_headway(lead, v, self.time_gap_s, self.standstill_m)
        calm = np.maximum(calm, -self._CALM_MPS2)
        return np.where(alert, careful_braking(self._since_s, ego.last_command_mps2, DT_S), calm)
