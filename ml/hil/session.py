"""A session with a board: who it is, episodes, ticks with deadlines, and what went wrong."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from ml.errors import BoardError
from ml.hil.port import Port
from ml.hil.protocol import LATE, SENDS, VERSION, Answer, Hello, Kind, Message, refusal

SILENT_S: Final = 1.0
"""A board that says nothing for so long has stopped; for two deadlines, where that is longer."""
_STARTS_S: Final = {True: 10.0, False: 3.0}  # a program on a busy machine; a board when opened
_AGAIN_S: Final = 0.2
_MOST_UNENDED: Final = 4096


@dataclass
class Faults:
    """What went wrong on the way, counted.

    Attributes:
        late: Ticks whose answer did not come before the deadline, by our clock or the board's.
        broken: Times that bytes of the board were no message.
        refused: Messages that the board refused, as for a wrong CRC.
        lost: Frames that did not reach it.
    """

    late: int = 0
    broken: int = 0
    refused: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return (
            f"{self.late} late answers, {self.broken} broken and {self.refused} refused messages, "
            f"{self.lost} frames lost on the way"
        )


class Decided(NamedTuple):
    """What became of a tick.

    Attributes:
        answer: The board's; None where none came that can be used.
        sent: Frames that it wants on the air, each with whether it is a relay.
    """

    answer: Answer | None
    sent: tuple[tuple[bool, bytes], ...]


class Session:
    """Talks to a board.

    Args:
        port: Where it is.
        deadline_s: By when an answer must be there. A program of ours may take `SILENT_S`: its
            time is not a board's, but what it says of its own.
        on_message: Called with the bytes of every message, both ways, in order.
        on_rubbish: Called with bytes of the board that are no message, and the tick.

    Attributes:
        hello: What the board says of itself.
        faults: So far.
        tick: Number of the next tick.

    Raises:
        BoardError: Nobody answers, or one who speaks another version.
    """

    def __init__(
        self,
        port: Port,
        *,
        deadline_s: float,
        on_message: Callable[[bytes], None] = lambda _: None,
        on_rubbish: Callable[[bytes, int], None] = lambda *_: None,
    ) -> None:
        self._port = port
        self._deadline_s = max(deadline_s, SILENT_S) if port.is_program else deadline_s
        self._silent_s = max(2.0 * deadline_s, SILENT_S)
        self._on_message, self._on_rubbish = on_message, on_rubbish
        self._unended = b""
        self._unanswered_since: float | None = None
        self._rubbish = 0
        self._frames = 0
        self._waiting = b""
        self.faults = Faults()
        self.tick = 0
        self.hello = self._greet()
        self.faults = Faults()  # of a board that has just booted, whatever it said before

    def begin(self, body: bytes) -> None:
        """Begin an episode with settings, `protocol.BEGIN`.

        Raises:
            BoardError: The board refuses them, or is silent.
        """
        self._say(Kind.BEGIN, body)
        self._flush()
        until = time.monotonic() + self._silent_s
        while (message := self._next(until)) is not None:
            if message.kind == Kind.HAS_BEGUN and message.tick == self.tick:
                return
            if message.kind == Kind.REFUSES and message.tick == self.tick:
                kind, why = refusal(message.body)
                raise BoardError(f"{self._port.name} refuses to begin an episode ({kind}: {why}).")
        raise self._silence()

    def hear(self, body: bytes) -> None:
        """Hand it a frame, `protocol.FRAME`, with the coming tick."""
        self._frames += 1
        self._say(Kind.FRAME, body)

    def take_fix(self, body: bytes) -> None:
        """Hand it a fix, `protocol.FIX`, with the coming tick."""
        self._say(Kind.FIX, body)

    def decide(self, body: bytes) -> Decided:
        """Let it decide a tick, `protocol.TICK`.

        Raises:
            BoardError: It is gone, or has been silent for a second.
        """
        self._say(Kind.TICK, body)
        self._flush()
        began = time.monotonic()
        self._unanswered_since = self._unanswered_since or began
        sent: list[tuple[bool, bytes]] = []
        answer = None
        while (message := self._next(began + self._deadline_s)) is not None:
            if message.tick != self.tick:
                continue  # too late, and counted so
            if message.kind == Kind.SENDS and len(message.body) == SENDS.size:
                sent.append((bool(message.body[0]), message.body[1:]))
            elif message.kind == Kind.ANSWERS:
                answer = Answer.of(message.body)
                break
            elif message.kind == Kind.REFUSES and refusal(message.body)[0] == Kind.TICK:
                break
        now = time.monotonic()
        if answer is None and now - (self._unanswered_since or now) >= self._silent_s:
            raise self._silence()
        if answer is not None:
            self.faults.lost += max(self._frames - answer.num_frames, 0)
        if answer is None or answer.flags & LATE:
            self.faults.late += 1
            answer = None
        self._frames = 0
        self.tick += 1
        return Decided(answer, tuple(sent))

    def end(self) -> None:
        """Tell it that the session is over; what becomes of it then is no matter of ours."""
        self._say(Kind.END)
        until = time.monotonic() + self._silent_s
        with suppress(BoardError):
            self._flush()
            while (message := self._next(until)) is not None:
                if message.kind == Kind.HAS_ENDED:
                    return

    def _greet(self) -> Hello:
        ends = time.monotonic() + _STARTS_S[self._port.is_program]
        self._waiting = b"\0"  # ends what somebody else has begun to say
        while (now := time.monotonic()) < ends:
            self._say(Kind.HELLO)
            self._flush()
            while (message := self._next(min(now + _AGAIN_S, ends))) is not None:
                if message.kind == Kind.IS_HELLO:
                    hello = Hello.of(message.body)
                    if hello is not None:
                        return hello
        raise self._silence()

    def _say(self, kind: Kind, body: bytes = b"") -> None:
        self._waiting += Message(kind, self.tick, body).to_wire()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, b""
        for wire in waiting.split(b"\0")[:-1]:
            if wire:
                self._on_message(wire + b"\0")
        self._port.write(waiting)

    def _next(self, until: float) -> Message | None:
        """Wait for a message until a time; None where none has come by then."""
        while True:
            stuffed, zero, rest = self._unended.partition(b"\0")
            if zero:
                self._unended = rest
                message = Message.from_wire(stuffed)
                if message is not None:
                    return self._checked(message, stuffed)
                self._drop(stuffed)
                continue
            if len(self._unended) > _MOST_UNENDED:
                self._drop(self._unended)
                self._unended = b""
            wait_s = until - time.monotonic()
            if wait_s <= 0.0:
                return None
            self._unended += self._port.read(wait_s)

    def _drop(self, stuffed: bytes) -> None:
        """Count what is no message; nothing at all is none either, and no fault."""
        if stuffed:
            self.faults.broken += 1
            self._rubbish += len(stuffed)
            self._on_rubbish(stuffed, self.tick)

    def _checked(self, message: Message, stuffed: bytes) -> Message:
        self._on_message(stuffed + b"\0")
        self._unanswered_since = None
        if message.version != VERSION:
            raise BoardError(
                f"{self._port.name} speaks version {message.version} of the protocol, and this "
                f"program {VERSION}. Flash the board with the firmware of this version of "
                "RoadSense, or run the version that it was flashed with."
            )
        if message.kind == Kind.REFUSES:
            self.faults.refused += 1
        return message

    def _silence(self) -> BoardError:
        if self._rubbish:
            said = (
                f"says nothing but rubbish ({self._rubbish + len(self._unended)} bytes that are "
                "no message). Is it flashed with a sketch that has this mode (firmware/convoy), "
                "at the same baud rate?"
            )
        else:
            said = (
                "says nothing. Is it flashed with a sketch that has this mode (firmware/convoy), "
                "and still running? Reset it, and run the command again."
            )
        return BoardError(f"{self._port.name} {said}")
