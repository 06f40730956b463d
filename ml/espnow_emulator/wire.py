"""The board's 90-byte message: packed, unpacked, refused; and what its rounding does to arrays.

Little-endian without padding:

| bytes | field | here |
|---|---|---|
| 0 | version u8 | 2 |
| 1–8 | id char[8], ends with a zero, zeros after it | `vehicle_id`: who transmits |
| 9–12 | timestamp u32, ms | `timestamp_ms` |
| 13–24 | latitude, longitude in degrees, altitude in m, f32 | `x_m`, `y_m`; altitude 0 |
| 25–40 | speed m/s, heading deg, acceleration along and across in m/s², f32 | across 0 |
| 41–76 | accelerometer, gyroscope, magnetometer, 3 f32 each | 0 |
| 77–78 | risk u8, scenario u8 | 0 |
| 79–82 | confidence f32, (0, 1] | 1 / (1 + `position_sd_m`) |
| 83 | hop u8 | `hop_count` |
| 84–89 | source MAC | `source_id`, as below |

What a message does not hold is written as 0 and not read back. Metres are those of the plane that
touches the ellipsoid of WGS 84 at the reference: its two radii of curvature there, no more, so that
100 km from the reference bound the error by the plane's own.

A board is named by the address that its maker gave it, a simulated car by a word. A word of one to
seven visible ASCII characters is numbered (words of base 94, shorter ones first), and that number,
at most 46 bits, fills a locally administered unicast address: no maker's address looks like it
(IEEE 802c-2017, the second lowest bit of the first byte). Any other address is a name as it stands,
written `24:0a:c4:12:34:56`.
"""

import math
import struct
from typing import Final, NamedTuple, Self

import numpy as np

from ml.arrays import Floats
from ml.compiled import compiled
from ml.errors import EmulatorError
from ml.espnow_emulator.messages import PayloadField, V2VMessage
from ml.espnow_emulator.parameters.radio import WireParameters

WIRE_VERSION: Final = 2
_LAYOUT: Final = struct.Struct("<B8sI3f4f9f2Bf B6s")
WIRE_BYTES: Final = _LAYOUT.size
_FLOAT_NAMES: Final = (
    *("latitude", "longitude", "altitude"),
    *("speed", "heading", "longitudinal acceleration", "lateral acceleration"),
    *(
        f"{sensor} {axis}"
        for sensor in ("accelerometer", "gyroscope", "magnetometer")
        for axis in "xyz"
    ),
)
_NOT_CARRIED: Final = (0.0,) * 9
_MOST_TIMESTAMP_MS: Final = 2**32 - 1
_PLANE_M: Final = 100_000.0
_LEAST_CONFIDENCE: Final = 1.0 / (1.0 + 1e5)
_CIRCLE_DEG: Final = 360.0

_LONGEST_NAME: Final = 7
_FIRST, _LAST = 0x21, 0x7E
_BASE: Final = _LAST - _FIRST + 1
_MAC_BYTES: Final = 6
_MAC_TEXT: Final = 17
_GROUP_BIT, _LOCAL_BIT = 0b01, 0b10

# WGS 84 (NIMA TR8350.2).
_SEMI_MAJOR_M: Final = 6_378_137.0
_ECCENTRICITY_2: Final = 6.694379990141316e-3

# What a kernel indexes with must be plain numbers.
_X, _Y, _SPEED, _HEADING, _ACCEL, _SD = (int(field) for field in PayloadField)


class GeoReference(NamedTuple):
    """The place whose plane the simulated metres belong to: its origin, and metres to a degree."""

    lat_deg: float
    lon_deg: float
    north_m_per_deg: float
    east_m_per_deg: float

    @classmethod
    def at(cls, lat_deg: float, lon_deg: float) -> Self:
        """Touch the ellipsoid at a place."""
        flattening = 1.0 - _ECCENTRICITY_2 * math.sin(math.radians(lat_deg)) ** 2
        meridian_m = _SEMI_MAJOR_M * (1.0 - _ECCENTRICITY_2) / flattening**1.5
        parallel_m = _SEMI_MAJOR_M / math.sqrt(flattening) * math.cos(math.radians(lat_deg))
        return cls(lat_deg, lon_deg, math.radians(meridian_m), math.radians(parallel_m))

    @classmethod
    def of(cls, parameters: WireParameters) -> Self:
        """Touch the ellipsoid where the parameters say."""
        return cls.at(parameters.reference_lat_deg, parameters.reference_lon_deg)


