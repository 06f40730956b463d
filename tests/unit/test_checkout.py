"""A checkout on any system: the files that Linux containers read have LF."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _git(*arguments: str, cwd: Path = ROOT) -> str:
    git = shutil.which("git") or "git"
    done = subprocess.run([git, *arguments], cwd=cwd, capture_output=True, check=True, text=True)
    return done.stdout


pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs a clone"
)


def test_every_text_file_is_checked_out_with_lf():
    """Git knows each tracked file as text with LF, or as binary."""
    files = _git("ls-files", "-z").rstrip("\0").split("\0")
    said = _git("check-attr", "-z", "text", "eol", "--", *files).rstrip("\0").split("\0")
    attributes: dict[str, dict[str, str]] = {}
    for file, name, value in zip(said[::3], said[1::3], said[2::3], strict=True):
        attributes.setdefault(file, {})[name] = value
    assert len(attributes) == len(files)
    for file, found in attributes.items():
        if b"\0" in (ROOT / file).read_bytes()[:8000]:
            assert found["text"] == "unset", f"{file} is binary"
        else:
            assert found == {"text": "auto", "eol": "lf"}, file


def test_a_clone_by_git_for_windows_has_no_carriage_return(tmp_path: Path):
    """With core.autocrlf=true, Git for Windows' default, no text file of a clone has CR LF."""
    source, clone = tmp_path / "source", tmp_path / "clone"
    shutil.copytree(ROOT / "services", source / "services")
    for file in _git("ls-files", "--", "scripts", ".ci", "sumo-configs", "*.yml", "Makefile",
                     ".gitattributes", "ml/models").splitlines():  # fmt: skip
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, source / file)
    _git("init", "--quiet", cwd=source)
    _git("add", "--all", cwd=source)
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    _git(*identity, "commit", "--quiet", "--message", "all", cwd=source)
    _git("-c", "core.autocrlf=true", "clone", "--quiet", str(source), str(clone), cwd=tmp_path)
    files = [f for f in _git("ls-files", cwd=clone).splitlines() if "__pycache__" not in f]
    assert len(files) > 20
    for file in files:
        assert (clone / file).read_bytes() == (source / file).read_bytes(), file
    assert b"\r" not in (clone / "services/prepare/prepare.sh").read_bytes()


def test_a_folder_called_ml_does_not_hide_the_installed_package(tmp_path: Path):
    """Installed for editing, the package is found before a folder of data in the user's own."""
    source, user, installed = (tmp_path / name for name in ("source", "user", "installed"))
    shutil.copytree(ROOT / "ml" / "doctor", source / "ml" / "doctor")
    for file in ("pyproject.toml", "README.md", "LICENSE", "ml/__init__.py"):
        shutil.copy(ROOT / file, source / file)
    (user / "ml" / "models").mkdir(parents=True)
    installed.mkdir()
    build = f"from setuptools import build_meta as b; print(b.build_editable({str(installed)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    (wheel,) = installed.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(installed)
    # As Python reads the path files of site-packages at its start.
    ask = f"import site; site.addsitedir({str(installed)!r}); import ml; print(ml.__file__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", ask], cwd=user, capture_output=True, check=True, text=True,
        env={},
    )  # fmt: skip
    assert done.stdout.strip() == str(source / "ml" / "__init__.py")
