"""A result's files say what was written into them, or say what is wrong."""

import csv
import json
from dataclasses import fields

import pytest

from ml.errors import EvaluationError
from ml.evaluation.result import (
    COLUMNS,
    EpisodeRow,
    Manifest,
    read_part,
    slug,
    write_csv,
    write_part,
)


def row(**changes):
    """An episode in which every number is 1 and every word is its column's name."""
    usual = {float: 1.0, int: 1, bool: True, str: "word"}
    values = {f.name: usual.get(f.type, "") for f in fields(EpisodeRow) if f.name != "labels"}
    return EpisodeRow(**{**values, **changes})


def manifest(**changes):
    """A manifest without parts."""
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
        "parts": (),
    }
    return Manifest(**{**values, **changes})


def test_a_row_survives_its_file(tmp_path):
    """What is written is read again, labels and what is not a number included."""
    rows = [row(labels={"speed_kmh": 50, "what": "CCRb"}), row(case=2, min_ttc_s=float("nan"))]
    file = tmp_path / "parts" / "part.jsonl"
    write_part(file, rows)
    again = read_part(file)
    assert again[0] == rows[0]
    assert again[1].min_ttc_s != again[1].min_ttc_s
    assert again[1].flat() == rows[1].flat()


def test_a_line_is_json_that_every_reader_knows(tmp_path):
    """NaN is no JSON: what is not defined is null, and columns come in one order."""
    file = tmp_path / "part.jsonl"
    write_part(file, [row(headway_s=float("nan"), labels={"gap_m": 12.0})])
    line = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert list(line) == [*COLUMNS, "label_gap_m"]
    assert line["headway_s"] is None


def test_a_damaged_part_is_named_with_a_remedy(tmp_path):
    """A line that is cut or lacks a column is not taken for an episode."""
    file = tmp_path / "part.jsonl"
    write_part(file, [row()])
    text = file.read_text()
    for damaged in (text[:-20], text.replace('"min_gap_m"', '"gap"')):
        file.write_text(damaged)
        with pytest.raises(EvaluationError, match=r"part\.jsonl is not a part.*Delete it"):
            read_part(file)
    with pytest.raises(EvaluationError, match="same --out again"):
        read_part(tmp_path / "missing.jsonl")


def test_a_manifest_survives_and_its_content_ignores_when_and_how_it_was_typed(tmp_path):
    """Time and command do not decide figures; seeds and packages do."""
    manifest().write(tmp_path)
    assert Manifest.read(tmp_path) == manifest()
    assert manifest(command="x", created_utc="y").decides() == manifest().decides()
    assert manifest(seeds=(2,)).decides() != manifest().decides()
    assert manifest(packages={"numpy": "3"}).decides() != manifest().decides()


def test_a_folder_that_is_no_result_is_named(tmp_path):
    """The message tells which folder and what it should be."""
    with pytest.raises(EvaluationError, match=r"holds no result.*--out"):
        Manifest.read(tmp_path)
    (tmp_path / "result.json").write_text('{"schema_version": 2}')
    with pytest.raises(EvaluationError, match="schema_version"):
        Manifest.read(tmp_path)


def test_any_name_makes_a_file_name():
    """Controllers carry their parameters in their names."""
    assert slug("CTH 1.1 s") == "cth-1.1-s"
    assert slug("runs/a b/best.zip") == "runs-a-b-best.zip"


def test_a_table_for_a_spreadsheet_has_every_column_and_label(tmp_path):
    """What a row lacks stays empty."""
    file = tmp_path / "episodes.csv"
    write_csv(file, [row(headway_s=float("nan")), row(labels={"gap_m": 12.0})])
    first, second = csv.DictReader(file.read_text().splitlines())
    assert list(first) == [*COLUMNS, "label_gap_m"]
    assert (first["headway_s"], first["label_gap_m"], second["label_gap_m"]) == ("", "", "12.0")
