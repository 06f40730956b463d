"""An exported board at the wheel: the C of `roadsense export`, wherever a controller is named."""

import ctypes
import re
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Bools, Ints
from ml.controllers.protocol import Knows
from ml.errors import ConfigError
from ml.folders import default_cache_dir
from ml.onboard.views import EgoView, PeerView

BOARD: Final = "board"
"""The name in front of a folder: board@DIR."""
WEIGHTS: Final = "weights.h"
_CODE: Final = ("brain.h", "brain.c", "replay/batch.c")
_CALLS: Final = 2
"""`batch_version` of firmware/brain/replay/batch.c: how it is called from here."""
_DEADLINE_S: Final = 120.0
_FLAGS: Final = ("-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC")
_DIGEST: Final = re.compile(r"^#define BRAIN_DIGEST 0x([0-9a-f]{8})u$", re.MULTILINE)


def code_sha256(folder: Path) -> str:
    """Return the digest of a folder's fixed code, which its `weights.h` names.

    Raises:
        OSError: A file of it is missing.
    """
    return sha256(b"\0".join((folder / name).read_bytes() for name in _CODE)).hexdigest()


def stamped(header: str, code: str) -> str:
    """Return the content of `weights.h` with the digest of its code, and a number of both.

    The number is what a board in the loop says it runs (`BRAIN_DIGEST`).
    """
    number = sha256(f"{code}\n{header}".encode()).hexdigest()[:8]
    return f"/* code {code} */\n#define BRAIN_DIGEST 0x{number}u\n{header}"


def digest_in(weights: bytes) -> int:
    """Return `BRAIN_DIGEST` of a `weights.h`; 0 where it has none."""
    said = _DIGEST.search(weights.decode("utf-8", "replace"))
    return 0 if said is None else int(said[1], 16)


class ExportedBoard:
    """The brain of an exported folder, compiled for this machine.

    It is shown what any controller is. It bounds and smooths its own wishes, and keeps its past.
    A folder is code, and runs with all rights of this process: name none that is a stranger's.

    Args:
        folder: Of `roadsense export`, or its `weights.h`.

    Attributes:
        name: The folder's.
        time_gap_s: That its model usually keeps.
        standstill_m: None.
        knows: The radio.
        smooths: Whether it answers what it commands. Where another drives, its low-pass would echo
            what that one did; then it is to answer what it wishes within its bounds.

    Raises:
        ConfigError: It is no such folder, was changed, or cannot be compiled.
    """

    standstill_m: float | None = None

    def __init__(self, folder: Path) -> None:
        folder = folder.parent if folder.name == WEIGHTS else folder
        self.knows: Knows = "radio"
        self.smooths = True
        self.name = f"board {folder.name}"
        self._library = ctypes.CDLL(str(_built(folder)))
        version = getattr(self._library, "batch_version", None)  # the first ones had none
        if version is None or version() != _CALLS:
            raise ConfigError(
                f"{folder} was exported by another version of RoadSense, whose code is called in "
                "another way. Export the model again."
            )
        self._library.batch_time_gap_s.restype = ctypes.c_float
        self._library.batch_begin.restype = ctypes.c_bool
        gap_s = float(self._library.batch_time_gap_s())
        self.time_gap_s: float | None = round(gap_s, 6)
        self._bytes = int(self._library.batch_bytes())
        self._sources = int(self._library.batch_sources())
        self._brains = np.zeros((0, self._bytes), dtype=np.uint8)

    def reset(self, rows: Ints, num_envs: int) -> None:
        """Begin episodes of some egos, (n,), in a batch of so many."""
        everyone = np.arange(num_envs)
        if self._brains.shape[0] != num_envs:
            self._brains = np.zeros((num_envs, self._bytes), dtype=np.uint8)
            rows = everyone
        for row in rows:
            brain = ctypes.c_void_p(self._brains[row].ctypes.data)
            self._library.batch_begin(brain, ctypes.c_float(self.time_gap_s or 0.0))

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Decide a tick of all egos; (E,) float64, m/s², within the vehicle's limits.

        Raises:
            ConfigError: There are more sources than a board holds.
        """
        num_envs, num_sources = peers.heard.shape
        if num_sources > self._sources:
            raise ConfigError(
                f"{self.name} holds {self._sources} cars at once, and the convoys have up to "
                f"{num_sources} peers. Let it drive in shorter ones."
            )
        heard: Bools = peers.heard
        columns = np.stack(
            [
                *(heard.astype(np.float64), peers.age_s, peers.x_m, peers.y_m, peers.speed_mps),
                *(peers.heading_deg, peers.accel_mps2, peers.position_sd_m, peers.hops),
            ],
            axis=-1,
        )
        own = np.stack(
            [
                *(ego.x_m, ego.y_m, ego.speed_mps, ego.heading_deg, ego.accel_mps2),
                *(ego.position_sd_m, ego.last_command_mps2),
            ],
            axis=-1,
        )
        accel_mps2 = np.empty(num_envs)
        self._library.batch_step(
            ctypes.c_void_p(self._brains.ctypes.data),
            ctypes.c_int32(num_envs),
            ctypes.c_int32(num_sources),
            ctypes.c_bool(self.smooths),
            *(ctypes.c_void_p(array.ctypes.data) for array in (columns, own, accel_mps2)),
        )
        return accel_mps2


def exported_weights(folder: Path) -> tuple[bytes, str]:
    """Return the `weights.h` of an exported folder, and the digest of its code.

    Raises:
        ConfigError: It is no such folder, or was changed.
    """
    try:
        weights = (folder / WEIGHTS).read_bytes()
        digest = code_sha256(folder)
    except OSError as error:
        raise ConfigError(
            f"{folder} is no folder of `roadsense export` ({error.strerror}: {error.filename}). "
            "Name one as in board@DIR."
        ) from error
    said = weights.decode("utf-8", "replace")
    *_, header = said.split("\n", 2)
    if said != stamped(header, digest):
        raise ConfigError(
            f"{folder}: its code or its weights are not those that it was exported with. Export "
            "the model again."
        )
    return weights, digest


def _built(folder: Path) -> Path:
    """Compile a folder once, and return the library in the cache; see `ExportedBoard`."""
    weights, digest = exported_weights(folder)
    built = default_cache_dir() / "boards" / f"{sha256(weights + digest.encode()).hexdigest()}.so"
    if built.exists():
        return built
    try:
        built.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=built.parent) as aside:
            library = Path(aside) / "brain.so"
            _compile(folder, library)
            library.replace(built)
    except OSError as error:
        raise ConfigError(
            f"board@{folder} is compiled into {built.parent}, and that fails ({error.strerror}: "
            f"{error.filename}). Make it writable, or name another folder in ROADSENSE_CACHE_DIR."
        ) from error
    return built


def _compile(folder: Path, library: Path) -> None:
    source = folder / "replay" / "batch.c"
    command = ["gcc", *_FLAGS, f"-I{folder}", str(source), "-o", str(library)]
    try:
        ran = subprocess.run(  # noqa: S603 (our own arguments)
            command, capture_output=True, text=True, check=False, timeout=_DEADLINE_S
        )
    except FileNotFoundError as error:
        raise ConfigError(f"board@{folder} needs a C compiler: apt-get install gcc") from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"gcc took more than {_DEADLINE_S:g} s for {folder}, and was ended"
        ) from error
    if ran.returncode or not library.exists():
        said = ran.stderr.strip() or "gcc says nothing, and writes nothing"
        raise ConfigError(f"{folder} does not compile: {said}")
