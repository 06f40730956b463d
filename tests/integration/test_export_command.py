"""`roadsense export`: a whole folder or none, and errors that say what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from ml.cli import main
from ml.export import folder as exporting

MODEL = Path(__file__).parents[2] / "ml" / "models" / "convoy.zip"


@pytest.fixture
def no_rehearsal(monkeypatch):
    """Fail where an error comes only after the convoys were driven."""

    def refuse(*_args, **_options):
        raise AssertionError("it drove convoys before it looked")

    monkeypatch.setattr(exporting, "Rehearsal", refuse)


@pytest.mark.sumo
def test_a_folder_is_a_library_of_both_ecosystems(tmp_path, capsys):
    """Fixed code as it is, generated parts beside it, an episode of each radio."""
    out = tmp_path / "brain"
    assert main(["export", str(MODEL), "--out", str(out), "--no-check"]) == 0
    assert str(out) in capsys.readouterr().out
    files = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert {
        *("brain.c", "brain.h", "weights.h", "README.md", "replay/replay.c"),
        *("library.properties", "idf_component.yml", "CMakeLists.txt"),
    } <= files
    assert sum(name.startswith("golden/") for name in files) == len(exporting.RADIOS)
    for name in ("brain.c", "brain.h"):
        assert (out / name).read_bytes() == (exporting.SOURCE / name).read_bytes()
    sketch = {name.removeprefix("convoy/") for name in files if name.startswith("convoy/")}
    assert {"convoy.ino", "settings.h", "README.md", "node.cpp", "gps.c", "hil.c"} <= sketch
    for name in ("brain.c", "brain.h", "weights.h"):
        assert (out / "convoy" / name).read_bytes() == (out / name).read_bytes()
    assert "budget.json" not in files  # nothing was measured
    assert [path.name for path in tmp_path.iterdir()] == ["brain"]


@pytest.mark.sumo
def test_in_whole_numbers_it_says_what_they_cost(tmp_path, capsys):
    """Of the policy's wish, and what did not fit; and the folder says what it holds."""
    out = tmp_path / "brain"
    command = ["export", str(MODEL), "--out", str(out), "--net", "int16", "--no-check"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert re.search(r"differs from float's by 0\.\d+ m/s² in the mean", said), said
    assert re.search(r"\b0 of \d{3},\d{3} values saturated", said), said
    assert "#define BRAIN_INT16 1\n" in (out / "weights.h").read_text()
    assert "weights (int16)" in (out / "README.md").read_text()


@pytest.mark.usefixtures("no_rehearsal")
def test_a_folder_that_is_there_stays(tmp_path, capsys):
    """With the remedy."""
    assert main(["export", str(MODEL), "--out", str(tmp_path)]) == 2
    assert "exists. Name another folder" in capsys.readouterr().err


@pytest.mark.usefixtures("no_rehearsal")
@pytest.mark.parametrize("out", ["x" * 300, "a-file/brain", "dangling", "closed/brain"])
def test_what_cannot_be_written_is_told_at_once(tmp_path, capsys, out):
    """A name too long, below a file, a link to nothing, a folder of the kernel's."""
    (tmp_path / "a-file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "closed").symlink_to("/proc")
    assert main(["export", str(MODEL), "--out", str(tmp_path / out), "--no-check"]) == 2
    said = capsys.readouterr().err
    assert "cannot be written" in said or "exists. Name another folder" in said


@pytest.mark.usefixtures("no_rehearsal")
def test_missing_tools_are_named_before_anything_is_done(tmp_path, capsys, monkeypatch):
    """With the packages, and how to do without."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["export", str(MODEL), "--out", str(tmp_path / "brain")]) == 1
    said = capsys.readouterr().err
    assert "qemu-system-riscv32" in said
    assert "apt-get install gcc" in said
    assert "--no-check" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_rehearsal")
def test_a_model_of_another_observation_is_refused(tmp_path, capsys):
    """It says which version it is, and what to do."""
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(MODEL) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "data":
                content = json.dumps(json.loads(content) | {"observation_version": 5}).encode()
            new.writestr(name, content)
    assert main(["export", str(other), "--out", str(tmp_path / "brain"), "--no-check"]) == 2
    assert "version 5 of the observation" in capsys.readouterr().err
    assert not (tmp_path / "brain").exists()


@pytest.mark.sumo
def test_a_models_name_breaks_no_file(tmp_path):
    """Whatever stands in it: the end of a line, a mapping of YAML, bytes of no encoding."""
    name = os.fsdecode(b"my: model #1 * \xff\nurl=x.zip")
    shutil.copyfile(MODEL, tmp_path / name)
    out = tmp_path / "brain"
    assert main(["export", str(tmp_path / name), "--out", str(out), "--no-check"]) == 0
    said = "my__model__1_____url_x.zip"
    component = yaml.safe_load((out / "idf_component.yml").read_text())
    assert component["description"].endswith(said)
    properties = (out / "library.properties").read_text().splitlines()
    assert sum(line.startswith("url=") for line in properties) == 1
    assert f"from {said}: do not edit. */" in (out / "weights.h").read_text()


@pytest.mark.sumo
def test_code_that_does_not_do_what_python_does_is_not_exported(tmp_path, capsys, monkeypatch):
    """Its commands are told apart, and no folder is left."""
    if exporting.missing_tools():
        pytest.skip("cross compiler and QEMU not installed")

    def other(self, episode, most=10_000):
        ticks = replay(self, episode, most)
        ticks["accel_mps2"][3] += np.float32(0.01)
        return ticks

    replay = exporting.HostBrain.replay
    monkeypatch.setattr(exporting.HostBrain, "replay", other)
    assert main(["export", str(MODEL), "--out", str(tmp_path / "brain")]) == 1
    assert "'clean': at tick 3 the C code commands 0.01 m/s²" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
