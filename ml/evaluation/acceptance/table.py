"""The table of targets: what is asked for, and what came out for each model.

Beyond what was trained on, bounds are doubled; 0 in 10,000 becomes 0 in 5,000, which leaves twice
the upper end. The share of time braking is held to the best baseline's: of those that are safe
enough, which is not shown to crash more often than the model (or, without any, of those with the
fewest crashes), the one that brakes the least.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml.evaluation.acceptance.figures import COMPARED
from ml.evaluation.acceptance.verdicts import (
    MISSED,
    NOT_SHOWN,
    REACHED,
    FrontierPoint,
    at_most,
    better_frontier,
    dominates_each,
    least_cases,
    none_in,
    not_dominated,
    standing,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml.evaluation.acceptance.cells import Entrant
    from ml.evaluation.acceptance.results import CourseResult
    from ml.evaluation.acceptance.verdicts import Standing, Verdict
    from ml.evaluation.summary import Figure

NO_CRASH_IN, NO_CRASH_IN_R157 = 10_000, 1121
CRASH = {"bursty": 0.0003, "shadowed": 0.02}
HEADWAY_S = {"clean": 1.3, "bursty": 1.5, "shadowed": 3.0}
FALSE_BRAKES_PER_KM = {"clean": 0.05, "bursty": 0.05, "shadowed": 0.3}
JERK_MPS3 = {"clean": 2.0, "bursty": 3.5}
OVERREACTION = 0.02
NCAP_CRASH = 0.001
GAIN, GAIN_L2_P95 = 0.8, 1.0
BEYOND = 2.0
"""What bounds are multiplied by beyond what was trained on."""
_FRONTIER_RADIO = "shadowed"


@dataclass(frozen=True, slots=True)
class Found:
    """What came out for one model.

    Attributes:
        said: The figure with its interval.
        verdict: Of the target.
        figure: The figure, where it is one.
    """

    said: str
    verdict: Verdict
    figure: Figure | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One target.

    Attributes:
        where: Course, or `all radios, any gap`.
        measure: What is measured.
        target: What is asked for.
        found: By model.
        asked: Whether it is part of what was asked for, or a stretch beyond it.
        note: What a reader should know.
    """

    where: str
    measure: str
    target: str
    found: dict[str, Found]
    asked: bool = True
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Over all models."""
        return together(found.verdict for found in self.found.values())


def make_table(results: Sequence[CourseResult]) -> list[Row]:
    """Hold every model to every target, in the order of the courses."""
    rows: list[Row] = []
    for result in results:
        makers = {"r157": _r157_rows, "ncap": _ncap_rows, "plexe": _plexe_rows}
        rows += makers.get(result.course.part, _convoy_rows)(result)
    convoys = [result for result in results if result.course.part == "convoy"]
    if convoys and convoys[0].baselines:
        rows.append(_dominance_row(convoys))
    return [row for row in rows if row.found]


def standings(result: CourseResult, model: Entrant) -> dict[str, Standing]:
    """How a model, at the time gap of this entrant, stands to each baseline on a course."""
    return {
        baseline.name: standing(result.differences[model.name, baseline.name], COMPARED)
        for baseline in result.baselines
    }


def best_baseline(result: CourseResult, model: Entrant) -> str | None:
    """Name the baseline that brakes the least of those that are safe enough; see the module."""
    names = [baseline.name for baseline in result.baselines]
    if not names:
        return None

    def crash(name: str) -> float:
        return result.figures[name]["crash"].value

    safe = [n for n in names if not _shown_to_crash_more(result, model.name, n)]
    if not safe:
        safe = [n for n in names if crash(n) == min(map(crash, names))]
    return min(safe, key=lambda name: result.figures[name]["quiet_braking_share"].value)


def _shown_to_crash_more(result: CourseResult, model: str, baseline: str) -> bool:
    difference = result.differences[model, baseline].get("crash")
    return difference is not None and difference.high < 0.0


def _convoy_rows(result: CourseResult) -> list[Row]:
    course = result.course
    factor, radio = (BEYOND if course.beyond else 1.0), course.bounds
    rows = [_crash_row(result, factor)]
    bounds = [
        ("mean time headway, s", "headway_s", HEADWAY_S, "s"),
        ("false brakes per km, no hazard", "false_brakes_per_km", FALSE_BRAKES_PER_KM, "per km"),
        ("jerk p95, m/s³", "jerk_p95_mps3", JERK_MPS3, "m/s³"),
    ]
    for measure, key, bound_of, unit in bounds:
        if radio in bound_of:
            rows.append(_bound_row(result, measure, key, factor * bound_of[radio], unit=unit))
    share = factor * OVERREACTION
    rows.append(_bound_row(result, "overreactions, benign", "overreaction", share, unit="%"))
    if course.beyond or not result.baselines:
        return rows
    rows += [_braking_row(result), _not_dominated_row(result)]
    if radio == _FRONTIER_RADIO:
        rows.append(_frontier_row(result))
    return rows


def _crash_row(result: CourseResult, factor: float) -> Row:
    radio = result.course.bounds
    measure = "crashes in avoidable hazards"
    if radio in CRASH:
        return _bound_row(result, measure, "crash", factor * CRASH[radio], unit="%")
    return _none_row(result, round(NO_CRASH_IN / factor), measure)


def _none_row(result: CourseResult, asked: int, measure: str, *, stretch: bool = False) -> Row:
    found = {}
    for model in result.models:
        figures = result.figures[model.name]
        verdict = none_in(figures["crash"], int(figures["hazards"].value), asked)
        found[model.name] = Found(said(figures["crash"], "%"), verdict, figures["crash"])
    return Row(result.course.name, measure, f"0 in {asked:,}", found, asked=not stretch)


def _bound_row(
    result: CourseResult, measure: str, key: str, bound: float, *, unit: str, stretch: bool = False
) -> Row:
    found, note = {}, ""
    for model in result.models:
        figure = result.figures[model.name][key]
        found[model.name] = Found(said(figure, unit), at_most(figure, bound), figure)
        if figure.hits is not None and figure.count < least_cases(bound):
            note = f"{least_cases(bound):,} cases without a hit would show it, fewer cannot"
    shown = f"≤ {100.0 * bound:.3g} %" if unit == "%" else f"≤ {bound:g} {unit}"
    shown = shown.rstrip()
    return Row(result.course.name, measure, shown, found, asked=not stretch, note=note)


def _braking_row(result: CourseResult) -> Row:
    found = {}
    for model in result.models:
        name = best_baseline(result, model)
        if name is None:
            continue
        apart = result.differences[model.name, name].get("quiet_braking_share")
        if apart is None:
            found[model.name] = Found("no such episodes", NOT_SHOWN)
            continue
        words = (
            f"{100 * apart.candidate:.1f} % to {100 * apart.baseline:.1f} % of {name}, "
            f"{100 * apart.difference:+.2f} [{100 * apart.low:+.2f}, {100 * apart.high:+.2f}] pp"
        )
        verdict = REACHED if apart.high <= 0.0 else MISSED if apart.low > 0.0 else NOT_SHOWN
        found[model.name] = Found(words, verdict)
    target = "≤ the best baseline's"
    return Row(result.course.name, "time braking, no hazard", target, found)


def _not_dominated_row(result: CourseResult) -> Row:
    found = {}
    for model in result.models:
        of = standings(result, model)
        better = {
            name: any(
                difference.high < 0.0
                for measure, difference in result.differences[model.name, name].items()
                if measure in COMPARED
            )
            for name in of
        }
        words = "; ".join(f"{_WORDS[s]} {name}" for name, s in of.items())
        found[model.name] = Found(words, not_dominated(of, better))
    return Row(result.course.name, "dominance", "dominated by no baseline", found)


_WORDS: dict[Standing, str] = {
    "dominates": "dominates",
    "dominated": "dominated by",
    "neither": "neither with",
    "not shown": "not shown with",
}


def _dominance_row(convoys: Sequence[CourseResult]) -> Row:
    found = {}
    for model in convoys[0].models:
        each: dict[str, list[Standing]] = {}
        for result in convoys:
            for entrant in result.variants(model):
                for name, stands in standings(result, entrant).items():
                    each.setdefault(name, []).append(stands)
        never = [name for name, stands in each.items() if "dominates" not in stands]
        words = f"not shown to dominate {', '.join(never)}" if never else "dominates each"
        found[model.name] = Found(words, dominates_each(each))
    return Row("all radios, any gap", "dominance", "dominates each baseline on one or more", found)


def _frontier_row(result: CourseResult) -> Row:
    most_s = HEADWAY_S[_FRONTIER_RADIO]
    headway = {b.name: result.figures[b.name]["headway_s"].value for b in result.baselines}
    near = [name for name, headway_s in headway.items() if headway_s <= most_s]
    found = {}
    for model in result.models:
        points = [
            FrontierPoint(
                entrant.name,
                result.figures[entrant.name]["headway_s"].value,
                {
                    name: result.differences[entrant.name, name]["crash"]
                    for name in headway
                    if "crash" in result.differences[entrant.name, name]
                },
            )
            for entrant in result.variants(model)
        ]
        words = ", ".join(f"{p.headway_s:.2f} s" for p in points)
        verdict = better_frontier(points, headway, most_s)
        found[model.name] = Found(f"at {words}; held to {', '.join(near) or 'nobody'}", verdict)
    return Row(
        result.course.name,
        "crash-headway frontier",
        f"better than every baseline's up to {most_s:g} s",
        found,
        note="" if near else f"no baseline keeps less than {most_s:g} s here: name one that does",
    )


def _r157_rows(result: CourseResult) -> list[Row]:
    stretch = result.course.bounds != "clean"
    measure = "crashes in avoidable cases, 1.0 s"
    return [_none_row(result, NO_CRASH_IN_R157, measure, stretch=stretch)]


def _ncap_rows(result: CourseResult) -> list[Row]:
    stretch = result.course.bounds != "clean"
    measure = "crashes in avoidable CCRb, CCRm"
    return [_bound_row(result, measure, "crash", NCAP_CRASH, unit="%", stretch=stretch)]


def _plexe_rows(result: CourseResult) -> list[Row]:
    stretch = result.course.bounds != "clean"
    return [
        _bound_row(result, "gain at the fundamental", "gain", GAIN, unit="", stretch=stretch),
        _bound_row(result, "L2 gain, p95", "gain_l2_p95", GAIN_L2_P95, unit="", stretch=stretch),
    ]


def said(figure: Figure, unit: str) -> str:
    """Write a figure with its interval, and a rate with its count."""
    if not figure.count:
        return "no such episodes"
    low, value, high = figure.low, figure.value, figure.high
    if figure.hits is not None:
        return f"{figure.hits} of {figure.count:,} [{100 * low:.3f}, {100 * high:.3f}] %"
    digits = 3 if unit == "per km" else 2
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]".replace("inf", "∞")
