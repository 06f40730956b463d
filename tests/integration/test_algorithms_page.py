"""docs/algorithms.md runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "algorithms.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)

pytestmark = [pytest.mark.sumo, pytest.mark.slow]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_block_is_a_script(tmp_path: Path, block: str):
    """It ends well, as a file of its own in an empty folder, with warnings as errors of ours."""
    script = tmp_path / "script.py"
    script.write_text(block, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    if "load_model" in block:
        assert "safety_layer=True" in run.stdout


def test_the_page_has_its_blocks():
    """So that no change of the markup leaves the test above with nothing."""
    assert len(BLOCKS) == 6
