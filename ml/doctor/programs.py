"""What the doctor finds; Python, packages, SUMO and what SUMO links to; Docker and Compose.

Nothing here imports what it looks at: a library that is missing, or one that takes its process
along, is found by asking another process.
"""

import ctypes
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ml import __version__
from ml.installation import SUMO_LIBRARIES, borrowed_program, code_folder, hidden_packages
from ml.training.versions import read_versions, run_program, version_of

_SUMO_PACKAGES = ("eclipse-sumo", "libsumo", "traci", "sumolib")
_OTHER_PACKAGES = ("numpy", "numba", "gymnasium", "stable-baselines3", "torch", "tensorboard")
_OLDEST_PYTHON, _NEWEST_PYTHON = (3, 11), (3, 13)
_OLDEST_COMPOSE = (2, 20)
_REINSTALL = "rm -rf .venv && make .venv/installed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what mends it.

    Attributes:
        name: What was looked at.
        found: What is there.
        remedy: A command, or what to do; empty where nothing is to be done.
        verdict: "ok"; "note" where something is missing that training in this process does not
            need; "wrong" where something would fail.
    """

    name: str
    found: str
    remedy: str = ""
    verdict: Literal["ok", "note", "wrong"] = "ok"


ok = Finding
note = partial(Finding, verdict="note")
wrong = partial(Finding, verdict="wrong")
run = partial(run_program, deadline_s=60.0)


def in_container() -> bool:
    """Whether this runs in one of our containers, where there is no Docker to ask."""
    return Path("/.dockerenv").exists() and shutil.which("docker") is None


def python() -> Finding:
    """Look at the interpreter."""
    found = f"{sys.version.split()[0]} ({sys.executable})"
    if _OLDEST_PYTHON <= sys.version_info[:2] <= _NEWEST_PYTHON:
        return ok("Python", found)
    return wrong("Python", found, "install Python 3.11, 3.12 or 3.13, then: " + _REINSTALL)


def code() -> Finding:
    """Say which folder's code runs, and whether it is that of the folder of the Python."""
    commit = read_versions()["git_commit"]
    found = f"{__version__}, commit {commit or 'unknown'}, in {code_folder()}"
    checkout = Path(sys.prefix).parent
    if borrowed_program(sys.argv[0]) is None and (
        checkout == code_folder() or not (checkout / "ml" / "cli.py").is_file()
    ):
        return ok("RoadSense", found)
    return note("RoadSense", f"{found}; the Python is that of {checkout}", "make .venv/installed")


def packages() -> list[Finding]:
    """Look for the packages; SUMO's four must be of one release."""
    findings = [
        wrong("SUMO's packages", f"{package} is hidden by {taken}", remedy)
        for package, taken, remedy in hidden_packages()
    ]
    if not findings:  # otherwise the versions may be those of what hides
        releases = {version_of(name) for name in _SUMO_PACKAGES}
        one = releases.pop() if len(releases) == 1 else None
        if one is None:
            findings.append(wrong("SUMO's packages", _versions(_SUMO_PACKAGES), _REINSTALL))
        else:
            findings.append(ok("SUMO's packages", f"{one} ({', '.join(_SUMO_PACKAGES)})"))
    shown = _versions(_OTHER_PACKAGES)
    missing = None in map(version_of, _OTHER_PACKAGES)
    return [*findings, wrong("packages", shown, _REINSTALL) if missing else ok("packages", shown)]


def system_libraries() -> Finding:
    """Try to load each library that SUMO needs from the system."""
    name = "SUMO's system libraries"
    missing = [package for library, package in SUMO_LIBRARIES.items() if not _loads(library)]
    if not missing:
        return ok(name, ", ".join(SUMO_LIBRARIES))
    remedy = f"sudo apt-get install {' '.join(missing)}"
    return wrong(name, f"missing: {', '.join(missing)}", remedy)


def sumo_program() -> Finding:
    """Ask SUMO's binary for its version."""
    spec = find_spec("sumo")
    if spec is None or spec.origin is None:
        return wrong("SUMO", "the package eclipse-sumo is missing", _REINSTALL)
    binary = Path(spec.origin).parent / "bin" / "sumo"
    status, said = run([str(binary), "--version"])
    if status == 0:
        return ok("SUMO", f"{said} ({binary})")
    return wrong("SUMO", f"{binary} does not run: {said}", _mend("eclipse-sumo"))


def embedded_sumo() -> Finding:
    """Load libsumo in another process."""
    ask = "import libsumo; print(libsumo.simulation.getVersion()[1])"
    status, said = run([sys.executable, "-c", ask])
    name = "embedded SUMO (libsumo)"
    if status == 0:
        return ok(name, said)
    return wrong(name, f"cannot be loaded: {said}", _mend("libsumo"))


def docker() -> list[Finding]:
    """Look for Docker's client, the engine and Compose; training without Docker needs none."""
    client = shutil.which("docker")
    if in_container():
        return [ok("Docker", "this is inside a container")]
    if client is None:
        where = "https://docs.docker.com/engine/install/ (with the Compose plugin)"
        return [note("Docker", "not installed; only `docker compose` needs it", where)]
    status, said = run([client, "version", "--format", "{{.Server.Version}}"])
    if status == 0:
        engine = ok("Docker Engine", said)
    elif "permission denied" in said.lower():
        engine = note("Docker Engine", said, 'sudo usermod -aG docker "$USER", then log in again')
    else:
        engine = note("Docker Engine", said, "sudo systemctl start docker")
    status, said = run([client, "compose", "version", "--short"])
    numbers = tuple(int(n) for n in said.lstrip("v").split("-")[0].split(".")[:2] if n.isdigit())
    if status == 0 and numbers >= _OLDEST_COMPOSE:
        return [engine, ok("Docker Compose", said)]
    lacking = f"version 2.20 or later is needed; {said or 'there is none'}"
    mend = "sudo apt-get install docker-compose-plugin (Docker's own packages), or your system's"
    return [engine, note("Docker Compose", lacking, mend)]


def display() -> Finding:
    """Look for a display, which only sumo-gui and windows with pictures need."""
    name = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if name:
        return ok("DISPLAY", name)
    return note("DISPLAY", "not set; only sumo-gui needs it", "run sumo-gui in a desktop session")


def _versions(packages: Sequence[str]) -> str:
    return ", ".join(f"{package} {version_of(package) or 'missing'}" for package in packages)


def _mend(package: str) -> str:
    """Say how to put a broken package right: the release of the others, in this Python."""
    number = version_of("eclipse-sumo") or version_of("traci")
    wanted = package if number is None else f"{package}=={number}"
    return (
        "mend the system libraries and hidden packages above; else: "
        f"{sys.executable} -m pip install --force-reinstall --no-deps {wanted}"
    )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
