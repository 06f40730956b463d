"""Files travel as content: checked, laid down once, and found again by the job."""

from dataclasses import replace
from pathlib import Path

import pytest

from ml.errors import ConfigError, EvaluationError
from ml.evaluation.drivers import controller_spec
from ml.evaluation.store import CaseSet, DriveJob, Part, radio_record
from ml.execution import executor
from ml.execution.executor import make_executor
from ml.execution.jobs import Files
from ml.execution.nodes import examine, problem_of
from ml.execution.shipping import Parcel, lay_down, pack, renamed
from ml.parameters import load_parameters


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where this machine keeps what was sent to it."""
    monkeypatch.setenv("ROADSENSE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_lies_together_stays_together(cache, tmp_path):
    """A sumocfg names its network by a relative path, also one that goes up."""
    cfg, net = tmp_path / "road" / "cfg" / "a.sumocfg", tmp_path / "road" / "net" / "a.net.xml"
    for file in (cfg, net):
        file.parent.mkdir(parents=True)
        file.write_text(file.name)
    parcel, content = pack(Files.of(str(cfg), [cfg, net]))
    there = Path(lay_down(parcel, content))
    assert there.is_relative_to(cache)
    assert there.read_text() == "a.sumocfg"
    assert (there.parent / "../net/a.net.xml").read_text() == "a.net.xml"


def test_damage_on_the_way_is_told_and_damage_in_the_cache_is_mended(cache, tmp_path):
    """Nobody drives with what is not what was sent."""
    file = tmp_path / "radio.json"
    file.write_text("{}")
    parcel, content = pack(Files.of(str(file), [file]))
    with pytest.raises(EvaluationError, match="is not what was sent"):
        lay_down(parcel, {"radio.json": b"[]"})
    there = Path(lay_down(parcel, content))
    assert there.is_relative_to(cache)
    there.write_text("[]")
    assert lay_down(parcel, content) == str(there)
    assert there.read_text() == "{}"
    file.unlink()
    with pytest.raises(ConfigError, match=r"radio.json cannot be read"):
        pack(Files.of(str(file), [file]))


def test_a_job_names_no_file_of_the_machine_that_it_came_from(tmp_path):
    """Radio, driver, road and recordings are those of the place; what decides rows is the same."""
    radio, tuned = tmp_path / "mine.json", tmp_path / "best.yaml"
    radio.write_text(load_parameters("clean").model_dump_json())
    tuned.write_text("time_gap_s: 0.4\n")
    (tmp_path / "drives").mkdir()
    (tmp_path / "drives" / "a.csv").touch()
    road = tmp_path / "a.sumocfg"
    road.write_text("<configuration/>")
    record = radio_record(str(radio))
    driver = controller_spec(f"predictive@{tuned}")
    drives = f"drives:{tmp_path / 'drives'}@{road}"
    for suite in (f"convoy:9@{road}", drives):
        job = DriveJob((Part(CaseSet(suite, record, 1, (0,)), driver),), None)
        places = {files.path: f"/there/{Path(files.path).name}" for files in job.files()}
        assert places.keys() >= {str(road), str(radio), str(tuned)}
        (there,) = job.at(places).parts
        assert there.cases.suite == suite.replace(str(tmp_path), "/there")
        assert there.cases.radio.file == "/there/mine.json"
        assert there.driver.source == "predictive@/there/best.yaml"
        assert there.driver.decides() == driver.decides()


def test_paths_in_a_runs_files_follow_it():
    """What a run says of its files is true where it is read; other files stay as they are."""
    places = {"/here": "/there", "/here/radio.json": "/cache/ab/radio.json"}
    said = b"radio: /here/radio.json\nruns: /here/runs\n"
    assert renamed("runs/x/config.yaml", said, places) == (
        b"radio: /cache/ab/radio.json\nruns: /there/runs\n"
    )
    assert renamed("runs/x/metrics.jsonl", said, places) == said


def test_a_machine_that_would_find_other_rows_is_named_with_what_mends_it():
    """Code, Python, a package and SUMO; the builds of torch are one version."""
    here = examine(sumo=False)
    assert problem_of(here, here) == ""
    cpu = {**here.packages, "torch": here.packages["torch"].partition("+")[0]}
    assert problem_of(here, replace(here, packages=cpu)) == ""
    others = {
        "apt-get install libx11-6": replace(here, sumo="ImportError: libX11.so.6"),
        "install one version": replace(here, roadsense="9"),
        "one commit": replace(here, code="9"),
        "use one image": replace(here, python="3.1"),
        "it has numpy 9": replace(here, packages={**here.packages, "numpy": "9"}),
    }
    for remedy, machine in others.items():
        assert remedy in problem_of(here, machine)


def test_without_ray_it_is_told_how_to_install_it(monkeypatch):
    """Before anything is done."""
    monkeypatch.setattr(executor, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'roadsense\[ray\]'"):
        make_executor("auto", workers=1, tell=print)


def test_the_same_content_is_one_parcel(tmp_path):
    """Where it lies does not matter: it is sent once."""
    parcels = []
    for name in ("a", "b"):
        file = tmp_path / name / "m.zip"
        file.parent.mkdir()
        file.write_bytes(b"weights")
        parcels.append(pack(Files.of(str(file), [file]))[0])
    assert parcels[0].digest == parcels[1].digest
    assert isinstance(parcels[0], Parcel)
