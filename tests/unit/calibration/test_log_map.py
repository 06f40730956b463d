"""Logs in other formats are read with a map, and a map is proposed for them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from ml.calibration.logs.link import LOST
from ml.calibration.logs.links import read_drive
from ml.calibration.logs.log_map import read_log_map
from ml.calibration.logs.proposal import propose
from ml.calibration.logs.reader import read_log
from ml.calibration.logs.reading import read_logs
from ml.cli import main
from ml.errors import LogError
from tests.support import small_logs

PAGE = (Path(__file__).parents[3] / "docs" / "logs.md").read_text("utf-8")
SAMPLES = dict(
    zip(
        re.findall(r"`(\w+\.csv)`:\n", PAGE),
        zip(
            re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL),
            re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL),
            strict=True,
        ),
        strict=True,
    )
)


@pytest.fixture(params=sorted(SAMPLES))
def sample(request, tmp_path):
    """A log and its map as docs/logs.md shows them."""
    rows, toml = SAMPLES[request.param]
    (tmp_path / request.param).write_text(rows)
    (tmp_path / "map.toml").write_text(toml)
    return tmp_path / request.param, tmp_path / "map.toml"


def mapped(path, text):
    """Read a log with a map."""
    (path.parent / "map.toml").write_text(text)
    log_map = read_log_map(path.parent / "map.toml")
    return read_log(path, form=log_map.format_of(path))


def test_the_page_shows_three_formats():
    """A tracker, a sniffer and round trips."""
    assert sorted(SAMPLES) == ["rtt5g.csv", "sniffer.csv", "tracker.csv"]


def test_what_the_page_shows_is_what_is_proposed(sample, capsys):
    """But for the constants, which nobody can guess."""
    log, log_map = sample
    shown = tomllib.loads(log_map.read_text())["log"][0]
    assert main(["logs", "map", str(log)]) == 0
    proposed = tomllib.loads(capsys.readouterr().out)["log"][0]
    for one in (shown, proposed):
        one.pop("constants", None)
    assert proposed == shown


def test_the_pages_samples_are_read_with_their_maps(sample):
    """Times in ms, places where they are, speeds in m/s; the numbers on the page."""
    log, log_map = sample
    read = read_log(log, form=read_log_map(log_map).format_of(log))
    column = read.columns
    if log.stem == "tracker":
        assert np.diff(read.time_ms) == pytest.approx([2001.0, 3998.0, 2003.0])
        assert column["sequence"].tolist() == [41.0, 42.0, 44.0, 45.0]
        assert column["lon"][1] == 11.50027
        assert column["receiver_lon"].tolist() == [11.499] * 4
        assert read.names["from_vehicle_id"].tolist() == ["tracker"] * 4
        assert column["rssi_dbm"].tolist() == [-97.0, -99.0, -104.0, -101.0]
    elif log.stem == "sniffer":
        assert read.time_ms == pytest.approx([0.0, 101.0, 199.0, 401.0, 500.0])
        assert set(read.names["from_vehicle_id"]) == {"c0:ff:ee:00:00:01"}
    else:
        assert column["rtt_ms"] == pytest.approx([21.0, 19.0, 34.0, 22.0])
        assert column["speed"] == pytest.approx(14.0)
        (trips,) = read_drive([read]).round_trips
        assert trips.outcome.tolist().index(LOST) == 2
        assert trips.outcome.size == 5
        east_m = np.diff(column["lon"]) * 111_319.49
        assert east_m == pytest.approx([1.4, 2.8, 1.4], abs=1e-3)


def foreign(folder, speed_factor=3.6):
    """Write a TX log of a car at 10 to 20 m/s in somebody else's words and km/h, 120 s long."""
    place = np.cumsum(1.5 + 0.5 * np.sin(np.arange(1200) / 80.0))
    ours = small_logs.drive({"car": place})["car-tx"]
    return small_logs.write(
        folder / "car.txt",
        {
            "Seconds": [
                f"{float(t) / 1000.0:.3f}".replace(".", ",") for t in ours["msg_timestamp"]
            ],
            "Breite": [v.replace(".", ",") for v in ours["lat"]],
            "Länge": [v.replace(".", ",") for v in ours["lon"]],
            "v": [f"{float(v) * speed_factor:.2f}".replace(".", ",") for v in ours["speed"]],
            "ax": ["0,1"] * 1200,
            "ay": ["-2,5"] * 1200,
            "az": ["9,81"] * 1200,
        },
        delimiter=";",
    )


FOREIGN = """
[[log]]
kind = "TX"
delimiter = ";"
decimal-comma = true
forward-axis = "-y"
[log.columns]
timestamp_local_ms = "Seconds"
msg_timestamp = "Seconds"
lat = "Breite"
lon = "Länge"
speed = "v"
accel_x = "ax"
accel_y = "ay"
accel_z = "az"
[log.constants]
vehicle_id = "car"
[log.units]
time = "s"
speed = "km/h"
"""


