"""The record of a session: the very messages, both ways, with notes of the truth between them.

A file is a gzip stream of messages as they are on the wire, in the order in which they went. Notes
are messages, too, of kinds that no board knows. What was written stays readable, whatever ends the
session: it is flushed after each tick, and a reader takes what is there. firmware/hil/README.md
has the layout.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from ml.atomic_files import finite
from ml.errors import ConfigError
from ml.hil.protocol import Message

FORMAT: Final = 1
_GZIP: Final = 31  # of zlib: with gzip's head and tail
_TRUTH: Final = struct.Struct("<I")
_CAR: Final = struct.Struct("<6f")
_DONE: Final = struct.Struct("<fB")


class Note(IntEnum):
    """Kinds of messages that stand in a record alone."""

    HEADER = 0x40
    """JSON: `format`, and what is driven; the first of a record."""
    EPISODE = 0x41
    """JSON: which episode begins."""
    TRUTH = 0x42
    """Where all cars are as a tick is decided, and once more as an episode ends."""
    DONE = 0x43
    """What the vehicle was commanded in the tick, and by whom."""
    RUBBISH = 0x44
    """Bytes of the board that are no message."""
    RESULT = 0x45
    """JSON: the figures of the episode that has ended, a row of an evaluation."""


class Car(NamedTuple):
    """Where a car truly is; slot 0 is the ego, slot k the k-th ahead. Not numbers: it is not there.

    Attributes:
        route_pos_m: Front bumper, along the road.
        lateral_m: Left of the convoy's lane.
        x_m: East, of the front bumper.
        y_m: North.
        speed_mps: Its speed.
        accel_mps2: Its acceleration in the tick before.
    """

    route_pos_m: float
    lateral_m: float
    x_m: float
    y_m: float
    speed_mps: float
    accel_mps2: float


def truth_body(wall_ms: int, cars: Iterable[Car]) -> bytes:
    """Return the body of a `TRUTH`; `wall_ms` is since the session's begin."""
    return _TRUTH.pack(wall_ms % 2**32) + b"".join(_CAR.pack(*car) for car in cars)


def truth_of(body: bytes) -> tuple[int, list[Car]]:
    """Read it."""
    (wall_ms,) = _TRUTH.unpack_from(body)
    return wall_ms, [Car(*fields) for fields in _CAR.iter_unpack(body[_TRUTH.size :])]


def done_body(accel_mps2: float, *, is_safe_state: bool) -> bytes:
    """Return the body of a `DONE`."""
    return _DONE.pack(accel_mps2, is_safe_state)


def done_of(body: bytes) -> tuple[float, bool]:
    """Read it: what was commanded, m/s², and whether by the safe state."""
    accel_mps2, is_safe_state = _DONE.unpack(body)
    return accel_mps2, bool(is_safe_state)


class Record:
    """Writes a record; a context manager.

    Args:
        file: It must not be there yet.
        header: What is driven; JSON.

    Attributes:
        file: The file.
        num_bytes: Written so far.

    Raises:
        ConfigError: The file is there, or cannot be written.
    """

    def __init__(self, file: Path, header: dict[str, Any]) -> None:
        self.file = file
        self.num_bytes = 0
        self._packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = file.open("xb")
        except FileExistsError as error:
            raise ConfigError(f"--out = {file} exists. Name another file, or remove it.") from error
        except OSError as error:
            raise ConfigError(f"--out = {file} cannot be written ({error.strerror}).") from error
        self.note_json(Note.HEADER, 0, {"format": FORMAT, **header})
        self.flush()

    def write(self, wire: bytes) -> None:
        """Write a message as it is on the wire.

        Raises:
            ConfigError: The disk is full.
        """
        self._put(self._packer.compress(wire))

    def note(self, kind: Note, tick: int, body: bytes) -> None:
        """Write a note; see `write`."""
        self.write(Message(kind, tick, body).to_wire())

    def note_json(self, kind: Note, tick: int, content: dict[str, Any]) -> None:
        """Write a note of JSON; see `write`."""
        self.note(kind, tick, json.dumps(finite(content), separators=(",", ":")).encode())

    def note_rubbish(self, data: bytes, tick: int) -> None:
        """Write down bytes of the board that are no message; see `write`."""
        self.note(Note.RUBBISH, tick, data)

    def flush(self) -> None:
        """Hand all that was written to the system: it is there whatever becomes of us."""
        self._put(self._packer.flush(zlib.Z_SYNC_FLUSH))

    def _put(self, data: bytes) -> None:
        try:
            self.num_bytes += self._stream.write(data)
            self._stream.flush()
        except OSError as error:
            raise ConfigError(
                f"--out = {self.file} cannot be written ({error.strerror}). What is there is kept."
            ) from error

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        """End the file."""
        try:
            self._put(self._packer.flush())
        except ConfigError:
            if kind is None:
                raise
        finally:
            self._stream.close()


def read_record(file: Path) -> tuple[dict[str, Any], Iterator[Message]]:
    """Read a record: its header, and the messages behind it; of a cut one, those that are whole.

    Raises:
        ConfigError: It cannot be read, or is no record of this format.
    """
    try:
        packed = file.read_bytes()
        content = zlib.decompressobj(_GZIP).decompress(packed)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}).") from error
    except zlib.error as error:
        raise ConfigError(
            f"{file} is no record of `roadsense hil`, or damaged ({error})."
        ) from error
    messages = _messages(file, content)
    first = next(messages, None)
    header = json_of(first) if first is not None and first.kind == Note.HEADER else {}
    if header.get("format") != FORMAT:
        raise ConfigError(
            f"{file} is no record of `roadsense hil` in format {FORMAT}. Name one that this "
            "version wrote."
        )
    return header, messages


def is_whole(file: Path) -> bool:
    """Whether a record that `read_record` reads was written to its end."""
    unpacker = zlib.decompressobj(_GZIP)
    unpacker.decompress(file.read_bytes())
    return unpacker.eof


def _messages(file: Path, content: bytes) -> Iterator[Message]:
    *whole, _cut = content.split(b"\0")
    for number, stuffed in enumerate(whole):
        message = Message.from_wire(stuffed)
        if message is None:
            raise ConfigError(f"{file} is damaged: message {number} is none.")
        yield message


def json_of(message: Message) -> dict[str, Any]:
    """Read a note of JSON; empty where it is none."""
    try:
        found = json.loads(message.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
