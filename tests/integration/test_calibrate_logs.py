"""Logs as people have them through `roadsense calibrate`: a file, or a reason why not."""

from __future__ import annotations

import html

import numpy as np
import pytest

from ml.calibration.trials import coverage, logged_drive
from ml.calibration.trials.convoy import drawn_always
from ml.cli import main
from ml.parameters import load_parameters
from ml.reports.calibration import pictures
from tests.support import small_logs

DOCUMENTED = "sequence,send_time_ms,recv_time_ms,rtt_ms,lat,lon,speed,heading,lost"


def write_pings(path, rtt_ms, lost):
    """An RTT log of exactly the documented columns: pings at 10 Hz of a car that drives north."""
    lines = [DOCUMENTED]
    for k, (rtt, gone) in enumerate(zip(rtt_ms.tolist(), lost.tolist(), strict=True)):
        back = "," if gone else f"{100 * k + rtt},{rtt}"
        lines.append(f"{k},{100 * k},{back},{32.8 + 1e-6 * k:.7f},35.0,1.1,0.0,{int(gone)}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_documented_columns_of_round_trips_are_enough(tmp_path):
    """3,000 pings without a position of the other board: latencies are fitted, slopes refused."""
    rng = np.random.Generator(np.random.PCG64(2))
    log = write_pings(tmp_path / "a-rtt.csv", rng.integers(5, 12, 3000), rng.random(3000) < 0.1)
    assert main(["calibrate", str(log), "--out", str(tmp_path / "params.json")]) == 0
    parameters = load_parameters(tmp_path / "params.json")
    for name in ("margin_20m_db", "exponent_near", "exponent_far"):
        reason = f"radio.loss.{name} (the logs do not say where both boards were)"
        assert reason in parameters.provenance
        prior = load_parameters("clean").radio.loss
        assert getattr(parameters.radio.loss, name) == getattr(prior, name)
    assert (
        "histogram of 2,6" in parameters.provenance or "histogram of 2,7" in parameters.provenance
    )


@pytest.mark.parametrize("share", [0.002, 0.05])
def test_round_trips_that_took_very_long_leave_file_and_report(tmp_path, share):
    """Hiccups beyond 118 ms: what the others took is fitted all the same, and drawn."""
    rng = np.random.Generator(np.random.PCG64(3))
    spent = 5.2 + rng.integers(0, 32, (2, 4000)).sum(axis=0) * 0.02 + rng.exponential(1.5, 4000)
    rtt = np.where(rng.random(4000) < share, rng.uniform(118.0, 900.0, 4000), spent)
    log = write_pings(tmp_path / "a-rtt.csv", rtt.astype(int), np.zeros(4000, dtype=bool))
    out = tmp_path / "params.json"
    assert main(["calibrate", str(log), "--out", str(out)]) == 0
    assert "<h1>" in (page := out.with_suffix(".html").read_text(encoding="utf-8"))
    assert "could not be drawn" not in page
    assert load_parameters(out).radio.mac.wait_mean_ms < 2.5


def test_a_picture_that_fails_is_told_and_the_rest_is_written(tmp_path, monkeypatch, capsys):
    """The parameter file is there, the report has the other pictures, and both say which failed."""
    rng = np.random.Generator(np.random.PCG64(4))
    log = write_pings(tmp_path / "a-rtt.csv", rng.integers(5, 12, 3000), rng.random(3000) < 0.1)

    def broken(*_):
        raise IndexError("[no] bin")

    monkeypatch.setattr(pictures, "_latency", broken)
    out = tmp_path / "params.json"
    assert main(["calibrate", str(log), "--out", str(out)]) == 0
    assert load_parameters(out).radio.mac.enabled
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") == 4
    told = "The picture 'Latency' could not be drawn (IndexError: [no] bin)"
    assert told in " ".join(capsys.readouterr().out.split())
    assert "could not be drawn (IndexError" in page


def test_the_parameter_file_does_not_wait_for_the_report(tmp_path, monkeypatch):
    """A judgement that breaks down leaves what was fitted."""
    rng = np.random.Generator(np.random.PCG64(5))
    log = write_pings(tmp_path / "a-rtt.csv", rng.integers(5, 12, 3000), rng.random(3000) < 0.1)
    monkeypatch.setattr(logged_drive, "judge_links", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["calibrate", str(log), "--out", str(tmp_path / "params.json")])
    assert load_parameters(tmp_path / "params.json").radio.mac.enabled


def stands_and_drives(folder, noise_mps2):
    """The TX log of one board alone: it drives back and forth, then stands for a minute."""
    places = small_logs.to_and_fro(1200)
    table = small_logs.drive({"a": np.append(places, np.full(600, places[-1]))})["a-tx"]
    noise = np.random.Generator(np.random.PCG64(6)).normal(0.0, noise_mps2, 1800)
    table["accel_x"] = [f"{x:.4f}" for x in noise]
    return small_logs.write(folder / "a-tx.csv", table)


def test_the_log_of_one_board_alone_is_enough_for_its_sensors(tmp_path, capsys):
    """What stood still tells its noise; the radio is the prior's, and screen, page and file say so.

    There is nothing to judge, on these logs or on others.
    """
    log, out = stands_and_drives(tmp_path, 0.21), tmp_path / "params.json"
    assert main(["calibrate", str(log), "--out", str(out), "--prior", "bursty"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    parameters, prior = load_parameters(out), load_parameters("bursty")
    name = "sensors.accelerometer.white_sd_mps2"
    low, high = parameters.ranges(randomise=False)[name]
    assert low < 0.21 < high
    assert low < parameters.sensors.accelerometer.white_sd_mps2 < high
    for boards in ("mine", "at-large"):
        of_them = load_parameters(f"{out}:{boards}")
        assert of_them.radio == prior.radio
        assert of_them.ranges(randomise=False).keys() == {name}
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    for text in (said, page, parameters.provenance):
        assert "The radio is not calibrated, but bursty's" in html.unescape(text)
    assert "How well it fits" not in page
    assert f"next: roadsense train --radio {out}" in said
    other = tmp_path / "judged.json"
    assert main(["calibrate", str(log), "--out", str(other), "--held-out", *pings(tmp_path)]) == 2
    assert "--held-out: no losses are fitted" in " ".join(capsys.readouterr().err.split())
    assert not other.exists()


@pytest.mark.parametrize("name", ["params.json", "params.html", "coverage.md"])
def test_a_file_that_is_there_is_not_replaced_but_by_force(tmp_path, capsys, monkeypatch, name):
    """A parameter file may have been corrected by hand, and a study took long: it is said how."""
    monkeypatch.setattr(coverage, "coverage_study", lambda *_, **__: {})
    log = stands_and_drives(tmp_path, 0.21)
    (tmp_path / name).write_text("mine")
    command = ["calibrate", str(log), "--out", str(tmp_path / "params.json")]
    if name == "coverage.md":
        command = ["calibrate", "--coverage", str(tmp_path / name), "--coverage-drives", "1"]
    assert main(command) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{name} exists already. Name another file, or use --force to replace it" in said
    assert {file.name for file in tmp_path.iterdir()} == {log.name, name}
    assert (tmp_path / name).read_text() == "mine"
    assert main([*command, "--force"]) == 0
    assert (tmp_path / name).read_text() != "mine"


def pings(folder):
    """The RTT log of another drive."""
    rng = np.random.Generator(np.random.PCG64(2))
    (folder / "other").mkdir()
    log = folder / "other" / "a-rtt.csv"
    return [str(write_pings(log, rng.integers(5, 12, 3000), rng.random(3000) < 0.1))]


def test_a_board_alone_that_never_stood_tells_nothing(tmp_path, capsys):
    """An error that says what each sensor lacks and which logs hold a link; nothing is written."""
    log = small_logs.write(
        tmp_path / "a-tx.csv", small_logs.drive({"a": 0.8 * np.arange(1800.0)})["a-tx"]
    )
    assert main(["calibrate", str(log), "--out", str(tmp_path / "params.json")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "white_sd_mps2: no board stood for 20 s" in said
    assert "no board was parked for 20 minutes" in said
    assert "let the car stand" in said
    assert "an RX log and its senders' TX logs" in said
    assert sorted(tmp_path.iterdir()) == [log]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 4])
def test_round_trips_alone_tell_how_losses_grow_with_distance(tmp_path, seed):
    """Half an hour on the bursty radio: the interval of the exponent holds 0.8, as nine in ten do.

    File and screen say the same. Where the other board trails while frames are lost, it is 0.1.
    """
    synth = ["logs", "synth", "--out", str(tmp_path / "d"), "--preset", "bursty", "--no-artefacts"]
    assert main([*synth, "--seed", str(seed)]) == 0
    out = tmp_path / "params.json"
    assert main(["calibrate", str(tmp_path / "d" / "a-rtt.csv"), "--out", str(out)]) == 0
    parameters = load_parameters(out)
    low, high = parameters.domain_randomisation["radio.loss.exponent_near"]
    assert low < 0.8 < high
    value = parameters.radio.loss.exponent_near
    assert (
        f"radio.loss.exponent_near = {value:.4g} [{low:.4g}, {high:.4g}]" in parameters.provenance
    )


@pytest.fixture(scope="module")
def blacked_out(tmp_path_factory):
    """Logs of six minutes of two boards whose receivers lose frames in step with their clocks."""
    folder = tmp_path_factory.mktemp("blacked") / "out"
    synth = ["logs", "synth", "--out", str(folder), "--minutes", "6", "--preset", "blackout"]
    assert main([*synth, "--seed", "2"]) == 0
    return sorted(map(str, folder.glob("*.csv")))


@pytest.mark.slow
def test_a_calibrated_file_is_of_the_boards_that_logged_and_holds_others(
    blacked_out, tmp_path, capsys
):
    """Own boards have their own level and no spread; others differ as the prior's do.

    Of both everything that was fitted is drawn, whether or not training randomises; the share of
    receivers with blackouts is the one that was measured, and nobody draws the prior's.
    """
    out = tmp_path / "params.json"
    assert main(["calibrate", *blacked_out, "--out", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "boards mine, as the file says: The boards that logged" in said
    assert f"or: roadsense train --radio {out}:at-large" in said
    mine, others = load_parameters(out), load_parameters(f"{out}:at-large")
    assert mine.boards == "mine"
    level, spread, door, share = (
        f"radio.loss.{name}"
        for name in ("margin_20m_db", "antenna_sd_db", "door_share", "blackout.share")
    )
    own, large = mine.ranges(randomise=False), others.ranges(randomise=False)
    assert own.keys() - large.keys() - {level} == {spread, door, "radio.relay.forward_spread"}
    assert np.ptp(own[level]) < 0.6 * np.ptp(others.ranges()[level])
    assert own[spread] == own[door] == (0.0, 0.0)
    assert mine.radio.loss.antenna_sd_db == 0.0
    assert others.radio.loss.antenna_sd_db == 3.0
    assert "radio.loss.floor_loss" in own
    measured = mine.radio.loss.blackout.share
    assert measured in {0.5, 1.0}
    assert own[share] == (measured, measured)
    assert large[share][0] < measured <= large[share][1]
    assert others.ranges()[share] == others.domain_randomisation[share] == large[share]
    assert mine.ranges()[share] == (measured, measured)
    tried = drawn_always(mine, 50)[level]  # by `params show`
    assert own[level][0] <= tried.min() < tried.max() <= own[level][1]


@pytest.mark.slow
def test_whose_boards_a_file_is_of_can_be_said_beforehand(blacked_out, tmp_path):
    """With --boards at-large the file alone is the radio of others; it holds the same."""
    files = [tmp_path / "mine.json", tmp_path / "large.json"]
    assert main(["calibrate", *blacked_out, "--out", str(files[0])]) == 0
    large = ["--out", str(files[1]), "--boards", "at-large"]
    assert main(["calibrate", *blacked_out, *large]) == 0
    assert load_parameters(files[1]).boards == "at-large"
    for boards in ("mine", "at-large"):
        one, other = (load_parameters(f"{file}:{boards}") for file in files)
        assert one.radio == other.radio
        assert one.ranges() == other.ranges()
