"""Whether a submission's figures are those that come out here.

The same software makes the same figures of the same cases, to the bit: nothing may differ. With
other software figures agree where their 95 % intervals overlap, and verdicts do where not one
passes and the other fails.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ml.evaluation.acceptance.submission import (
    DriverRecord,
    FigureRecord,
    FoundRecord,
    RowRecord,
    Submission,
)
from ml.evaluation.acceptance.table import said
from ml.evaluation.acceptance.verdicts import FAILED, PASSED

Status = Literal["equal", "within intervals", "differs"]
_WORSE: Sequence[Status] = ("equal", "within intervals", "differs")


@dataclass(frozen=True, slots=True)
class Agreement:
    """A test, or a driver on a benchmark, and whether it came out as submitted.

    Attributes:
        what: What is measured, or who drove.
        apart: What is not equal: who or which figure, as submitted, as it came out here.
    """

    where: str
    what: str
    status: Status
    apart: tuple[tuple[str, str, str], ...] = ()


def compare(submitted: Submission, here: Submission, *, exactly: bool) -> list[Agreement]:
    """Compare tests, then drivers, of the models that were run here.

    Where parts alone were run here (`asked.only`), those of their benchmarks.
    """
    models = [model.name for model in here.models]
    missing = {model.name for model in submitted.models} - set(models)
    ran = _places(here)
    if here.asked.only == submitted.asked.only:
        ran |= _places(submitted)
    found = list(_tests(submitted, here, models, ran, exactly=exactly))
    theirs = {
        (result.where, result.driver): result
        for result in submitted.results
        if result.where in ran and not _is_of(result.driver, missing)
    }
    ours = {(result.where, result.driver): result for result in here.results}
    for where, driver in dict.fromkeys((*theirs, *ours)):
        before, now = theirs.get((where, driver)), ours.get((where, driver))
        if before is None or now is None:
            found.append(_one_sided(where, driver, submitted=before is not None))
            continue
        compared: list[tuple[str, Status, str, str]] = [
            (name, _figures(before.figures.get(name), of, exactly=exactly),
             _said(before.figures.get(name)), _said(of))
            for name, of in now.figures.items()
        ]  # fmt: skip
        if exactly and _crashes(before) != _crashes(now):
            compared.append(("crashes", "differs", _in_short(before), _in_short(now)))
        found.append(_agreement(where, driver, compared))
    return found


def _places(of: Submission) -> set[str]:
    return {result.where for result in of.results} | {row.where for row in of.rows}


def _crashes(of: DriverRecord) -> tuple[object, ...]:
    return of.cases, of.invalid, of.crashed, of.crashes


def _in_short(of: DriverRecord) -> str:
    return f"{of.crashed} of {of.cases} cases, {of.invalid} invalid"


def _is_of(driver: str, models: Iterable[str]) -> bool:
    """Whether a driver is one of the models, at its own or another time gap."""
    return any(re.fullmatch(rf"{re.escape(model)}( [\d.]+ s)?", driver) for model in models)


def _tests(
    submitted: Submission, here: Submission, models: Sequence[str], ran: set[str], *, exactly: bool
) -> Iterator[Agreement]:
    def key(row: RowRecord) -> tuple[str, str, str]:
        return row.where, row.measured, row.level

    theirs = {key(row): row for row in submitted.rows if row.where in ran}
    ours = {key(row): row for row in here.rows}
    for at in dict.fromkeys((*theirs, *ours)):
        before, now = theirs.get(at), ours.get(at)
        where, measured, level = at
        what = measured if level == "must" else f"{measured} ({level})"
        if before is None or now is None:
            yield _one_sided(where, what, submitted=before is not None)
        elif (before.target, before.bound) != (now.target, now.bound):
            yield Agreement(where, what, "differs", (("target", before.target, now.target),))
        else:
            yield _agreement(
                where,
                what,
                (
                    (name, _found(before.found[name], now.found[name], exactly=exactly),
                     _in_words(before.found[name]), _in_words(now.found[name]))
                    for name in models
                ),
            )  # fmt: skip


def _one_sided(where: str, what: str, *, submitted: bool) -> Agreement:
    sides = ("there", "not here") if submitted else ("not there", "here")
    return Agreement(where, what, "differs", (("all", *sides),))


def _agreement(
    where: str, what: str, compared: Iterable[tuple[str, Status, str, str]]
) -> Agreement:
    listed = list(compared)
    status = max((status for _, status, *_ in listed), key=_WORSE.index, default=_WORSE[0])
    apart = tuple((name, before, now) for name, of, before, now in listed if of != "equal")
    return Agreement(where, what, status, apart)


def _found(before: FoundRecord, now: FoundRecord, *, exactly: bool) -> Status:
    if before == now:
        return "equal"
    if exactly or {before.verdict, now.verdict} == {PASSED, FAILED}:
        return "differs"
    pairs = [(before.figure, now.figure), (before.distance, now.distance)]
    pairs += [
        (before.differences.get(name), now.differences.get(name))
        for name in before.differences.keys() | now.differences.keys()
    ]
    apart = any(_figures(a, b, exactly=False) == "differs" for a, b in pairs)
    return "differs" if apart else "within intervals"


def _figures(before: FigureRecord | None, now: FigureRecord | None, *, exactly: bool) -> Status:
    if before == now:
        return "equal"
    if exactly or before is None or now is None:
        return "differs"
    # An end or a value that is missing on one side is no interval that holds everything.
    ends = [[number is None for number in (of.value, of.low, of.high)] for of in (before, now)]
    if ends[0] != ends[1]:
        return "differs"
    a, b = before.figure, now.figure
    return "within intervals" if a.low <= b.high and b.low <= a.high else "differs"


def _in_words(found: FoundRecord) -> str:
    return f"{found.said}: {found.verdict}"


def _said(figure: FigureRecord | None) -> str:
    return "none" if figure is None else said(figure.figure, "per km")
