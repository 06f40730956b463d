"""What a run was made with, for `versions.json`."""

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("roadsense", "gymnasium", "numpy", "pydantic", "stable-baselines3", "tensorboard",
             "torch", "eclipse-sumo", "libsumo", "traci")  # fmt: skip
_GIT_DEADLINE_S = 5.0


def read_versions() -> dict[str, Any]:
    """Return the time, Python, packages (SUMO among them), git commit and platform."""
    packages = {name: version_of(name) for name in _PACKAGES}
    return {
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "sumo": packages["eclipse-sumo"],
        "git_commit": _git_commit(Path(__file__).parent),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": packages,
    }


def version_of(package: str) -> str | None:
    """Return the version of an installed package; None where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def run_program(command: Sequence[str], deadline_s: float) -> tuple[int, str]:
    """Run a program; return its exit status and the first line of what it said, -1 if it cannot."""
    try:
        done = subprocess.run(  # noqa: S603 (our own arguments, no shell)
            command, capture_output=True, check=False, text=True, timeout=deadline_s
        )
    except subprocess.TimeoutExpired:
        return -1, f"no answer within {deadline_s:.0f} s"
    except OSError as error:
        return -1, error.strerror or str(error)
    said = done.stdout.strip() if done.returncode == 0 else done.stderr.strip()
    lines = (said or done.stdout.strip() or done.stderr.strip()).splitlines()
    return done.returncode, (lines[0] if done.returncode == 0 else lines[-1]) if lines else ""


def _git_commit(folder: Path) -> str | None:
    """Commit of the source, with `+changes` where the work tree differs; None without git."""
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*arguments: str) -> str | None:
        status, said = run_program([git, "-C", str(folder), *arguments], _GIT_DEADLINE_S)
        return said if status == 0 else None

    # Outside a clone of ours, a package inside somebody else's repository has no commit.
    if ask("ls-files", "--error-unmatch", "versions.py") is None:
        return None
    return ask("describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=+changes")
