"""`roadsense logs synth` and `roadsense calibrate`, as a user runs them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ml.calibration.logs.links import read_drive
from ml.calibration.logs.reader import read_log
from ml.calibration.synthetic.recording import record
from ml.calibration.trials import coverage
from ml.cli import main
from ml.parameters import load_parameters


def synth(folder, *options):
    """Make up the logs of a drive of six minutes, and return them."""
    assert main(["logs", "synth", "--out", str(folder), "--minutes", "6", *options]) == 0
    return sorted(folder.glob("*.csv"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Logs of two boards on the bursty radio, logging artefacts and all."""
    return synth(tmp_path_factory.mktemp("logs") / "pair", "--preset", "bursty", "--seed", "3")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Logs of three boards, with relays."""
    return synth(tmp_path_factory.mktemp("logs") / "three", "--cars", "3", "--seed", "5")


@pytest.fixture(scope="module")
def calibrated(pair, tmp_path_factory):
    """A parameter file and its report, made of the pair's logs."""
    out = tmp_path_factory.mktemp("out") / "params.json"
    assert main(["calibrate", *map(str, pair), "--out", str(out)]) == 0
    return out


def test_the_same_seed_makes_the_same_logs(pair, tmp_path):
    """Bit by bit, and another seed makes others."""
    again = synth(tmp_path / "again", "--preset", "bursty", "--seed", "3")
    other = synth(tmp_path / "other", "--preset", "bursty", "--seed", "4")
    assert [f.read_bytes() for f in again] == [f.read_bytes() for f in pair]
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(other, pair, strict=True))


@pytest.mark.parametrize(
    ("options", "then"),
    [((), "logs check {}/*.csv"), (("--hard-brakings", "3"), "judge-drive {}/*.csv --model")],
)
def test_it_is_said_what_made_up_logs_are_good_for(tmp_path, capsys, options, then):
    """A calibration; where somebody brakes hard, a policy is judged on them."""
    synth(tmp_path / "logs", "--minutes", "2", *options)
    said = capsys.readouterr().out
    assert f"next: roadsense calibrate {tmp_path / 'logs'}/*.csv --out params.json" in said
    assert f"or:   roadsense {then.format(tmp_path / 'logs')}" in said


def test_what_the_logging_artefacts_spoil_is_counted_and_left_out(pair):
    """Stalls, glitches, missing fixes, duplicates and relayed rows are told apart."""
    drive = read_drive([read_log(path) for path in pair])
    truth = json.loads((pair[0].parent / "truth.json").read_text())
    counts = {}
    for reasons in drive.dropped.values():
        for reason, count in reasons.items():
            counts[reason.split(" (")[0]] = counts.get(reason.split(" (")[0], 0) + count
    for reason in (
        "relayed for others",
        "duplicate",
        "position glitch",
        "no position yet",
        "receiver's logger stalled",
    ):
        assert counts[reason] > 0, reason
    for board, stalls in zip(drive.boards, truth["stalls_s"], strict=True):
        assert len(board.stalls_ms) == len(stalls)
    for link in drive.links:
        late = link.latency_ms[np.isfinite(link.latency_ms)]
        assert late.max() < 60.0  # a stall would make it hundreds
    for source, receiver in drive.clocks:
        one, other = drive.clocks[source, receiver], drive.clocks[receiver, source]
        assert one.drift_ppm == pytest.approx(-other.drift_ppm, abs=3.0)


def test_losses_are_those_that_happened(pair):
    """What a link lost one way is nearly what its round trips lost on either of two."""
    drive = read_drive([read_log(path) for path in pair])
    (there, back), (both,) = drive.links, drive.round_trips
    arrived = [1.0 - float(x.lost[x.scored].mean()) for x in (there, back, both)]
    assert arrived[2] >= arrived[0] * arrived[1]  # shadowing is the same both ways
    assert arrived[2] < min(arrived[:2])


