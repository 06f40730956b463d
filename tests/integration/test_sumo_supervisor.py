"""The supervisor of services/sumo, with a real SUMO, without Docker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sumo
import traci

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.sumo

SERVICE = Path(__file__).parents[2] / "services" / "sumo"
# Five seconds are promised; a busy machine gets more before a test calls it a failure.
BACK_WITHIN_S = 15.0


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


@pytest.fixture
def service() -> Iterator[Service]:
    """Run a supervisor on a free port until its SUMO listens; end it after the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(SERVICE / "supervisor.py"), "--port", str(port)],
        env={**os.environ, "SUMO_HOME": str(Path(sumo.__file__).parent)},
    )
    running = Service(process, port)
    try:
        running.wait_until_listening()
        yield running
    finally:
        process.terminate()
        process.wait(BACK_WITHIN_S)
        for client in running.clients:
            if client._socket is not None:  # as in a client that was closed
                client._socket.close()


def test_client_can_load_and_step_and_the_next_client_too(service: Service) -> None:
    """SUMO ends when its client closes; the next client finds another one."""
    first = service.sumo_pid()
    for _ in range(2):
        pid = service.sumo_pid()
        client = service.connect()
        client.load(["--net-file", str(SERVICE / "idle.net.xml"), "--step-length", "0.1"])
        client.simulationStep()
        assert client.simulation.getTime() == pytest.approx(0.1)
        client.close()
        service.wait_until_listening(not_pid=pid)
    assert service.sumo_pid() != first


def test_health_check_passes_while_listening_and_while_serving(service: Service) -> None:
    """The health check uses up no connection, and a SUMO with a client is healthy."""
    assert service.is_healthy()
    assert service.is_healthy()
    client = service.connect()
    client.simulationStep()
    assert service.is_healthy()


def test_health_check_fails_where_nobody_listens(service: Service) -> None:
    """A port without SUMO is not healthy."""
    service.process.terminate()
    service.process.wait(BACK_WITHIN_S)
    assert not service.is_healthy()


def test_killed_sumo_comes_back(service: Service) -> None:
    """SIGKILL in the middle of a client's work: another SUMO listens on the same port."""
    client = service.connect()
    client.simulationStep()
    pid = service.sumo_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    service.wait_until_listening(not_pid=pid)
    with pytest.raises(traci.exceptions.FatalTraCIError):
        client.simulationStep()
    service.connect()


def test_frozen_sumo_is_replaced_when_its_client_gives_up(service: Service) -> None:
    """A frozen SUMO whose client has gone ignores SIGTERM and refuses connections: it is killed."""
    client = service.connect()
    client.simulationStep()
    pid = service.sumo_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    client._socket.close()
    service.wait_until_listening(not_pid=pid)
    service.connect()


def test_frozen_sumo_with_a_patient_client_is_left_alone(service: Service) -> None:
    """A long step is not a fault: as long as the client waits, SUMO lives."""
    client = service.connect()
    pid = service.sumo_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    time.sleep(4.0)
    os.kill(pid, signal.SIGCONT)
    client.simulationStep()
    assert service.sumo_pid() == pid


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("state", ["listening", "serving", "frozen"])
def test_stop_ends_both(service: Service, signal_number: signal.Signals, state: str) -> None:
    """One signal to the supervisor ends it and SUMO, whatever SUMO is doing."""
    pid = service.sumo_pid()
    assert pid is not None
    if state != "listening":
        service.connect()
    if state == "frozen":
        os.kill(pid, signal.SIGSTOP)
    service.process.send_signal(signal_number)
    assert service.process.wait(BACK_WITHIN_S) == 0
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("sumo_home", "complaint"),
    [("", "SUMO_HOME is not set"), ("/nowhere", "/nowhere/bin/sumo is not an executable file")],
)
def test_wrong_sumo_home_is_named(sumo_home: str, complaint: str) -> None:
    """Without a SUMO to run, the supervisor says what is missing and ends."""
    done = subprocess.run(
        [sys.executable, str(SERVICE / "supervisor.py")],
        env={**os.environ, "SUMO_HOME": sumo_home},
        check=False,
        capture_output=True,
        text=True,
        timeout=BACK_WITHIN_S,
    )
    assert done.returncode == 1
    assert complaint in done.stderr
