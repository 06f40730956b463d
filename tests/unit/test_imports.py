"""The import contracts of pyproject.toml refuse what they are there for.

`lint-imports` shows that the tree keeps its contracts; these tests show that a tree that does not
would be found out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path):
    """A copy of the package and its contracts, to be spoilt."""
    shutil.copytree(
        ROOT / "ml", tmp_path / "ml", ignore=lambda _, names: [n for n in names if "models" in n]
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder):
    """Return what `lint-imports` says of a folder, its lines joined where they were wrapped."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )
    return " ".join(done.stdout.split())


def test_the_board_may_know_neither_the_simulator_nor_the_truth(tree):
    """Imports that would put more than a board has into `ml.onboard` break its contract."""
    lines = [
        "from ml.sumo.road import Road",
        "from ml.envs.truth.ground_truth import GroundTruth",
        "from ml.sensors.sensor_bank import SensorBank",
        "import gymnasium",
        "import torch",
    ]
    file = tree / "ml" / "onboard" / "spacing.py"
    file.write_text("\n".join((file.read_text(), *lines, "")))
    said = lint(tree)
    assert "channel or the truth BROKEN" in said
    missed = [line for line in lines if f"ml.onboard.spacing -> {line.split()[1]}" not in said]
    assert not missed


def test_a_circle_of_imports_is_found(tree):
    """Also one that is there for the type checker alone, or within a function."""
    for name, line in (
        ("one", "if TYPE_CHECKING:\n    from ml.sensors.two import B"),
        ("two", "def b():\n    from ml.sensors.one import A\n    return A"),
    ):
        text = f"from typing import TYPE_CHECKING\n\n{line}\n"
        (tree / "ml" / "sensors" / f"{name}.py").write_text(text)
    said = lint(tree)
    assert "between packages BROKEN" in said
    assert "No cycles are allowed in ml.sensors." in said
    assert "- .one -> .two (1 import)" in said or "- .two -> .one (1 import)" in said