def test_a_tx_log_in_other_words_is_read_with_its_forward_axis(tmp_path):
    """Semicolons, decimal commas, seconds, km/h, a constant name, and forward along -y."""
    log = mapped(foreign(tmp_path), FOREIGN)
    drive = read_drive([log])
    assert [board.name for board in drive.boards] == ["car"]
    assert log.columns["accel_x"].tolist() == [2.5] * 1200
    assert log.columns["accel_y"].tolist() == [0.1] * 1200
    assert 9.9 < log.columns["speed"].min() < log.columns["speed"].max() < 20.1
    assert np.diff(log.time_ms) == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('speed = "km/h"', 'speed = "m/s"'), ["car.txt, line 6", "column v:", '`speed = "km/h"`']),
        (('time = "s"', 'time = "ms"'), ["car.txt, line 3, column Seconds", "would fit as s"]),
        (('speed = "km/h"', 'speed = "kmh"'), ["map.toml, line 20", "allowed is m/s, km/h"]),
        (("lon = ", "lng = "), ["map.toml, line 11", "no column of TX logs. Did you mean 'lon'"]),
        (("forward-axis", "forward_axes"), ["map.toml, line 6", "unknown key"]),
        (('"Breite"', '"Höhe"'), ["car.txt, line 1", "'Höhe', which stands nowhere in"]),
        (('delimiter = ";"', 'delimiter = ","'), ["map.toml, line 5", "decimal-comma"]),
        (("[[log]]", "[[logs]]"), ["map.toml", "[[log]] for each format"]),
        (('kind = "TX"', "kind = "), ["map.toml", "no TOML", "line 3"]),
    ],
    ids=["speed", "time", "no unit", "no column", "no key", "no such", "comma", "table", "TOML"],
)
def test_a_wrong_map_is_refused_with_the_place_and_the_remedy(tmp_path, change, says):
    """File, line, value, and what would fit; the right one is read."""
    path = foreign(tmp_path)
    assert change[0] in FOREIGN
    with pytest.raises(LogError) as caught:
        read_drive([mapped(path, FOREIGN.replace(*change))])
    for part in says:
        assert part in str(caught.value)


def test_300_metres_a_second_are_refused_with_line_value_and_remedy(tmp_path):
    """A map that takes km/h for m/s, on a road where that is beyond what a car can do."""
    path = foreign(tmp_path, speed_factor=20.0)
    text = path.read_text().replace('"v"', "v")
    path.write_text(text)
    with pytest.raises(LogError) as caught:
        mapped(path, FOREIGN.replace('speed = "km/h"', 'speed = "m/s"'))
    said = str(caught.value)
    assert re.search(
        r"car\.txt, line \d+, column 'v': '\d+,\d+' in m/s makes speed = [23]\d\d", said
    )
    assert 'It would fit as km/h. Write `speed = "km/h"`' in said


def test_a_proposal_finds_a_unit_that_no_name_tells(tmp_path):
    """A column `speed` in km/h, found by the way between fixes; written, it reads the file.

    A map that is there, perhaps with corrections, is replaced by force alone.
    """
    place = np.cumsum(1.5 + 0.5 * np.sin(np.arange(1200) / 80.0))
    table = small_logs.drive({"a": place})["a-tx"]
    table["speed"] = [f"{float(v) * 3.6:.2f}" for v in table["speed"]]
    path = small_logs.write(tmp_path / "a-tx.csv", table)
    proposal = propose(path)
    assert proposal.form.units == {"speed": "km/h"}
    assert proposal.trouble == ""
    out = tmp_path / "map.toml"
    command = ["logs", "map", str(path), "--out", str(out)]
    assert main(command) == 0
    out.write_text(out.read_text() + "# corrected\n")
    assert main(command) == 2
    assert out.read_text().endswith("# corrected\n")
    assert main([*command, "--force"]) == 0
    assert "# corrected" not in out.read_text()
    _, (drive,) = read_logs([path], log_map=read_log_map(out))
    assert drive.ways["a"].speed_mps.max() == pytest.approx(20.0, abs=0.1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("hello\nworld\n", "not parted into columns"),
        ("a;b;c\n", "no row of 3"),
    ],
)
def test_what_is_no_table_gets_no_proposal(tmp_path, text, says, capsys):
    """Exit code 2, the file, and why."""
    path = tmp_path / "x.txt"
    path.write_text(text)
    assert main(["logs", "map", str(path)]) == 2
    said = capsys.readouterr().err
    assert str(path) in said.replace("\n", "")
    assert says in said
