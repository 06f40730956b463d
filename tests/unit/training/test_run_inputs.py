"""A run and the files that it names: the same from every folder, and never others unnoticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml.errors import CheckpointError
from ml.parameters import loading
from ml.sumo.scenarios import SCENARIO_DIR
from ml.training.command_line import parse_command_line
from ml.training.config_files import Layers
from ml.training.deployment import read_deployment
from ml.training.run_directory import RunDirectory, create_run

if TYPE_CHECKING:
    from ml.training.config import TrainConfig

PRESETS = Path(loading.__file__).parent / "presets"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a road and a radio of its own, where the user is."""
    folder = tmp_path / "project"
    folder.mkdir()
    for suffix in ("sumocfg", "net.xml", "rou.xml"):
        shutil.copy(SCENARIO_DIR / "highway" / f"highway.{suffix}", folder)
    (folder / "highway.sumocfg").rename(folder / "own.sumocfg")
    shutil.copy(PRESETS / "bursty.json", folder / "own.json")
    monkeypatch.chdir(folder)
    return folder


def _parse(*argv: str) -> TrainConfig:
    return parse_command_line(["--preset", "spec", *argv][2 * ("--resume" in argv) :],
                              read_deployment({})).config  # fmt: skip


def _begin(*argv: str) -> RunDirectory:
    config = _parse(*argv)
    run = create_run(Path("runs"), config.preset, config.seed)
    run.write_start(config, argv, 0)
    return RunDirectory(run.path.absolute())


def test_a_run_names_its_files_by_absolute_paths(project: Path):
    """Names of ours stay names; digests are of the sumocfg's network and routes, too."""
    run = _begin("--scenario", "own.sumocfg", "--radio", "./own.json")
    layers = Layers()
    layers.put_file(run.config_file)
    env = layers.build().env
    assert (env.scenario, env.radio) == (f"{project}/own.sumocfg", f"{project}/own.json")
    found = json.loads(run.inputs_file.read_text())
    names = [Path(file).name for file in found["scenario"]]
    assert names == ["own.sumocfg", "highway.net.xml", "highway.rou.xml"]
    assert list(found["radio"]) == [f"{project}/own.json"]
    run = _begin("--radio", "bursty")
    assert json.loads(run.inputs_file.read_text()) == {}
    assert "radio: bursty\n" in run.config_file.read_text()


@pytest.mark.usefixtures("project")
def test_a_run_from_before_the_common_share_goes_on_with_independent_errors():
    """Its `config.yaml` does not name what its policy has never met; one that does is kept to."""
    run = _begin("--position-common-share", "0.5")
    line = "  position_common_share: 0.5\n"
    text = run.config_file.read_text()
    assert line in text
    assert _parse("--resume", str(run.path)).env.position_common_share == 0.5
    run.config_file.write_text(text.replace(line, ""))
    assert _parse("--resume", str(run.path)).env.position_common_share == 0.0


@pytest.mark.usefixtures("project")
def test_a_run_from_before_braking_was_charged_goes_on_without():
    """What its policy is paid does not change halfway; a run that names the weights keeps them."""
    run = _begin("--reward.braking", "0.05", "--reward.overreaction", "30")
    kept = _parse("--resume", str(run.path)).env.reward
    assert (kept.braking, kept.overreaction) == (0.05, 30.0)
    text = run.config_file.read_text()
    older = text.replace("    braking: 0.05\n", "").replace("    overreaction: 30.0\n", "")
    assert older.count("\n") == text.count("\n") - 2
    run.config_file.write_text(older)
    reward = _parse("--resume", str(run.path)).env.reward
    assert (reward.braking, reward.overreaction) == (0.0, 0.0)
    assert reward.comfort == kept.comfort


def test_a_link_stays_a_link(project: Path):
    """SUMO reads the network beside the link; what the link leads to may have another."""
    (project / "link.sumocfg").symlink_to(project / "own.sumocfg")
    assert _parse("--scenario", "link.sumocfg").env.scenario == f"{project}/link.sumocfg"


def test_a_run_goes_on_with_its_own_files_from_another_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Files of the same names there are somebody else's."""
    run = _begin("--scenario", "own.sumocfg", "--radio", "own.json")
    other = tmp_path / "other"
    shutil.copytree(project, other)
    (other / "own.json").write_text("{}")
    monkeypatch.chdir(other)
    env = _parse("--resume", str(run.path)).env
    assert (env.scenario, env.radio) == (f"{project}/own.sumocfg", f"{project}/own.json")


@pytest.mark.parametrize("name", ["own.json", "own.sumocfg", "highway.net.xml", "highway.rou.xml"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_file_that_has_changed_is_named_with_ways_to_go_on(
    project: Path,
    name: str,
    gone: bool,  # noqa: FBT001 (a parameter of the test)
):
    """A run does not go on with another road or radio unnoticed; each way that is told works."""
    run = _begin("--scenario", "own.sumocfg", "--radio", "own.json")
    was = (project / name).read_bytes()
    (project / name).write_bytes(was + b"\n")
    if gone:
        (project / name).unlink()
    key = "radio" if name == "own.json" else "scenario"
    with pytest.raises(CheckpointError) as caught:
        _parse("--resume", str(run.path))
    said = str(caught.value)
    assert f"{project}/{name} {'is gone' if gone else 'has changed'}" in said
    assert f"--resume {run.path} --{key} ANOTHER" in said
    assert f"--config {run.path}/config.yaml" in said
    another = {"radio": "clean", "scenario": "rural"}[key]
    assert getattr(_parse("--resume", str(run.path), f"--{key}", another).env, key) == another
    assert _parse("--config", str(run.config_file)).env.radio == f"{project}/own.json"
    (project / name).write_bytes(was)
    assert _parse("--resume", str(run.path)).env.radio == f"{project}/own.json"


def test_a_run_on_other_boards_of_a_file_remembers_both(project: Path):
    """`own.json:at-large` gets an absolute path, keeps its boards, and the file its digest."""
    run = _begin("--radio", "./own.json:at-large")
    layers = Layers()
    layers.put_file(run.config_file)
    assert layers.build().env.radio == f"{project}/own.json:at-large"
    found = json.loads(run.inputs_file.read_text())
    assert list(found["radio"]) == [f"{project}/own.json"]
