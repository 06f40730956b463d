"""A link between two boards and the drive it belongs to: what logs are turned into."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ml.calibration.arrays import Bools, Floats, Ints
from ml.calibration.logs.boards import Board
from ml.calibration.logs.clocks import ClockLine
from ml.calibration.logs.reader import Log
from ml.calibration.logs.trajectories import Trajectory

LOST, RECEIVED, LEFT_OUT = 0, 1, -1


@dataclass(frozen=True, slots=True)
class Link:
    """The beacons of one board at another, or the pings of one board and their echoes.

    Attributes:
        source: Who sends.
        receiver: Who receives, or echoes.
        two_way: Whether a loss may have happened on either way.
        time_s: (K,) in a clock common to all links of a drive.
        receiver_s: (K,) in the receiver's clock; for pings in the sender's.
        outcome: (K,) int8, LOST, RECEIVED or LEFT_OUT.
        distance_m: (K,) between the antennas, NaN where unknown.
        travel_m: (K,), the mean of what both cars travelled since the row before.
        between: (K,), cars that stood between.
        latency_ms: (K,), in excess of the fastest; for pings the round trip; NaN where lost.
        drive: Number of the drive.
        taken: (K,), share of frames that the receiver's blackouts take, None where it has none.
    """

    source: str
    receiver: str
    two_way: bool
    time_s: Floats
    receiver_s: Floats
    outcome: NDArray[np.int8]
    distance_m: Floats
    travel_m: Floats
    between: Ints
    latency_ms: Floats
    drive: int = 0
    taken: Floats | None = None

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.source} {'⇄' if self.two_way else '→'} {self.receiver}"

    @property
    def pair(self) -> tuple[str, str]:
        """The two boards, in order of their names."""
        one, other = sorted((self.source, self.receiver))
        return one, other

    @property
    def scored(self) -> Bools:
        """(K,), rows whose loss counts."""
        scored: Bools = self.outcome != LEFT_OUT
        return scored

    @property
    def lost(self) -> Bools:
        """(K,)."""
        lost: Bools = self.outcome == LOST
        return lost


@dataclass(slots=True)
class Drive:
    """All that the logs of one drive hold.

    Attributes:
        boards: With TX logs.
        number: Of the drive.
        links: One-way ones, and two-way ones of pairs without.
        round_trips: Two-way links of all RTT logs.
        clocks: (source, receiver) to the line of their clocks.
        ways: Of each board.
        dropped: File to reason to rows.
        notes: What else was noticed.
    """

    boards: list[Board]
    number: int = 0
    links: list[Link] = field(default_factory=list)
    round_trips: list[Link] = field(default_factory=list)
    clocks: dict[tuple[str, str], ClockLine] = field(default_factory=dict)
    ways: dict[str, Trajectory] = field(default_factory=dict)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def drop(self, log: Log, rows: Mapping[str, int]) -> None:
        """Count rows of a log that are left out, by reason."""
        self.dropped.setdefault(str(log.path), Counter()).update(rows)

    def translate(self, one: str, other: str, time_ms: Floats) -> Floats:
        """Translate times of one board's clock into another's; as they are where they never met."""
        if (one, other) in self.clocks:
            return self.clocks[one, other].to_receiver(time_ms)
        if (other, one) in self.clocks:
            return self.clocks[other, one].to_sender(time_ms)
        return time_ms
