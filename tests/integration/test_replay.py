"""From an evaluation to its card, its gate and its replays, as a user types them, on real SUMO."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from support.page_data import decoded
from support.untrained import untrained_model

from ml.cli import main
from ml.evaluation.rerun import WORST_FOLDER, job_of, rerun
from ml.evaluation.result import Manifest, read_part, read_rows, write_part
from ml.reports.card.card import write_card
from ml.training.checkpoints import load_model, model_bytes

pytestmark = pytest.mark.sumo


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """Return a saved policy with an untrained network that brakes and accelerates at random."""
    model = untrained_model(3, swing=30.0)
    file = tmp_path_factory.mktemp("model") / "untrained.zip"
    file.write_bytes(model_bytes(model))
    return file


@pytest.fixture(scope="module")
def result(tmp_path_factory, model_file):
    """Return a small evaluation: a policy and two laws in two suites."""
    folder = tmp_path_factory.mktemp("evaluation") / "result"
    command = ["evaluate", str(model_file), "--suite", "convoy:20", "plexe:1", "--radio", "bursty"]
    command += ["--controllers", "cth:0.5", "predictive:0.8", "--out", str(folder)]
    assert main([*command, "--worst", "3", "--workers", "1"]) == 0
    return folder


def test_an_evaluation_writes_its_card_with_the_worst_episodes_drawn(result):
    """Time lines, each from an episode that was run again and found the same."""
    text = (result / "card.html").read_text(encoding="utf-8")
    assert len(re.findall(r'alt="time line of episode \d+"', text)) == 3
    assert "It cannot be shown" not in text
    assert len(list((result / WORST_FOLDER).glob("*.npz"))) == 3


@pytest.mark.parametrize("controller", ["policy", "policy, radio off", "CTH 0.5 s"])
def test_an_episode_runs_again_bit_for_bit(result, controller):
    """Alone instead of among twenty, the same figures to the last bit."""
    manifest = Manifest.read(result)
    rows = [r for r in read_rows(result) if (r.controller, r.suite) == (controller, "convoy:20")]
    for row in (rows[0], rows[19]):
        recording = rerun(job_of(manifest, row), load_model)
        assert recording.time_s[-1] == row.duration_s
        assert recording.num_peers == row.num_peers
        alive = recording.time_s <= (recording.crash_s if row.crash else row.duration_s)
        assert max(recording.gap_m[alive].min(), 0.0) == pytest.approx(row.min_gap_m)


def test_a_replay_writes_a_page(result, capsys):
    """The first policy and suite where nothing else is said."""
    assert main(["replay", str(result), "--episode", "3"]) == 0
    printed = capsys.readouterr().out
    assert "convoy:20 on bursty, policy: episode 3" in printed
    assert "bit for bit" in printed
    (file,) = (result / "replays").glob("*policy__*e3.html")
    assert "<title>convoy:20 on bursty, episode 3</title>" in file.read_text(encoding="utf-8")


def test_a_replay_writes_an_animated_picture(result, tmp_path):
    """Where the file's name says so."""
    command = ["replay", str(result), "--episode", "3", "--out", str(tmp_path / "x.gif")]
    assert main(command) == 0
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames > 20


def test_the_card_links_a_page_of_each_of_the_worst_episodes(result):
    """Files beside it, which are there."""
    text = (result / "card.html").read_text(encoding="utf-8")
    links = re.findall(r'<a href="(worst/[^"]+\.html)">Watch it</a>', text)
    assert len(links) == 3
    assert all((result / link).stat().st_size < 300_000 for link in links)


def test_what_a_page_shows_is_what_the_result_says(result, tmp_path):
    """Smallest gap and time to collision, share of messages, crash: from the page's own data."""
    rows = [r for r in read_rows(result) if r.controller == "policy" and r.suite == "convoy:20"]
    for row in (rows[0], rows[11]):
        file = tmp_path / f"{row.case}.json"
        assert main(["replay", str(result), "--episode", str(row.case), "--out", str(file)]) == 0
        (drive,) = json.loads(file.read_text(encoding="utf-8"))["drives"]
        crash_s = drive["events_s"]["crash"]
        assert (crash_s is not None) == row.crash
        gap_m, ttc_s = (decoded(drive["of_ego"][name]) for name in ("gap_m", "ttc_s"))
        alive = np.arange(gap_m.size) * 0.1 <= (np.inf if crash_s is None else crash_s) + 1e-6
        assert max(gap_m[alive].min(), 0.0) == pytest.approx(row.min_gap_m, abs=0.006)
        assert ttc_s[alive].min() == pytest.approx(row.min_ttc_s, abs=0.006)
        # A tick that brings several newer messages of a peer counts once, as it does in the result.
        number = np.stack([decoded(column) for column in drive["of_peers"]["number"]])
        newer = np.nan_to_num(number, nan=-1.0)[:, 1:] != np.nan_to_num(number, nan=-1.0)[:, :-1]
        ratio = newer.sum() / (newer.shape[1] * row.num_peers)
        assert ratio == pytest.approx(row.delivery_ratio)
        frames = {name: decoded(column) for name, column in drive["frames"].items()}
        told = np.zeros_like(newer)
        came = frames["fate"] == 1
        arrival_s = frames["sent_s"] + frames["flight_s"]
        ticks = np.ceil(np.round(arrival_s[came] / 0.1, 4)).astype(int)
        told[frames["source"][came].astype(int) - 1, ticks - 1] = True
        assert (told == newer).all()


