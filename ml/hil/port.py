"""Where a board is: behind a pipe of a program, or behind a serial port."""

import errno
import fcntl
import os
import select
import subprocess
import tempfile
import termios
import tty
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

from ml.errors import BoardError, MissingBoardError
from ml.hil.protocol import BAUD

_CHUNK = 65_536
_TAKES_S = 1.0
_END_S = 1.0


class Port:
    """Bytes to a board and back; closed by `close`, also as a context manager.

    Args:
        name: What messages call it.
        reading: File descriptor that brings the board's bytes.
        writing: File descriptor that takes bytes to it.
        process: The board, where it is a program of ours, and what it says on standard error.
    """

    def __init__(
        self,
        name: str,
        reading: int,
        writing: int,
        process: "tuple[subprocess.Popen[bytes], IO[bytes]] | None" = None,
    ) -> None:
        self.name = name
        self._reading, self._writing, self._process = reading, writing, process
        self._is_open = True
        for handle in (reading, writing):
            os.set_blocking(handle, False)

    @property
    def is_program(self) -> bool:
        """Whether a program of ours is the board: it is there at once, and not in real time."""
        return self._process is not None

    def write(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            BoardError: The board is gone, or takes none for a second.
        """
        left = memoryview(data)
        while left:
            _, ready, _ = select.select([], [self._writing], [], _TAKES_S)
            if not ready:
                raise BoardError(f"{self.name} takes no bytes. {self._what_next}")
            try:
                left = left[os.write(self._writing, left) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._gone(error) from error

    def read(self, wait_s: float) -> bytes:
        """Return what has come, at least a byte; empty where nothing comes for so long.

        Raises:
            BoardError: The board is gone.
        """
        ready, _, _ = select.select([self._reading], [], [], max(wait_s, 0.0))
        if not ready:
            return b""
        try:
            data = os.read(self._reading, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._gone(error) from error
        if not data:
            raise self._gone(None)
        return data

    def close(self) -> None:
        """Let go of it, and end its program; may be called twice."""
        if not self._is_open:
            return
        self._is_open = False
        for handle in {self._reading, self._writing}:
            os.close(handle)
        if self._process is not None:
            program, said = self._process
            try:
                program.wait(_END_S)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
            said.close()

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def _what_next(self) -> str:
        if self._process is not None:
            return "Run it again; if it stays so, please report it."
        return "Plug it in again, or reset it, and run the command again."

    def _gone(self, error: OSError | None) -> BoardError:
        why = "" if error is None else f" ({error.strerror})"
        if self._process is None:
            return BoardError(f"{self.name} was unplugged{why}. {self._what_next}")
        program, said = self._process
        try:
            code: object = program.wait(_END_S)
        except subprocess.TimeoutExpired:
            code = "unknown"
        said.seek(0)
        words = said.read().decode("utf-8", "replace").strip()
        return BoardError(
            f"{self.name} ended with exit code {code}{why}{': ' if words else ''}{words}. "
            f"{self._what_next}"
        )


def program(name: str, command: Sequence[str]) -> Port:
    """Start a program that is a board at its standard input and output.

    It has a session of its own: a Ctrl-C is ours, and ends it in order.

    Raises:
        BoardError: It does not start.
    """
    said = tempfile.TemporaryFile()  # noqa: SIM115 (the port's)
    pipe = subprocess.PIPE
    try:
        started = subprocess.Popen(  # noqa: S603 (our own arguments)
            command, stdin=pipe, stdout=pipe, stderr=said, bufsize=0, start_new_session=True
        )
    except OSError as error:
        raise BoardError(f"{command[0]} does not start ({error.strerror}).") from error
    assert started.stdin is not None and started.stdout is not None  # noqa: PT018, S101
    # Descriptors of the port's own: it closes them.
    handles = os.dup(started.stdout.fileno()), os.dup(started.stdin.fileno())
    started.stdin.close()
    started.stdout.close()
    return Port(name, *handles, (started, said))


def serial(device: Path) -> Port:
    """Open a serial port for us alone: 921,600 baud, 8 bits, no parity, no flow control.

    Raises:
        MissingBoardError: It is not there.
        BoardError: It is another's, or is no serial port.
    """
    try:
        handle = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        kind = MissingBoardError if error.errno == errno.ENOENT else BoardError
        raise kind(f"--board = {device}: {_remedy(error)}") from error
    try:
        tty.setraw(handle)
        settings = termios.tcgetattr(handle)
        settings[2] |= termios.CLOCAL | termios.CREAD  # no modem
        settings[2] &= ~(termios.CSTOPB | termios.CRTSCTS)
        settings[4] = settings[5] = getattr(termios, f"B{BAUD}", BAUD)
        termios.tcsetattr(handle, termios.TCSANOW, settings)
        fcntl.ioctl(handle, termios.TIOCEXCL)
        termios.tcflush(handle, termios.TCIOFLUSH)
    except (termios.error, OSError) as error:
        os.close(handle)
        raise BoardError(f"--board = {device} is no serial port ({error.args[-1]}).") from error
    return Port(str(device), handle, handle)


def _remedy(error: OSError) -> str:
    """Say what is wrong with a device, and what to do."""
    if error.errno == errno.ENOENT:
        return "no such device. Plug the board in; `ls /dev/ttyUSB* /dev/ttyACM*` lists them."
    if error.errno == errno.EACCES:
        return (
            "you may not open it. Join the group that owns it (`sudo usermod -aG dialout $USER`, "
            "then log in again)."
        )
    if error.errno == errno.EBUSY:
        return "another program has it open. Close the serial monitor."
    return f"it cannot be opened ({error.strerror})."
