"""A real Ray cluster on this machine: a head and nodes of one core, each by `ray start`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from support.training_runs import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).parent / "ray"
PATHS = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
_MEMORY = "80000000"
_ENVIRON = {
    "PYTHONPATH": PATHS,
    # A node that is killed is missed after 5 s instead of 15.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "9",
}


class RayCluster:
    """Nodes that are processes here; `address` is the head's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._port, self._client_port = _free_port(), _free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.start_head()

    def start_head(self) -> None:
        """Start the head, also once more at the same address."""
        self._start("--head", f"--port={self._port}", "--include-dashboard=false",
                    f"--ray-client-server-port={self._client_port}", "--no-monitor",
                    f"--temp-dir={self._folder}")  # fmt: skip
        wait_until(lambda: _listens(self._port), "head")

    def join(self, **environ: str) -> int:
        """Start another node; returns its number, from 1 on.

        It is waited for: of two that start at the same moment one may find its ports taken.
        """
        self._start(f"--address={self.address}", environ=environ)
        number = len(self._nodes) - 1
        log = self._folder / f"node{number}.log"
        wait_until(lambda: b"Ray runtime started" in log.read_bytes(), f"node {number}")
        return number

    def kill(self, number: int) -> None:
        """End a node at once, with all its processes, as a power cut would."""
        node = self._nodes[number]
        for pid in _family(node.pid):
            with suppress(ProcessLookupError):  # one that was just ending
                os.kill(pid, signal.SIGKILL)
        node.wait()

    def close(self) -> None:
        """End all nodes."""
        for number, node in enumerate(self._nodes):
            if node.poll() is None:
                self.kill(number)

    def _start(self, *options: str, environ: dict[str, str] | None = None) -> None:
        log = (self._folder / f"node{len(self._nodes)}.log").open("wb")
        with log:
            self._nodes.append(subprocess.Popen(
                [RAY, "start", "--block", "--num-cpus=1", f"--object-store-memory={_MEMORY}",
                 "--disable-usage-stats", "--include-log-monitor=false", *options],
                stdout=log, stderr=log, cwd=self._folder, start_new_session=True,
                env={**os.environ, **_ENVIRON, **(environ or {})},
            ))  # fmt: skip


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """Start a head, and end it and what joined it."""
    # Ray's sockets lie in it, whose paths may not be long.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    cluster = None
    try:
        cluster = RayCluster(folder)
        yield cluster
    finally:
        if cluster is not None:
            cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    """Return a port above those that Ray gives its workers."""
    for port in range(20_100 + os.getpid() % 5_000, 32_000):
        if not _listens(port):
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            if port not in _TAKEN:
                _TAKEN.add(port)
                return port
    raise OSError("no free port")


_TAKEN: set[int] = set()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it, which may have sessions of their own."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for of in found:
        found += [child for child, parent in parents.items() if parent == of]
    return found
