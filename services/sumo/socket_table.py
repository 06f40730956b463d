"""Look at a TCP port without touching it.

SUMO takes the first connection for its client and ends when that closes, so neither the health
check nor the supervisor may connect. The kernel's table of this network namespace tells as much.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
COUNTERS = Path("/proc/net/snmp")


class TcpState(StrEnum):
    """Connection states as the kernel prints them (include/net/tcp_states.h)."""

    ESTABLISHED = "01"
    CLOSE_WAIT = "08"
    LISTEN = "0A"


def local_states(port: int) -> frozenset[str]:
    """Return the states of all sockets whose local port is `port`.

    Args:
        port: TCP port, 1 to 65535.

    Returns:
        Two-digit hexadecimal states; those that matter here are in `TcpState`.
    """
    suffix = f":{port:04X}"
    states: set[str] = set()
    for table in TABLES:
        if not table.exists():  # a kernel without IPv6
            continue
        for row in table.read_text(encoding="ascii").splitlines()[1:]:
            # sl local_address rem_address st ...
            _, local_address, _, state, *_ = row.split()
            if local_address.endswith(suffix):
                states.add(state)
    return frozenset(states)


class PortWatch:
    """The states of a port, looked up only where they can have changed.

    For the table the kernel walks the hash of all connections of the machine, which takes
    milliseconds however few there are. No client comes or goes without a segment, and the count of
    segments received, of this network namespace, is read in microseconds.

    Args:
        port: TCP port.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._segments = -1
        self._settled = False
        self._states: frozenset[str] = frozenset()

    def states(self) -> frozenset[str]:
        """Return what `local_states` would."""
        segments = _segments_received()
        quiet = segments == self._segments
        if not (quiet and self._settled):
            self._states = local_states(self._port)
        # Looked at once more after the last segment: one is counted before it changes a state.
        self._segments, self._settled = segments, quiet
        return self._states


def _segments_received() -> int:
    names, values = (
        line.split()
        for line in COUNTERS.read_text(encoding="ascii").splitlines()
        if line.startswith("Tcp:")
    )
    return int(values[names.index("InSegs")])
