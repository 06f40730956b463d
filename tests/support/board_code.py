"""The exported board beside Python's: where they first differ, and episodes whose clocks wrap."""

from __future__ import annotations

import struct
from shutil import which
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ml.onboard.observation.spec import EGO_FEATURES, PEER_FEATURES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml.export.rehearsal import Recorded

SIZES = {1: 31, 2: 95, 3: 22, 4: 25}
"""Bytes of a record of firmware/brain/replay/replay.h, its kind included."""
COMMAND_MPS2, BOUND_MPS2, OWN_M, SCALED = 1e-3, 5e-3, 1e-3, 2e-4
"""What float32 may cost: of a command; of a bound, which is no command yet; of the own place; and of
a scaled feature."""


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where a program is not installed, and say which."""
    absent = [name for name in programs if which(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"{', '.join(absent)} not installed (apt-get)")


def first_difference(recorded: Recorded, ticks: np.ndarray) -> str:
    """Name the first tick and field in which the C code is not Python's; "" for none."""
    if len(ticks) != len(recorded.ticks):
        return f"{recorded.radio}: {len(ticks)} ticks of {len(recorded.ticks)}"
    for number, (mine, python) in enumerate(zip(ticks, recorded.ticks, strict=True)):
        for name, found, expected, allowed in _fields(mine, python):
            if not np.all(np.abs(np.asarray(found, np.float64) - expected) <= allowed):
                return (
                    f"{recorded.radio}: tick {number}, {name}: {found} in C, {expected} in Python"
                )
    return ""


def _fields(mine, python):
    """Name, both values and tolerance of all that is compared, causes before effects."""
    yield "num_refused", mine["num_refused"], python.num_refused, 0
    yield "own_m", mine["own_um"] * 1e-6, np.array(python.own_m), OWN_M
    for name in ("own_mps", "own_deg"):
        yield name, mine[name], getattr(python, name), 1e-4
    yield "num_rows", mine["num_rows"], len(python.peer_rows), 0
    for row, expected in enumerate(python.peer_rows):
        for column, feature in enumerate(PEER_FEATURES):
            name = f"peers[{row}].{feature.name}"
            yield name, mine["peer_rows"][row, column], expected[column], SCALED
    for column, feature in enumerate(EGO_FEATURES):
        name = f"ego.{feature.name}"
        yield name, mine["ego_row"][column], python.ego_row[column], SCALED
    for name in ("floor_mps2", "soft_mps2", "hard_mps2", "wish_mps2"):
        yield name, mine[name], getattr(python, name), BOUND_MPS2
    yield "accel_mps2", mine["accel_mps2"], python.accel_mps2, COMMAND_MPS2


def records(episode: bytes) -> list[bytearray]:
    """Cut an episode into its records."""
    cut, at = [], 0
    while at < len(episode):
        size = SIZES[episode[at]]
        cut.append(bytearray(episode[at : at + size]))
        at += size
    return cut


def shift_clocks(episode: bytes, own_ms: int, of_source_ms: Callable[[bytes], int]) -> bytes:
    """Set all clocks on, modulo 2^32: the own one, and by its address that of each source."""
    moved = records(episode)
    for record in moved:
        if record[0] != 3:
            (now_ms,) = struct.unpack_from("<I", record, 1)
            struct.pack_into("<I", record, 1, (now_ms + own_ms) % 2**32)
        if record[0] == 2:
            (sent_ms,) = struct.unpack_from("<I", record, 5 + 9)
            ahead_ms = of_source_ms(bytes(record[-6:]))
            struct.pack_into("<I", record, 5 + 9, (sent_ms + ahead_ms) % 2**32)
    return b"".join(moved)
