"""What went on the air, frame by frame: who sent what, who received it, and who did not."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from ml.arrays import Bools, Floats, Ints

_US = 1e6


class AirFrames(NamedTuple):
    """F frames in the order in which they went on the air; arrays (F,).

    Attributes:
        sent_s: float64, when it went on the air, true time since the episode's start.
        arrival_s: float64, when those who receive it have it, or would have had it.
        sender: int64, the node that sent it: the source, or a relay.
        source: int64, the node whose message it is.
        number: int64, which of the source's messages in this episode.
        hops: int64, relays that it has passed: 0 for the source's own frame.
        receivers: int64, a bit per node that received it and did not hold the message before.
        alone: bool, whether no other frame was on the air; otherwise nobody received it.
    """

    sent_s: Floats
    arrival_s: Floats
    sender: Ints
    source: Ints
    number: Ints
    hops: Ints
    receivers: Ints
    alone: Bools

    @classmethod
    def of(cls, log: Ints) -> Self:
        """Read the rows of a log, (F, 8) int64; see `ml.espnow_emulator.events.AirLog`."""
        sent_us, arrival_us, sender, source, number, hops, receivers, alone = log.T
        times = (sent_us / _US, arrival_us / _US)
        return cls(*times, sender, source, number, hops, receivers, alone > 0)

    @classmethod
    def joined(cls, parts: "Sequence[AirFrames]") -> Self:
        """Join what was taken one after the other; of nothing, no frames."""
        parts = parts or [cls.of(np.zeros((0, 8), dtype=np.int64))]
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
