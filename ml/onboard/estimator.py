"""Where the peers are by now, as a board can tell from the newest message of each.

Gap to a peer = its position predicted to now with its newest speed and acceleration, less the own
position along the mean heading, less the lengths of the cars between. The observation, the safety
layer and every classical controller go by this one estimate.
"""

import math
from typing import NamedTuple, Self

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.compiled import compiled, inlined
from ml.onboard.peer_order import queue_up
from ml.onboard.prediction import along, turned
from ml.onboard.views import EgoView, PeerView
from ml.vehicle import CAR_LENGTH_M


class Lead(NamedTuple):
    """The car in front, as `Estimate` describes it; arrays (E,)."""

    heard: Bools
    gap_m: Floats
    speed_mps: Floats
    accel_mps2: Floats
    gap_sent_m: Floats
    speed_sent_mps: Floats
    age_s: Floats
    position_sd_m: Floats


class Estimate(NamedTuple):
    """Peers as of now; arrays (E, S) float64 unless said otherwise, 0 where nobody is heard.

    Attributes:
        heard: bool.
        gap_m: From the own front bumper to the peer's rear one, m; infinite where not heard.
        speed_mps: Predicted to now, never below 0.
        accel_mps2: As last reported; 0 once the peer is predicted to stand.
        gap_sent_m: From the own front bumper to where the peer's rear one was when it sent its
            newest message, m; infinite where not heard.
        speed_sent_mps: Its speed then, m/s.
        age_s: Of its newest message.
        position_sd_m: Standard deviation of the difference of the two positions, m; see
            `difference_sd_m`.
        room_m: The gap less the lengths of the heard cars between, m: what the ego can close until
            it stands in a row with all of them; infinite where not heard.
        lateral_m: Offset of the message's place to the left of the mean heading, m.
        turn_rad: The peer's heading less the own, in [−π, π).
        rank: int64, heard peers with a smaller gap; 0 is the car in front.
        order: int64, the heard peers, nearest first; without a meaning from `num_heard` on.
        num_heard: (E,) int64, how many are heard.
    """

    heard: Bools
    gap_m: Floats
    speed_mps: Floats
    accel_mps2: Floats
    gap_sent_m: Floats
    speed_sent_mps: Floats
    age_s: Floats
    position_sd_m: Floats
    room_m: Floats
    lateral_m: Floats
    turn_rad: Floats
    rank: Ints
    order: Ints
    num_heard: Ints

    @classmethod
    def room_for(cls, peers: PeerView) -> Self:
        """Allocate the estimate of these peers, for `predict` to fill."""
        shape = peers.heard.shape
        gap_m, speed_mps, accel_mps2, gap_sent_m, sd_m, *others = np.zeros((8, *shape))
        sent = (gap_sent_m, peers.speed_mps, peers.age_s)
        order = np.zeros((2, *shape), dtype=np.int64)
        num_heard = np.zeros(shape[0], dtype=np.int64)
        return cls._make(
            (peers.heard, gap_m, speed_mps, accel_mps2, *sent, sd_m, *others, *order, num_heard)
        )

    def lead(self) -> Lead:
        """Pick the car in front: the heard peer with the smallest gap."""
        rows, nearest = np.arange(self.gap_m.shape[0]), self.gap_m.argmin(axis=1)
        return Lead(*(values[rows, nearest] for values in self[: len(Lead._fields)]))


def estimate(peers: PeerView, ego: EgoView) -> Estimate:
    """Predict every peer to now.

    See `ml.onboard.prediction.travel` and `ml.onboard.silent_cars` for what they are taken to do
    since their messages; nobody is taken to have driven through a car ahead (see `peer_order`).

    Args:
        peers: What is known of the peers.
        ego: What is known of the ego.
    """
    found = Estimate.room_for(peers)
    predict(np.arange(ego.x_m.size), peers, ego, found)
    return found


@compiled
def difference_sd_m(peer_sd_m: float, own_sd_m: float, common_share: float) -> float:
    """Standard deviation of the difference of two positions whose errors are partly the same, m.

    σ² = a² + b² − 2 c a b. What all receivers of a convoy have in common, by the same satellites
    and the same air, moves both positions alike and no distance. Only the error of GPS is common,
    and a and b hold a little more, what came to it since the fix; it is counted as if it were
    shared, too. At usual parameters that is 1 % of the variance.

    Args:
        peer_sd_m: a, of the peer's position, as the peer believes, m.
        own_sd_m: b, of the own position, m.
        common_share: c, the share of either's variance that is common, 0 to 1.
    """
    # The same σ, never the root of a rounding error below 0, and to the last bit the hypotenuse of
    # a and b where c is 0.
    alone_m = own_sd_m * math.sqrt(1.0 - common_share * common_share)
    return math.hypot(peer_sd_m - common_share * own_sd_m, alone_m)


@inlined
def predict(convoys: Ints, peers: PeerView, ego: EgoView, found: Estimate) -> None:
    """Fill the estimate of some convoys, (n,); see `estimate`."""
    for i in range(convoys.size):
        e = convoys[i]
        heading = math.radians(ego.heading_deg[e])
        count = 0
        for s in range(peers.heard.shape[1]):
            if not peers.heard[e, s]:
                found.gap_m[e, s] = found.gap_sent_m[e, s] = found.room_m[e, s] = math.inf
                found.speed_mps[e, s] = found.accel_mps2[e, s] = found.position_sd_m[e, s] = 0.0
                found.lateral_m[e, s] = found.turn_rad[e, s] = 0.0
                found.rank[e, s] = 0
                continue
            east, north = peers.x_m[e, s] - ego.x_m[e], peers.y_m[e, s] - ego.y_m[e]
            turn = turned(math.radians(peers.heading_deg[e, s]), heading)
            mean = heading + 0.5 * turn
            gap_sent = along(east, north, heading, turn) - CAR_LENGTH_M
            found.gap_sent_m[e, s] = gap_sent
            found.gap_m[e, s] = gap_sent + peers.travelled_m[e, s]
            found.speed_mps[e, s] = peers.now_mps[e, s]
            found.accel_mps2[e, s] = peers.now_mps2[e, s]
            found.position_sd_m[e, s] = difference_sd_m(
                peers.position_sd_m[e, s], ego.position_sd_m[e], ego.common_share[e]
            )
            found.lateral_m[e, s] = north * math.sin(mean) - east * math.cos(mean)
            found.turn_rad[e, s] = turn
        queue_up(
            peers.heard[e],
            peers.age_s[e],
            peers.ahead_m[e],
            found.gap_m[e],
            found.speed_mps[e],
            found.accel_mps2[e],
        )
        for s in range(peers.heard.shape[1]):  # an insertion sort, nearest first
            if not peers.heard[e, s]:
                continue
            at = count
            while at > 0 and found.gap_m[e, found.order[e, at - 1]] > found.gap_m[e, s]:
                found.order[e, at] = found.order[e, at - 1]
                at -= 1
            found.order[e, at] = s
            count += 1
        found.num_heard[e] = count
        for rank in range(count):
            s = found.order[e, rank]
            found.rank[e, s] = rank
            found.room_m[e, s] = found.gap_m[e, s] - rank * CAR_LENGTH_M
