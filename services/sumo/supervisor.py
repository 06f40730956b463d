"""Keep one SUMO serving TraCI on a port, whatever its clients do.

SUMO ends with its client, and Docker restarts neither an unhealthy container nor a frozen process.
So SUMO runs as a child here:

* when it ends, for whatever reason, it is started again;
* when its client has gone and it does not notice (its socket stays in CLOSE_WAIT), it hangs. It
  would refuse connections for ever and ignore SIGTERM, so it gets SIGKILL;
* SIGTERM and SIGINT end both. SUMO needs two of them, or SIGKILL.

It sleeps until a signal wakes it, SIGCHLD among them. Only a client that leaves a frozen SUMO sends
it none, so it looks for that once a second.

    SUMO_HOME=... python3 supervisor.py --port 8813 [-- SUMO OPTIONS]
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from socket_table import PortWatch, TcpState

DEFAULT_PORT = 8813
LOOK_S = 1.0
# A healthy SUMO closes its socket within a step of its client's going; a step takes milliseconds.
HUNG_AFTER_S = 3.0
# SUMO that ends at once (a port taken, a bad option) is not started in a tight loop.
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
SETTLED_AFTER_S = 5.0
SECOND_SIGTERM_AFTER_S = 0.3
SIGKILL_AFTER_S = 3.0

IDLE_NETWORK = Path(__file__).with_name("idle.net.xml")


def say(message: str) -> None:
    """Write a line to the container's log."""
    sys.stderr.write(f"sumo-supervisor: {message}\n")
    sys.stderr.flush()


class Supervisor:
    """One SUMO after the other on the same port.

    Args:
        command: SUMO's command line.
        port: The TraCI port that it serves.
    """

    def __init__(self, command: Sequence[str], port: int) -> None:
        self._command = command
        self._port = port
        self._stopping = False
        # Python sleeps on after a signal; a byte in this socket ends `select`, also where the
        # signal came just before it.
        self._awake, wakener = socket.socketpair()
        self._awake.settimeout(0.0)
        wakener.settimeout(0.0)
        signal.set_wakeup_fd(wakener.detach())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # an ignored signal wakes nobody

    def _request_stop(self, signal_number: int, _frame: FrameType | None) -> None:
        say(f"{signal.Signals(signal_number).name}: ending SUMO")
        self._stopping = True

    def run(self) -> None:
        """Start SUMO again and again until a stop is requested."""
        pause_s = FIRST_PAUSE_S
        while not self._stopping:
            started_s = time.monotonic()
            sumo = subprocess.Popen(self._command)  # noqa: S603 (our own command line)
            try:
                self._watch(sumo)
            finally:
                _end(sumo)
            if self._stopping:
                break
            lived_s = time.monotonic() - started_s
            say(f"SUMO {_describe(sumo.returncode)} after {lived_s:.1f} s; starting it again")
            pause_s = FIRST_PAUSE_S if lived_s > SETTLED_AFTER_S else pause_s
            end_s = time.monotonic() + pause_s
            while not self._stopping and (left_s := end_s - time.monotonic()) > 0.0:
                self._sleep(left_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _watch(self, sumo: subprocess.Popen[bytes]) -> None:
        """Return when SUMO has ended, hangs, or shall stop."""
        port = PortWatch(self._port)
        abandoned_since_s: float | None = None
        while not self._stopping and sumo.poll() is None:
            now_s = time.monotonic()
            if TcpState.CLOSE_WAIT not in port.states():
                abandoned_since_s = None
            elif abandoned_since_s is None:
                abandoned_since_s = now_s
            elif now_s - abandoned_since_s >= HUNG_AFTER_S:
                say(f"SUMO has not noticed for {HUNG_AFTER_S:.0f} s that its client went: SIGKILL")
                sumo.kill()
                return
            self._sleep(LOOK_S)

    def _sleep(self, duration_s: float) -> None:
        """Sleep until a signal comes, for `duration_s` at most."""
        if select.select([self._awake], [], [], duration_s)[0]:
            self._awake.recv(4096)


def _end(sumo: subprocess.Popen[bytes]) -> None:
    """End SUMO: one SIGTERM does not stop it while it waits for a client, a second one does."""
    for patience_s in (SECOND_SIGTERM_AFTER_S, SIGKILL_AFTER_S):
        if sumo.poll() is not None:
            return
        sumo.terminate()
        try:
            sumo.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    sumo.kill()
    sumo.wait()


def _describe(returncode: int) -> str:
    if returncode < 0:
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"exited with status {returncode}"


def find_sumo() -> Path:
    """Return SUMO's binary in SUMO_HOME.

    Not the `sumo` command of the wheel: that is a Python wrapper, which leaves the real process
    behind when it is killed.
    """
    home = os.environ.get("SUMO_HOME")
    if not home:
        sys.exit(
            "sumo-supervisor: SUMO_HOME is not set; it must name the folder that holds bin/sumo"
        )
    binary = Path(home) / "bin" / "sumo"
    if not os.access(binary, os.X_OK):
        sys.exit(f"sumo-supervisor: {binary} is not an executable file; correct SUMO_HOME")
    return binary


def main(argv: Sequence[str] | None = None) -> None:
    """Run the supervisor."""
    parser = argparse.ArgumentParser(description="Keep one SUMO serving TraCI on a port.")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("sumo_options", nargs="*", help="more options for SUMO, after --")
    arguments = parser.parse_args(argv)

    command = [str(find_sumo()), "--net-file", str(IDLE_NETWORK), "--no-step-log"]
    command += ["--remote-port", str(arguments.port), "--num-clients", "1"]
    Supervisor([*command, *arguments.sumo_options], arguments.port).run()


if __name__ == "__main__":
    main()
