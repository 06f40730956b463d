"""What takes how long: one table in the code, shown by the commands and on the site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ml.cli import main
from ml.commands.catalogue import AROUND, COMMANDS, command_lines

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_doctor_lists_every_command_line(capsys: pytest.CaptureFixture[str]):
    """`roadsense doctor --commands` prints a table with a row for each."""
    assert main(["doctor", "--commands"]) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 2 + len(AROUND) + len(COMMANDS)


@pytest.mark.parametrize("shown", [lambda: main(["--help"]), lambda: main(["doctor"])])
def test_a_newcomer_is_told_beforehand_how_long_it_takes(
    shown: Callable[[], int], capsys: pytest.CaptureFixture[str]
):
    """The list of commands and the doctor name every command, and say about how long it takes."""
    assert shown() == 0
    # A narrow console folds a cell over lines: each word is there, between the table's borders.
    said = set(capsys.readouterr().out.replace("(", " ").replace(")", " ").split())
    for name, command in COMMANDS.items():
        assert name in said
        assert set(command.lasts.split()) <= said


def test_every_command_line_says_how_long():
    """None is without a time or a word on what it does."""
    for line, what, lasts in command_lines():
        assert line.split()[0] in {"roadsense", "make", "docker"}
        assert what
        assert any(c.isdigit() for c in lasts) or lasts.startswith(("seconds", "hours")), line
