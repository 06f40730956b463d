"""A submission: what is written can be read, and what does not add up is refused with its place."""

import json
from math import inf, nan
from pathlib import Path

import pytest

from ml.errors import SubmissionError
from ml.evaluation.acceptance.submission import FigureRecord, read_submission
from ml.evaluation.summary import Figure

ROOT = Path(__file__).parents[3]
CONVOY = ROOT / "docs" / "leaderboard" / "convoy.json"


def changed(folder, change):
    """Write the recipe's submission with a change."""
    content = json.loads(CONVOY.read_text(encoding="utf-8"))
    change(content)
    file = folder / "changed.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_what_is_written_is_read_again():
    """To the character, so that a file in git changes only where its content does."""
    submission = read_submission(CONVOY)
    assert submission.text() == CONVOY.read_text(encoding="utf-8")
    assert len(submission.rows) == 83
    assert {r.driver for r in submission.results} >= {"seed-0", "predictive 0.5 s", "IDM 1.1 s"}


@pytest.mark.parametrize(
    ("figure", "numbers"),
    [
        (Figure(0.1, 0.05, inf, 7), (0.1, 0.05, None)),
        (Figure(nan, nan, nan, 0), (None, None, None)),
        (Figure(1 / 3, 0.0, 1.0, 9, 3), (0.33333333, 0.0, 1.0)),
    ],
)
def test_figures_keep_what_json_cannot_say(figure, numbers):
    """An infinite end, or no such episodes, is null."""
    record = FigureRecord.of(figure)
    assert (record.value, record.low, record.high) == numbers
    back = record.figure
    assert str(back.value) == str(float("nan" if numbers[0] is None else numbers[0]))
    assert back.high == (inf if numbers[2] is None else numbers[2])


def _tampered_figure(content):
    content["rows"][0]["found"]["seed-0"]["figure"]["value"] = "a"


def _markup(content):
    content["name"] = "<script>"


def _link(content):
    content["by"] = "[me](https://example.org)"


def _backtick(content):
    content["command"] = "roadsense targets `x`"


def _verdict(content):
    content["rows"][0]["verdict"] = "pass"


def _own_verdict(content):
    content["rows"][2]["found"]["seed-0"]["verdict"] = "fail"


def _summary(content):
    content["summary"]["must"]["pass"] = 60


def _unknown(content):
    content["results"][0]["stars"] = 5


def _unknown_option(content):
    content["asked"]["workers"] = 2


def _model(content):
    content["models"][1]["name"] = "seed-7"


def _digest(content):
    content["models"][0]["sha256"] = "78a8"


def _figure_gone(content):
    del content["results"][0]["figures"]["headway_s"]


def _version(content):
    content["schema_version"] = 2


def _infinite(content):
    content["results"][0]["figures"]["headway_s"]["value"] = float("nan")


def _again(content):
    content["rows"].append(content["rows"][2])
    content["summary"]["must"]["pass"] += 1


def _driver_again(content):
    content["results"].append(content["results"][3])


def _one_file(content):
    content["models"][2]["sha256"] = content["models"][0]["sha256"]


def _better_verdict(content):
    (row,) = (r for r in content["rows"] if (r["target"], r["level"]) == ("≤ 27 %", "must"))
    for found in row["found"].values():
        found["verdict"] = "pass"
    row["verdict"] = "pass"
    content["summary"]["must"]["pass"] += 1
    content["summary"]["must"]["fail"] -= 1


def _better_difference(content):
    row = content["rows"][1]
    for found in row["found"].values():
        found["verdict"] = "pass"


def _crash_in_none(content):
    (row,) = (r for r in content["rows"] if r["where"] == "r157 clean")
    row["found"]["seed-0"]["verdict"] = "pass"


def _outside_itself(content):
    content["results"][0]["figures"]["headway_s"]["low"] = 7.0


def _more_hits_than_cases(content):
    content["results"][0]["figures"]["crash_rate"]["hits"] = 10_000


def _less_than_no_cases(content):
    content["results"][0]["figures"]["crash_rate"]["count"] = -3


def _bound(content):
    content["rows"][0]["bound"] = float("nan")


def _escape(content):
    content["by"] = "\x1b]0;me\x07"


def _right_to_left(content):
    content["results"][0]["driver"] = "a\u202eb"


def _escape_in_a_baseline(content):
    content["asked"]["controllers"] = ["idm:1\x1b[2J"]


def _endless(content):
    content["asked"]["hazards"] = 10**12


def _no_seed(content):
    content["asked"]["seed"] = -1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_again, "rows: ('convoy clean', 'mean time headway, s', 'must') stands there 2 times"),
        (_driver_again, "results: ('convoy clean', "),
        (_one_file, "models: one file stands for two"),
        (_better_verdict, "rows.14.found.seed-0.verdict: pass, but 27.98 [27.47, 28.48] %"),
        (_better_difference, "rows.1.verdict: inconclusive is not"),
        (_crash_in_none, "rows.26.found.seed-0.verdict: pass, but 2 of 1,007"),
        (_outside_itself, "results.0.figures.headway_s: 1.22956 is not in [7, 1.23574]"),
        (_more_hits_than_cases, "results.0.figures.crash_rate: 10000 hits in 9598"),
        (_less_than_no_cases, "results.0.figures.crash_rate.count: Input should be greater"),
        (_bound, "rows.0.bound: Input should be a finite number"),
        (_escape, "by: holds '\\x1b'; plain words alone"),
        (_right_to_left, "results.0.driver: holds '\\u202e'"),
        (_escape_in_a_baseline, "holds '\\x1b'"),
        (_endless, "asked.hazards: 1000000000000; from 1 to 10,000,000"),
        (_no_seed, "asked.seed: -1; from 0 to 2,147,483,648"),
        (_tampered_figure, "rows.0.found.seed-0.figure.value: Input should be a valid number"),
        (_markup, "name: holds '<'; plain words alone"),
        (_link, "by: holds ']('; plain words alone"),
        (_backtick, "command: holds a backtick"),
        (_verdict, "rows.0.verdict: pass is not that of its models"),
        (_own_verdict, "rows.2.verdict: pass is not that of its models"),
        (_summary, "summary: says must: 60 of 85 passed"),
        (_unknown, "results.0.stars: Extra inputs are not permitted"),
        (_unknown_option, "asked.workers: "),
        (_model, "rows.0.found: names ['seed-0', 'seed-1', 'seed-2'], not"),
        (_digest, "models.0.sha256: String should match pattern"),
        (_figure_gone, "results.0.figures: not those of a convoy"),
        (_version, "schema_version: Input should be 1"),
        (_infinite, "results.0.figures.headway_s.value: Input should be a finite number"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_submission_must_not_say_is_told_with_its_place(change, complaint, tmp_path):
    """File, key and what is wrong there."""
    file = changed(tmp_path, change)
    with pytest.raises(SubmissionError) as caught:
        read_submission(file)
    assert f"{file}: {complaint}" in str(caught.value)


def test_a_file_that_is_none_is_told(tmp_path):
    """Missing, or no JSON."""
    with pytest.raises(SubmissionError, match=r"nothing.json cannot be read .No such file"):
        read_submission(tmp_path / "nothing.json")
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    with pytest.raises(SubmissionError, match=r"a.json: Invalid JSON"):
        read_submission(tmp_path / "a.json")