def test_relayed_copies_do_not_count_as_received(three):
    """In a row of three the outer pair has a car between, hears relayed copies, and loses most."""
    drive = read_drive([read_log(path) for path in three])
    outer = [link for link in drive.links if link.pair == ("a", "c")]
    inner = [link for link in drive.links if link.pair != ("a", "c")]
    assert len(outer) == 2
    assert len(inner) == 4
    for link in outer:
        assert (link.between[link.scored] == 1).all()
    for link in inner:
        assert (link.between[link.scored] == 0).all()
    assert min(x.lost.mean() for x in outer) > max(x.lost.mean() for x in inner)
    logs = {log.path.name: log for log in map(read_log, three)}
    assert (logs["a-rx.csv"].columns["hop_count"] > 0).any()
    assert (logs["a-tx.csv"].names["vehicle_id"] != "a").any()


@pytest.mark.slow
def test_the_parameter_file_is_one_that_training_reads(calibrated, pair):
    """It loads, holds what was fitted with its range, and names every file with its hash."""
    parameters = load_parameters(calibrated)
    low, high = parameters.domain_randomisation["radio.loss.shadowing_sd_db"]
    assert low < parameters.radio.loss.shadowing_sd_db < high
    for path in pair:
        assert read_log(path).sha256 in parameters.provenance
    assert "radio.loss.fading_m" in parameters.provenance  # refused, and said
    assert "backwards" in parameters.provenance


@pytest.mark.slow
def test_the_report_is_one_page_that_needs_nothing_else(calibrated):
    """Pictures are inside, nothing is loaded, and refusals are told."""
    page = calibrated.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") >= 5
    assert 'src="http' not in page
    assert "<script" not in page
    assert "Gilbert–Elliott" in page
    assert "loss alone does not show it" in page


@pytest.mark.slow
def test_round_trips_at_unknown_distances_are_enough_for_a_file(pair, tmp_path):
    """An RTT log whose echoes do not say where they are: exponents and margin are kept, and why."""
    header, *rows = (line.split(",") for line in pair[0].read_text().splitlines())
    known = [i for i, name in enumerate(header) if not name.startswith("peer_")]
    log = tmp_path / "a-rtt.csv"
    log.write_text("\n".join(",".join(row[i] for i in known) for row in [header, *rows]) + "\n")
    out = tmp_path / "params.json"
    assert main(["calibrate", str(log), "--out", str(out)]) == 0
    told = load_parameters(out).provenance
    assert "radio.loss.margin_20m_db (the logs do not say where both boards were)" in told
    assert "radio.loss.exponent_far (the logs do not say where both boards were)" in told


@pytest.mark.slow
def test_other_logs_judge_and_change_nothing(calibrated, pair, tmp_path, capsys):
    """With --held-out the report is about those logs, and the fit is that of the others."""
    other = synth(tmp_path / "other", "--preset", "bursty", "--seed", "8")
    out = tmp_path / "params.json"
    held_out = ["--held-out", *map(str, other)]
    assert main(["calibrate", *map(str, pair), "--out", str(out), *held_out]) == 0
    assert load_parameters(out).radio == load_parameters(calibrated).radio
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert "Judged on logs that were not fitted to: a-rtt.csv" in page
    assert "not fitted to" not in calibrated.with_suffix(".html").read_text(encoding="utf-8")
    for logs, report in ((other, page), (pair, calibrated.with_suffix(".html").read_text())):
        links = read_drive([read_log(path) for path in logs]).links
        lost = np.concatenate([link.lost[link.scored] for link in links]).mean()
        assert f"{100.0 * lost:.1f} % of the frames were lost" in report
    out = tmp_path / "other.json"
    assert main(["calibrate", *map(str, pair), "--out", str(out), "--held-out", str(other[2])]) == 2
    assert "no link to judge on" in capsys.readouterr().err


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace(",", ";"),
        lambda text: text[:0],
        lambda text: text.replace("9.8", "nan", 3),
        lambda text: text + text.splitlines()[1] + "\n",
    ],
    ids=["cut off", "semicolons", "empty", "nan", "time runs back"],
)
def test_a_bad_log_ends_on_one_screen_and_writes_nothing(pair, tmp_path, spoil, capsys):
    """Exit code 2, the file and the line, no traceback, no output."""
    bad = tmp_path / "a-tx.csv"
    bad.write_text(spoil(pair[2].read_text()))
    assert main(["calibrate", str(bad), "--out", str(tmp_path / "params.json")]) == 2
    said = capsys.readouterr().err
    assert "a-tx.csv, line" in said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 20
    assert sorted(tmp_path.iterdir()) == [bad]


