"""What recordings of boards in cars say of the radio: the numbers that parameters are held to.

All of them were computed from recordings of ESP32 boards that broadcast 90 bytes at 10 Hz, mostly
three cars in a row; spells in which a receiver lost frames of all senders at once are taken out
unless said otherwise. The recordings themselves are not part of this repository.
"""

from typing import Final, NamedTuple


class LossBin(NamedTuple):
    """Share of frames lost over a range of distances."""

    low_m: float  # Least distance between the antennas
    high_m: float  # Largest distance
    cars_between: int  # How many cars stood between the two
    loss: float  # Measured share
    frames: int | None = None  # How many frames the share rests on; None where that was not kept

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


CONVOY_DRIVE: Final = {
    "loss": 0.126,
    "mean burst (frames)": 1.74,
    "autocorrelation at 0.1 s": 0.25,
    "autocorrelation at 0.2 s": 0.23,
    "autocorrelation at 0.5 s": 0.17,
    "autocorrelation at 1 s": 0.10,
    "sd of loss in 10-s windows": 0.077,
    "share of time older than 0.3 s": 0.0293,
    "share of time older than 0.5 s": 0.0122,
    "share of time older than 1 s": 0.0062,
}
"""The convoy drive: 582 s, three cars, mean speed 10.6 m/s, direct links of neighbours.

One receiver's blackouts are included. The autocorrelation is that of the sequence of losses; the
share of time is that for which the newest message was older.
"""


TWO_AHEAD: Final = {
    "direct loss": 0.43,
    "share of lost frames rescued": 0.47,
    "share of time without news for 0.2 s": 0.117,
    "share of time without news for 0.3 s": 0.076,
    "share of time without news for 0.5 s": 0.041,
}
"""The link from two ahead, one car between, of one recording; median distance 45 m.

A frame is rescued that was lost on the direct way and came by a relay. The share of time is that
since the last reception by any way.
"""
