"""Whether figures agree: to the bit, or within intervals; and what is left out is found."""

import json
from pathlib import Path

from ml.evaluation.acceptance.agreement import compare
from ml.evaluation.acceptance.submission import read_submission

CONVOY = Path(__file__).parents[3] / "docs" / "leaderboard" / "convoy.json"


def test_a_submission_agrees_with_itself_and_with_a_part_of_itself():
    """Of some models, on some benchmarks: only what was run again is compared."""
    whole = read_submission(CONVOY)
    found = compare(whole, whole, exactly=True)
    assert len(found) == len(whole.rows) + len(whole.results)
    assert {of.status for of in found} == {"equal"}

    def here(where):
        return where.startswith("ncap")

    part = whole.model_copy(
        update={
            "models": whole.models[:1],
            "rows": tuple(row for row in whole.rows if here(row.where)),
            "results": tuple(
                result
                for result in whole.results
                if here(result.where) and result.driver not in {"seed-1", "seed-2"}
            ),
        }
    )
    found = compare(whole, part, exactly=True)
    assert len(found) == 2 + 4
    assert {of.status for of in found} == {"equal"}


def test_a_driver_or_a_test_that_is_left_out_is_found():
    """A baseline that does better is not to be dropped, nor a test that failed."""
    whole = read_submission(CONVOY)
    fewer = whole.model_copy(update={"rows": whole.rows[1:], "results": whole.results[:-1]})
    for submitted, here in ((fewer, whole), (whole, fewer)):
        differing = [of for of in compare(submitted, here, exactly=False) if of.status != "equal"]
        assert [(of.where, of.status) for of in differing] == [
            ("convoy clean", "differs"),
            (whole.results[-1].where, "differs"),
        ]


def test_verdicts_may_not_be_opposite_where_intervals_overlap(tmp_path):
    """Inconclusive here and passed there may be chance; failed here and passed there is not."""
    whole = read_submission(CONVOY)

    def verdict(index, word):
        def change(content):
            row = content["rows"][index]
            for found in row["found"].values():
                found["verdict"] = word
            counts = content["summary"]["must"]
            counts[row["verdict"]] -= 1
            counts[word] += 1
            row["verdict"] = word

        content = json.loads(CONVOY.read_text(encoding="utf-8"))
        change(content)
        file = tmp_path / "changed.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        return read_submission(file)

    inconclusive = compare(verdict(0, "pass"), whole, exactly=False)[0]
    assert inconclusive.status == "within intervals"
    assert compare(verdict(0, "pass"), whole, exactly=True)[0].status == "differs"
    assert compare(verdict(2, "fail"), whole, exactly=False)[2].status == "differs"