def test_what_one_board_alone_heard_holds_no_link(pair, capsys):
    """Who names receptions wants a radio: the error says which logs are needed."""
    assert main(["calibrate", *map(str, pair[1:3]), "--out", "nowhere.json"]) == 2
    assert "an RX log and its senders' TX logs" in capsys.readouterr().err


def test_bad_options_write_nothing(pair, tmp_path, capsys):
    """A folder that is not there, a name that is no JSON, a prior that is no margin model."""
    logs = list(map(str, pair))
    assert main(["calibrate", *logs, "--out", str(tmp_path / "no" / "p.json")]) == 2
    assert main(["calibrate", *logs, "--out", str(tmp_path / "p.txt")]) == 2
    assert main(["calibrate", *logs, "--out", str(tmp_path / "p.json"), "--prior", "ideal2"]) == 2
    assert main(["logs", "synth", "--out", str(pair[0].parent)]) == 2
    assert "empty" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_coverage_study_holds_intervals_against_what_made_the_drives():
    """A drive of seven minutes: what was fitted has its truth beside it, the rest was refused."""
    bursty, parts = load_parameters("bursty"), []
    study = coverage.coverage_study(
        bursty, load_parameters("clean"), "clean", drives=1, duration_s=420.0, on_part=parts.append
    )
    assert parts == ["driving all of them", "calibrating from drive 1"]
    assert {len(found) for found in study.values()} == {1}
    (level,), (spread,) = study[coverage.LEVEL], study["radio.loss.shadowing_sd_db"]
    assert level.truth == coverage.true_level_db(bursty, 1)
    assert level.low < level.value < level.high
    assert spread.truth == bursty.radio.loss.shadowing_sd_db
    assert study["radio.loss.fading_m"] == study["radio.relay.forward_spread"] == [None]
    (relays,), (share,) = study["radio.relay.forward_probability"], study[coverage.RELAYED]
    assert relays.truth == bursty.radio.relay.forward_probability
    assert share.truth == coverage.true_share(bursty, 1) != relays.truth
    assert share.low < share.truth < share.high
    (spells,) = study["radio.relay.forward_time_s"]
    assert spells.low < spells.truth == bursty.radio.relay.forward_time_s < spells.high
    assert coverage.table_of(study).count("\n") == 2 + len(study)


def test_a_coverage_study_knows_how_much_the_relay_of_a_drive_sends_on():
    """As the synthetic boards did: at work in that share of their slots."""
    bursty = load_parameters("bursty")
    for seed, recording in zip(
        (4, 5), record(bursty, num_cars=2, duration_s=1200.0, seeds=[4, 5]), strict=True
    ):
        share = coverage.true_share(bursty, seed)
        assert recording.relays[:, 0].mean() == pytest.approx(share, abs=0.03)


def test_a_coverage_study_says_beforehand_how_long_it_takes(tmp_path, monkeypatch, capsys):
    """The first line names parts and time; a longer study takes longer."""
    monkeypatch.setattr(coverage, "coverage_study", lambda *_, **__: {})
    table = tmp_path / "coverage.md"
    assert main(["calibrate", "--coverage", str(table), "--coverage-drives", "20"]) == 0
    said = capsys.readouterr().err.splitlines()[0]
    assert said == "calibrating synthetic drives: 21 parts; about 3 min on two cores"
    assert table.read_text().startswith("| parameter | truth |")
    assert coverage.usual_s(40) > 1.8 * coverage.usual_s(20)
