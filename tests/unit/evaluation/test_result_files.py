"""A result and the files that it was made from: found from every folder, never others unnoticed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml.commands.tune import TuneOptions, _objective
from ml.errors import ConfigError, EvaluationError, ScenarioError
from ml.evaluation.compare import require_alike
from ml.evaluation.drivers import make_driver
from ml.evaluation.plan import Plan
from ml.evaluation.planning import plan_evaluation, require_same_road
from ml.evaluation.result import Origin
from ml.evaluation.store import radio_source
from ml.parameters import loading
from ml.sumo.scenarios import SCENARIO_DIR

if TYPE_CHECKING:
    from ml.evaluation.result import Manifest

ORIGIN = Origin(
    version="0", git_commit=None, packages={}, command="command", created_utc="now", seeds=(1,)
)
PRESETS = Path(loading.__file__).parent / "presets"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a model, a radio and a controller's parameters, where the user is."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(PRESETS / "bursty.json", folder / "own.json")
    (folder / "model.zip").write_text("weights")
    (folder / "best.yaml").write_text("time_gap_s: 1.0\n")
    monkeypatch.chdir(folder)
    return folder


def _manifest() -> Manifest:
    plan = Plan(models=("model.zip",), suite=("convoy:4",), radio=("own.json", "clean"),
                controllers=("predictive@best.yaml", "do-nothing"))  # fmt: skip
    return plan_evaluation(plan, ORIGIN)[0]


def _loaded(path: str) -> str:
    raise EvaluationError(f"loading {path}")


def test_files_are_found_from_every_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Model, radio and parameters of a controller are those of the result."""
    manifest = _manifest()
    monkeypatch.chdir(tmp_path)
    own, clean = manifest.radios
    assert (radio_source(own), radio_source(clean)) == (f"{project}/own.json", "clean")
    with pytest.raises(EvaluationError, match=f"loading {project}/model.zip"):
        make_driver(manifest.controller("policy"), _loaded)
    tuned = next(c for c in manifest.controllers if c.file.endswith("best.yaml"))
    assert make_driver(tuned, _loaded).name
    assert make_driver(manifest.controller("do-nothing"), _loaded).name == "do-nothing"


def _own_road(folder: Path, name: str) -> None:
    """Copy the highway as somebody's own road."""
    folder.mkdir(exist_ok=True)
    for part in ("net.xml", "rou.xml"):
        shutil.copy(SCENARIO_DIR / "highway" / f"highway.{part}", folder)
    shutil.copy(SCENARIO_DIR / "highway" / "highway.sumocfg", folder / name)


def _on_roads(*suites: str) -> Manifest:
    plan = Plan(suite=suites, radio=("clean", "bursty"), controllers=("do-nothing",), episodes=10)
    return plan_evaluation(plan, ORIGIN)[0]


def test_a_suite_on_a_road_of_ones_own_is_found_from_every_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A sumocfg gets its absolute path, ours stay names, and episodes are shared out."""
    _own_road(project, "own.sumocfg")
    (project / "other").mkdir()
    monkeypatch.chdir(project / "other")
    manifest = _on_roads("convoy@../own.sumocfg", "convoy:7@rural")
    assert list(manifest.suites) == [f"convoy:5@{project}/own.sumocfg", "convoy:7@rural"]
    monkeypatch.chdir(tmp_path)
    require_same_road(manifest, f"convoy:5@{project}/own.sumocfg")


def test_each_part_has_a_file_of_its_own(project: Path):
    """Also where two roads differ in what a file's name cannot say, or in a long path."""
    names = ["a b.sumocfg", "a_b.sumocfg", "A_b.sumocfg"]
    places = [project, project / "京都", project / "大阪", project / ("d" * 120)]
    for place in places:
        for name in names:
            _own_road(place, name)
    manifest = _on_roads(*(f"convoy:2@{place / name}" for place in places for name in names))
    files = [part.file for part in manifest.parts]
    assert len(set(files)) == len(files) == 2 * len(places) * len(names)
    assert max(len(Path(file).name) for file in files) < 200


def test_a_road_named_twice_is_one(project: Path):
    """By whatever way its path was written."""
    _own_road(project, "own.sumocfg")
    with pytest.raises(ConfigError, match=r"own\.sumocfg is named twice"):
        _on_roads("convoy:2@own.sumocfg", "convoy:2@./own.sumocfg")


def test_a_road_that_has_changed_is_another(project: Path):
    """A result on it is not gone on with, not compared with, and no episode of it is shown."""
    _own_road(project, "own.sumocfg")
    before = _on_roads("convoy:2@own.sumocfg")
    net = project / "highway.net.xml"
    net.write_text(net.read_text(encoding="utf-8").replace("36.11", "30.00"), encoding="utf-8")
    after = _on_roads("convoy:2@own.sumocfg")
    assert before.decides() != after.decides()
    with pytest.raises(EvaluationError, match=r"the road of convoy:2@.* has changed"):
        require_same_road(before, f"convoy:2@{project}/own.sumocfg")
    with pytest.raises(ConfigError, match=r"the road of convoy:2@.* is another"):
        require_alike(after, before)
    net.unlink()
    with pytest.raises(ScenarioError, match=r"highway\.net\.xml.* does not exist"):
        require_same_road(before, f"convoy:2@{project}/own.sumocfg")


def test_a_road_that_is_too_slow_for_a_suite_is_refused_before_anything_is_driven():
    """With both speeds."""
    with pytest.raises(ScenarioError, match=r"at 30\.56 m/s, but the road allows 22\.22 m/s"):
        _on_roads("eebl:1@rural")


def test_what_has_changed_since_is_refused(project: Path):
    """By its name, also where it is gone."""
    manifest = _manifest()
    (project / "best.yaml").write_text("time_gap_s: 2.0\n")
    tuned = next(c for c in manifest.controllers if c.file.endswith("best.yaml"))
    with pytest.raises(EvaluationError, match=r"best\.yaml has changed"):
        make_driver(tuned, _loaded)
    (project / "model.zip").unlink()
    with pytest.raises(EvaluationError, match=r"model\.zip is gone"):
        make_driver(manifest.controller("policy"), _loaded)
    shutil.copy(PRESETS / "clean.json", project / "own.json")
    with pytest.raises(EvaluationError, match=r"own\.json has other parameters"):
        radio_source(manifest.radios[0])


def test_an_evaluation_goes_on_where_its_files_were_moved_to(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The same content elsewhere is the same result; other parameters of a controller are not."""
    _manifest().open(tmp_path / "result")
    moved = project.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    found = _manifest().open(tmp_path / "result")
    assert found.radios[0].file == f"{moved}/own.json"
    (moved / "best.yaml").write_text("time_gap_s: 2.0\n")
    with pytest.raises(
        ConfigError, match="the result of another evaluation; it differs in controllers, parts"
    ):
        _manifest().open(tmp_path / "result")


@pytest.mark.parametrize("controller", [None, "predictive"])
def test_a_search_knows_its_radio_by_path_and_content(project: Path, controller: str | None):
    """A trial runs in a folder of its own, and scores on another radio cannot be compared."""
    options = TuneOptions(radio="own.json", controller=controller)
    before = _objective(options).record()
    assert f"{project}/own.json" in before["files"]["radio"]
    config = before["environment"] if controller else before["recipe"]["env"]
    assert config["radio"] == f"{project}/own.json"
    shutil.copy(PRESETS / "clean.json", project / "own.json")
    assert _objective(options).record()["files"] != before["files"]
