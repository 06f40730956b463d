"""What is said over the radio, and what is known about it on arrival."""

from dataclasses import dataclass
from enum import IntEnum
from numbers import Integral, Real
from typing import Any

from ml.errors import EmulatorError

_LIMITS: dict[str, tuple[float, float]] = {
    "timestamp_ms": (-(2**42), 2**42),
    "x_m": (-1e7, 1e7),
    "y_m": (-1e7, 1e7),
    "speed_mps": (0.0, 150.0),
    "heading_deg": (0.0, 360.0),
    "accel_mps2": (-100.0, 100.0),
    "hop_count": (0, 3),
    "position_sd_m": (0.0, 1e5),
}
_INTEGERS = ("timestamp_ms", "hop_count")


class PayloadField(IntEnum):
    """Index of each value in the last axis of a payload array."""

    X_M = 0
    Y_M = 1
    SPEED_MPS = 2
    HEADING_DEG = 3
    ACCEL_MPS2 = 4
    POSITION_SD_M = 5


class FrameField(IntEnum):
    """Index of each whole number that travels with a message."""

    SEQUENCE = 0
    EPOCH = 1
    TIMESTAMP_MS = 2
    GENERATED_US = 3
    HOPS = 4


@dataclass(frozen=True, slots=True)
class V2VMessage:
    """One beacon: what a node believes of itself at the moment of its timestamp.

    Attributes:
        vehicle_id: Who transmits.
        timestamp_ms: When the state was sampled, in the clock of the source.
        x_m: East.
        y_m: North.
        speed_mps: Speed over ground.
        heading_deg: Clockwise from north, [0, 360).
        accel_mps2: Along the vehicle.
        hop_count: 0 straight from the source, 1 to 3 when relayed.
        source_id: Whose state it is; default: the transmitter's own.
        position_sd_m: Standard deviation per axis that the source believes its position has.
    """

    vehicle_id: str
    timestamp_ms: int
    x_m: float
    y_m: float
    speed_mps: float
    heading_deg: float
    accel_mps2: float
    hop_count: int = 0
    source_id: str = ""
    position_sd_m: float = 0.0

    def __post_init__(self) -> None:
        """Name the source where the message did not."""
        if not self.source_id:
            object.__setattr__(self, "source_id", self.vehicle_id)

    def check(self) -> None:
        """Raise EmulatorError if a value is not finite or out of range."""
        if not isinstance(self.vehicle_id, str) or not self.vehicle_id:
            raise EmulatorError(
                f"V2VMessage.vehicle_id is {self.vehicle_id!r}, allowed is a name of one or more "
                "characters: name the transmitting vehicle."
            )
        for name, (low, high) in _LIMITS.items():
            value: Any = getattr(self, name)
            right_kind = isinstance(value, Integral if name in _INTEGERS else Real)
            top_excluded = name == "heading_deg"
            kind = "a whole number" if name in _INTEGERS else "a finite number"
            if (
                not right_kind
                or isinstance(value, bool)
                or not low <= value <= high
                or (top_excluded and value == high)
            ):
                raise EmulatorError(
                    f"V2VMessage.{name} of {self.vehicle_id!r} is {value!r}, allowed is {kind} in "
                    f"[{low:g}, {high:g}{')' if top_excluded else ']'}: correct it where the "
                    "message is made."
                )

    def payload(self) -> tuple[float, ...]:
        """Return the values in the order of `PayloadField`."""
        return tuple(getattr(self, field.name.lower()) for field in PayloadField)


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """The newest message of one vehicle, as the receiver holds it.

    Attributes:
        message: Exactly what was sent.
        received_at_ms: When it arrived, in the time of the emulator.
        age_ms: How old it was on arrival: received_at_ms less the time it was handed to
            `transmit`. The age at a later time is `now_ms - received_at_ms + age_ms`.
    """

    message: V2VMessage
    received_at_ms: float
    age_ms: float
