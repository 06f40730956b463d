"""The board's code compiled for this machine, and its answers as arrays."""

import ctypes
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml.errors import ExportError
from ml.export.toolchain import FLAGS, run
from ml.onboard.observation.spec import EGO_FEATURES, MAX_PEERS, PEER_FEATURES

TICK: Final = np.dtype(
    [
        ("own_um", "<i8", (2,)),
        ("own_mps", "<f4"),
        ("own_deg", "<f4"),
        ("accel_mps2", "<f4"),
        ("speed_mps", "<f4"),
        ("wish_mps2", "<f4"),
        ("soft_mps2", "<f4"),
        ("hard_mps2", "<f4"),
        ("floor_mps2", "<f4"),
        ("reason", "<u4"),
        ("recorded_mps2", "<f4"),
        ("ego_row", "<f4", (len(EGO_FEATURES),)),
        ("peer_rows", "<f4", (MAX_PEERS, len(PEER_FEATURES))),
        ("row_of", "u1", (MAX_PEERS,)),
        ("num_rows", "<i4"),
        ("num_relayed", "<i4"),
        ("num_refused", "<i4"),
        ("digest", "<u4"),
        ("beacon", "u1", (90,)),
        ("padding", "u1", (2,)),
    ],
    align=True,
)
"""`struct replay_tick` of firmware/brain/replay/replay.h."""


class HostBrain:
    """The board's code on this machine.

    Args:
        folder: An exported one.
        library: Where the library is built.
        flags: Of the compiler, beside those that every core has.

    Raises:
        ExportError: There is no C compiler, or it does not take the code.
    """

    def __init__(self, folder: Path, library: Path, flags: tuple[str, ...] = ()) -> None:
        sources = [str(folder / name) for name in ("brain.c", "replay/replay.c")]
        output = ("-shared", "-fPIC", "-o", str(library))
        run(["gcc", *FLAGS, *flags, f"-I{folder}", *sources, *output])
        self._library = ctypes.CDLL(str(library))

    def replay(self, episode: bytes, most: int = 10_000) -> NDArray[np.void]:
        """Replay an episode; return what came of each tick, (ticks,) of `TICK`.

        Raises:
            ExportError: The bytes are no episode, or one of more ticks than `most`.
        """
        ticks = np.zeros(most, dtype=TICK)
        count = self._library.replay_all(
            bytes(episode),
            ctypes.c_uint32(len(episode)),
            ctypes.c_void_p(ticks.ctypes.data),
            ctypes.c_int32(most),
        )
        if count < 0:
            raise ExportError(
                f"these {len(episode)} bytes are no episode of firmware/brain/replay/replay.h, or "
                f"one of more than {most} ticks: export the model again"
            )
        return ticks[:count]
