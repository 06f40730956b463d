"""What a run was made with, for `versions.json`."""

import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "roadsense",
    "gymnasium",
    "numpy",
    "pydantic",
    "stable-baselines3",
    "tensorboard",
    "torch",
    "eclipse-sumo",
    "libsumo",
    "traci",
)
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


def _git_commit(folder: Path) -> str | None:
    """Commit of the source, with `+changes` where the work tree differs; None without git."""
    git = shutil.which("git")
    if git is None:
        return None

    def run(*arguments: str) -> str | None:
        try:
            done = subprocess.run(  # noqa: S603 (fixed arguments, no shell)
                [git, "-C", str(folder), *arguments],
                capture_output=True,
                check=False,
                text=True,
                timeout=_GIT_DEADLINE_S,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = run("rev-parse", "HEAD")
    if commit is None:
        return None
    # Outside a clone of ours, a package inside somebody else's repository has no commit.
    if run("ls-files", "--error-unmatch", "versions.py") is None:
        return None
    return f"{commit}+changes" if run("status", "--porcelain", "--untracked-files=no") else commit
