"""The exported board beside Python's: where they first differ, and episodes whose clocks wrap."""

from __future__ import annotations

import ctypes
import struct
from shutil import which
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ml.espnow_emulator.wire import GeoReference, mac_of_name
from ml.onboard.observation.spec import EGO_FEATURES, PEER_FEATURES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml.export.rehearsal import Recorded

SIZES = {1: 31, 2: 95, 3: 22, 4: 25}
"""Bytes of a record of firmware/brain/replay/replay.h, its kind included."""
COMMAND_MPS2, BOUND_MPS2, OWN_M, SCALED = 1e-3, 5e-3, 1e-3, 2e-4
"""What float32 may cost: of a command; of a bound, which is no command yet; of the own place; and
of a scaled feature."""
SETTINGS = struct.Struct("<8s6sxxiif")
FIX = struct.Struct("<iiff?xxxI")
REFERENCE = GeoReference.at(32.8, 35.0)
WITHOUT_FIX = 4
"""`BRAIN_WITHOUT_FIX` of brain.h."""


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where a program is not installed, and say which."""
    absent = [name for name in programs if which(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"{', '.join(absent)} not installed (apt-get)")


def first_difference(recorded: Recorded, ticks: np.ndarray, times: float = 1.0) -> str:
    """Name the first tick and field in which the C code is not Python's; "" for none.

    `times` is by how much more than usual float32 may cost.
    """
    if len(ticks) != len(recorded.ticks):
        return f"{recorded.radio}: {len(ticks)} ticks of {len(recorded.ticks)}"
    earliest = (len(ticks), "")
    for name, found, expected, allowed in _fields(recorded, ticks):
        wrong = np.flatnonzero(~(np.abs(found - expected) <= times * allowed))
        if wrong.size and wrong[0] < earliest[0]:  # of one tick the cause is named, not the effect
            tick = int(wrong[0])
            values = f"{found[tick]:.9g} in C, {expected[tick]:.9g} in Python"
            earliest = (tick, f"{recorded.radio}: tick {tick}, {name}: {values}")
    return earliest[1]


def _fields(recorded, ticks):
    """Name, both columns (ticks,) and tolerance of all that is compared, causes before effects."""

    def column(name):
        return np.array([getattr(tick, name) for tick in recorded.ticks], dtype=np.float64)

    def of_c(name):
        return ticks[name].astype(np.float64)

    yield "num_refused", of_c("num_refused"), column("num_refused"), 0.0
    own_m = column("own_m")
    for axis in range(2):
        yield f"own_m[{axis}]", of_c("own_um")[:, axis] * 1e-6, own_m[:, axis], OWN_M
    turn = (of_c("own_deg") - column("own_deg") + 180.0) % 360.0 - 180.0
    yield "own_deg", turn, np.zeros(len(ticks)), 1e-4
    yield "own_mps", of_c("own_mps"), column("own_mps"), 1e-4
    num_rows = np.array([len(tick.peer_rows) for tick in recorded.ticks])
    yield "num_rows", of_c("num_rows"), num_rows, 0.0
    peer_rows = np.zeros(ticks["peer_rows"].shape)
    for number, tick in enumerate(recorded.ticks):
        peer_rows[number, : len(tick.peer_rows)] = tick.peer_rows
    for row in range(peer_rows.shape[1]):
        for k, feature in enumerate(PEER_FEATURES):
            found = of_c("peer_rows")[:, row, k]
            yield f"peers[{row}].{feature.name}", found, peer_rows[:, row, k], SCALED
    ego_row = column("ego_row")
    for k, feature in enumerate(EGO_FEATURES):
        yield f"ego.{feature.name}", of_c("ego_row")[:, k], ego_row[:, k], SCALED
    for name in ("floor_mps2", "soft_mps2", "hard_mps2", "wish_mps2"):
        found, expected = (np.clip(values, -1e3, 1e3) for values in (of_c(name), column(name)))
        yield name, found, expected, BOUND_MPS2  # without a layer the bounds are infinite
    yield "accel_mps2", of_c("accel_mps2"), column("accel_mps2"), COMMAND_MPS2
    yield "speed_mps", of_c("speed_mps"), column("speed_mps"), 2e-4


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


class OneBrain:
    """A brain of the host library, called as a sketch calls it; times in ms."""

    def __init__(self, library: ctypes.CDLL, name: str = "v0", now_ms: int = 0) -> None:
        self._library = library
        self._memory = ctypes.create_string_buffer(64 * 1024)
        for call in ("init", "receive", "sense", "beacon", "relay"):
            getattr(library, f"brain_{call}").restype = ctypes.c_bool
        self.is_ready = self.init(name=name.encode(), now_ms=now_ms)

    def init(
        self,
        *,
        name: bytes = b"v0",
        mac: bytes = mac_of_name("v0"),
        reference_e7: tuple[int, int] = (328_000_000, 350_000_000),
        time_gap_s: float = 1.0,
        now_ms: int = 0,
    ) -> bool:
        """Begin; False where the settings are refused."""
        settings = SETTINGS.pack(name, mac, *reference_e7, time_gap_s)
        return self._library.brain_init(self._memory, settings, ctypes.c_uint32(now_ms))

    def receive(self, frame: bytes, now_ms: int) -> bool:
        """Hand it a frame."""
        return self._library.brain_receive(self._memory, frame, ctypes.c_uint32(now_ms))

    def sense(self, now_ms: int, fix: bytes | None, *sample: float) -> bool:
        """Hand it a fix of `FIX`, and a sample."""
        values = struct.pack("<4f", *sample)
        return self._library.brain_sense(self._memory, ctypes.c_uint32(now_ms), fix, values)

    def step(self, now_ms: int) -> tuple[float, ...]:
        """Return the fields of `struct brain_command`."""

        class Command(ctypes.Structure):
            _fields_ = [(f"f{k}", ctypes.c_float) for k in range(6)] + [("reason", ctypes.c_int)]

        self._library.brain_step.restype = Command
        command = self._library.brain_step(self._memory, ctypes.c_uint32(now_ms))
        return tuple(getattr(command, name) for name, _ in Command._fields_)

    def beacon(self) -> bytes | None:
        """Return its own frame."""
        return self._frame(self._library.brain_beacon)

    def relay(self) -> list[bytes]:
        """Return all that it relays in this slot."""
        frames = []
        while (frame := self._frame(self._library.brain_relay)) is not None:
            frames.append(frame)
        return frames

    def _frame(self, call) -> bytes | None:
        frame = ctypes.create_string_buffer(90)
        return frame.raw if call(self._memory, frame) else None
