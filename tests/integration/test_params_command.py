"""`roadsense params` as a user types it."""

from __future__ import annotations

import json
import struct

import pytest

from ml.cli import main
from ml.parameters import load_parameters
from ml.reports.parameters.tables import basis_of, list_values, unit_of

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def _wide(monkeypatch, tmp_path):
    """A terminal wide enough for the tables, in a folder of its own."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)


def test_show_prints_every_value_with_unit_range_and_basis(capsys):
    """`params show clean --no-trial` is the tables alone, quickly, and writes no file."""
    assert main(["params", "show", "clean", "--no-trial"]) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "margin_20m_db" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "margin_20m_db", "14", "dB", "3 … 18", "-60 … 80", "recordings",
    ]  # fmt: skip
    for entry in list_values(load_parameters("clean")):
        assert entry.name.rsplit(".", 1)[1] in printed


@pytest.mark.slow
def test_show_draws_a_picture_and_tells_what_the_radio_does(capsys, tmp_path):
    """Figures of the reference drive beside the recorded ones, and a PNG where one is asked for."""
    assert main(["params", "show", "independent", "--picture", "params-independent.png"]) == 0
    printed = capsys.readouterr().out
    assert "share of time older than 0.5 s" in printed
    picture = (tmp_path / "params-independent.png").read_bytes()
    assert picture.startswith(PNG)
    width, height = struct.unpack(">II", picture[16:24])
    assert width > 800
    assert height > 500


def test_diff_prints_only_what_differs(capsys):
    """`params diff clean blackout` is one line: which receivers have blackouts."""
    assert main(["params", "diff", "clean", "blackout"]) == 0
    printed = capsys.readouterr().out
    assert "radio.loss.blackout.share" in printed
    assert "margin_20m_db" not in printed
    assert main(["params", "diff", "clean", "clean"]) == 0
    assert "same values" in capsys.readouterr().out


def test_diff_takes_files_and_other_loss_models(capsys, tmp_path):
    """A file that changes one number differs in it; what only one side has is a dash."""
    mine = load_parameters("clean").model_dump(mode="json")
    mine["radio"]["loss"]["shadowing_sd_db"] = 6.5
    (tmp_path / "mine.json").write_text(json.dumps(mine), encoding="utf-8")
    assert main(["params", "diff", "clean", "mine.json"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "radio." in line]
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].split("│")[1:-1]]
    assert cells == ["radio.loss.shadowing_sd_db", "5.2", "6.5", "dB", "3 … 8", "3 … 8"]
    assert main(["params", "diff", "clean", "gilbert-elliott"]) == 0
    printed = capsys.readouterr().out
    assert "radio.loss.by_distance[0].probability" in printed
    assert "–" in printed


def test_fit_margin_states_values_and_residuals(capsys):
    """The fit of the preset clean, with what it leaves unexplained per bin, and what is held."""
    assert main(["params", "fit-margin"]) == 0
    printed = capsys.readouterr().out
    assert "at its bound" in printed
    assert "80–120 m, 1 car" in printed
    assert "root mean square of the residuals: 0.04" in printed


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["show"], "Name a preset (ideal, clean, "),
        (["show", "burst"], "Did you mean 'bursty'"),
        (["show", "my.txt"], "parameter file my.txt: its name ends in .txt, allowed is .json"),
        (["show", "nothing.json"], "nothing.json: cannot be read"),
        (["show", "clean", "--picture", "nowhere/a.png"], "there is no folder nowhere"),
        (["show", "clean", "--picture", "a.jpg"], "--picture must end in .png"),
        (["show", "--docs", "nowhere"], "there is no such folder"),
        (["diff", "clean", "blackouts"], "Did you mean 'blackout'"),
        (["fit-margin", "independent"], "only 'margin' can be fitted"),
    ],
)
def test_a_users_mistake_exits_with_2_and_a_remedy(arguments, complaint, capsys):
    """One message that says what and where, and no traceback."""
    assert main(["params", *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_units_and_bases_are_read_from_names_and_descriptions():
    """A suffix is a unit where it is one; tags are words."""
    assert unit_of("margin_20m_db") == "dB"
    assert unit_of("fading_m") == ""
    assert unit_of("share") == ""
    assert unit_of("white_sd_mps2") == "m/s²"
    assert basis_of("Measured [R], TR 37.885 [F].") == "recordings, published"
    assert basis_of("Per axis. Judgement.") == "judgement"
    assert basis_of("How many.") == ""
