"""SUMO's programs, and a SUMO of our own in another process, ended when we end.

SUMO comes from the eclipse-sumo wheel. Its console commands are Python wrappers around the
programs in the package's own ``bin`` directory; we run those programs directly, so that a signal
reaches SUMO itself.

SUMO ends by itself when its client's connection breaks, so it does not outlive a parent that is
killed. A parent that ends in order ends it too, frozen or not.
"""

import contextlib
import os
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import sumo

from ml.errors import SimulatorError

_GRACE_S = 2.0
_MAX_WORDS = 2000
LOOPBACK = "127.0.0.1"
SYSTEM_PACKAGES = "libx11-6 libxext6 libxrender1 libgl1 libatomic1"
MISSING_LIBRARIES_HINT = (
    "SUMO's wheels need system libraries; on Debian or Ubuntu: "
    f"sudo apt-get install {SYSTEM_PACKAGES}"
)


def sumo_home() -> Path:
    """Return the directory of the installed SUMO (``bin``, ``data`` and ``tools`` are in it)."""
    return Path(sumo.SUMO_HOME)


def sumo_program(name: str) -> Path:
    """Return the path of one of SUMO's programs.

    Args:
        name: "sumo", "sumo-gui" or "netconvert".

    Raises:
        SimulatorError: The program is not installed.
    """
    program = sumo_home() / "bin" / name
    if not program.is_file():
        raise SimulatorError(
            f"SUMO's program {name!r} is missing at {program}. "
            "Install it again: pip install --force-reinstall eclipse-sumo"
        )
    return program


def sumo_environment() -> dict[str, str]:
    """Return this process's environment variables with SUMO_HOME pointing at the installed SUMO."""
    return {**os.environ, "SUMO_HOME": str(sumo_home())}


class SumoProcess:
    """A running SUMO that listens, or will listen, for one TraCI client.

    Attributes:
        port: Its TCP port on the loopback address.
        pid: Its process id.
    """

    def __init__(self, options: Sequence[str], *, gui: bool = False) -> None:
        """Start it.

        Args:
            options: SUMO's options, without --remote-port.
            gui: Start sumo-gui instead.

        Raises:
            SimulatorError: It is not installed or cannot be started; or `gui` without a display.
        """
        if gui and not os.environ.get("DISPLAY"):
            raise SimulatorError(
                "sumo-gui needs a display, and the environment variable DISPLAY is not set. "
                "Run it in a desktop session, or go without the GUI."
            )
        with socket.socket() as probe:  # a port that is free now
            probe.bind((LOOPBACK, 0))
            self.port = int(probe.getsockname()[1])
        command = [str(sumo_program("sumo-gui" if gui else "sumo")), *options]
        command += ["--remote-port", str(self.port), "--num-clients", "1"]
        if gui:
            command += ["--start", "true", "--quit-on-end", "true", "--window-size", "1200,500"]
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            # In a session of its own, Ctrl-C reaches us alone and we end SUMO in our own time.
            process = subprocess.Popen(  # noqa: S603 - our own program with our own arguments
                command,
                env=sumo_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._words,
                start_new_session=True,
            )
        except OSError as error:
            self._words.close()
            raise SimulatorError(f"SUMO could not be started: {error}.") from error
        self.pid = process.pid
        self._process = process
        self._finalizer = weakref.finalize(self, _end, process, self._words, os.getpid())

    def require_alive(self) -> None:
        """Raise `SimulatorError` with SUMO's own words if it has ended."""
        status = self._process.poll()
        if status is not None:
            words = self.last_words()
            hint = f" {MISSING_LIBRARIES_HINT}." if "shared librar" in words else ""
            raise SimulatorError(f"SUMO ended with exit status {status}. It said: {words}{hint}")

    def last_words(self) -> str:
        """Return the end of what SUMO wrote to stderr."""
        size = os.fstat(self._words.fileno()).st_size
        tail = os.pread(self._words.fileno(), _MAX_WORDS, max(0, size - _MAX_WORDS))
        return tail.decode(errors="replace").strip() or "(nothing)"

    def end(self) -> None:
        """Give it two seconds to end after its client has left, then kill it; may be repeated."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        self._finalizer()

    def kill(self) -> None:
        """End it now; may be repeated."""
        self._finalizer()


def _end(process: subprocess.Popen[bytes], words: BinaryIO, parent: int) -> None:
    if os.getpid() != parent:  # a forked child must not end its parent's SUMO
        return
    process.kill()  # SIGTERM would not do: one alone does not stop a SUMO that serves TraCI
    process.wait()
    words.close()
