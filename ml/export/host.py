"""The board's code compiled for this machine, and its answers as arrays."""

import ctypes
import subprocess
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml.errors import ConfigError
from ml.onboard.observation.spec import EGO_FEATURES, MAX_PEERS, PEER_FEATURES

FLAGS: Final = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
TICK = np.dtype(
    [
        ("accel_mps2", "<f4"),
        ("speed_mps", "<f4"),
        ("wish_mps2", "<f4"),
        ("soft_mps2", "<f4"),
        ("hard_mps2", "<f4"),
        ("floor_mps2", "<f4"),
        ("reason", "<u4"),
        ("recorded_mps2", "<f4"),
        ("own_m", "<f4", (2,)),
        ("own_mps", "<f4"),
        ("own_deg", "<f4"),
        ("ego_row", "<f4", (len(EGO_FEATURES),)),
        ("peer_rows", "<f4", (MAX_PEERS, len(PEER_FEATURES))),
        ("row_of", "u1", (MAX_PEERS,)),
        ("num_rows", "<i4"),
        ("num_relayed", "<i4"),
        ("num_refused", "<i4"),
        ("digest", "<u4"),
        ("beacon", "u1", (90,)),
        ("padding", "u1", (2,)),
    ]
)
"""`struct replay_tick` of firmware/brain/replay.h."""


class HostBrain:
    """The board's code on this machine.

    Args:
        folder: An exported one, with `replay.c`; the library is built beside it.
        flags: Of the compiler, beside those that make a library.

    Raises:
        ConfigError: There is no C compiler, or it does not take the code.
    """

    def __init__(self, folder: Path, flags: tuple[str, ...] = FLAGS) -> None:
        library = folder / "libbrain.so"
        sources = [str(folder / name) for name in ("brain.c", "replay.c")]
        command = ["gcc", *flags, "-shared", "-fPIC", *sources, "-o", str(library)]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise ConfigError("there is no gcc here: apt-get install gcc") from error
        if ran.returncode:
            raise ConfigError(f"{folder} does not compile: {ran.stderr.strip()}")
        self._library = ctypes.CDLL(str(library))

    def replay(self, episode: bytes, most: int = 100_000) -> NDArray[np.void]:
        """Replay an episode; return what came of each tick, (ticks,) of `TICK`.

        Raises:
            ConfigError: The bytes are no episode.
        """
        ticks = np.zeros(most, dtype=TICK)
        count = self._library.replay_all(
            bytes(episode), ctypes.c_uint32(len(episode)), ticks.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int32(most),
        )
        if count < 0:
            raise ConfigError("these bytes are no episode of firmware/brain/replay.h")
        return ticks[:count]
