"""Whether figures agree: to the bit, or within intervals; and what is left out is found."""

from dataclasses import replace
from pathlib import Path

import pytest

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
            "asked": replace(whole.asked, only=("ncap",)),
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


def altered(whole, index, **changes):
    """Return a submission of which a test came out otherwise for all models."""
    row = whole.rows[index]
    found = {name: of.model_copy(update=changes) for name, of in row.found.items()}
    row = row.model_copy(update={"found": found})
    return whole.model_copy(update={"rows": (*whole.rows[:index], row, *whole.rows[index + 1 :])})


def test_verdicts_may_not_be_opposite_where_intervals_overlap():
    """Inconclusive here and passed there may be chance; failed here and passed there is not."""
    whole = read_submission(CONVOY)
    passed = altered(whole, 0, verdict="pass")
    assert compare(passed, whole, exactly=False)[0].status == "within intervals"
    assert compare(passed, whole, exactly=True)[0].status == "differs"
    failed = altered(whole, 2, verdict="fail")
    assert compare(failed, whole, exactly=False)[2].status == "differs"


def test_what_is_missing_on_one_side_is_no_interval_that_holds_everything():
    """A figure, an end of it, or a difference that is left out."""
    whole = read_submission(CONVOY)
    figure = whole.rows[0].found["seed-0"].figure
    for changes in (
        {"figure": None},
        {"figure": figure.model_copy(update={"high": None})},
        {"figure": figure.model_copy(update={"value": None})},
    ):
        assert compare(altered(whole, 0, **changes), whole, exactly=False)[0].status == "differs"
    assert whole.rows[1].found["seed-0"].differences
    bare = altered(whole, 1, differences={})
    assert compare(bare, whole, exactly=False)[1].status == "differs"


def test_a_test_or_a_driver_that_nobody_ran_is_found():
    """One on a benchmark that there is not, in a rerun of the whole."""
    whole = read_submission(CONVOY)
    row = whole.rows[0].model_copy(update={"where": "convoy moon"})
    driver = whole.results[0].model_copy(update={"where": "convoy moon"})
    more = whole.model_copy(
        update={"rows": (*whole.rows, row), "results": (*whole.results, driver)}
    )
    found = [of for of in compare(more, whole, exactly=False) if of.status != "equal"]
    assert [(of.where, of.status) for of in found] == [("convoy moon", "differs")] * 2


@pytest.mark.parametrize(
    "change", [{"crashes": ()}, {"crashed": 0}, {"cases": 1}, {"invalid": 9}], ids=str
)
def test_crashes_are_compared_where_all_must_be_equal(change):
    """How many cases there were, and what ended in a crash."""
    whole = read_submission(CONVOY)
    results = (whole.results[0].model_copy(update=change), *whole.results[1:])
    (found,) = (
        of
        for of in compare(whole.model_copy(update={"results": results}), whole, exactly=True)
        if of.status != "equal"
    )
    assert (found.what, found.apart[0][0]) == ("seed-0", "crashes")
