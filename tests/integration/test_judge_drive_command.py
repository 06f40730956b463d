"""`roadsense judge-drive` from logs to a page, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.page_data import decoded
from support.planted_drive import PlantedDrive

from ml.cli import main
from ml.evaluation.drive.read import read_recorded_drive
from ml.parameters import load_parameters
from ml.vehicle import CAR_LENGTH_M

MODEL = str(Path(__file__).parents[2] / "ml" / "models" / "convoy.zip")
PEER_S = [60.0 + 14.0 * k + 1.3 * (k % 3) for k in range(12)]
RULE = "rule: any peer ≤ −2.5 m/s²"
NAMES = ["policy", "policy, no safety layer", "policy, radio off", "predictive 0.5 s", RULE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Logs of five minutes: b brakes hard twelve times, a 1.2 s after it."""
    folder = tmp_path_factory.mktemp("drive")
    PlantedDrive(5.0, {"b": PEER_S, "a": [at_s + 1.2 for at_s in PEER_S]}).write(folder)
    return folder


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """Logs of three minutes with one hard braking."""
    folder = tmp_path_factory.mktemp("calm")
    PlantedDrive(3.0, {"b": [90.0], "a": [91.5]}).write(folder)
    return folder


def judge(folder, *options):
    """Run the command on the logs in a folder."""
    logs = [str(file) for file in sorted(folder.glob("*.csv"))]
    return main(["judge-drive", *logs, "--model", MODEL, *map(str, options)])


def test_a_drive_is_judged_on_one_page_with_figures_beside_it(folder, tmp_path, capsys):
    """Every driver, every event with its lead, and one line; the page needs nothing else."""
    out = tmp_path / "drive.html"
    assert judge(folder, "--out", out) == 0
    figures = json.loads((tmp_path / "drive.json").read_text())
    assert [one["name"] for one in figures["drivers"]] == NAMES
    by_name = {one["name"]: one for one in figures["drivers"]}
    assert by_name[RULE]["own_brakings"]["hits"] == 12
    assert by_name[RULE]["standing"] == "above chance"
    assert by_name["policy, radio off"]["own_brakings"]["hits"] == 0
    assert by_name["policy, radio off"]["against_rule"]["standing"] == "worse"
    assert len(figures["own_brakings"]) == 12
    assert {round(event["lead_s"][RULE], 6) for event in figures["own_brakings"]} == {1.1}
    assert {event["who"] for event in figures["peers_brakings"]} == {"b"}
    page = out.read_text()
    assert figures["verdict"] in page
    assert all(name in page for name in NAMES)
    assert page.count("data:image/svg+xml;base64,") == 3
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", page)
    assert "prefers-color-scheme: dark" in page
    said = " ".join(capsys.readouterr().out.split())
    assert figures["verdict"] in said
    assert "a: good. Forward axis x" in said


def test_where_nobody_is_above_chance_the_exit_code_says_so(calm, tmp_path, capsys):
    """One hard braking cannot tell; the page is there all the same."""
    out = tmp_path / "calm.html"
    assert judge(calm, "--controllers", "none", "--out", out) == 3
    assert "Cannot tell: the drive has 1 hard braking of" in " ".join(
        capsys.readouterr().out.split()
    )
    figures = json.loads(out.with_suffix(".json").read_text())
    assert not figures["above_chance"]
    assert out.exists()


@pytest.mark.sumo
def test_in_closed_loop_they_really_drive(calm, tmp_path, capsys):
    """Beside the real follower; who does nothing loses the 12 m by which b falls back."""
    out = tmp_path / "closed.html"
    judge(calm, "--controllers", "predictive:0.5", "do-nothing", "--closed-loop", "--out", out)
    found = json.loads(out.with_suffix(".json").read_text())["closed_loop"]
    assert found["refused"] == {}
    driven = {one["name"]: one for one in found["drivers"]}
    assert list(driven) == [*NAMES[:4], "do-nothing"]
    assert {one["cases"] for one in driven.values()} == {1}
    assert driven["policy"]["crashes"] == 0
    assert driven["do-nothing"]["min_gap_m"] == pytest.approx(40.0 - CAR_LENGTH_M - 12.0, abs=0.3)
    (real,) = found["real_follower"]
    assert real["min_gap_m"] == pytest.approx(28.2, abs=0.5)
    assert "the real follower" in out.read_text()
    said = capsys.readouterr().out
    assert "closed loop" in said
    assert f"pages of 1 case: {tmp_path / 'closed-cases'}" in said
    (link,) = re.findall(
        r'<a href="(closed-cases/[^"]*)">Case 1, braking ahead at', out.read_text()
    )
    text = (tmp_path / link).read_text()
    data = json.loads(re.search(r'id="episode">(.*?)</script>', text, re.DOTALL)[1])
    assert [one["driver"] for one in data["drives"]] == ["policy", "predictive 0.5 s"]
    for one in data["drives"]:
        gap_m = decoded(one["of_ego"]["gap_m"])
        assert gap_m.min() == pytest.approx(driven[one["driver"]]["min_gap_m"], abs=0.01)
        # On the way that its board recorded it believes to be where it is, but for its sensors.
        assert np.abs(decoded(one["of_ego"]["own_error_m"])).max() < 10.0
    judge(calm, "--controllers", "none", "--closed-loop", "--out", out)
    assert "closed.html exists already" in " ".join(capsys.readouterr().err.split())
    out.unlink()
    out.with_suffix(".json").unlink()
    assert judge(calm, "--controllers", "none", "--closed-loop", "--out", out) == 2
    assert "case-1.html exists already" in "".join(capsys.readouterr().err.split("\n"))


