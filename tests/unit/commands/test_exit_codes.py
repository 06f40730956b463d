"""A user's mistake ends every command with 2, one message and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml import cli
from ml.commands.catalogue import COMMANDS

MISSING_FILE = [
    "evaluate nosuch.zip",
    "evaluate convoy --against nosuch",
    "evaluate --controllers own@nosuch.py",
    "evaluate --controllers board@nosuch",
    "curves nosuch",
    "watch nosuch.zip",
    "watch --serve nosuch",
    "replay nosuch --episode 1",
    "replay . --episode 1",
    "ablate --only nosuch",
    "targets nosuch.zip",
    "tune --space nosuch.yaml",
    "cases drive nosuch.yaml --drivers cth",
    "calibrate nosuch.csv",
    "logs map nosuch.csv",
    "logs check nosuch.csv",
    "params show nosuch.json",
    "judge-drive nosuch.csv --model convoy",
    "export nosuch.zip --out out",
    "hil nosuch.zip",
    "hil --board /dev/nosuch",
    "hil --replay nosuch",
    "drives nosuch",
    "scenario check nosuch.sumocfg",
    "train --config nosuch.yaml",
    "train --resume nosuch",
    "train --episodes-from nosuch",
]
WRONG_VALUE = [
    "ablate --seed -1",
    "baselines --seeds 0 -1",
    "evaluate convoy --seeds 1 -1",
    "hil convoy --seed -1",
    "logs synth --out logs --seed -1",
    "replay . --episode 1 --seed -1",
    "targets convoy --seed -1",
    "train --seed -1",
    "train --seeds 0 -1",
    "tune --seed -1",
    "tune --seeds -1",
    "watch --seed -1",
    "train --num-envs 0",
    "train --workers -1",
    "train --seed x",
    "train --sumo-hosts a:b",
    "evaluate --episodes 0",
    "evaluate --workers x",
    "targets convoy --hazards 0",
    "ablate --steps 0",
    "baselines --steps 0",
    "tune --trials 0",
    "cases find --episodes 0",
    "audit-reward --episodes 0",
    "bench --only radio --json .",
    "curves . --out x.txt",
    "calibrate",
    "logs synth --out logs --minutes 9999",
    "hil --episodes 0",
    "watch --episode -1",
    "watch --out x.txt",
    "doctor --cluster",
]
UNKNOWN_NAME = [
    "nosuch",
    "train --preset nosuch",
    "train --radio nosuch",
    "train --scenario nosuch",
    "train --cases nosuch",
    "evaluate --suite nosuch",
    "evaluate --controllers nosuch",
    "evaluate --controllers cth:1 --radio nosuch",
    "targets convoy --only nosuch",
    "ablate --preset nosuch",
    "baselines --preset nosuch",
    "tune --controller nosuch",
    "tune --radio nosuch",
    "cases find --radio nosuch",
    "audit-reward --preset nosuch",
    "audit-reward --scenario nosuch",
    "bench --only nosuch",
    "params diff clean nosuch",
    "watch --radio nosuch",
    "watch --suite nosuch",
    "hil --suite nosuch",
    "export convoy --out out --radio nosuch",
    "logs synth --out logs --preset nosuch",
    *(f"{name} --nosuch" for name in COMMANDS),
]


@pytest.mark.parametrize("line", [*MISSING_FILE, *WRONG_VALUE, *UNKNOWN_NAME])
def test_a_mistake_ends_with_2(line: str, tmp_path: Path, monkeypatch, capsys):
    """A missing file, a wrong value, an unknown name: one message, no traceback."""
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(line.split())
    except SystemExit as error:
        code = error.code
    said = capsys.readouterr().err
    assert code == 2, said
    assert said.strip()
    assert "Traceback" not in said
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.parametrize("line", ["evaluate own@x.py", "targets cth:1.1"])
def test_a_controller_where_a_model_belongs(line: str, capsys):
    """It is said which option takes it."""
    assert cli.main(line.split()) == 2
    assert f"is a controller, not a model. Give it as --controllers {line.split()[1]}." in (
        capsys.readouterr().err
    )
