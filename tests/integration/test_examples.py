"""What is in `examples/` runs, and does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean

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
