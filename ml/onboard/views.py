"""What the ego's board holds of the peers, and what its own sensors say."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ml.arrays import Bools, Floats, Ints

HISTORY = 3
"""Earlier messages of a peer that are kept."""


class PeerView(NamedTuple):
    """What the ego's board holds of each peer; arrays (E, S) float64 unless said otherwise.

    The values from `x_m` to `hops` are those of the newest message, as the sender measured them.

    Attributes:
        heard: bool, whether there is a message of it and it is a car ahead
            (`ml.onboard.cars_ahead`); where False no other value has a meaning.
        age_s: Age of that message as the board can estimate it, s.
        x_m: Position of the front bumper, east, m.
        y_m: North, m.
        speed_mps: Speed, m/s.
        heading_deg: Heading, degrees clockwise from north.
        accel_mps2: Acceleration, m/s².
        position_sd_m: Standard deviation that the sender believes its position has, per axis, m.
        hops: int64, relays that the message has passed.
        ahead_m: (E, S, S), how far the second peer is known to drive ahead of the first; 0 where
            nothing is known (`ml.onboard.peer_order`).
        travelled_m: How far it is predicted to have driven since that message, m.
        now_mps: Speed that is predicted for now, m/s.
        now_mps2: Acceleration that is predicted for now, m/s²: as sent, if it is taken to last.
    """

    heard: Bools
    age_s: Floats
    x_m: Floats
    y_m: Floats
    speed_mps: Floats
    heading_deg: Floats
    accel_mps2: Floats
    position_sd_m: Floats
    hops: Ints
    ahead_m: Floats
    travelled_m: Floats
    now_mps: Floats
    now_mps2: Floats


class EgoView(NamedTuple):
    """What the ego's own sensors say; arrays (E,) float64.

    Attributes:
        x_m: Position of the front bumper, east, m.
        y_m: North, m.
        speed_mps: Speed, m/s.
        heading_deg: Heading, degrees clockwise from north.
        accel_mps2: Acceleration, m/s².
        position_sd_m: Standard deviation that the node believes its position has, per axis, m.
        last_command_mps2: Acceleration commanded in the last tick, within the vehicle's limits;
            0 in an episode's first tick.
        common_share: Share of a position's error variance that the board takes to be common to the
            convoy, 0 to 1; see `ml.onboard.estimator.difference_sd_m`.
    """

    x_m: Floats
    y_m: Floats
    speed_mps: Floats
    heading_deg: Floats
    accel_mps2: Floats
    position_sd_m: Floats
    last_command_mps2: Floats
    common_share: Floats


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the nodes believe of themselves; float64 arrays (E, V).

    `position_sd_m` is the standard deviation per axis that a node believes its position has: from
    its parameters and the age of its newest fix, not the error it has, which no node knows.
    """

    x_m: Floats  # east
    y_m: Floats  # north
    speed_mps: Floats  # never below 0; in mode fused of the last fix and the accelerometer since
    heading_deg: Floats  # clockwise from north, [0, 360)
    accel_mps2: Floats  # along the vehicle
    position_sd_m: Floats


class Ranging(Protocol):
    """A sensor at the ego's front that measures the distance to the car ahead; arrays (E,)."""

    @property
    def range_m(self) -> Floats:
        """The newest measurement; 0 where it is not valid."""

    @property
    def is_valid(self) -> Bools:
        """Whether there is one."""
