"""What decides figures on a machine, and whether two machines would find the same ones."""

import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ml import __version__
from ml.installation import SUMO_LIBRARIES, code_folder, usable_cores

_PACKAGES = ("ray", "eclipse-sumo", "libsumo", "numpy", "scipy", "numba", "torch",
             "stable-baselines3", "gymnasium")  # fmt: skip
_CODE = ("*.py", "*.json", "*.yaml", "*.xml", "*.sumocfg")
_SUMO_DEADLINE_S = 60.0
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, as one of its own processes sees it.

    Attributes:
        code: Digest of RoadSense's code and data.
        packages: Versions; "missing" for what is not there.
        kind: Of processor, as `x86_64`.
        cpu: Its name.
        memory_gib: Of which how much is available.
        sumo: What keeps SUMO from starting; empty where it starts, or was not asked.
    """

    roadsense: str
    code: str
    python: str
    packages: dict[str, str]
    kind: str
    cpu: str
    cores: int
    memory_gib: tuple[float, float]
    sumo: str


def examine(*, sumo: bool = True) -> Machine:
    """Look at this machine; with `sumo`, load the embedded SUMO in another process."""
    return Machine(
        roadsense=__version__,
        code=code_digest(),
        python=platform.python_version(),
        packages={name: _version(name) for name in _PACKAGES},
        kind=platform.machine(),
        cpu=_cpu(),
        cores=usable_cores(),
        memory_gib=_memory_gib(),
        sumo=_sumo() if sumo else "",
    )


def code_digest() -> str:
    """Return a digest of RoadSense's code and data: of a clone and of an image, the same."""
    root, digest = code_folder(), sha256()
    for file in sorted(_code_files(root)):
        digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _code_files(root: Path) -> Iterator[Path]:
    saved = root / "ml" / "models"  # made by training runs
    for folder in (root / "ml", root / "sumo-configs"):
        for pattern in _CODE:
            yield from (file for file in folder.rglob(pattern) if saved not in file.parents)


def problem_of(here: Machine, there: Machine) -> str:
    """Say why another machine cannot do this one's work, and what mends it; empty if it can."""
    if there.sumo:
        return (
            f"SUMO does not start there: {there.sumo}. Install what it links to: sudo apt-get "
            f"install {' '.join(SUMO_LIBRARIES.values())}"
        )
    if here.roadsense != there.roadsense:
        return f"it has RoadSense {there.roadsense}, here is {here.roadsense}: install one version"
    if here.code != there.code:
        return (
            f"its code of RoadSense is another one (digest {there.code}, here {here.code}): check "
            "out one commit without changes, or use one image, and start Ray there again"
        )
    if (here.python, here.kind) != (there.python, there.kind):
        return (
            f"it has Python {there.python} on {there.kind}, here is {here.python} on {here.kind}: "
            "rows would not be the same to the bit; use one image"
        )
    for name, ours in here.packages.items():
        theirs = there.packages[name]
        # The CPU build of torch and PyPI's are one version.
        if ours.partition("+")[0] != theirs.partition("+")[0]:
            return (
                f"it has {name} {theirs}, here is {ours}: install requirements.txt and "
                "requirements-ray.txt of one commit in both, or use one image"
            )
    return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _memory_gib() -> tuple[float, float]:
    """Return how much memory is available, and how much there is."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0, 0.0
    sizes = {line.split()[0]: int(line.split()[1]) * 1024 / _GIB for line in lines}
    return sizes["MemAvailable:"], sizes["MemTotal:"]


def _sumo() -> str:
    """Load libsumo in another process; return what went wrong."""
    ask = [sys.executable, "-c", "import libsumo; libsumo.simulation.getVersion()"]
    try:
        done = subprocess.run(  # noqa: S603 (our own arguments)
            ask, capture_output=True, check=False, text=True, timeout=_SUMO_DEADLINE_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (said[-1] if said else f"exit code {done.returncode}")
