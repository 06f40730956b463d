"""What `--help` shows of options, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from ml.commands.catalogue import COMMANDS, run
from ml.options import read_options

SUBCOMMANDS = {
    "cases": ("find", "drive"),
    "logs": ("synth", "map", "check"),
    "params": ("show", "diff", "fit-margin"),
    "scenario": ("check",),
}
LINES = [(name, one) for name in COMMANDS for one in SUBCOMMANDS.get(name, ("",))]


@dataclass(frozen=True)
class Options:
    """Do something."""

    out: Path | None = None
    """Where to write, in the first line
    (and in the second)."""
    radio: str | None = None
    """Radio; default: that of the model."""
    kind: Literal["a", "b"] | None = "a"
    """A or B."""
    names: tuple[str, ...] = ()
    """Names."""
    title: str = ""
    """Title."""
    sizes: list[int] = field(default_factory=lambda: [3])
    """Sizes."""


def read(*arguments):
    """Return the options of a command line."""
    return read_options(Options, "roadsense x", arguments)


def test_what_need_not_be_given(capsys: pytest.CaptureFixture[str], monkeypatch):
    """`PATH` and not `{None}|PATH`; a default is told once; lines of the source are no lines."""
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit, match="0"):
        read("--help")
    said = capsys.readouterr().out
    assert "--out PATH " in said
    assert "in the first line (and in the second). (default: none)" in said
    assert "default: that of the model. " in said
    assert "--kind {a,b} " in said
    assert "--names [STR ...]" in said
    assert said.count("(default: none)") == 3  # --out, --names and --title
    assert "Sizes. (default: 3)" in said
    assert "None" not in said


def test_how_it_is_read():
    """By its type; the word `none` is the value none, and a wrong one is refused with 2."""
    assert read() == Options()
    assert read("--out", "x", "--kind", "b", "--names", "p", "none") == Options(
        out=Path("x"), kind="b", names=("p", "none")
    )
    assert read("--kind", "none", "--radio", "None") == Options(kind=None)
    with pytest.raises(SystemExit, match="2"):
        read("--kind", "c")


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_no_help_speaks_python(line: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    """Of no command."""
    with pytest.raises(SystemExit, match="0"):
        run(line[0], [*filter(None, line[1:]), "--help"])
    said = capsys.readouterr().out
    assert "usage: roadsense" in said
    assert "None" not in said
    assert "(default: )" not in said
