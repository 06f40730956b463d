"""The messages between `roadsense hil` and a board, in bytes; firmware/hil/README.md has the table.

A message on the wire is its bytes and their CRC, stuffed by COBS so that none of them is zero, and
a zero behind them (Cheshire and Baker, "Consistent overhead byte stuffing", IEEE/ACM Transactions
on Networking 7(2), 1999).
"""

import struct
from binascii import crc_hqx
from enum import IntEnum
from typing import Final, NamedTuple, Self

VERSION: Final = 1
BAUD: Final = 921_600
_HEAD: Final = struct.Struct("<BBI")
_CRC: Final = struct.Struct("<H")
_CRC_BEGIN: Final = 0xFFFF
_LONGEST_RUN: Final = 254

BEGIN: Final = struct.Struct("<I8s6siif")
FRAME: Final = struct.Struct("<I90s")
FIX: Final = struct.Struct("<iiffBI")
TICK: Final = struct.Struct("<IffffI")
SENDS: Final = struct.Struct("<B90s")
_HELLO: Final = struct.Struct("<IIf16s")
_ANSWER: Final = struct.Struct("<I6f4B2q3fIBx")
_PEER: Final = struct.Struct("<6sBB6f")
_REFUSES: Final = struct.Struct("<BB")


class Kind(IntEnum):
    """What a message is; those of a board have the highest bit."""

    HELLO = 0x00
    BEGIN = 0x01
    FRAME = 0x02
    FIX = 0x03
    TICK = 0x04
    END = 0x05
    IS_HELLO = 0x80
    HAS_BEGUN = 0x81
    SENDS = 0x82
    ANSWERS = 0x84
    HAS_ENDED = 0x85
    REFUSES = 0xFF


class Why(IntEnum):
    """Why a board refuses a message."""

    VERSION = 1
    BROKEN = 2
    SIZE = 3
    TYPE = 4
    NOT_BEGUN = 5
    SETTINGS = 6


_REASONS: Final = {int(why): why.name.lower().replace("_", " ") for why in Why}
LATE: Final = 1
"""Flag of an answer: by the board's own clock it took longer than the deadline."""


class Message(NamedTuple):
    """A message.

    Attributes:
        kind: A `Kind`, if it is a known one.
        tick: Of the session; an answer has that of what it answers.
        body: What it carries.
        version: Of the protocol.
    """

    kind: int
    tick: int
    body: bytes = b""
    version: int = VERSION

    def to_wire(self) -> bytes:
        """Return its bytes on the wire, the zero at the end included."""
        plain = _HEAD.pack(self.version, self.kind, self.tick) + self.body
        return stuff(plain + _CRC.pack(crc_hqx(plain, _CRC_BEGIN))) + b"\0"

    @classmethod
    def from_wire(cls, stuffed: bytes) -> Self | None:
        """Read what stood before a zero; None where it is no message."""
        plain = unstuff(stuffed)
        if len(plain) < _HEAD.size + _CRC.size:
            return None
        content, (crc,) = plain[: -_CRC.size], _CRC.unpack(plain[-_CRC.size :])
        if crc_hqx(content, _CRC_BEGIN) != crc:
            return None
        version, kind, tick = _HEAD.unpack_from(content)
        return cls(kind, tick, content[_HEAD.size :], version)


class Hello(NamedTuple):
    """What a board says of itself.

    Attributes:
        observation_version: Of its model.
        model: `BRAIN_DIGEST` of its weights; 0 where they do not say.
        time_gap_s: That its model usually keeps.
        name: Its own.
    """

    observation_version: int
    model: int
    time_gap_s: float
    name: str

    @classmethod
    def of(cls, body: bytes) -> Self | None:
        """Read a body; None where it is none."""
        if len(body) != _HELLO.size:
            return None
        version, model, time_gap_s, name = _HELLO.unpack(body)
        return cls(version, model, time_gap_s, name.rstrip(b"\0").decode("ascii", "replace"))


class Peer(NamedTuple):
    """What a board holds of a car, predicted to now.

    Attributes:
        mac: Whose it is.
        hops: How often the newest message was relayed.
        rank: Cars between.
        age_s: Of the newest message.
        gap_m: To its rear bumper.
        speed_mps: Its speed.
        accel_mps2: Its acceleration.
        needed_mps2: The braking that it demands of the ego.
        sd_m: Standard deviation of the gap.
    """

    mac: bytes
    hops: int
    rank: int
    age_s: float
    gap_m: float
    speed_mps: float
    accel_mps2: float
    needed_mps2: float
    sd_m: float


class Answer(NamedTuple):
    """What a board made of a tick; firmware/hil/README.md says more.

    Attributes:
        took_us: What it took, by the board's clock.
        accel_mps2: The command.
        speed_mps: The same as a speed.
        wish_mps2: What the policy wished.
        soft_mps2: Bound of the safety layer.
        hard_mps2: Bound of the safety layer.
        floor_mps2: Bound of the safety layer.
        reason: `enum brain_reason` of firmware/brain/brain.h.
        flags: See `LATE`.
        num_frames: Frames that came for this tick.
        num_refused: Those of them that were no messages.
        x_um: East, where it believes to be, µm.
        y_um: North.
        own_mps: Its own speed.
        own_deg: Its own heading.
        own_sd_m: Standard deviation of its position.
        digest: Of the bits of all that it computed and sent.
        peers: What it holds of others, nearest first, eight at most.
    """

    took_us: int
    accel_mps2: float
    speed_mps: float
    wish_mps2: float
    soft_mps2: float
    hard_mps2: float
    floor_mps2: float
    reason: int
    flags: int
    num_frames: int
    num_refused: int
    x_um: int
    y_um: int
    own_mps: float
    own_deg: float
    own_sd_m: float
    digest: int
    peers: tuple[Peer, ...]

    @classmethod
    def of(cls, body: bytes) -> Self | None:
        """Read a body; None where it is none."""
        if len(body) < _ANSWER.size:
            return None
        *values, count = _ANSWER.unpack_from(body)
        peers = body[_ANSWER.size :]
        if len(peers) != count * _PEER.size:
            return None
        return cls._make([*values, tuple(map(Peer._make, _PEER.iter_unpack(peers)))])


def refusal(body: bytes) -> tuple[int, str]:
    """Return which kind of message a board refuses, and why in a word."""
    if len(body) != _REFUSES.size:
        return Kind.REFUSES, "no reason"
    kind, why = _REFUSES.unpack(body)
    return kind, _REASONS.get(why, f"reason {why}")


def stuff(plain: bytes) -> bytes:
    """Take the zeros out of some bytes (COBS)."""
    out = bytearray()
    runs = plain.split(b"\0")
    for number, run in enumerate(runs):
        while len(run) >= _LONGEST_RUN:
            out.append(_LONGEST_RUN + 1)
            out += run[:_LONGEST_RUN]
            run = run[_LONGEST_RUN:]  # noqa: PLW2901 (what is left of it)
            if not run and number == len(runs) - 1:
                return bytes(out)
        out.append(len(run) + 1)
        out += run
    return bytes(out)


def unstuff(stuffed: bytes) -> bytes:
    """Put them back; empty where that cannot be."""
    out, at = bytearray(), 0
    while at < len(stuffed):
        code = stuffed[at]
        run = stuffed[at + 1 : at + code]
        if len(run) != code - 1:
            return b""
        out += run
        at += code
        if code <= _LONGEST_RUN and at < len(stuffed):
            out.append(0)
    return bytes(out)
