"""A board at a serial port: the host build behind a pty, and what may happen on the way to it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ml.espnow_emulator import V2VMessage
from ml.espnow_emulator.wire import GeoReference, mac_of_name, pack
from ml.hil.protocol import BEGIN, FIX, FRAME, TICK, Message

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = Path(__file__).parents[2] / "ml" / "models" / "convoy.zip"
REFERENCE = GeoReference.at(32.8, 35.0)
DEADLINE_US = 100_000
_CHUNK = 4096
_LOOKS_EVERY_S = 0.02


class UnpluggedError(Exception):
    """Raised by a fault: the line is gone."""


def as_it_is(message: Message) -> bytes:
    """Pass a message on."""
    return message.to_wire()


class Line:
    """A board behind a pty; a context manager.

    Args:
        image: The host build.
        to_us: What becomes of each message of the board: the bytes that arrive.
        to_board: The same of each message to it.
        boots_with: What it says before anything else.

    Attributes:
        device: The serial port.
    """

    def __init__(
        self,
        image: Path,
        *,
        to_us: Callable[[Message], bytes] = as_it_is,
        to_board: Callable[[Message], bytes] = as_it_is,
        boots_with: bytes = b"",
    ) -> None:
        self._master, self._slave = pty.openpty()
        self.device = os.ttyname(self._slave)
        self._boots_with = boots_with
        self._board = subprocess.Popen(
            [str(image)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._faults = {True: to_us, False: to_board}
        self._gone, self._ended = threading.Event(), threading.Barrier(2)
        self._threads = [
            threading.Thread(target=self._carry, args=(to_us,), daemon=True)
            for to_us in (True, False)
        ]

    def __enter__(self) -> Self:
        """Begin to carry."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Unplug it, and end the board."""
        self._gone.set()
        for thread in self._threads:
            thread.join()
        self._board.kill()
        self._board.wait()
        self._board.stdin.close()
        self._board.stdout.close()
        os.close(self._slave)

    def _carry(self, to_us: bool) -> None:  # noqa: FBT001 (of a thread)
        source = self._board.stdout.fileno() if to_us else self._master
        sink = self._master if to_us else self._board.stdin.fileno()
        unended, first = b"", not to_us
        try:
            # A read that waits would keep the line from being cut.
            while not self._gone.is_set():
                if not select.select([source], [], [], _LOOKS_EVERY_S)[0]:
                    continue
                data = os.read(source, _CHUNK)
                if not data:  # the board has ended; its line has not
                    self._gone.wait()
                    break
                if first and self._boots_with:
                    os.write(self._master, self._boots_with)
                first = False
                *whole, unended = (unended + data).split(b"\0")
                for stuffed in whole:
                    message = Message.from_wire(stuffed)
                    passed = b"\0" if message is None else self._faults[to_us](message)
                    if not self._gone.is_set():
                        os.write(sink, passed)
        except (OSError, UnpluggedError):
            pass
        self._gone.set()
        self._ended.wait()  # nobody writes to a line that is closed
        if not to_us:
            os.close(self._master)


def begin_body(name: str = "v0", time_gap_s: float = 0.88) -> bytes:
    """Settings of an episode."""
    return BEGIN.pack(1000, name.encode(), mac_of_name("v0"), 328_000_000, 350_000_000, time_gap_s)


def tick_body(tick: int, deadline_us: int = DEADLINE_US, accel_mps2: float = 0.0) -> bytes:
    """The sample of a tick of the episode, from 0 on."""
    return TICK.pack(1000 + 100 * tick, accel_mps2, 0.0, 20.0, -1.0, deadline_us)


def fix_body() -> bytes:
    """A fix at the reference."""
    return FIX.pack(328_000_000, 350_000_000, 20.0, 90.0, 1, 50)


def frame_body(tick: int, x_m: float = 40.0) -> bytes:
    """A message of a car ahead."""
    message = V2VMessage(
        vehicle_id="v1",
        timestamp_ms=5000 + 100 * tick,
        x_m=x_m,
        y_m=0.0,
        speed_mps=20.0,
        heading_deg=90.0,
        accel_mps2=-0.25,
        position_sd_m=2.0,
    )
    return FRAME.pack(1000 + 100 * tick - 20, pack(message, REFERENCE))


def drive_ticks(session, ticks):
    """Begin an episode and let the board decide some ticks; return what became of each."""
    session.begin(begin_body())
    decided = []
    for tick in range(ticks):
        session.hear(frame_body(tick))
        if tick % 10 == 0:
            session.take_fix(fix_body())
        decided.append(session.decide(tick_body(tick)))
    return decided
