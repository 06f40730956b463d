"""Whom a board takes for a car ahead: nobody behind it, oncoming, or not heard for a minute."""

import math
from typing import Final

from ml.arrays import Bools
from ml.compiled import inlined
from ml.onboard.memory import Memory
from ml.onboard.prediction import along, travel, turned
from ml.onboard.views import EgoView, PeerView
from ml.vehicle import CAR_LENGTH_M

FORGOTTEN_S: Final = 60.0
"""Age of the newest message from which on a peer is forgotten."""
BEHIND_M: Final = 25.0
"""A peer whose front bumper is farther behind the own one is no car ahead."""
BEHIND_SDS: Final = 3.0
"""Nor is it by an error of the two positions: so many of their believed standard deviations."""
ONCOMING_RAD: Final = math.radians(135.0)
"""Difference of two headings from which on a peer comes the other way."""


@inlined
def find_cars_ahead(in_table: Bools, ego: EgoView, peers: PeerView, memory: Memory) -> None:
    """Find out who is a car ahead; the past of anybody else is forgotten.

    Who was behind is one again when its rear bumper is before the own front one: else a follower
    would be now one and now not, as its distance changes.

    Args:
        in_table: (E, S), whether the peer table holds a message.
        ego: What the own sensors say.
        peers: Its `heard` is filled, and its `ahead_m` changed.
        memory: Its `behind`, `newest` and `followed` are changed.
    """
    for e in range(in_table.shape[0]):
        heading = math.radians(ego.heading_deg[e])
        for s in range(in_table.shape[1]):
            peers.heard[e, s] = False
            if not in_table[e, s]:
                continue
            if peers.age_s[e, s] > FORGOTTEN_S:
                memory.behind[e, s] = False
                _forget(e, s, peers, memory)
                continue
            turn = turned(math.radians(peers.heading_deg[e, s]), heading)
            is_oncoming = abs(turn) > ONCOMING_RAD
            if not is_oncoming:
                east, north = peers.x_m[e, s] - ego.x_m[e], peers.y_m[e, s] - ego.y_m[e]
                way = travel(peers.speed_mps[e, s], peers.accel_mps2[e, s], peers.age_s[e, s])[0]
                sd_m = peers.position_sd_m[e, s] + ego.position_sd_m[e]
                least_m = CAR_LENGTH_M if memory.behind[e, s] else -max(BEHIND_M, BEHIND_SDS * sd_m)
                memory.behind[e, s] = along(east, north, heading, turn) + way < least_m
            if is_oncoming or memory.behind[e, s]:
                _forget(e, s, peers, memory)
            else:
                peers.heard[e, s] = True


@inlined
def _forget(e: int, s: int, peers: PeerView, memory: Memory) -> None:
    memory.newest[e, s] = memory.followed[e, s] = -1
    for o in range(peers.heard.shape[1]):
        peers.ahead_m[e, s, o] = peers.ahead_m[e, o, s] = 0.0
