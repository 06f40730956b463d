"""Logs are read as they are, and refused with file, line and column where they are not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.calibration.logs.reader import read_log
from ml.calibration.logs.schema import SCHEMAS, LogKind
from ml.calibration.synthetic.logs import RTT_HEADER, RX_HEADER, TX_HEADER
from ml.errors import LogError

ROW = "{t},{t},a,32.8,35.0,10.0,90.0,0.1,0.0,9.8,0,02:00:00:00:00:01"
FIRMWARE = Path(__file__).parents[3] / "firmware" / "logger" / "logger.ino"


def tx_text(rows=5, start=1000):
    """A TX log of some rows."""
    return "\n".join([TX_HEADER, *(ROW.format(t=start + 100 * k) for k in range(rows))]) + "\n"


def refused(path, content):
    """Write a log, expect it to be refused, and return the message."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LogError) as caught:
        read_log(path)
    text = str(caught.value)
    assert len(text.splitlines()) <= 20
    assert len(text) < 1500
    return text


def test_numbers_and_names_come_out_as_they_stand(tmp_path):
    """Every column of the schema is there, with its value; an unknown one is ignored."""
    path = tmp_path / "a-tx.csv"
    lines = tx_text(3).splitlines()
    path.write_text("\n".join([lines[0] + ",humour", *(line + ",7" for line in lines[1:])]) + "\n")
    log = read_log(path)
    assert log.kind is LogKind.TX
    assert "humour" not in log.columns
    np.testing.assert_array_equal(log.time_ms, [1000.0, 1100.0, 1200.0])
    assert log.names["vehicle_id"].tolist() == ["a", "a", "a"]
    np.testing.assert_array_equal(log.lines, [2, 3, 4])


def test_an_empty_field_is_unknown_where_it_may_be(tmp_path):
    """A ping that was lost has no reception; its time is NaN, not 0."""
    path = tmp_path / "a-rtt.csv"
    path.write_text(f"{RTT_HEADER}\n0,1000,,,32.8,35.0,1.0,0.0,0.0,,,1\n")
    log = read_log(path)
    assert np.isnan(log.columns["rtt_ms"][0])
    assert log.columns["lost"][0] == 1.0


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (lambda rows: [*rows[:3], rows[3].replace("10.0", "fast")], 4, "column speed"),
        (lambda rows: [*rows[:3], rows[3].replace("32.8", "nan")], 4, "column lat"),
        (lambda rows: [*rows[:3], rows[3].replace("9.8", "inf")], 4, "column accel_z"),
        (lambda rows: [*rows[:3], rows[3].replace("32.8", "328.0")], 4, "-90 to 90"),
        (lambda rows: [*rows[:3], rows[3].replace("9.8", "")], 4, "column accel_z"),
        (lambda rows: [*rows, rows[2]], 7, "time runs back"),
        (lambda rows: [*rows[:4], rows[4][:20]], 5, "fields"),
        (lambda rows: [*rows[:2], *([rows[2]] * 1200)], 1003, "the same row"),
        (lambda rows: [row.replace(",", ";") for row in rows], 1, "semicolons"),
        (lambda rows: [row.replace(",", "\t") for row in rows], 1, "tabs"),
        (lambda rows: [rows[0].replace("heading", "headings"), *rows[1:]], 1, "'headings'"),
        (lambda rows: [rows[0].replace("lat", "lon"), *rows[1:]], 1, "twice"),
        (lambda rows: rows[:1], 1, "empty"),
        (lambda rows: [*rows[:0], "hello,world"], 1, "neither"),
        (lambda rows: [*rows[:3], "1" * 40_000], 4, "longer than"),
        (lambda rows: ['"' + row.replace(",", '","') + '"' for row in rows], 1, "quotation marks"),
        (lambda rows: [*rows[:2], rows[2].replace("10.0", ""), rows[1], "x"], 4, "time runs back"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, change, line, says):
    """One screen, the file, the line, and what is wrong there."""
    path = tmp_path / "a-tx.csv"
    text = refused(path, "\n".join(change(tx_text().splitlines())) + "\n")
    assert f"{path}, line {line}" in text
    assert says in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "line 1: empty"),
        (tx_text().encode("utf-16"), "UTF-16"),
        (tx_text().replace(",a,", ",\xe9,").encode("latin-1"), "line 2, character 11"),
        (tx_text().encode() + b"\0" * 512, "line 7"),
        (tx_text().encode()[:-20], "The file ends here; it is cut off"),
    ],
)
def test_bytes_that_are_no_text_are_named(tmp_path, content, says):
    """Empty, in another encoding, with a lost block, or cut off."""
    assert says in refused(tmp_path / "a-tx.csv", content)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, 10_000), junk=st.binary(min_size=1, max_size=12), cut=st.booleans())
