"""Exit 0 when SUMO can be used or is being used.

Once its client is connected SUMO stops listening: an established connection is healthy, too.
"""

from __future__ import annotations

import os
import sys

from socket_table import TcpState, local_states

if __name__ == "__main__":
    port = int(os.environ["SUMO_PORT"])
    states = local_states(port)
    if not states & {TcpState.LISTEN, TcpState.ESTABLISHED}:
        sys.exit(f"SUMO neither listens nor serves a client on port {port} (states: {set(states)})")
