"""What recordings of boards in cars say of the radio: the numbers that parameters are held to.

All of them were computed from recordings of ESP32 boards that broadcast 90 bytes at 10 Hz, mostly
three cars in a row; spells in which a receiver lost frames of all senders at once are taken out
unless said otherwise. The recordings themselves are not part of this repository.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class LossBin:
    """Share of frames lost over a range of distances.

    Attributes:
        low_m: Least distance between the antennas.
        high_m: Largest distance.
        cars_between: How many cars stood between the two.
        loss: Measured share.
        frames: How many frames the share rests on; None where that was not kept.
    """

    low_m: float
    high_m: float
    cars_between: int
    loss: float
    frames: int | None = None

    @property
    def name(self) -> str:
        """For tables: `20–25 m, 0 cars`."""
        cars = "1 car" if self.cars_between == 1 else f"{self.cars_between} cars"
        return f"{self.low_m:g}–{self.high_m:g} m, {cars}"


# The nearest bin with a car between was recorded as 0–20 m; two antennas with a car of 4.5 m
# and two gaps between them are at least 10 m apart.
LOSS_BY_DISTANCE: Final = (
    LossBin(8.0, 12.0, 0, 0.038),
    LossBin(12.0, 16.0, 0, 0.062),
    LossBin(16.0, 20.0, 0, 0.050),
    LossBin(20.0, 25.0, 0, 0.082),
    LossBin(25.0, 30.0, 0, 0.110),
    LossBin(30.0, 40.0, 0, 0.105),
    LossBin(40.0, 60.0, 0, 0.080, frames=237),
    LossBin(10.0, 20.0, 1, 0.16),
    LossBin(20.0, 30.0, 1, 0.24),
    LossBin(30.0, 40.0, 1, 0.36),
    LossBin(40.0, 50.0, 1, 0.42),
    LossBin(60.0, 80.0, 1, 0.42),
    LossBin(80.0, 120.0, 1, 0.57, frames=143),
)


@dataclass(frozen=True, slots=True)
class DriveStatistics:
    """The convoy drive: 582 s, three cars, mean speed 10.6 m/s, direct links of neighbours.

    Attributes:
        loss: Share of frames lost, one receiver's blackouts included.
        mean_burst_frames: Frames lost in a row, on average, blackouts included.
        autocorrelation: Of the sequence of losses, by lag in frames of 100 ms.
        window_sd: Standard deviation of the loss in windows of 10 s.
        age_beyond: Share of time for which the newest message was older, by age in seconds.
    """

    loss: float
    mean_burst_frames: float
    autocorrelation: dict[int, float]
    window_sd: float
    age_beyond: dict[float, float]


CONVOY_DRIVE: Final = DriveStatistics(
    loss=0.126,
    mean_burst_frames=1.74,
    autocorrelation={1: 0.25, 2: 0.23, 5: 0.17, 10: 0.10},
    window_sd=0.077,
    age_beyond={0.3: 0.0293, 0.5: 0.0122, 1.0: 0.0062},
)

# Round trips of a 34-minute drive, its core of 17,746 packets, in whole milliseconds.
ROUND_TRIP_MS: Final = {50: 7.0, 95: 12.0, 99: 15.0}

# Share of frames that collide at 10 Hz, 90 bytes and 1 Mb/s with all nodes in range at random
# phases, by number of nodes; and with three nodes whose phases lie within 0.5 ms.
COLLISION_SHARE: Final = {6: 0.0013, 10: 0.003, 20: 0.008, 30: 0.014}
COLLISION_SHARE_CLOSE: Final = 0.076