def test_no_damage_leads_to_anything_but_a_log_or_an_error_of_one_screen(
    tmp_path, place, junk, cut
):
    """Bytes put anywhere into a log, or the rest cut off, never bring another exception."""
    content = tx_text(20).encode()
    at = place % len(content)
    path = tmp_path / "a-tx.csv"
    path.write_bytes(content[:at] + junk + (b"" if cut else content[at:]))
    said = f"{path}"
    try:
        read_log(path)
    except LogError as error:
        said = str(error)
    assert str(path) in said
    assert len(said) < 1500


@pytest.mark.parametrize(
    ("name", "says"), [("a-rx.csv", "RX log"), ("rtt_2.csv", "RTT log"), ("matrx-tx.csv", "")]
)
def test_a_log_that_passes_for_another_is_refused(tmp_path, name, says):
    """A TX log that is called RX or RTT; a name that says TX, or nothing, is as good as any."""
    path = tmp_path / name
    if says:
        text = refused(path, tx_text())
        assert f"{path}, line 1" in text
        assert says in text
    else:
        path.write_text(tx_text())
        assert read_log(path).rows == 5


def test_rows_are_read_alike_in_pieces_of_any_size(tmp_path, monkeypatch):
    """Time that runs back from one piece to the next is seen, and nothing else changes."""
    path = tmp_path / "a.csv"
    path.write_text(tx_text(50))
    whole = read_log(path)
    monkeypatch.setattr("ml.calibration.logs.reader._TOGETHER", 7)
    pieces = read_log(path)
    for name, values in whole.columns.items():
        np.testing.assert_array_equal(pieces.columns[name], values)
    np.testing.assert_array_equal(pieces.lines, whole.lines)
    rows = tx_text(50).splitlines()
    rows[8] = rows[4]  # the first row of the second piece
    assert "line 9, column timestamp_local_ms: time runs back" in refused(path, "\n".join(rows))


def test_a_line_without_end_is_refused_without_being_held(tmp_path):
    """A line of 64 MB is refused after its first 16 KB."""
    path = tmp_path / "a-tx.csv"
    with path.open("wb") as file:
        file.write(TX_HEADER.encode() + b"\n")
        file.seek(64 * 2**20)
        file.write(b"\n")
    with pytest.raises(LogError, match="line 2: longer than"):
        read_log(path)


def test_the_firmware_writes_the_headers_that_are_read():
    """Each header of the sketch holds all columns that its kind must have, and no unknown."""
    source = FIRMWARE.read_text(encoding="utf-8")
    for kind in LogKind:
        found = re.search(rf'{kind}_HEADER\[\] =\s*"([^"]+)"', source)
        assert found, kind
        names = found.group(1).split(",")
        required = {c.name for c in SCHEMAS[kind] if c.required}
        known = {c.name for c in SCHEMAS[kind]}
        assert required <= set(names)
        assert set(names) <= known


def test_the_firmware_writes_as_many_fields_as_its_headers_have():
    """A row's format has one field per column; `state` stands for seven."""
    source = FIRMWARE.read_text(encoding="utf-8")
    formats = [f.replace("%s,%s,0", "%s,S,0") for f in re.findall(r'"(%[^"\n]*,[^"\n]*)"', source)]
    widths = sorted(f.count(",") + 1 for f in formats if f.count(",") > 7)
    headers = [re.search(rf'{k}_HEADER\[\] =\s*"([^"]+)"', source).group(1) for k in LogKind]
    rtt, tx, rx = (header.count(",") + 1 for header in headers)
    assert widths == sorted([rtt, rtt, tx - 6, rx - 6])


def test_the_made_up_headers_are_those_of_the_boards():
    """What `logs synth` writes has every required column."""
    for kind, header in zip(LogKind, (RTT_HEADER, TX_HEADER, RX_HEADER), strict=True):
        required = {c.name for c in SCHEMAS[kind] if c.required}
        assert required <= set(header.split(","))
