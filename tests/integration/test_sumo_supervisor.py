"""The supervisor of services/sumo, with a real SUMO, without Docker."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import traci
from support.sumo_service import BACK_WITHIN_S, SERVICE, running_service

from ml.errors import SimulatorTimeoutError
from ml.sumo.traci_connection import TraciConnection

if TYPE_CHECKING:
    from support.sumo_service import Service

pytestmark = pytest.mark.sumo


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


def test_a_second_client_is_told_why_it_must_wait(service: Service) -> None:
    """SUMO has one client; another gets an answer at its deadline, and the first is undisturbed."""
    client = service.connect()
    with pytest.raises(SimulatorTimeoutError, match=r"serves another\s+client does not listen"):
        TraciConnection.open("127.0.0.1", service.port, deadline_s=1.0)
    client.simulationStep()


def test_a_taken_port_is_waited_for() -> None:
    """SUMO that cannot listen is started again, with pauses, until the port is free."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running_service(port=port, wait=False) as service:
            time.sleep(2.0)
            assert service.process.poll() is None
            taken.close()
            service.wait_until_listening()
            service.connect().simulationStep()


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


def _switches(pid: int) -> int:
    """How often a process went to sleep of its own accord."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("voluntary_ctxt")).split()[1])


def test_an_idle_supervisor_sleeps(service: Service) -> None:
    """It is woken by signals and wakes by itself once a second: not ten times, as a poll would."""
    before = _switches(service.process.pid)
    time.sleep(4.0)
    assert 1 <= _switches(service.process.pid) - before <= 8


def test_the_socket_table_is_read_only_where_something_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel walks all connections for it: while no segment arrives, only a count is read."""
    spec = importlib.util.spec_from_file_location("socket_table", SERVICE / "socket_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    counters, reads = tmp_path / "snmp", []
    monkeypatch.setattr(module, "COUNTERS", counters)
    monkeypatch.setattr(module, "local_states", lambda _: reads.append(1) or {str(len(reads))})
    watch, found = module.PortWatch(8813), []
    for segments in (5, 5, 5, 5, 6, 6, 6):
        counters.write_text(f"Tcp: RtoMin InSegs OutSegs\nTcp: 200 {segments} 7\nUdp: 1\n")
        found.append(watch.states())
    # The first look, one more as that may have been too early, and both again after a segment.
    assert found == [{"1"}, {"2"}, {"2"}, {"2"}, {"3"}, {"4"}, {"4"}]
