"""`roadsense ablate` on real SUMO, with trainings so short that they teach nothing."""

import pytest

from ml.cli import main

pytestmark = [pytest.mark.sumo, pytest.mark.slow]


def test_rows_are_trained_and_judged_beside_the_recipe(tmp_path, capsys):
    """A row that trains, one that drives the recipe's model otherwise; again, nothing is redone."""
    command = ["ablate", "--out", str(tmp_path), "--preset", "spec", "--steps", "1024"]
    command += ["--episodes", "5", "--radio", "clean"]
    command += ["--only", "radio off", "mean instead of max pooling"]
    assert main(command) == 0
    table = (tmp_path / "ablation.md").read_text(encoding="utf-8")
    for name in ("the recipe", "radio off", "mean instead of max pooling", "predictive:0.5"):
        assert f"| clean | {name} |" in table
    assert "no age of messages" not in table
    models = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.zip")}
    assert main(command) == 0
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.zip")} == models
    assert (tmp_path / "ablation.md").read_text(encoding="utf-8") == table
    capsys.readouterr()


def test_a_row_that_does_not_exist_is_told_with_those_that_do(tmp_path, capsys):
    """Before anything is trained or written."""
    assert main(["ablate", "--out", str(tmp_path / "out"), "--only", "no wheels"]) == 2
    assert "no age of messages" in capsys.readouterr().err
    assert main(["ablate", "--out", str(tmp_path / "out"), "--radio", "nope"]) == 2
    assert "nope" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_training_that_fails_is_told_with_its_last_line(tmp_path, capsys):
    """Here: fewer steps than there may be."""
    command = ["ablate", "--out", str(tmp_path), "--preset", "spec", "--steps", "0"]
    assert main([*command, "--only", "radio off"]) == 1
    assert "exit code 2" in capsys.readouterr().err
