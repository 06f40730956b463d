"""A result's files say what was written into them, or say what is wrong."""

import json
import re
from dataclasses import fields, replace

import pytest

from ml.errors import EvaluationError
from ml.evaluation.rerun import _require_same
from ml.evaluation.result import (
    COLUMNS,
    LATER_COLUMNS,
    EpisodeRow,
    Manifest,
    cell_file,
    read_cell,
    read_manifest,
    slug,
    write_cell,
    write_manifest,
)


def row(**changes):
    """An episode in which every number is 1 and every word is its column's name."""
    usual = {"float": 1.0, "int": 1, "bool": True, "str": "word", "CrashClass": ""}
    values = {f.name: usual[f.type] for f in fields(EpisodeRow) if f.name != "labels"}
    return EpisodeRow(**{**values, **changes})


def manifest(**changes):
    """A manifest without cells."""
    values = {
        "version": "1",
        "git_commit": None,
        "packages": {"numpy": "2"},
        "command": "roadsense evaluate",
        "created_utc": "2026-01-01T00:00:00+00:00",
        "seeds": (1,),
        "suites": {"ncap": {"cases": 30}},
        "radios": (),
        "controllers": (),
        "radio_position": "reference",
        "cells": (),
    }
    return Manifest(**{**values, **changes})


def test_a_row_survives_its_file(tmp_path):
    """What is written is read again, labels and what is not a number included."""
    rows = [row(labels={"speed_kmh": 50, "what": "CCRb"}), row(case=2, min_ttc_s=float("nan"))]
    file = tmp_path / cell_file("ncap", "clean", "cth-1.1")
    write_cell(file, rows)
    again = read_cell(file)
    assert again[0] == rows[0]
    assert again[1].min_ttc_s != again[1].min_ttc_s
    assert again[1].flat() == rows[1].flat()


def test_a_line_is_json_that_every_reader_knows(tmp_path):
    """NaN is no JSON: what is not defined is null, and columns come in one order."""
    file = tmp_path / "cell.jsonl"
    write_cell(file, [row(headway_s=float("nan"), labels={"gap_m": 12.0})])
    line = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert list(line) == [*COLUMNS, "label_gap_m"]
    assert line["headway_s"] is None


def test_a_damaged_cell_is_named_with_a_remedy(tmp_path):
    """A line that is cut or lacks a column is not taken for an episode."""
    file = tmp_path / "cell.jsonl"
    write_cell(file, [row()])
    text = file.read_text()
    for damaged in (text[:-20], text.replace('"min_gap_m"', '"gap"')):
        file.write_text(damaged)
        with pytest.raises(EvaluationError, match=r"cell\.jsonl is not a cell.*Delete it"):
            read_cell(file)
    with pytest.raises(EvaluationError, match="same --out again"):
        read_cell(tmp_path / "missing.jsonl")


def test_a_manifest_survives_and_its_key_ignores_when_and_how_it_was_typed(tmp_path):
    """Time and command do not decide figures; seeds and packages do."""
    write_manifest(tmp_path, manifest())
    assert read_manifest(tmp_path) == manifest()
    assert manifest(command="x", created_utc="y").key() == manifest().key()
    assert manifest(seeds=(2,)).key() != manifest().key()
    assert manifest(packages={"numpy": "3"}).key() != manifest().key()


def test_a_folder_that_is_no_result_is_named(tmp_path):
    """The message tells which folder and what it should be."""
    with pytest.raises(EvaluationError, match=r"holds no result.*--out"):
        read_manifest(tmp_path)
    (tmp_path / "result.json").write_text('{"schema_version": 2}')
    with pytest.raises(EvaluationError, match="schema_version"):
        read_manifest(tmp_path)


def test_any_name_makes_a_file_name():
    """Controllers carry their parameters in their names."""
    assert slug("CTH 1.1 s") == "cth-1.1-s"
    assert slug("runs/a b/best.zip") == "runs-a-b-best.zip"
    assert cell_file("convoy:300", "gps-hold", "p") == "cells/convoy-300__gps-hold__p.jsonl"
    mine = cell_file("convoy", "/x/my.json", "p")
    assert re.fullmatch(r"cells/convoy__x-my\.json-[0-9a-f]{8}__p\.jsonl", mine)
    assert mine != cell_file("convoy", "x/my.json", "p")


def test_a_cell_of_before_a_column_was_added_stays_readable(tmp_path):
    """What was not measured then is not a number; any other column that lacks is damage."""
    file = tmp_path / "cell.jsonl"
    old = {k: v for k, v in row(overreaction_mps2=0.5).flat().items() if k not in LATER_COLUMNS}
    file.write_text(json.dumps(old) + "\n")
    (found,) = read_cell(file)
    assert found.overreaction_mps2 != found.overreaction_mps2
    assert found.headway_s == row().headway_s


def test_an_episode_of_before_a_column_was_added_is_still_what_it_was():
    """Run again it knows more; that is no difference, but one of any other column is."""
    old = row(overreaction_mps2=float("nan"))
    _require_same(old, row(overreaction_mps2=0.5))
    with pytest.raises(EvaluationError, match=r"overreaction_mps2 was 0\.4 and is 0\.5"):
        _require_same(row(overreaction_mps2=0.4), row(overreaction_mps2=0.5))
    with pytest.raises(EvaluationError, match="headway_s"):
        _require_same(replace(old, headway_s=9.0), row(overreaction_mps2=0.5))