def pack(message: V2VMessage, reference: GeoReference) -> bytes:
    """Return the 90 bytes of a message.

    Args:
        message: Its position lies within 100 km of the reference along either axis.
        reference: Where the metres belong.

    Raises:
        EmulatorError: A value that the message or the bytes do not allow.
    """
    message.check()
    _check_name(message.vehicle_id, "V2VMessage.vehicle_id")
    if not 0 <= message.timestamp_ms <= _MOST_TIMESTAMP_MS:
        raise EmulatorError(
            f"V2VMessage.timestamp_ms of {message.vehicle_id!r} is {message.timestamp_ms}, allowed "
            f"on the wire is 0 to {_MOST_TIMESTAMP_MS}: count from the board's start."
        )
    _check_on_plane(message.x_m, message.y_m)
    heading = struct.unpack("<f", struct.pack("<f", message.heading_deg))[0]
    return _LAYOUT.pack(
        WIRE_VERSION,
        message.vehicle_id.encode("ascii"),
        message.timestamp_ms,
        reference.lat_deg + message.y_m / reference.north_m_per_deg,
        reference.lon_deg + message.x_m / reference.east_m_per_deg,
        0.0,
        message.speed_mps,
        # Just below a full circle rounds up to it.
        heading if heading < _CIRCLE_DEG else 0.0,
        message.accel_mps2,
        0.0,
        *_NOT_CARRIED,
        0,
        0,
        1.0 / (1.0 + message.position_sd_m),
        message.hop_count,
        mac_of_name(message.source_id),
    )


def unpack(data: bytes, reference: GeoReference) -> V2VMessage:
    """Read the bytes of a message, or say why they are none.

    Args:
        data: As received.
        reference: Where the metres belong.

    Returns:
        A message whose `pack` gives the same bytes again in every field that a message holds.

    Raises:
        EmulatorError: The bytes are not a message; the reason is named.
    """
    if len(data) != WIRE_BYTES:
        raise EmulatorError(f"a message on the wire has {WIRE_BYTES} bytes, these are {len(data)}.")
    fields = _LAYOUT.unpack(data)
    version, name, timestamp_ms, *floats = fields[: 3 + len(_FLOAT_NAMES)]
    confidence, hop_count, address = fields[-3:]
    if version != WIRE_VERSION:
        raise EmulatorError(
            f"the bytes are of version {version}, allowed is {WIRE_VERSION}: update the firmware "
            "of the sender or use a reader of its version."
        )
    for what, value in zip((*_FLOAT_NAMES, "confidence"), (*floats, confidence), strict=True):
        if not math.isfinite(value):
            raise EmulatorError(f"{what} on the wire is {value}, allowed is a finite number.")
    lat_deg, lon_deg, _, speed_mps, heading_deg, accel_mps2 = floats[:6]
    _check_within("latitude", lat_deg, -90.0, 90.0)
    _check_within("longitude", lon_deg, -180.0, 180.0)
    _check_within("confidence", confidence, _LEAST_CONFIDENCE, 1.0)
    message = V2VMessage(
        vehicle_id=_read_name(name),
        timestamp_ms=timestamp_ms,
        x_m=(lon_deg - reference.lon_deg) * reference.east_m_per_deg,
        y_m=(lat_deg - reference.lat_deg) * reference.north_m_per_deg,
        speed_mps=speed_mps,
        heading_deg=heading_deg,
        accel_mps2=accel_mps2,
        hop_count=hop_count,
        source_id=name_of_mac(address),
        position_sd_m=1.0 / confidence - 1.0,
    )
    _check_on_plane(message.x_m, message.y_m)
    message.check()
    return message


def quantise(payload: Floats, reference: GeoReference) -> None:
    """Round payloads in place to what their bytes carry: `unpack(pack(·))`, bit for bit.

    Nothing is checked here; a payload that `pack` would refuse comes out as some number.

    Args:
        payload: (…, F) float64 in C order, the fields of `PayloadField`.
        reference: Where the metres belong.

    Raises:
        EmulatorError: The array is not in C order, so that its rows cannot be written in place.
    """
    if not payload.flags.c_contiguous:
        raise EmulatorError("quantise writes in place and needs an array in C order: copy it first")
    _quantise(payload.reshape(-1, len(PayloadField)), reference)