def test_a_calibrated_file_says_how_long_a_message_counts(calm, tmp_path, monkeypatch):
    """And whose sensors the ego has, in closed loop, too; a rule that forgets at once is silent."""
    content = json.loads(load_parameters("clean").model_dump_json())
    content["radio"]["time_to_live_ms"] = 50
    content["sensors"]["position"]["sd_m"] = 7.0
    radio, told = tmp_path / "mine.json", []
    radio.write_text(json.dumps(content))

    def drive(recorded, _drivers, *, radio, **_):
        told.append((radio, float(np.median(recorded.own.position_sd_m))))
        return [], Counter()

    monkeypatch.setattr("ml.evaluation.drive.closed_loop.closed_loop", drive)
    hits = []
    for how in ("clean", radio):
        out = tmp_path / f"by-{Path(how).stem}.html"
        judge(calm, "--radio", how, "--controllers", "none", "--closed-loop", "--out", out)
        figures = json.loads(out.with_suffix(".json").read_text())
        (rule,) = [one for one in figures["drivers"] if one["name"] == RULE]
        hits.append(rule["firing_share"] > 0.0)
        assert f"as {how} has them" in " ".join(figures["notes"])
    assert hits == [True, False]
    assert [name for name, _ in told] == ["clean", str(radio)]
    assert told[0][1] < 4.0
    assert told[1][1] > 7.0


def test_what_is_judged_stays_where_the_closed_loop_is_refused(calm, tmp_path, capsys):
    """The page and the figures of the open loop are there, and what was refused is said."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for file in calm.glob("a-*.csv"):
        shutil.copy(file, logs)
    out = tmp_path / "open.html"
    assert judge(logs, "--controllers", "none", "--closed-loop", "--out", out) == 2
    said = capsys.readouterr()
    assert "no board with a TX log drives ahead of a" in " ".join(said.err.split())
    figures = json.loads(out.with_suffix(".json").read_text())
    assert figures["verdict"] in " ".join(said.out.split())
    assert "closed_loop" not in figures
    assert figures["verdict"] in out.read_text()


def test_all_notes_of_a_drive_are_shown_as_they_are(calm, tmp_path, capsys, monkeypatch):
    """Those of the boards, of the logs, and what was left out; brackets are no markup."""

    def noted(*arguments, **options):
        drive = read_recorded_drive(*arguments, **options)
        drive.notes.append("of a board [bold]")
        drive.drive.notes.append("of logs [/nothing]")
        drive.drive.dropped["[red]a.csv"] = Counter({"torn lines": 3})
        return drive

    monkeypatch.setattr("ml.evaluation.drive.read.read_recorded_drive", noted)
    out = tmp_path / "calm.html"
    judge(calm, "--controllers", "none", "--out", out)
    said = " ".join(capsys.readouterr().out.split())
    notes = json.loads(out.with_suffix(".json").read_text())["notes"]
    for note in (
        "of a board [bold]",
        "of logs [/nothing]",
        "[red]a.csv: left out are 3 torn lines",
    ):
        assert f"note {note}" in said
        assert note in notes
        assert note in out.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--ego", "z"), r"--ego z: no board of that name"),
        (("--controllers", "truth:idm"), r"truth:idm: it drives by ground truth"),
        (("--controllers", "predictve:0.5"), r"Did you mean 'predictive'"),
        (("--controllers", "predictive:0.5", "predictive:0.5"), r"named twice"),
        (("--brakes-at-mps2", "0"), r"--brakes-at-mps2 must be above 0"),
        (("--model", "nothing.zip"), r"nothing\.zip"),
        (("--map", "nothing.toml"), r"nothing\.toml"),
        (("--radio", "claen"), r"unknown radio preset 'claen'. Did you mean 'clean'"),
    ],
)
def test_wrong_options_are_refused_and_nothing_is_written(calm, tmp_path, capsys, options, said):
    """With what is wrong, and what there is."""
    out = tmp_path / "page.html"
    assert judge(calm, "--out", out, *options) == 2
    assert re.search(said, " ".join(capsys.readouterr().err.split()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["page.html", "page.json"])
def test_a_report_that_is_there_is_not_replaced(calm, tmp_path, capsys, name):
    """Neither the page nor the figures beside it, but by force."""
    (tmp_path / name).write_text("mine")
    assert judge(calm, "--out", tmp_path / "page.html") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{name} exists already" in said
    assert "--force" in said
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]
    if name == "page.json":
        assert judge(calm, "--out", tmp_path / "page.html", "--controllers", "none", "--force") == 3
        assert (tmp_path / name).read_text() != "mine"


def test_two_drives_are_refused_and_nothing_is_written(calm, folder, tmp_path, capsys):
    """Logs of two folders are two drives."""
    logs = [str(file) for one in (calm, folder) for file in sorted(one.glob("*.csv"))]
    out = tmp_path / "page.html"
    assert main(["judge-drive", *logs, "--model", MODEL, "--out", str(out)]) == 2
    assert "each is a drive of its own" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_logs_or_a_model_it_says_what_is_missing(capsys):
    """And how to try it without boards."""
    assert main(["judge-drive", "--model", MODEL]) == 2
    assert "roadsense logs synth" in capsys.readouterr().err
    assert main(["judge-drive", "a.csv"]) == 2
    assert "--model is missing" in capsys.readouterr().err
