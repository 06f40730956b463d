"""Find SUMO's programs and run netconvert.

SUMO comes from the eclipse-sumo wheel. Its console commands are Python wrappers around the
programs in the package's own ``bin`` directory; we run those programs directly, so that a signal
reaches SUMO itself.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import sumo

from ml.errors import SimulatorError, SimulatorTimeoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEM_PACKAGES = "libx11-6 libxext6 libxrender1 libgl1 libatomic1"
MISSING_LIBRARIES_HINT = (
    "SUMO's wheels need system libraries; on Debian or Ubuntu: "
    f"sudo apt-get install {SYSTEM_PACKAGES}"
)
NETCONVERT_DEADLINE_S = 120.0

_HEADER = re.compile(r"<!--.*?-->\s*", re.DOTALL)


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


def run_netconvert(arguments: Sequence[str], *, cwd: Path) -> None:
    """Run netconvert to its end.

    Args:
        arguments: Command-line arguments, without the program's name.
        cwd: Directory to run in; relative paths in `arguments` start here.

    Raises:
        SimulatorTimeoutError: It did not end within `NETCONVERT_DEADLINE_S`.
        SimulatorError: It is missing, cannot start or failed; the message ends with its own words.
    """
    command = [str(sumo_program("netconvert")), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - our own program with our own arguments
            command,
            cwd=cwd,
            env=sumo_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=NETCONVERT_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SimulatorTimeoutError(
            f"netconvert did not end within {NETCONVERT_DEADLINE_S:.0f} s: {' '.join(command)}. "
            "The network may be too large; cut it down to the convoy's route first "
            "(netconvert --keep-edges.explicit).",
        ) from error
    except OSError as error:
        raise SimulatorError(f"netconvert could not be started: {error}.") from error
    if done.returncode != 0:
        words = done.stderr.strip() or done.stdout.strip() or "(it said nothing)"
        hint = f" {MISSING_LIBRARIES_HINT}." if "shared librar" in words else ""
        raise SimulatorError(
            f"netconvert failed with exit status {done.returncode} in {cwd}: {words}{hint}",
        )


def strip_header(net_file: Path) -> None:
    """Remove the comment with the date and the options that netconvert writes into a network."""
    text = net_file.read_text(encoding="utf-8")
    net_file.write_text(_HEADER.sub("", text, count=1), encoding="utf-8")
