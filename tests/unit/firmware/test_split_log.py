"""What a terminal saved of a board's serial port becomes logs, or an error that shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ml.calibration.logs.reader import read_log
from tests.support import small_logs

SCRIPT = Path(__file__).parents[3] / "firmware" / "logger" / "split_log.py"


def serial_lines(rows=60):
    """What a board writes: a banner, headers, and TX and RX lines in turn."""
    tables = small_logs.drive({"a": small_logs.to_and_fro(rows), "b": small_logs.to_and_fro(rows)})
    lines = ["rst:0x1 (POWERON_RESET)"]
    for kind in ("TX", "RX"):
        table = tables[f"a-{kind.lower()}"]
        lines += [f"{kind},{','.join(table)}"]
        lines += [f"{kind},{','.join(row)}" for row in zip(*table.values(), strict=True)]
    return lines


def split(folder, data):
    """Run the script on bytes."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), "a"], input=data, cwd=folder, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    "saved",
    [
        lambda lines: "\n".join(lines).encode(),
        lambda lines: "\r\n".join(lines).encode("utf-16"),
        lambda lines: "\r\n".join(lines).encode("utf-16-le"),
        lambda lines: ("\ufeff" + "\n".join(lines)).encode(),
        lambda lines: "\n".join(f"12:00:01.123 -> {line}" for line in lines).encode(),
        lambda lines: "\n".join(f"\x1b[0;32mI (812) log: {line}\x1b[0m" for line in lines).encode(),
        lambda lines: "\n".join([lines[1][:40], *lines]).encode(),
    ],
    ids=["plain", "UTF-16", "UTF-16 without mark", "BOM", "times", "colours", "torn header first"],
)
def test_whatever_a_terminal_makes_of_it_the_logs_are_the_same(tmp_path, saved):
    """Sixty rows each, which the reader takes."""
    ran = split(tmp_path, saved(serial_lines()))
    assert ran.returncode == 0, ran.stderr
    for name in ("a-tx.csv", "a-rx.csv"):
        assert read_log(tmp_path / name).rows == 60
    assert not (tmp_path / "a-rtt.csv").exists()


def test_a_torn_line_is_left_out_and_counted(tmp_path):
    """A row without its end."""
    lines = serial_lines()
    lines[5] = lines[5][:30]
    ran = split(tmp_path, "\n".join(lines).encode())
    assert b"1 torn lines left out" in ran.stdout
    assert read_log(tmp_path / "a-tx.csv").rows == 59


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("hello\nworld\n".encode("utf-16"), "'hello'"),
        (b"", "nothing at all"),
        (b"\n".join(b"TX,%d,a" % k for k in range(9)), "no whole header"),
    ],
    ids=["other text", "empty", "rows without a header"],
)
def test_where_nothing_is_found_the_script_fails_and_shows_the_lines(tmp_path, data, says):
    """Exit code 1, what lines look like, and no file."""
    ran = split(tmp_path, data)
    assert ran.returncode == 1
    assert says in ran.stderr.decode()
    assert list(tmp_path.iterdir()) == []
