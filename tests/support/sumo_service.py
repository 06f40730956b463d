"""A real SUMO behind the supervisor of services/sumo, without Docker."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sumo
import traci

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVICE = Path(__file__).parents[2] / "services" / "sumo"
# Five seconds are promised; a busy machine gets more before a test calls it a failure.
BACK_WITHIN_S = 30.0


@dataclass
class Service:
    """A running supervisor."""

    process: subprocess.Popen[bytes]
    port: int
    clients: list[traci.connection.Connection] = field(default_factory=list)

    def sumo_pid(self) -> int | None:
        """Return the process id of the SUMO that runs now."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return int(children[0]) if children else None

    def is_healthy(self) -> bool:
        """Ask the health check."""
        done = subprocess.run(
            [sys.executable, str(SERVICE / "healthcheck.py")],
            env={**os.environ, "SUMO_PORT": str(self.port)},
            check=False,
            capture_output=True,
        )
        return done.returncode == 0

    def wait_until_listening(self, *, not_pid: int | None = None) -> int:
        """Wait for a SUMO other than `not_pid` that listens; return its process id."""

        def other_sumo() -> int | None:
            pid = self.sumo_pid()
            return pid if pid not in (None, not_pid) and self.is_healthy() else None

        return wait_for(other_sumo, "a listening SUMO")

    def connect(self) -> traci.connection.Connection:
        """Connect a client to the listening SUMO; its socket is closed after the test."""
        client = traci.connect(self.port, numRetries=0)
        self.clients.append(client)
        return client


def wait_for(probe: Callable[[], int | None], what: str) -> int:
    """Return the first true result of `probe`."""
    deadline_s = time.monotonic() + BACK_WITHIN_S
    while time.monotonic() < deadline_s:
        if result := probe():
            return result
        time.sleep(0.05)
    pytest.fail(f"no {what} within {BACK_WITHIN_S} s")


@contextmanager
def running_service(*, port: int | None = None, wait: bool = True) -> Iterator[Service]:
    """Run a supervisor, on a free port and until its SUMO listens if not told otherwise."""
    if port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(SERVICE / "supervisor.py"), "--port", str(port)],
        env={**os.environ, "SUMO_HOME": str(Path(sumo.__file__).parent)},
    )
    running = Service(process, port)
    try:
        if wait:
            running.wait_until_listening()
        yield running
    finally:
        process.terminate()
        process.wait(BACK_WITHIN_S)
        for client in running.clients:
            if client._socket is not None:  # as in a client that was closed
                client._socket.close()
