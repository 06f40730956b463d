"""Bounds: the worst and the best that a controller can be, so that a figure has a scale."""

import numpy as np
from numpy.typing import NDArray

from ml.controllers.protocol import Follower, Knows, braking_within
from ml.onboard.estimator import estimate
from ml.onboard.spacing import wanted_gap_m
from ml.onboard.views import EgoView, PeerView
from ml.vehicle import DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2, WANTED_STANDSTILL_M

_HARDLY_MPS2 = 0.1
"""A leader that brakes less than this takes for ever to stop."""


class Constant:
    """The same acceleration whatever happens.

    Do-nothing (0) is the bound below which nothing was learnt; always-brake (−8) never crashes
    and never arrives.
    """

    knows: Knows = "nothing"
    standstill_m = None
    time_gap_s = None

    def __init__(self, name: str, accel_mps2: float) -> None:
        self.name = name
        self._accel_mps2 = accel_mps2

    def reset(self, rows: NDArray[np.int64], num_envs: int) -> None:
        """Do nothing: there is no past."""

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Return the constant."""
        del peers
        return np.full(ego.speed_mps.size, self._accel_mps2)


class Oracle(Follower):
    """Perfect, instant knowledge of the car in front, and a calm hand.

    Headway control towards the gap that the reward asks for (`wanted_gap_m`), with the leader's
    acceleration fed forward; the braking that it takes to stop behind a leader that goes on braking
    as it does, or to match its speed, overrides that (as the safe distance of Gipps, 1981, does for
    the worst case).

    Args:
        time_gap_s: Time gap that the driver has set, s.
    """

    kind, usual_gap_s = "oracle", 1.0
    knows: Knows = "truth"
    _GAP_GAIN, _SPEED_GAIN = 0.12, 0.7
    _MARGIN_M = 2.0
    _URGENT_MPS2, _AT_ONCE_MPS2 = 2.0, 5.0
    _CALM_MPS2 = 1.5
    """What it brakes with at most where the traffic demands none: nobody behind is startled."""
    _CALM_STEP_MPS2, _URGENT_STEP_MPS2 = 4.5 * DT_S, 12.65 * DT_S

    def __init__(self, time_gap_s: float | None = None) -> None:
        super().__init__(time_gap_s, WANTED_STANDSTILL_M)
        self.name = self.kind

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Drive on ground truth."""
        lead, own = estimate(peers, ego).lead(), ego.speed_mps
        error = lead.gap_m - wanted_gap_m(own, self.time_gap_s)
        wish = self._GAP_GAIN * error + self._SPEED_GAIN * (lead.speed_mps - own) + lead.accel_mps2
        last = ego.accel_mps2
        wish = np.maximum(wish, np.minimum(lead.accel_mps2, -self._CALM_MPS2))
        # Hard braking is let go at once when what demanded it is over.
        release = np.maximum(last + self._CALM_STEP_MPS2, -self._CALM_MPS2)
        wish = np.clip(wish, last - self._CALM_STEP_MPS2, release)
        room = lead.gap_m - self._MARGIN_M - own * DT_S
        lead_stops_m = lead.speed_mps**2 / (2.0 * np.maximum(-lead.accel_mps2, _HARDLY_MPS2))
        to_stop = braking_within(own, room + lead_stops_m)
        to_match = braking_within(np.maximum(own - lead.speed_mps, 0.0), room)
        needed = np.maximum(to_stop, to_match)
        # It builds up as a careful driver's does, since who slows for a tick is no cause to brake
        # hard; but at once where the room is nearly gone, as it is behind a car that cuts in.
        built_up = np.maximum(-needed, last - self._URGENT_STEP_MPS2)
        urgent = np.where(needed > self._AT_ONCE_MPS2, -needed, built_up)
        wish = np.where(needed > self._URGENT_MPS2, np.minimum(wish, urgent), wish)
        return np.clip(wish, -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2)
