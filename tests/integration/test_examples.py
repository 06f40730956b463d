"""What is in `examples/` runs, and does what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from textwrap import indent

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.sumo, pytest.mark.slow]


def test_ppo_in_one_file_learns(tmp_path: Path):
    """Its returns after a hundred thousand steps are better than those of its first rollouts."""
    run = subprocess.run(
        [
            sys.executable,
            str(ROOT / "examples" / "ppo_single_file.py"),
            "--total-timesteps",
            "110000",
        ],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    returns = [float(value) for value in re.findall(r"mean return (-?[\d.]+)", run.stdout)]
    assert len(returns) >= 10
    assert fmean(returns[-4:]) > fmean(returns[:4]) + 5.0


def test_the_notebook_runs(tmp_path: Path):
    """Its cells of code, one after the other, as a script in an empty folder."""
    notebook = json.loads((ROOT / "examples" / "tour.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 7
    script = tmp_path / "tour.py"
    guarded = "if __name__ == '__main__':\n" + indent("\n".join(cells), "    ")  # it has workers
    script.write_text(guarded, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "WORKERS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for file in ("episode.html", "judged.html", "compared/result.json"):
        assert (tmp_path / file).is_file()
    assert not any(cell.get("outputs") for cell in notebook["cells"])
