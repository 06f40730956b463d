"""docs/own-roads.md does what it says: its commands are run as they stand, on a small town."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import roads
from support.training_runs import ROLLOUT, SMALL

from ml.sumo.sumo_process import sumo_environment, sumo_home

pytestmark = pytest.mark.sumo

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "own-roads.md").read_text(encoding="utf-8")
_ROADSENSE = f'#!/bin/sh\nexec "{sys.executable}" -m ml.cli "$@"\n'


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def shell(tmp_path):
    """Run lines of the page in a folder that holds a town.osm."""
    roads.osm_file(tmp_path, signals=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "roadsense"
    command.write_text(_ROADSENSE, encoding="utf-8")
    command.chmod(0o755)
    path = (str(programs), str(sumo_home() / "bin"), os.environ["PATH"])
    env = {**sumo_environment(), "PATH": os.pathsep.join(path), "PYTHONPATH": str(ROOT)}

    def run(line):
        shell = ["/bin/sh", "-c", line]
        return subprocess.run(
            shell, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.slow
def test_the_page_leads_from_an_extract_to_a_convoy(shell, tmp_path):
    """Each command ends well but the first check, which prints the command that follows it."""
    *lines, train, judge = [line for block in _blocks("sh") for line in block.splitlines()]
    checks = []
    printed = ""
    for line in lines:
        done = shell(line)
        if line.startswith("roadsense scenario check"):
            checks.append(done.returncode)
            printed += done.stdout
        else:
            assert done.returncode == 0, f"{line}: {done.stderr}"
            if "--tls.unset" in line:
                options = line[line.index("--tls.discard-loaded") : line.index(" -o ")]
                assert options in printed
    assert checks == [2, 0], printed
    assert "50 → 30 km/h" in printed
    assert "note   " in printed
    assert train == "roadsense train --preset ppo --scenario town.sumocfg"
    done = shell(f"{train} --total-timesteps {ROLLOUT} {' '.join(SMALL)}")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert "town.sumocfg" in (run / "config.yaml").read_text(encoding="utf-8")
    done = shell(judge.replace("convoy:200@", "convoy:4@") + " --radio clean --workers 1")
    assert done.returncode == 0, done.stderr
    assert f"convoy:4@{tmp_path / 'town.sumocfg'}" in (
        tmp_path / "town-result" / "result.json"
    ).read_text(encoding="utf-8")
