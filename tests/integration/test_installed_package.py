"""A wheel holds all that a command needs: nothing is looked for beside the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.board_code import needs

from ml.export.folder import SOURCE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package of a wheel, whose source is gone."""
    source, built, target = (tmp_path_factory.mktemp(name) for name in ("source", "built", "into"))
    for name in ("ml", "roadsense", "firmware", "sumo-configs"):
        hidden = shutil.ignore_patterns("__pycache__", "saved")
        shutil.copytree(ROOT / name, source / name, ignore=hidden)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = f"from setuptools import build_meta as b; print(b.build_wheel({str(built)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    shutil.rmtree(source)
    return target


def run(installed, folder, *arguments):
    """Run Python in a folder with the installed package."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, capture_output=True, check=False, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.sumo
@needs("gcc")
def test_an_installed_package_exports_and_compiles_a_board(installed, tmp_path):
    """Far from any checkout: its own road, its own C code."""
    said = run(installed, tmp_path, "-c", "import ml; print(ml.__file__)")
    assert said.strip() == str(installed / "ml" / "__init__.py")
    run(installed, tmp_path, "-m", "ml.cli", *("export", "convoy", "--out", "b", "--no-check"))
    assert (tmp_path / "b" / "brain.c").read_bytes() == (SOURCE / "brain.c").read_bytes()
    assert (tmp_path / "b" / "convoy" / "convoy.ino").is_file()
    compiles = "from ml.controllers.registry import make_controller as make; make('board@b')"
    run(installed, tmp_path, "-c", compiles)


@pytest.mark.slow
@pytest.mark.sumo
def test_an_installed_package_shows_an_episode_of_the_shipped_model(installed, tmp_path):
    """`roadsense watch` needs nothing but the package: network, model, page and radio are in it."""
    run(installed, tmp_path, "-m", "ml.cli", *("watch", "--no-open", "--out", "episode.html"))
    page = (tmp_path / "episode.html").read_text(encoding="utf-8")
    assert "<canvas" in page


@pytest.mark.slow
@pytest.mark.sumo
def test_importing_roadsense_registers_the_environment(installed, tmp_path):
    """`import roadsense` is all that `gymnasium.make` needs, and it loads the shipped model."""
    script = """
import gymnasium as gym
import roadsense

env = gym.make(roadsense.ENV_ID, num_peers=2)
observation, _ = env.reset(seed=1)
action, _ = roadsense.load_model("convoy").predict(observation)
env.step(action)
env.close()
print(all(hasattr(roadsense, name) for name in roadsense.__all__), roadsense.__file__)
"""
    said = run(installed, tmp_path, "-c", script).split()
    assert said == ["True", str(installed / "roadsense" / "__init__.py")]
