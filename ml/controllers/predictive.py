"""The predictive headway controller: the classical baseline that a trained policy must beat."""

import math

import numpy as np
from numpy.typing import NDArray

from ml.controllers.protocol import (
    Follower,
    braking_within,
    follow,
    in_front,
    missing_to_rss_m,
)
from ml.onboard.estimator import Estimate, Lead, estimate
from ml.onboard.prediction import BRAKING_MPS2
from ml.onboard.views import EgoView, PeerView
from ml.vehicle import DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2, STANDSTILL_GAP_M


class PredictiveHeadway(Follower):
    """Headway control towards the stopping point that the newest messages predict.

    Three layers, of which the most cautious decides:

    * **calm**: constant headway behind the car in front, its reported braking fed forward, at most
      `CALM_MPS2` of braking, through a low-pass;
    * **urgent**: the braking that it takes to stop behind the predicted stopping point of every
      peer that reports braking, with the cars between lined up behind it, or to match the speed of
      a slower one; it counts from `URGENT_MPS2` and is not filtered;
    * **soft** (optional): Responsibility-Sensitive Safety with the age of the car in front's newest
      message as response time (see `RssFollower`). Where the ego could not stop behind it
      if it had braked fully ever since, the ego slows gently, at most with `SOFT_MPS2`: the speed
      that silence takes away is small, and so is the price when nothing was wrong.

    Args:
        time_gap_s: Of the calm layer, s.
        standstill_m: Of the calm layer, m.
    """

    kind, usual_gap_s = "predictive", 0.5
    _soft = True
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

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Drive; hold the speed while nobody is heard."""
        known, v = estimate(peers, ego), ego.speed_mps
        lead = in_front(known)
        wish = self._calm(lead, v)
        if self._soft:
            wish = np.minimum(wish, self._slow_for_silence(lead, v))
        share = 1.0 - math.exp(-DT_S / self.LOW_PASS_S)
        calm = self.memory + share * (follow(lead, wish) - self.memory)
        needed = self._needed(known, v)
        accel = np.where(needed > self.URGENT_MPS2, np.minimum(calm, -needed), calm)
        # The low-pass goes on from what was done, so that an urgent braking fades out.
        self.memory = np.clip(accel, -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)
        return self.memory.copy()

    def _calm(self, lead: Lead, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the calm layer wishes before its low-pass, (E,) m/s²."""
        error_m = lead.gap_m - (self.standstill_m + self.time_gap_s * v)
        forward = self.FORWARD * lead.accel_mps2
        wish = self.GAP_GAIN * error_m + self.SPEED_GAIN * (lead.speed_mps - v) + forward
        return np.clip(wish, -self.CALM_MPS2, MAX_ACCEL_MPS2)

    def _slow_for_silence(self, lead: Lead, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the soft layer's bound, (E,) m/s²; the vehicle's limit where all is well."""
        missing_m = missing_to_rss_m(lead, v, self.RESPONSE_S, self.SOFT_MARGIN_M)
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
        to_stop = braking_within(own, room_m + stop_m)
        to_match = braking_within(np.maximum(own - known.speed_mps, 0.0), room_m)
        needed: NDArray[np.float64] = np.maximum(to_stop, to_match).max(axis=1)
        return np.minimum(needed, MAX_BRAKING_MPS2)


class HardPredictiveHeadway(PredictiveHeadway):
    """The same without the soft layer."""

    kind, _soft = "predictive hard", False
