"""The numbers that the oracle needs, in whole microseconds where they are times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DEPTH = 16
"""How many messages of a source are remembered; what refers to an older one is dropped."""

MAC_QUEUE_CAPACITY = 32
"""Transmit buffers of a board."""


@dataclass(frozen=True)
class Mac:
    """How a frame gets on the air.

    Attributes:
        enabled: False: at its slot, for no time, without contention.
        fixed_latency_us: From slot to arrival if not enabled.
        air_us: Time that one frame takes.
        h_tx_us: From the slot until the frame is ready to contend.
        h_rx_us: From the end of the frame until the receiver has it.
        wait_probability: That the frame gets ready later.
        wait_mean_ms: By how much, exponentially distributed.
        slot_us: One step of the backoff.
        difs_us: Silence before the backoff begins.
        cw: Largest backoff in slots.
        vulnerable_us: Who starts within this time of the first did not hear it: a collision.
    """

    enabled: bool = True
    fixed_latency_us: int = 0
    air_us: int = 1256
    h_tx_us: int = 1100
    h_rx_us: int = 150
    wait_probability: float = 0.3
    wait_mean_ms: float = 3.0
    slot_us: int = 20
    difs_us: int = 50
    cw: int = 31
    vulnerable_us: int = 20


@dataclass(frozen=True)
class Relay:
    """Who passes on what: up to `max_hops` times, 0 is never."""

    max_hops: int = 3
    front_cone: bool = True
    cone_half_angle_deg: float = 90.0


@dataclass(frozen=True)
class Margin:
    """The margin model: decibels of margin, correlated over way and time.

    Attributes:
        success: (margin in dB, m or None without fading) -> probability of reception.
        blackout: (probability of loss, width in µs, period in µs) or None.
        blackout_share: Of receivers that have it.
    """

    success: Callable[[float, float | None], float]
    m20_db: float = 10.5
    n1: float = 0.8
    n2: float = 2.5
    sigma_s_db: float = 5.2
    decorrelation_m: float = 12.0
    standstill_mps: float = 0.3
    sigma_b_db: float = 2.5
    tau_b_s: float = 30.0
    common_share: float = 0.4
    sigma_g_db: float = 3.0
    door_probability: float = 0.03
    door_db: float = 25.0
    m: float | None = 3.0
    one_car_db: float = 5.5
    next_car_db: float = 4.0
    cap_db: float = 14.0
    p0: float = 0.02
    blackout: tuple[float, int, int] | None = None
    blackout_share: float = 1.0


@dataclass(frozen=True)
class Knot:
    """Loss at one distance; linear between knots, constant outside."""

    distance_m: float
    loss: float
    mean_burst: float = 1.0


@dataclass(frozen=True)
class GilbertElliott:
    """A two-state chain for each directed link, moved with each own message of the sender."""

    knots: tuple[Knot, ...]
    odds_factor: float = 1.0
    burst_factor: float = 1.0


@dataclass(frozen=True)
class Independent:
    """Each frame for itself."""

    knots: tuple[Knot, ...]
    odds_factor: float = 1.0


@dataclass(frozen=True)
class OracleParameters:
    """All of it."""

    mac: Mac
    relay: Relay
    loss: Margin | GilbertElliott | Independent


def microseconds(milliseconds: float) -> int:
    """Round a duration to what events are counted in."""
    return round(milliseconds * 1000.0)


def air_us(payload_bytes: int, rate_kbps: float) -> int:
    """Time on the air of a frame: preamble and header, then 43 bytes more than the payload."""
    return round(192.0 + 8000.0 * (43 + payload_bytes) / rate_kbps)
