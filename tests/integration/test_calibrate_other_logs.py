"""`roadsense calibrate` on logs in other formats and without positions, as a user runs it."""

from __future__ import annotations

import html

import numpy as np
import pytest

from ml.calibration.trials import logged_drive
from ml.cli import main
from ml.parameters import load_parameters
from tests.support import small_logs

ROWS = 2400
MAP = """
[[log]]
files = "*.txt"
kind = "RX"
delimiter = ";"
[log.columns]
timestamp_local_ms = "when"
from_vehicle_id = "who"
sequence = "number"
[log.units]
time = "s"
"""


def sniffer(folder):
    """Write what a sniffer heard of a sender on a tripod: a third of the frames is lost."""
    heard = np.flatnonzero(np.random.Generator(np.random.PCG64(9)).random(ROWS * 2) > 0.33)
    table = {
        "when": [f"{5.0 + 0.1 * k:.3f}" for k in heard],
        "who": ["fob"] * heard.size,
        "number": [str(k % 256) for k in heard],
    }
    (folder / "map.toml").write_text(MAP)
    return small_logs.write(folder / "sniffer.txt", table, delimiter=";")


@pytest.mark.slow
def test_a_counter_and_a_distance_are_enough_for_a_file(tmp_path):
    """The file holds what losses tell; slopes are refused, since the distance did not change."""
    log, out = sniffer(tmp_path), tmp_path / "params.json"
    options = ["--map", str(tmp_path / "map.toml"), "--distance-m", "20", "--out", str(out)]
    assert main(["calibrate", str(log), *options]) == 0
    told = load_parameters(out).provenance
    assert "the distance hardly changed (20 to 20 m)" in told
    assert "sniffer.txt" in told
    assert "the logs do not say where" not in told


@pytest.mark.slow
def test_logs_to_judge_on_stood_at_the_distance_too(tmp_path, monkeypatch):
    """`--distance-m` holds for `--held-out`, whose links are then judged at it, standing."""
    judged, judge_links = [], logged_drive.judge_links

    def watched(links, *how, **more):
        judged.extend(links)
        return judge_links(links, *how, **more)

    monkeypatch.setattr(logged_drive, "judge_links", watched)
    log, out = sniffer(tmp_path), tmp_path / "params.json"
    other = tmp_path / "other"
    other.mkdir()
    options = ["--map", str(tmp_path / "map.toml"), "--distance-m", "60", "--out", str(out)]
    assert main(["calibrate", str(log), *options, "--held-out", str(sniffer(other))]) == 0
    (link,) = judged
    assert np.unique(link.distance_m).tolist() == [60.0]
    assert not link.travel_m.any()


def test_round_trips_without_the_lost_pings_tell_latency_alone(tmp_path, capsys):
    """Neither a column lost nor gaps in the sequence: losses are the prior's, and all say so."""
    rng = np.random.Generator(np.random.PCG64(8))
    trips = np.floor(6.0 + rng.exponential(1.5, (2, 1500)).sum(axis=0))
    nothing = np.zeros(1500)
    table = small_logs.round_trips(nothing, nothing, np.zeros(1500, dtype=bool), trips)
    del table["lost"]
    path, out = small_logs.write(tmp_path / "a-rtt.csv", table), tmp_path / "params.json"
    assert main(["calibrate", str(path), "--out", str(out), "--prior", "bursty"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    parameters, prior = load_parameters(out), load_parameters("bursty")
    page = html.unescape(out.with_suffix(".html").read_text(encoding="utf-8"))
    for text in (said, page, parameters.provenance):
        assert "The radio's losses are not calibrated, but bursty's" in text
        assert "with lost = 1, or a sequence that counts them" in text
    low, high = parameters.ranges(randomise=False)["radio.mac.wait_mean_ms"]
    assert low < 1.5 < high
    assert parameters.radio.loss == prior.radio.loss
    assert parameters.sensors == prior.sensors
    assert "1,500 round trips, the fitted stack" in page
    short = {name: values[:499] for name, values in table.items()}
    small_logs.write(path, short)
    assert main(["calibrate", str(path), "--out", str(tmp_path / "short.json")]) == 2
    assert "0 frames can be judged" in capsys.readouterr().err
    assert not (tmp_path / "short.json").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--distance-m", "0"], "--distance-m must be above 0"),
        (["--map", "nowhere.toml"], "nowhere.toml: cannot be read"),
        ([], "its columns are separated by semicolons"),
    ],
)
def test_without_the_right_options_nothing_is_written(tmp_path, options, says, capsys):
    """Exit code 2, on one screen; of a format that is not ours the error names the way."""
    log, out = sniffer(tmp_path), tmp_path / "params.json"
    assert main(["calibrate", str(log), *options, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert says in said.replace("\n", " ")
    assert ("roadsense logs map FILE" in said) is (options != ["--distance-m", "0"])
    assert not out.exists()
    assert not out.with_suffix(".html").exists()
