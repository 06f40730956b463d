"""Where the peers are by now, as a board can tell from the newest message of each.

Gap to a peer = its position predicted to now with its newest speed and acceleration, less the own
position along the mean heading, less the lengths of the cars between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.onboard.peer_order import queue_up
from ml.onboard.prediction import along, turned
from ml.vehicle import CAR_LENGTH_M

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.onboard.views import EgoView, PeerView


@dataclass(frozen=True, slots=True)
class Estimate:
    """Peers as of now; arrays (E, S) float64 unless said otherwise, 0 where nobody is heard.

    Attributes:
        heard: bool.
        gap_m: From the own front bumper to the peer's rear one, m; infinite where not heard.
        room_m: That gap less the lengths of the heard cars between, m: what the ego can close
            until it stands in a row with all of them; infinite where not heard.
        speed_mps: Predicted to now, never below 0.
        accel_mps2: As last reported; 0 once the peer is predicted to stand.
        said_gap_m: From the own front bumper to where the peer's rear one was when it sent its
            newest message, m; infinite where not heard.
        said_mps: Its speed then, m/s.
        age_s: Of its newest message.
        position_sd_m: Standard deviation of the difference of the two positions, if their errors
            are independent, m.
        rank: int64, heard peers with a smaller gap; 0 is the car in front.
    """

    heard: NDArray[np.bool_]
    gap_m: NDArray[np.float64]
    room_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    accel_mps2: NDArray[np.float64]
    said_gap_m: NDArray[np.float64]
    said_mps: NDArray[np.float64]
    age_s: NDArray[np.float64]
    position_sd_m: NDArray[np.float64]
    rank: NDArray[np.int64]

    def lead(self) -> Lead:
        """Pick the car in front: the heard peer with the smallest gap."""
        rows, nearest = np.arange(self.gap_m.shape[0]), self.gap_m.argmin(axis=1)
        return Lead(
            heard=self.heard[rows, nearest],
            gap_m=self.gap_m[rows, nearest],
            speed_mps=self.speed_mps[rows, nearest],
            accel_mps2=self.accel_mps2[rows, nearest],
            said_gap_m=self.said_gap_m[rows, nearest],
            said_mps=self.said_mps[rows, nearest],
            age_s=self.age_s[rows, nearest],
            position_sd_m=self.position_sd_m[rows, nearest],
        )


@dataclass(frozen=True, slots=True)
class Lead:
    """The car in front, as `Estimate` describes it; arrays (E,)."""

    heard: NDArray[np.bool_]
    gap_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    accel_mps2: NDArray[np.float64]
    said_gap_m: NDArray[np.float64]
    said_mps: NDArray[np.float64]
    age_s: NDArray[np.float64]
    position_sd_m: NDArray[np.float64]


def estimate(peers: PeerView, ego: EgoView) -> Estimate:
    """Predict every peer to now.

    See `ml.onboard.prediction.travel` and `ml.onboard.silent_cars` for what they are taken to do
    since their messages; nobody is taken to have driven through a car ahead (see `peer_order`).

    Args:
        peers: What is known of the peers.
        ego: What is known of the ego.
    """
    shape = peers.heard.shape
    room_m, gap_m, said_gap_m = (np.full(shape, np.inf) for _ in range(3))
    speed_mps, accel_mps2, position_sd_m = np.zeros((3, *shape))
    rank = np.zeros(shape, dtype=np.int64)
    _estimate(
        peers.heard,
        peers.age_s,
        peers.x_m,
        peers.y_m,
        peers.heading_deg,
        peers.position_sd_m,
        peers.travelled_m,
        peers.now_mps,
        peers.now_mps2,
        peers.ahead_m,
        ego.x_m,
        ego.y_m,
        ego.heading_deg,
        ego.position_sd_m,
        gap_m,
        said_gap_m,
        room_m,
        speed_mps,
        accel_mps2,
        position_sd_m,
        rank,
    )
    return Estimate(
        heard=peers.heard,
        gap_m=gap_m,
        room_m=room_m,
        speed_mps=speed_mps,
        accel_mps2=accel_mps2,
        said_gap_m=said_gap_m,
        said_mps=peers.speed_mps,
        age_s=peers.age_s,
        position_sd_m=position_sd_m,
        rank=rank,
    )


@compiled
def _estimate(
    heard: NDArray[np.bool_],
    age_s: NDArray[np.float64],
    x_m: NDArray[np.float64],
    y_m: NDArray[np.float64],
    heading_deg: NDArray[np.float64],
    sd_m: NDArray[np.float64],
    travelled_m: NDArray[np.float64],
    now_mps: NDArray[np.float64],
    now_mps2: NDArray[np.float64],
    ahead_m: NDArray[np.float64],
    own_x_m: NDArray[np.float64],
    own_y_m: NDArray[np.float64],
    own_heading_deg: NDArray[np.float64],
    own_sd_m: NDArray[np.float64],
    gap_m: NDArray[np.float64],
    said_gap_m: NDArray[np.float64],
    room_m: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    accel_mps2: NDArray[np.float64],
    position_sd_m: NDArray[np.float64],
    rank: NDArray[np.int64],
) -> None:
    """Fill the last seven, (E, S); see `estimate`."""
    for e in range(heard.shape[0]):
        heading = math.radians(own_heading_deg[e])
        for s in range(heard.shape[1]):
            if not heard[e, s]:
                continue
            turn = turned(math.radians(heading_deg[e, s]), heading)
            ahead = along(x_m[e, s] - own_x_m[e], y_m[e, s] - own_y_m[e], heading, turn)
            said_gap_m[e, s] = ahead - CAR_LENGTH_M
            gap_m[e, s] = said_gap_m[e, s] + travelled_m[e, s]
            speed_mps[e, s], accel_mps2[e, s] = now_mps[e, s], now_mps2[e, s]
            position_sd_m[e, s] = math.hypot(sd_m[e, s], own_sd_m[e])
        queue_up(heard[e], age_s[e], ahead_m[e], gap_m[e], speed_mps[e], accel_mps2[e])
        for s in range(heard.shape[1]):
            if not heard[e, s]:
                continue
            for other in range(heard.shape[1]):
                nearer = gap_m[e, other] < gap_m[e, s]
                tied = gap_m[e, other] == gap_m[e, s] and other < s
                rank[e, s] += nearer or tied
            room_m[e, s] = gap_m[e, s] - rank[e, s] * CAR_LENGTH_M
