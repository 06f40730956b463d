"""Find SUMO's programs.

SUMO comes from the eclipse-sumo wheel. Its console commands are Python wrappers around the
programs in the package's own ``bin`` directory; we run those programs directly, so that a signal
reaches SUMO itself.
"""

import os
from pathlib import Path

import sumo

from ml.errors import SimulatorError

SYSTEM_PACKAGES = "libx11-6 libxext6 libxrender1 libgl1 libatomic1"
MISSING_LIBRARIES_HINT = (
    "SUMO's wheels need system libraries; on Debian or Ubuntu: "
    f"sudo apt-get install {SYSTEM_PACKAGES}"
)


def sumo_home() -> Path:
    """Return the directory of the installed SUMO (``bin``, ``data`` and ``tools`` are in it)."""
    return Path(sumo.SUMO_HOME)


def sumo_program(name: str) -> Path:
    """Return the path of one of SUMO's programs.

    Args:
        name: "sumo", "sumo-gui" or "netconvert".

    Raises:
        SimulatorError: The program is not installed.
    """
    program = sumo_home() / "bin" / name
    if not program.is_file():
        raise SimulatorError(
            f"SUMO's program {name!r} is missing at {program}. "
            "Install it again: pip install --force-reinstall eclipse-sumo",
        )
    return program


def sumo_environment() -> dict[str, str]:
    """Return this process's environment variables with SUMO_HOME pointing at the installed SUMO."""
    return {**os.environ, "SUMO_HOME": str(sumo_home())}
