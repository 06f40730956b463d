"""`roadsense ablate` on real SUMO, with training runs so short that they teach nothing."""

import pytest

from ml.cli import main
from ml.commands import ablate

pytestmark = [pytest.mark.sumo, pytest.mark.slow]


def test_rows_are_trained_and_judged_beside_the_recipe(tmp_path, capsys):
    """A row that trains, one that drives the recipe's model otherwise; again, nothing is redone."""
    command = ["ablate", "--out", str(tmp_path), "--preset", "spec", "--steps", "1024"]
    command += ["--episodes", "5", "--radio", "clean", "--workers", "1"]
    command += ["--only", "radio off", "mean instead of max pooling"]
    assert main(command) == 0
    table = (tmp_path / "ablation.md").read_text(encoding="utf-8")
    for name in ("the recipe", "radio off", "mean instead of max pooling", "predictive 0.5 s"):
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


def test_steps_that_no_training_takes_are_told_before_anything_is_written(tmp_path, capsys):
    """A row is not begun for them."""
    assert main(["ablate", "--out", str(tmp_path / "out"), "--steps", "0"]) == 2
    assert "total_timesteps" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_training_run_that_fails_is_told_with_its_last_line(tmp_path, capsys, monkeypatch):
    """Here: a preset that does not exist."""
    monkeypatch.setattr(ablate, "_training_options", lambda *_: ["--preset", "nope"])
    monkeypatch.setattr(ablate, "_training_s", lambda _: 1.0)
    command = ["ablate", "--out", str(tmp_path / "out"), "--only", "radio off"]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "exit code 2" in said
    assert "nope" in said
