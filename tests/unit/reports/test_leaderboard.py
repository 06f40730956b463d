"""The leaderboard: who stands first, what is listed, and that the README says the same."""

import re
from pathlib import Path

import pytest

from ml.errors import SubmissionError
from ml.evaluation.acceptance.submission import read_submission
from ml.reports.acceptance.leaderboard import page_of, ranking, read_leaderboard

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "docs" / "leaderboard"
CONVOY = read_submission(FOLDER / "convoy.json")
RATE = re.compile(r"([\d, ]+) of ([\d,]+) \[([\d.]+), ([\d.]+)\] %")


def renamed(name, **counts):
    """The recipe under another name, with other counts."""
    must = CONVOY.summary.must | counts
    summary = type(CONVOY.summary)(must, CONVOY.summary.limits, CONVOY.summary.reached)
    return CONVOY.model_copy(update={"name": name, "summary": summary})


def test_the_order_is_by_tests_passed_then_by_fewer_failed(tmp_path, monkeypatch):
    """Whoever passes more is first, however its file is called."""
    many = {
        "a": renamed("a"),
        "b": renamed("b", inconclusive=25, fail=0),
        "c": renamed("c", **{"pass": 50}),
    }
    for name in many:
        (tmp_path / f"{name}.json").touch()
    monkeypatch.setattr(
        "ml.reports.acceptance.leaderboard.read_submission", lambda file: many[file.stem]
    )
    found = read_leaderboard(tmp_path)
    assert list(found) == ["c", "b", "a"]
    text = ranking(found, "pages")
    assert (
        "| 1 | [c](pages/c.md) | 50 of 75 | 21 | 4 | 0 of 5 | 3 | the RoadSense authors |" in text
    )
    assert "| a | IDM 1.1 s | 33 of 547 [4.328, 8.351] % | 2.23 [2.17, 2.30] |" in text


@pytest.mark.parametrize("change", [{"quick": True}, {"only": ("ncap",)}, {"seed": 5}])
def test_half_a_test_and_another_seed_are_not_listed(change, tmp_path):
    """The leaderboard takes the whole tests, on cases that nothing was chosen on."""
    asked = CONVOY.asked.__class__(**{**vars(CONVOY.asked), **change})
    part = CONVOY.model_copy(update={"asked": asked})
    (tmp_path / "part.json").write_text(part.text(), encoding="utf-8")
    with pytest.raises(SubmissionError, match=r"part\.json: .*--quick, --only"):
        read_leaderboard(tmp_path)


def test_tests_of_its_own_another_observation_and_a_name_that_is_no_page_are_not_listed(tmp_path):
    """Whoever left tests out, or made some up, would be ranked by others."""

    def listed(name, **changes):
        for file in tmp_path.glob("*.json"):
            file.unlink()
        (tmp_path / "convoy.json").write_text(CONVOY.text(), encoding="utf-8")
        content = CONVOY.model_copy(update=changes).text()
        (tmp_path / f"{name}.json").write_text(content, encoding="utf-8")
        return list(read_leaderboard(tmp_path))

    assert listed("other") == ["convoy", "other"]
    row = CONVOY.rows[2].model_copy(update={"where": "convoy moon"})
    summary = CONVOY.summary
    counts = summary.must | {"pass": summary.must["pass"] + 1}
    summary = type(summary)(counts, summary.limits, summary.reached)
    with pytest.raises(SubmissionError, match=r"other.json: its tests .* on convoy moon"):
        listed("other", rows=(*CONVOY.rows, row), summary=summary)
    software = CONVOY.software.model_copy(update={"observation_version": 999})
    with pytest.raises(SubmissionError, match=r"other.json: of version 999 of the observation"):
        listed("other", software=software)
    for name in ("ranking", "a](javascript)", "A b"):
        with pytest.raises(SubmissionError, match="Rename it"):
            listed(name)


def test_a_page_has_who_with_what_and_every_figure():
    """The head names the digests; the tables are those of `roadsense targets`."""
    text = page_of(CONVOY)
    assert text.startswith("# Acceptance tests of convoy\n\nSent by the RoadSense authors.")
    assert CONVOY.models[0].sha256 in text
    assert "**Fail; must: 49 of 74 passed (21 inconclusive); limits: 0 of 5 reached.**" in text
    assert "| 9-12 peers bursty | predictive 0.5 s | 720 (0) | 2 of 237 [0.232, 3.024] % |" in text


def test_the_readme_says_what_the_leaderboard_says():
    """Crashes, headway and jerk of each of its rows; and how many tests are passed."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    must = CONVOY.summary.must
    said = f"of {sum(must.values())} acceptance tests it passes {must['pass']}, "
    said += f"{must['inconclusive']} are inconclusive and {must['fail']} fail"
    assert said in readme

    _, _, table = readme.partition("| radio | driver |")
    lines = [re.split(r" *\| *", line)[1:-1] for line in table.splitlines()[2:8]]
    assert [line[0] for line in lines] == ["clean"] * 2 + ["bursty"] * 2 + ["shadowed"] * 2
    for radio, driver, crashes, headway, jerk in lines:
        names = ["seed-0", "seed-1", "seed-2"] if "seeds" in driver else ["predictive 0.5 s"]
        figures = [
            of.figures
            for name in names
            for of in CONVOY.results
            if (of.where, of.driver) == (f"convoy {radio}", name)
        ]
        assert len(figures) == len(names)
        rates = [of["crash_rate"] for of in figures]
        hits, cases, low, high = RATE.fullmatch(crashes).groups()
        assert [int(number) for number in hits.split(", ")] == [rate.hits for rate in rates]
        assert {int(cases.replace(",", ""))} == {rate.count for rate in rates}
        digits = len(low.partition(".")[2])
        assert low == f"{100 * min(rate.low for rate in rates):.{digits}f}"
        assert high == f"{100 * max(rate.high for rate in rates):.{digits}f}"
        for cell, metric in ((headway, "headway_s"), (jerk, "jerk_p95_mps3")):
            values = [f"{of[metric].value:.2f}" for of in figures]
            ends = [min(values), max(values)]
            assert cell.split()[0].split("–") == list(dict.fromkeys(ends))
