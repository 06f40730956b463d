"""The predictive headway controller: the classical baseline that a trained policy must beat."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ml.controllers.protocol import USUAL_STANDSTILL_M, Stateless
from ml.onboard.estimator import estimate
from ml.onboard.prediction import BRAKING_MPS2
from ml.vehicle import DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2, STANDSTILL_GAP_M

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.onboard.estimator import Estimate, Lead
    from ml.onboard.views import EgoView, PeerView


class PredictiveHeadway(Stateless):
    """Headway control towards the stopping point that the newest messages predict.

    Three layers, of which the most cautious decides:

    * **calm**: constant headway behind the car in front, its reported braking fed forward, at most
      `CALM_MPS2` of braking, through a low-pass;
    * **urgent**: the braking that it takes to stop behind the predicted stopping point of every
      peer that reports braking, with the cars between lined up behind it, or to match the speed of
      a slower one; it counts from `URGENT_MPS2` and is not filtered;
    * **soft** (optional): Responsibility-Sensitive Safety with the age of the car in front's newest
      message as response time (see `safety.RssFollower`). Where the ego could not stop behind it
      if it had braked fully ever since, the ego slows gently, at most with `SOFT_MPS2`: the speed
      that silence takes away is small, and so is the price when nothing was wrong.

    Args:
        time_gap_s: Of the calm layer, s.
        standstill_m: Of the calm layer, m.
        soft: Whether the soft layer is there.
    """

    GAP_GAIN, SPEED_GAIN, FORWARD = 0.16, 0.8, 0.5
    """Of the calm layer: 1/s², 1/s, and the share of the lead's acceleration."""
    CALM_MPS2 = 3.0
    """Hardest braking of the calm layer."""
    LOW_PASS_S = 0.3
    URGENT_MPS2 = 3.0
    """Needed braking at which the urgent layer takes over: what is less the calm one does."""
    GIVEN_UP_M = 2.0
    """How much of the standstill distance an urgent braking may use. The rest is for the error of
    the distance between two GPS receivers, which a hard braking does not make smaller: with 5 m
    given up the ego touches the car in front in 14 of 3,072 hazards, with 2 m in 1 of 10,240."""
    BETWEEN_M = STANDSTILL_GAP_M
    """What two cars in front leave between them at standstill."""
    DELAY_S = 0.15
    """From an observation to the middle of the tick that answers it, and a beacon's share."""
    SOFT_MPS2 = 1.9
    SOFT_GAIN = 0.25
    """Slowing per metre that is missing to the safe distance, 1/s²."""
    RESPONSE_S = 0.2
    SOFT_MARGIN_M = 4.0
    """Of the soft layer: two deviations of the distance."""

    def __init__(
        self,
        time_gap_s: float = 0.5,
        standstill_m: float = USUAL_STANDSTILL_M,
        *,
        soft: bool = True,
    ) -> None:
        super().__init__("predictive" if soft else "predictive hard", time_gap_s, standstill_m)
        self._soft = soft
        self._calm_mps2 = np.zeros(0)

    def reset(self, rows: NDArray[np.int64], num_envs: int) -> None:
        """Begin with no acceleration wished."""
        if self._calm_mps2.size != num_envs:
            self._calm_mps2 = np.zeros(num_envs)
        self._calm_mps2[rows] = 0.0

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Drive; hold the speed while nobody is heard."""
        known, v = estimate(peers, ego), ego.speed_mps
        lead = known.lead()
        wish = self._calm(lead, v, self.standstill_m + self.time_gap_s * v)
        if self._soft:
            wish = np.minimum(wish, self._slow_for_silence(lead, v))
        wish = np.where(lead.heard, wish, 0.0)
        share = 1.0 - math.exp(-DT_S / self.LOW_PASS_S)
        self._calm_mps2 = self._calm_mps2 + share * (wish - self._calm_mps2)
        needed = self._needed(known, v)
        urgent = needed > self.URGENT_MPS2
        accel = np.where(urgent, np.minimum(self._calm_mps2, -needed), self._calm_mps2)
        accel = np.clip(accel, -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)
        # The low-pass goes on from what was done, so that an urgent braking fades out.
        self._calm_mps2 = accel
        return accel.copy()

    @classmethod
    def _calm(
        cls, lead: Lead, own_mps: NDArray[np.float64], wanted_m: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Acceleration that the calm layer wishes, before its low-pass.

        Args:
            lead: The car in front.
            own_mps: (E,) own speed, m/s.
            wanted_m: (E,) gap to be kept, m.

        Returns:
            (E,) float64, m/s²; meaningless where nobody is heard.
        """
        error_m = np.where(lead.heard, lead.gap_m, 0.0) - wanted_m
        forward = cls.FORWARD * lead.accel_mps2
        wish = cls.GAP_GAIN * error_m + cls.SPEED_GAIN * (lead.speed_mps - own_mps) + forward
        return np.clip(wish, -cls.CALM_MPS2, MAX_ACCEL_MPS2)

    def _slow_for_silence(self, lead: Lead, v: NDArray[np.float64]) -> NDArray[np.float64]:
        own_stop_m = v * self.RESPONSE_S + v**2 / (2.0 * MAX_BRAKING_MPS2)
        lead_stops_m = lead.gap_sent_m + lead.speed_sent_mps**2 / (2.0 * MAX_BRAKING_MPS2)
        missing_m = own_stop_m + self.SOFT_MARGIN_M - lead_stops_m
        slowing = np.clip(self.SOFT_GAIN * missing_m, 0.0, self.SOFT_MPS2)
        return np.where(missing_m > 0.0, -slowing, MAX_ACCEL_MPS2)

    def _needed(self, known: Estimate, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Deceleration that stops behind every braking peer and matches every slower one, (E,)."""
        own = v[:, None]
        room_m = np.where(known.heard, known.room_m, np.inf)
        margin_m = max(self.standstill_m - self.GIVEN_UP_M, 0.0)
        room_m = room_m - margin_m - self.BETWEEN_M * known.rank - own * self.DELAY_S
        braking = np.where(known.accel_mps2 < -BRAKING_MPS2, -known.accel_mps2, 0.0)
        stands = known.speed_mps <= 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            stop_m = np.where(stands, 0.0, known.speed_mps**2 / (2.0 * braking))
        to_stop = own**2 / (2.0 * np.maximum(room_m + stop_m, 0.1))
        closing = np.maximum(own - known.speed_mps, 0.0)
        to_match = closing**2 / (2.0 * np.maximum(room_m, 0.1))
        needed: NDArray[np.float64] = np.maximum(to_stop, to_match).max(axis=1)
        return np.minimum(needed, MAX_BRAKING_MPS2)
