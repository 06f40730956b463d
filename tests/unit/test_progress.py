"""How far a long command is: beforehand, after the first part, and while a part takes long."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from ml import progress
from ml.progress import Parts, duration


def test_without_a_terminal_lines_go_to_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """At the start with the usual time, and after the first part with what is left."""
    now_s = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s)
    said = io.StringIO()
    with Parts(
        Console(file=said), "evaluating", total=12, done=2, unit="cells", work=1000.0, usual_s=720.0
    ) as parts:
        assert (
            capsys.readouterr().err
            == "evaluating: 12 cells, 2 of them done already; about 12 min on two cores\n"
        )
        now_s = 160.0
        parts.say("IDM on clean")
        parts.advance(work=100.0)
        parts.advance(work=100.0)
        line = ""
        while not line:
            time.sleep(0.01)
            line = capsys.readouterr().err
        assert line == "evaluating: 4 of 12 cells after 60 s, about 4 min left (IDM on clean)\n"
        parts.advance(8, work=800.0)
    assert capsys.readouterr().err == ""
    assert said.getvalue() == ""


def test_a_part_that_takes_long_is_told_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Lines come although nothing was finished; a share is told where no parts are known."""
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.005)
    monkeypatch.setattr(progress, "_TOGETHER_S", 0.005)
    lines: list[str] = []
    with Parts(Console(file=io.StringIO()), "training", total=3, unit="recipes") as parts:
        parts.begin("no warm start")
        while "training: 0 of 3 recipes after 0 s (no warm start)" not in lines:
            time.sleep(0.005)
            lines += capsys.readouterr().err.splitlines()
        parts.begin("the next")
    with Parts(Console(file=io.StringIO()), "reading") as parts:
        parts.at("driving", 0.25)
        while "driving: 25% after 0 s" not in lines:
            time.sleep(0.005)
            lines += capsys.readouterr().err.splitlines()
    capsys.readouterr()
    time.sleep(0.02)
    assert capsys.readouterr().err == ""  # nothing is told after the end


def test_on_a_terminal_there_is_a_bar(capsys: pytest.CaptureFixture[str]):
    """With the number of parts, on the console; standard error stays empty."""
    said = io.StringIO()
    console = Console(file=said, force_terminal=True, width=100)
    with Parts(console, "judging", total=2, unit="radios") as parts:
        parts.begin("clean")
        parts.begin("bursty")
    assert "judging: 2 radios" in said.getvalue()
    assert "1/2" in said.getvalue()
    assert capsys.readouterr().err == ""


def test_an_error_passes_and_ends_it(capsys: pytest.CaptureFixture[str]):
    """A failing part is the command's to tell."""
    with (
        pytest.raises(ValueError, match="lost"),
        Parts(Console(file=io.StringIO()), "x", total=1),
    ):
        raise ValueError("lost")
    assert capsys.readouterr().err == "x: 1 parts\n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5.0, "less than a minute"), (90.0, "about 2 min"), (9000.0, "about 2.5 h")],
)
def test_a_duration_is_said_roughly(seconds: float, said: str):
    """No more digits than are known."""
    assert duration(seconds) == said
