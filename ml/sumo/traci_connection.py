"""One TraCI connection: whole messages out and in, each with a deadline."""

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import chain, pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray
from traci import constants as tc

from ml.errors import (
    SimulatorError,
    SimulatorLostError,
    SimulatorTimeoutError,
    SimulatorVersionError,
)
from ml.installation import hidden_message
from ml.sumo import traci_bytes as wire

_RETRY_S = 0.05
_CLOSE_DEADLINE_S = 2.0
_HEADER = struct.Struct("!i")
_MAX_AHEAD = 4096  # commands whose statuses, 7 bytes each, surely find room while we still send


def _name_of(error: OSError) -> str:
    """Return an error's symbol and text, e.g. ``ECONNREFUSED (Connection refused)``."""
    number = error.errno
    if isinstance(error, socket.gaierror):
        return error.strerror or str(error)  # its numbers are not those of errno
    if number is None:
        return str(error) or type(error).__name__
    return f"{errno.errorcode.get(number, str(number))} ({os.strerror(number)})"


class TraciConnection:
    """A connected SUMO.

    Attributes:
        where: "host:port", for messages.
    """

    def __init__(
        self, connected: socket.socket, *, host: str, port: int, deadline_s: float
    ) -> None:
        self.where = f"{host}:{port}"
        self._socket = connected
        self._deadline_s = deadline_s
        self._buffer = bytearray(1 << 16)
        self._in_flight = False
        self._opened_in = os.getpid()

    @classmethod
    def open(
        cls, host: str, port: int, *, deadline_s: float, alive: Callable[[], None] = lambda: None
    ) -> Self:
        """Connect to a SUMO that listens or soon will, and check its version.

        Args:
            host: Name or address.
            port: TCP port.
            deadline_s: How long to go on trying, and later how long to wait for each reply.
            alive: Called between attempts; raises if there is nothing left to wait for.

        Raises:
            SimulatorTimeoutError: Nothing answered before the deadline.
            SimulatorVersionError: It speaks another version of TraCI.
        """
        began = time.monotonic()
        last = "no attempt was made"
        while True:
            left_s = deadline_s - (time.monotonic() - began)
            if left_s <= 0.0:
                raise SimulatorTimeoutError(
                    f"No SUMO answered at {host}:{port} within {deadline_s:.1f} s; last error: "
                    f"{last}. Check that SUMO runs there with --remote-port {port}: "
                    "`docker compose ps sumo` and `docker compose logs sumo`, or start one with "
                    f"`sumo --net-file ANY.net.xml --remote-port {port}`. A SUMO that serves "
                    "another client does not listen."
                )
            try:
                connected = _connect(host, port, timeout_s=left_s)
            except OSError as error:
                last = _name_of(error)
            else:
                connection = cls(connected, host=host, port=port, deadline_s=left_s)
                try:
                    connection._check_version()
                except SimulatorVersionError:
                    connection.abandon()
                    raise
                except SimulatorError as error:
                    connection.abandon()
                    last = str(error)
                else:
                    connection._deadline_s = deadline_s
                    return connection
            alive()
            time.sleep(_RETRY_S)

    def exchange(
        self, body: bytes, numbers: bytes, next_body: bytes = b""
    ) -> tuple[NDArray[np.uint8], int]:
        """Send commands as one message and take the reply; or two messages at once.

        SUMO simulates a step only after all other commands of its message, so what is asked about
        the time after it stands in a message of its own; waiting for the first reply before
        sending that one would cost a change of processes.

        Args:
            body: The packed commands; nothing is sent if there are none.
            numbers: The numbers of the commands whose statuses come first in the reply. Before a
                second message, statuses are all that the first reply has.
            next_body: The packed commands of the second message; empty for none.

        Returns:
            The last reply without its length, uint8, valid until the next exchange; and how many
            bytes of it the statuses of `numbers` take.

        Raises:
            SimulatorTimeoutError: The reply did not come before the deadline.
            SimulatorLostError: SUMO is gone.
            SimulatorError: It answered with an error, or an earlier exchange was cut short.
        """
        if not body:  # SUMO would not answer
            return np.zeros(0, dtype=np.uint8), 0
        ahead = [next_body] if next_body and len(numbers) <= _MAX_AHEAD else []
        reply, *others = self._round_trip(body, *ahead)
        size = wire.check_statuses(reply, numbers)
        if next_body:
            (second,) = others or self._round_trip(next_body)
            return second, 0
        return reply, size

    def load(self, options: Sequence[str]) -> None:
        """Let SUMO load another simulation.

        Raises:
            SimulatorTimeoutError: It did not answer before the deadline.
            SimulatorLostError: It ended, which is what it does for a missing file.
            SimulatorError: It refused.
        """
        head = struct.pack("!Bi", tc.TYPE_STRINGLIST, len(options))
        body = wire.command(tc.CMD_LOAD, head + b"".join(map(wire.string, options)))
        try:
            self.exchange(body, bytes((tc.CMD_LOAD,)))
            self._check_version()  # SUMO agrees before it reads the files; this comes after
        except SimulatorTimeoutError:
            raise
        except SimulatorError as error:
            raise type(error)(
                f"SUMO at {self.where} could not load the network: {error} Its files must be "
                "readable for SUMO under the same path as here: mount the cache directory "
                "(ROADSENSE_CACHE_DIR) at the same place on both sides."
            ) from error

    def close(self) -> bool:
        """Ask SUMO to end and hang up; an error on the way is of no interest any more.

        Returns:
            True if SUMO has agreed.
        """
        if os.getpid() != self._opened_in:
            self.abandon()  # SUMO belongs to the process that this one is a fork of
            return False
        try:
            self._deadline_s = min(self._deadline_s, _CLOSE_DEADLINE_S)
            self._round_trip(wire.command(tc.CMD_CLOSE))
        except SimulatorError:
            return False
        else:
            return True
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Hang up without a word."""
        self._socket.close()

    def _check_version(self) -> None:
        reply, offset = self.exchange(wire.command(tc.CMD_GETVERSION), bytes((tc.CMD_GETVERSION,)))
        api, name = wire.read_version(reply.tobytes(), offset)
        # Of another release, cars may drive otherwise although the protocol is the same.
        ours = version("eclipse-sumo")
        if api == tc.TRACI_VERSION and name == f"SUMO {ours}":
            return
        remedy = hidden_message() or (
            "Run the same release on both sides: `docker compose build sumo train`, or "
            f"pip install eclipse-sumo=={ours}."
        )
        raise SimulatorVersionError(
            f"SUMO at {self.where} is {name!r} and speaks TraCI version {api}; this client "
            f"is of SUMO {ours} and speaks {tc.TRACI_VERSION}. {remedy}"
        )

    def _round_trip(self, *bodies: bytes) -> list[NDArray[np.uint8]]:
        """Send messages and take as many replies."""
        if self._in_flight:
            raise SimulatorLostError(
                f"The connection to SUMO at {self.where} was interrupted in the middle of a "
                "message and cannot be used any more. Close this simulator and start another."
            )
        if os.getpid() != self._opened_in:
            raise SimulatorError(
                f"The connection to SUMO at {self.where} belongs to the process that this one is "
                "a fork of. Build the environment in the process that uses it, or start that "
                'process by "spawn".'
            )
        self._in_flight = True
        began = time.monotonic()
        ends = [0]
        try:
            self._socket.settimeout(self._deadline_s)
            headers = (_HEADER.pack(len(body) + _HEADER.size) for body in bodies)
            self._socket.sendall(b"".join(chain.from_iterable(zip(headers, bodies, strict=True))))
            got = 0
            for _ in bodies:
                start = ends[-1]
                got = self._receive(got, start + _HEADER.size, began)
                (length,) = _HEADER.unpack_from(self._buffer, start)
                if length < _HEADER.size:
                    raise SimulatorError(
                        f"What answers at {self.where} does not speak TraCI (length {length})."
                    )
                ends.append(start + length)
                if ends[-1] + _HEADER.size > len(self._buffer):
                    # A new one, since an earlier reply may still look into the old one.
                    self._buffer = self._buffer[:got] + bytearray(ends[-1])
                got = self._receive(got, ends[-1], began)
        except TimeoutError as error:
            raise SimulatorTimeoutError(
                f"SUMO at {self.where} did not answer within {self._deadline_s:.1f} s (waited "
                f"{time.monotonic() - began:.1f} s). It is frozen or overloaded: restart it "
                "(`docker compose restart sumo`), or raise the deadline."
            ) from error
        except OSError as error:
            raise SimulatorLostError(
                f"The connection to SUMO at {self.where} broke: {_name_of(error)}. SUMO has "
                "probably ended; its own words are in its log (`docker compose logs sumo`)."
            ) from error
        self._in_flight = False
        everything = np.frombuffer(self._buffer, np.uint8)
        return [everything[start + _HEADER.size : end] for start, end in pairwise(ends)]

    def _receive(self, got: int, wanted: int, began: float) -> int:
        """Read until `wanted` bytes are in the buffer; return how many there are."""
        view = memoryview(self._buffer)
        while got < wanted:
            left_s = self._deadline_s - (time.monotonic() - began)
            if left_s <= 0.0:
                raise TimeoutError
            self._socket.settimeout(left_s)
            count = self._socket.recv_into(view[got:])
            if count == 0:
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            got += count
        return got


def _connect(host: str, port: int, *, timeout_s: float) -> socket.socket:
    """Connect; a socket that has met itself (possible on loopback) counts as refused."""
    connected = socket.create_connection((host, port), timeout=timeout_s)
    if connected.getsockname() == connected.getpeername():
        connected.close()
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected
