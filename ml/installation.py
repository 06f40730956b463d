"""Whose code runs here: of which checkout and virtual environment; and what hides a package."""

import os
import sys
import sysconfig
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from ml.errors import ConfigError

_SUMO_MODULES = {
    "traci": "traci",
    "sumolib": "sumolib",
    "libsumo": "libsumo",
    "sumo": "eclipse-sumo",
}

SHIPPED_MODELS = ("convoy",)
"""Models that come along, which every command takes by their name."""

SUMO_LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libXrender.so.1": "libxrender1",
    "libGL.so.1": "libgl1",
    "libatomic.so.1": "libatomic1",
}
"""Shared libraries that SUMO's wheels do not bring along, and their Debian packages."""


def code_folder() -> Path:
    """Return the folder that holds this package: the checkout, where that is installed."""
    return Path(__file__).resolve().parents[1]


def repository_folder(name: str) -> Path:
    """Return a folder of the repository that lies beside this package.

    A wheel carries it inside (`setup.py` says which); elsewhere it is the checkout's.

    Args:
        name: As from the repository's root, such as "firmware/brain".
    """
    carried = Path(__file__).resolve().parent / "carried" / name
    return carried if carried.is_dir() else code_folder() / name


def model_file(name: str | Path) -> Path:
    """Return a model's file: of the shipped one by its name, `convoy`, of any other its path.

    A file of that name in the current folder comes first.
    """
    path = Path(name)
    shipped = Path(__file__).resolve().parent / "models" / f"{path}.zip"
    return shipped if str(name) in SHIPPED_MODELS and not path.exists() else path


def borrowed_program(program: str) -> Path | None:
    """Return the virtual environment that a program is of, where another one's Python runs it.

    A virtual environment does not move: its programs name the Python of the folder that they were
    installed in, also after they were copied elsewhere.

    Args:
        program: Path of the program, as in `sys.argv[0]`.
    """
    environment = Path(program).absolute().parent.parent
    if not (environment / "pyvenv.cfg").is_file() or environment.samefile(sys.prefix):
        return None
    return environment


def require_own_python(program: str) -> None:
    """Refuse a program that would run another folder's code without a word.

    Raises:
        ConfigError: Its virtual environment was moved or copied; with what to do.
    """
    environment = borrowed_program(program)
    if environment is not None:
        raise ConfigError(
            f"{program} is of a virtual environment that was moved or copied: the code that would "
            f"run is that of {code_folder()}. Run `make .venv/installed` in {environment.parent}, "
            "which builds it anew."
        )


def hidden_packages() -> list[tuple[str, Path, str]]:
    """Find SUMO's packages that Python takes from elsewhere than where they were installed.

    `PYTHONPATH=$SUMO_HOME/tools`, which SUMO's own documentation advises, does that.

    Returns:
        Name and version of each installed package, the file that is taken instead, and what to do.
    """
    installed_in = sysconfig.get_path("purelib")
    found = []
    for module, package in _SUMO_MODULES.items():
        ours = next(iter(distributions(name=package, path=[installed_in])), None)
        spec = find_spec(module)
        if ours is None or spec is None or spec.origin is None:
            continue
        taken = Path(spec.origin)
        own = Path(installed_in) / module
        if own.exists() and not taken.resolve().is_relative_to(own.resolve()):
            found.append((f"{package} {ours.version}", taken, _uncover(taken)))
    return found


def hidden_message() -> str:
    """Say which packages are hidden, and what to do; empty where none is."""
    return " ".join(
        f"{package} is hidden by {taken}, which Python finds first: {remedy}."
        for package, taken, remedy in hidden_packages()
    )


def _uncover(taken: Path) -> str:
    """Say how Python comes to find the installed package instead of this file."""
    folder = taken.parent.parent
    named = [Path(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if any(entry.exists() and entry.samefile(folder) for entry in named):
        others = [entry for entry in named if not (entry.exists() and entry.samefile(folder))]
        if others:
            return f"take it off PYTHONPATH: export PYTHONPATH={os.pathsep.join(map(str, others))}"
        return "unset PYTHONPATH"
    if folder.samefile(Path.cwd()):
        return f"rename {taken.parent}, or run from another folder"
    return f"remove {folder} from Python's path"


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
