"""Logs as people have them through `roadsense calibrate`: a file, or a reason why not."""

from __future__ import annotations

import numpy as np
import pytest

from ml.calibration.trials import logged_drive
from ml.cli import main
from ml.parameters import load_parameters
from ml.reports.calibration import pictures

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
