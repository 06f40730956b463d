"""Look at a TCP port without touching it.

SUMO takes the first connection for its client and ends when that closes, so neither the health
check nor the supervisor may connect. The kernel's table of this network namespace tells as much.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


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
