"""What one receiver holds of one source, found by searching all that ever arrived."""

from __future__ import annotations

from dataclasses import dataclass, field

_BUCKET_MS = 5_000
_BUCKETS = 12


@dataclass(frozen=True)
class Message:
    """What a source said; `epoch` counts its boots."""

    source: int
    seq: int
    epoch: int
    timestamp_ms: int
    t_generated_us: int
    payload: tuple[float, ...]


@dataclass(frozen=True)
class Reception:
    """A message that was new to its receiver."""

    receiver: int
    message: Message
    hops: int
    arrival_us: int


@dataclass
class Clock:
    """A board's clock: whole milliseconds since its own start, fast by `drift_ppm`."""

    offset_ms: int
    drift_ppm: float

    def elapsed_ms(self, t_us: int) -> int:
        """Milliseconds that it counts from true time 0 to `t_us`."""
        return (t_us + round(t_us * (self.drift_ppm * 1e-6))) // 1000

    def local_ms(self, t_us: int) -> int:
        """What it shows at `t_us`."""
        return self.offset_ms + self.elapsed_ms(t_us)


@dataclass
class Link:
    """Every reception of one source at one receiver, in order of arrival."""

    receptions: list[Reception] = field(default_factory=list)

    def newest(self) -> Reception | None:
        """The newest by boot, then timestamp; of equals the first that arrived."""
        best: Reception | None = None
        for reception in self.receptions:
            if best is None or _freshness(reception) > _freshness(best):
                best = reception
        return best

    def age_est_ms(self, now_us: int, clock: Clock) -> int | None:
        """Age that the board computes: excess over its fastest message of the last minute."""
        newest = self.newest()
        if newest is None:
            return None
        # A late frame of an earlier boot says nothing about the source's present clock.
        epoch = max(r.message.epoch for r in self.receptions)
        oldest_bucket = clock.elapsed_ms(now_us) // _BUCKET_MS - _BUCKETS + 1
        offsets_ms = [
            clock.local_ms(r.arrival_us) - r.message.timestamp_ms
            for r in self.receptions
            if r.message.epoch == epoch
            and clock.elapsed_ms(r.arrival_us) // _BUCKET_MS >= oldest_bucket
        ]
        if not offsets_ms:
            offsets_ms = [clock.local_ms(newest.arrival_us) - newest.message.timestamp_ms]
        return clock.local_ms(now_us) - newest.message.timestamp_ms - min(offsets_ms)


def _freshness(reception: Reception) -> tuple[int, int]:
    return reception.message.epoch, reception.message.timestamp_ms
