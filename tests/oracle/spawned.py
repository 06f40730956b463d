"""What a spawned process is asked; it can import this module, and no test's own."""

from __future__ import annotations

from dataclasses import replace

from oracle.exactly import CROWD, EVERYTHING, play
from oracle.script import Snapshot
from oracle.scripts_at_random import write_script


def heard_bytes(seed: int) -> list[bytes]:
    """What one process hears in the busy episode of a seed, array by array."""
    (snapshots,) = play(EVERYTHING, write_script(replace(CROWD, seed=seed)))
    return [getattr(s, name).tobytes() for s in snapshots for name in Snapshot.ARRAYS]