def test_what_a_replay_shows_arrived_before_it_was_shown(result):
    """A recording holds no message from the future, and ages that grow between arrivals."""
    manifest = Manifest.read(result)
    row = next(r for r in read_rows(result) if r.controller == "CTH 0.5 s")
    recording = rerun(job_of(manifest, row), load_model)
    for source in range(recording.num_peers):
        arrivals = recording.arrival_s[recording.arrival_source == source]
        for tick, now_s in enumerate(recording.time_s):
            assert recording.heard[tick, source] == (arrivals <= now_s).any()
    silent = (recording.age_s[1:] > recording.age_s[:-1]).mean()
    assert 0.1 < silent < 0.9


def test_an_episode_that_is_not_what_it_was_is_told(result, tmp_path, capsys):
    """A figure that was changed by hand, as a changed radio would: exit code 1, not a picture."""
    manifest = Manifest.read(result)
    part = next(c for c in manifest.parts if c.controller == "CTH 0.5 s")
    rows = read_part(result / part.file)
    copy = tmp_path / "copy"
    (copy / "parts").mkdir(parents=True)
    (copy / "result.json").write_bytes((result / "result.json").read_bytes())
    rows[2].min_gap_m += 1e-9
    write_part(copy / part.file, rows)
    arguments = ["replay", str(copy), "--controller", "CTH 0.5 s", "--suite", part.suite]
    assert main([*arguments, "--episode", "2"]) == 1
    assert "min_gap_m was" in capsys.readouterr().err
    assert main([*arguments, "--episode", "1"]) == 0


def test_a_model_that_has_gone_leaves_a_note_on_the_card(result, tmp_path):
    """The figures are there all the same."""
    copy = tmp_path / "copy"
    (copy / "parts").mkdir(parents=True)
    manifest = json.loads((result / "result.json").read_text(encoding="utf-8"))
    for record in manifest["controllers"]:
        if record["family"] == "policy":
            record["file"] = "/gone.zip"
    (copy / "result.json").write_text(json.dumps(manifest), encoding="utf-8")
    for file in (result / "parts").iterdir():
        (copy / "parts" / file.name).write_bytes(file.read_bytes())
    text = write_card(copy, worst=1).read_text(encoding="utf-8")
    assert "It cannot be shown: policy: /gone.zip is gone" in text
    assert "crashed in" in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere", "--episode", "1"], "nowhere holds no result"),
        (["RESULT", "--episode", "20"], "has the episodes 0 … 19"),
        (["RESULT", "--episode", "-1"], "has the episodes 0 … 19"),
        (["RESULT", "--episode", "1", "--controller", "CTH"], "the result has policy"),
        (["RESULT", "--episode", "1", "--suite", "r157"], "the result has convoy:20, plexe:1"),
        (["RESULT", "--episode", "1", "--radio", "clean"], "the result has bursty"),
        (["RESULT", "--episode", "1", "--seed", "1"], "--seed 1: the result has"),
        (
            ["RESULT", "--episode", "1", "--out", "x.png"],
            "--out must end in .html or .json or .npz or .gif",
        ),
        (["RESULT", "--episode", "1", "--gui"], "DISPLAY"),
    ],
)
def test_a_wrong_replay_exits_with_2_on_one_screen(
    result, arguments, complaint, capsys, monkeypatch
):
    """What is wrong, and what there is."""
    monkeypatch.delenv("DISPLAY", raising=False)
    assert main(["replay", *(str(result) if a == "RESULT" else a for a in arguments)]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert len(said) < 1000


@pytest.mark.slow
def test_the_gate_lets_the_same_model_pass_and_stops_a_worse_one(
    result, model_file, tmp_path, capsys
):
    """0 against itself, driven anew; 1 where the other jerks less; a margin lets that pass."""
    command = ["evaluate", str(model_file), "--suite", "convoy:20", "--radio", "bursty"]
    command += ["--controllers", "none", "--out", str(tmp_path / "new"), "--worst", "0"]
    command += ["--workers", "1", "--against"]
    assert main([*command, str(result)]) == 0
    assert "policy against policy of" in re.sub(r"\s+", " ", capsys.readouterr().out)
    better = tmp_path / "better"
    (better / "parts").mkdir(parents=True)
    (better / "result.json").write_bytes((result / "result.json").read_bytes())
    for part in Manifest.read(result).parts:
        rows = read_part(result / part.file)
        for row in rows:
            row.jerk_p95_mps3 /= 10.0
        write_part(better / part.file, rows)
    assert main([*command, str(better)]) == 1  # of the rows that are there already
    text = (tmp_path / "new" / "card.html").read_text(encoding="utf-8")
    assert f"against policy of {better}" in text
    assert main([*command, str(better), "--margin", "jerk=1000"]) == 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (["--radio-position", "own"], "--radio-position reference in the other result"),
        (["--margin", "jerk"], "write METRIC=NUMBER"),
        (["--margin", "jirk=1"], "no metric 'jirk'"),
    ],
)
def test_a_gate_that_would_compare_other_things_is_refused(
    result, model_file, tmp_path, capsys, change, complaint
):
    """Before anything is run."""
    command = ["evaluate", str(model_file), "--suite", "convoy:20", "--radio", "bursty"]
    command += ["--against", str(result), "--out", str(tmp_path / "new"), *change]
    assert main(command) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_gate_refuses_a_radio_that_has_changed_under_its_name(
    result, model_file, tmp_path, capsys
):
    """Its packets' fates are others, so that pairs are none."""
    manifest = json.loads((result / "result.json").read_text(encoding="utf-8"))
    manifest["radios"][0]["sha256"] = "0" * 64
    older = tmp_path / "older"
    older.mkdir()
    (older / "result.json").write_text(json.dumps(manifest), encoding="utf-8")
    command = ["evaluate", str(model_file), "--suite", "convoy:20", "--radio", "bursty"]
    assert main([*command, "--against", str(older), "--out", str(tmp_path / "new")]) == 2
    assert "the radio bursty has other parameters" in capsys.readouterr().err
