"""`make` in a project folder that was moved or copied, with a stand-in for Python and pip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAND_IN = """#!/bin/sh
# Makes a virtual environment as `python -m venv` does: programs that name its Python.
[ "$2" = venv ] || exit 1
mkdir -p .venv/bin
printf '#!/bin/sh\\nexit 0\\n' >.venv/bin/python
cat >.venv/bin/pip <<END
SHEBANG
END
printf '#!/bin/sh\\necho "code of %s:" "$@"\\n' "$PWD" >.venv/bin/roadsense
chmod +x .venv/bin/*
"""
SHEBANGS = {
    "short": "#!$PWD/.venv/bin/python3.11",
    "long": r"""#!/bin/sh
'''exec' "$PWD/.venv/bin/python" "\$0" "\$@"
' '''""",
}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture(params=SHEBANGS)
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return a project's folder, its path with a blank, which `make` has installed once."""
    folder = tmp_path / "my project"
    (folder / "scripts").mkdir(parents=True)
    for file in ("Makefile", "scripts/venv-folder"):
        shutil.copy(ROOT / file, folder / file)
    for file in (*(it.name for it in ROOT.glob("requirements*.txt")), "pyproject.toml"):
        (folder / file).touch()
    python = tmp_path / "python"
    python.write_text(STAND_IN.replace("SHEBANG", SHEBANGS[request.param]))
    preflight = folder / "scripts" / "preflight"
    preflight.write_text(f"#!/bin/sh\necho '{python}'\n")
    for file in (python, preflight):
        file.chmod(0o755)
    assert f"code of {folder}: train" in _make(folder)
    return folder


def _make(folder: Path) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    make = shutil.which("make") or "make"
    done = subprocess.run(
        [make, "train"], cwd=folder, env=environ, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_installed_stays(project: Path):
    """In the same folder nothing is built again."""
    (project / ".venv" / "kept").touch()
    assert "Installing" not in _make(project)
    assert (project / ".venv" / "kept").exists()


def test_a_moved_project_gets_a_virtual_environment_of_its_own(project: Path):
    """Its programs would not start: "cannot execute: required file not found"."""
    moved = project.rename(project.parent / "elsewhere")
    said = _make(moved)
    assert f".venv is that of {project}" in said
    assert f"code of {moved}: train" in said
    assert "Installing" not in _make(moved)


def test_a_copied_project_runs_its_own_code(project: Path):
    """And the original keeps its virtual environment."""
    copy = project.parent / "copy"
    shutil.copytree(project, copy, symlinks=True)
    assert f"code of {copy}: train" in _make(copy)
    assert "Installing" not in _make(copy)
    assert "Installing" not in _make(project)


def test_help_lists_no_more_targets_than_one_keeps_in_mind():
    """At most twelve, each of them there, and those that CI runs among them."""
    make = shutil.which("make") or "make"
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    said = subprocess.run(
        [make, "help"], cwd=ROOT, env=outside, capture_output=True, check=True, text=True
    )
    targets = {line.split()[0] for line in said.stdout.splitlines()}
    assert len(targets) <= 12
    ci = (ROOT / ".ci" / "run").read_text()
    assert set(re.findall(r"\bmake ([a-z-]+)", ci)) <= targets
    assert {"test", "test-fast", "lint"} <= targets
