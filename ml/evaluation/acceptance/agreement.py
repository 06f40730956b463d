"""Whether a submission's figures are those that come out here.

The same software and the same cases make the same figures, to the bit: nothing may differ. With
other software, or fewer cases, figures agree where their 95 % intervals overlap, and verdicts do
where not one passes and the other fails.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ml.evaluation.acceptance.submission import FigureRecord, FoundRecord, RowRecord, Submission
from ml.evaluation.acceptance.table import said
from ml.evaluation.acceptance.verdicts import FAILED, PASSED

Status = Literal["equal", "within intervals", "differs"]
_HALF_A_DIGIT = 0.005
"""What figures that were read from a table may have lost."""
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
    """Compare tests, then drivers, of the benchmarks and models that were run here."""
    models = [model.name for model in here.models]
    missing = {model.name for model in submitted.models} - set(models)
    ran = {result.where for result in here.results}
    found = list(_tests(submitted, here, models, ran, exactly=exactly))
    theirs = {
        (result.where, result.driver): result.figures
        for result in submitted.results
        if result.where in ran and not _is_of(result.driver, missing)
    }
    ours = {(result.where, result.driver): result.figures for result in here.results}
    for where, driver in dict.fromkeys((*theirs, *ours)):
        before, now = theirs.get((where, driver)), ours.get((where, driver))
        if before is None or now is None:
            found.append(_one_sided(where, driver, submitted=before is not None))
            continue
        compared = (
            (name, _figures(before.get(name), of, exactly=exactly), before.get(name), of)
            for name, of in now.items()
        )
        found.append(
            _agreement(where, driver, ((n, s, _said(b), _said(o)) for n, s, b, o in compared))
        )
    return found


def _is_of(driver: str, models: Iterable[str]) -> bool:
    """Whether a driver is one of the models, at its own or another time gap."""
    return any(re.fullmatch(rf"{re.escape(model)}( [\d.]+ s)?", driver) for model in models)


def _tests(
    submitted: Submission, here: Submission, models: Sequence[str], ran: set[str], *, exactly: bool
) -> Iterator[Agreement]:
    def key(row: RowRecord) -> tuple[str, str, str]:
        return row.where, row.measured, row.level

    everywhere = {row.where for row in here.rows} | ran
    theirs = {key(row): row for row in submitted.rows if row.where in everywhere}
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
    common = before.differences.keys() & now.differences.keys()
    pairs += [(before.differences[name], now.differences[name]) for name in common]
    apart = any(_figures(a, b, exactly=False) == "differs" for a, b in pairs if a and b)
    return "differs" if apart else "within intervals"


def _figures(before: FigureRecord | None, now: FigureRecord, *, exactly: bool) -> Status:
    if before == now or (before is not None and before.value is now.value is None):
        return "equal"
    if exactly or before is None:
        return "differs"
    if before.value is None or now.value is None:
        return "within intervals"
    a, b = before.figure, now.figure
    slack = _HALF_A_DIGIT if before.count is None else 0.0
    overlap = a.low - slack <= b.high and b.low <= a.high + slack
    return "within intervals" if overlap else "differs"


def _in_words(found: FoundRecord) -> str:
    return f"{found.said}: {found.verdict}"


def _said(figure: FigureRecord | None) -> str:
    return "none" if figure is None else said(figure.figure, "per km")
