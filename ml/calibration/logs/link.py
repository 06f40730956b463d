"""A link between two boards and the drive it belongs to: what logs are turned into."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Bools, Floats, Ints
from ml.calibration.logs.boards import Board
from ml.calibration.logs.clocks import ClockLine
from ml.calibration.logs.reader import Log
from ml.calibration.logs.trajectories import Trajectory

LOST, RECEIVED, LEFT_OUT = 0, 1, -1


@dataclass(frozen=True, slots=True)
class Link:
    """The beacons of one board at another, or the pings of one board and their echoes."""

    source: str  # Who sends
    receiver: str  # Who receives, or echoes
    two_way: bool  # Whether a loss may have happened on either way
    time_s: Floats  # (K,) in a clock common to all links of a drive
    receiver_s: Floats  # (K,) in the receiver's clock; for pings in the sender's
    outcome: NDArray[np.int8]  # (K,) int8, LOST, RECEIVED or LEFT_OUT
    distance_m: Floats  # (K,) between the antennas, NaN where unknown
    travel_m: Floats  # (K,), the mean of what both cars travelled since the row before; see below
    between: Ints  # (K,), cars that stood between
    latency_ms: Floats  # (K,), in excess of the fastest; for pings the round trip; NaN where lost
    drive: int = 0  # Number of the drive
    taken: Floats | None = None  # (K,), share that the receiver's blackouts take
    speed_known: bool = True  # False: `travel_m` is that of cars at 10 m/s, for want of a speed

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
    """All that the logs of one drive hold."""

    boards: list[Board]  # With TX logs
    number: int = 0  # Of the drive
    links: list[Link] = field(default_factory=list)  # One-way, or two-way where there is none
    round_trips: list[Link] = field(default_factory=list)  # Two-way links of all RTT logs
    clocks: dict[tuple[str, str], ClockLine] = field(default_factory=dict)  # By source and receiver
    """From the clock of the source's timestamps to that of the receiver's rows."""
    rows_ahead_ms: dict[str, float] = field(default_factory=dict)
    """What the clock of a board's rows shows more than that of its timestamps; 0 if left out."""
    ways: dict[str, Trajectory] = field(default_factory=dict)  # Of each board
    dropped: dict[str, Counter[str]] = field(default_factory=dict)  # File to reason to rows
    notes: list[str] = field(default_factory=list)  # What else was noticed
    distance_m: float | None = None  # Between all boards, as the user says; they do not move

    def drop(self, log: Log, rows: Mapping[str, int]) -> None:
        """Count rows of a log that are left out, by reason."""
        self.dropped.setdefault(str(log.path), Counter()).update(rows)

    def left_out(self) -> list[str]:
        """Say of each file how many rows went for which reason."""
        return [
            f"{path}: left out are "
            + ", ".join(f"{count:,} {why}" for why, count in reasons.items() if count)
            for path, reasons in self.dropped.items()
            if any(reasons.values())
        ]

    def translate(self, one: str, other: str, time_ms: Floats) -> Floats:
        """Translate times of one board's rows into another's; as they are where they never met.

        Two clocks that did not meet themselves are joined by those that both have met.
        """
        ahead_ms = self.rows_ahead_ms.get
        way = self.clocks_between(one, other)
        for here, there in pairwise(way or ()):
            if (here, there) in self.clocks:
                stamps_ms = time_ms - ahead_ms(here, 0.0)
                time_ms = self.clocks[here, there].to_receiver(stamps_ms)
            else:
                time_ms = self.clocks[there, here].to_sender(time_ms) + ahead_ms(there, 0.0)
        return time_ms

    def clocks_between(self, one: str, other: str) -> tuple[str, ...] | None:
        """Return the fewest boards, both ends included, whose clocks met from one to the other."""
        ways: dict[str, tuple[str, ...]] = {one: (one,)}
        waiting = deque(ways)
        while waiting and other not in ways:
            here = waiting.popleft()
            met = sorted({a if b == here else b for a, b in self.clocks if here in (a, b)})
            for there in met:
                if there not in ways:
                    ways[there] = (*ways[here], there)
                    waiting.append(there)
        return ways.get(other)