@compiled
def _quantise(payload: Floats, reference: GeoReference) -> None:
    """Round payloads (n, F) in place; see `quantise`."""
    lat_deg, lon_deg, north_m_per_deg, east_m_per_deg = reference
    for row in range(payload.shape[0]):
        fields = payload[row]
        lon = float(np.float32(lon_deg + fields[_X] / east_m_per_deg))
        lat = float(np.float32(lat_deg + fields[_Y] / north_m_per_deg))
        fields[_X] = (lon - lon_deg) * east_m_per_deg
        fields[_Y] = (lat - lat_deg) * north_m_per_deg
        fields[_SPEED] = float(np.float32(fields[_SPEED]))
        heading = float(np.float32(fields[_HEADING]))
        fields[_HEADING] = heading if heading < _CIRCLE_DEG else 0.0
        fields[_ACCEL] = float(np.float32(fields[_ACCEL]))
        fields[_SD] = 1.0 / float(np.float32(1.0 / (1.0 + fields[_SD]))) - 1.0


def mac_of_name(name: str) -> bytes:
    """Return the address that stands for a source.

    Args:
        name: One to seven visible ASCII characters, or an address as text.

    Raises:
        EmulatorError: Neither, or an address that no single station has.
    """
    if len(name) == _MAC_TEXT and name[2::3] == ":" * (_MAC_BYTES - 1):
        try:
            address = bytes(int(name[3 * i : 3 * i + 2], 16) for i in range(_MAC_BYTES))
        except ValueError:
            address = b""
        if _as_text(address) == name:
            _check_mac(address)
            if _word(address) is not None:
                raise EmulatorError(
                    f"source_id {name!r} is the address of the node named {_word(address)!r}: use "
                    "that name."
                )
            return address
    _check_name(name, "V2VMessage.source_id")
    number = 0
    for character in name:
        number = number * _BASE + (ord(character) - _FIRST + 1)
    high = number >> 40
    return bytes([high << 2 | _LOCAL_BIT]) + (number & (2**40 - 1)).to_bytes(5, "big")


def name_of_mac(address: bytes) -> str:
    """Return the name that an address stands for: a word, or the address as text.

    Raises:
        EmulatorError: It is not the address of one station.
    """
    _check_mac(address)
    return _word(address) or _as_text(address)


def _read_name(field: bytes) -> str:
    name, zero, rest = field.partition(b"\0")
    if not zero:
        raise EmulatorError(
            f"id on the wire is {field!r}, allowed is a name of 1 to {len(field) - 1} characters "
            "that ends with a zero byte."
        )
    if any(rest):
        raise EmulatorError(
            f"id on the wire is {field!r}, allowed are only zero bytes after the first: clear the "
            "field before writing the name."
        )
    text = name.decode("latin-1")
    _check_name(text, "id on the wire")
    return text


def _check_within(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise EmulatorError(f"{what} on the wire is {value:g}, allowed is {low:g} to {high:g}.")


def _check_on_plane(x_m: float, y_m: float) -> None:
    if max(abs(x_m), abs(y_m)) > _PLANE_M:
        raise EmulatorError(
            f"the position lies {x_m / 1000.0:.1f} km east and {y_m / 1000.0:.1f} km north of the "
            f"reference, allowed is up to {_PLANE_M / 1000.0:g} km along either: choose a "
            "reference (radio.wire) near the drive."
        )


def _check_name(name: str, what: str) -> None:
    """Raise EmulatorError unless a name fits the eight bytes of an id, its end included."""
    if 1 <= len(name) <= _LONGEST_NAME and all(_FIRST <= ord(c) <= _LAST for c in name):
        return
    raise EmulatorError(
        f"{what} is {name!r}, allowed on the wire is a name of 1 to {_LONGEST_NAME} visible ASCII "
        "characters (of a source also its MAC address, in lower case): choose a shorter or plainer "
        "name."
    )


def _check_mac(address: bytes) -> None:
    """Raise EmulatorError for an address that no single station has: a group's, or all zero."""
    if address[0] & _GROUP_BIT or not any(address):
        raise EmulatorError(
            f"source MAC {_as_text(address)} is {'a group address' if any(address) else 'empty'}, "
            "allowed is the address of one station."
        )


def _word(address: bytes) -> str | None:
    if address[0] & (_GROUP_BIT | _LOCAL_BIT) != _LOCAL_BIT:
        return None
    number = (address[0] >> 2) << 40 | int.from_bytes(address[1:], "big")
    letters = []
    while number:
        number, letter = divmod(number - 1, _BASE)
        letters.append(chr(_FIRST + letter))
    return "".join(reversed(letters)) if 1 <= len(letters) <= _LONGEST_NAME else None


def _as_text(address: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in address)
