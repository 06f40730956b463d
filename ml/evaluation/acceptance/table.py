"""The acceptance tests: what is asked for, and what came out for each model.

Beyond what was trained on, bounds are doubled; 0 in 10,000 becomes 0 in 5,000, which leaves twice
the upper end. The share of time braking is compared with the best baseline's: of those that are
safe enough, which do not significantly crash more often than the model (or, without any, of those
with the fewest crashes), the one that brakes the least.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ml.evaluation.acceptance.benchmarks import BenchmarkResult
from ml.evaluation.acceptance.figures import COMPARED
from ml.evaluation.acceptance.verdicts import (
    FAILED,
    INCONCLUSIVE,
    PASSED,
    Standing,
    Verdict,
    at_most,
    better_frontier,
    dominates_each,
    least_cases,
    none_in,
    not_dominated,
    standing,
    together,
)
from ml.evaluation.records import DriverSpec
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
        figure: The figure, where it is one.
    """

    said: str
    verdict: Verdict
    figure: Figure | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One acceptance test.

    Attributes:
        where: Benchmark, or `all radios, any gap`.
        found: By model.
        asked: Whether it is part of what was asked for, or a stretch beyond it.
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


def bounds_of(radio: str) -> dict[str, float]:
    """Upper bounds of a convoy's figures on a radio, by the names of `convoy_figures`."""
    bounds = {"crash": CRASH.get(radio, 1.0 / NO_CRASH_IN), "overreaction": OVERREACTION}
    for name, of in (
        ("headway_s", HEADWAY_S),
        ("false_brakes_per_km", FALSE_BRAKES_PER_KM),
        ("jerk_p95_mps3", JERK_MPS3),
    ):
        if radio in of:
            bounds[name] = of[radio]
    return bounds


def make_table(results: Sequence[BenchmarkResult]) -> list[Row]:
    """Put every model to every acceptance test, in the order of the benchmarks."""
    rows: list[Row] = []
    for result in results:
        rows += _ROWS_OF.get(result.benchmark.part, _convoy_rows)(result)
    convoys = [result for result in results if result.benchmark.part == "convoy"]
    if convoys and convoys[0].baselines:
        rows.append(_dominance_row(convoys))
    return [row for row in rows if row.found]


def standings(result: BenchmarkResult, model: DriverSpec) -> dict[str, Standing]:
    """How a model, at this time gap, stands to each baseline on a benchmark."""
    return {
        baseline.name: standing(result.differences[model.name, baseline.name], COMPARED)
        for baseline in result.baselines
    }


def best_baseline(result: BenchmarkResult, model: DriverSpec) -> str:
    """Name the baseline that brakes the least of those that are safe enough; see the module."""
    names = [baseline.name for baseline in result.baselines]

    def crashes_more(name: str) -> bool:
        difference = result.differences[model.name, name].get("crash")
        return difference is not None and difference.high < 0.0

    crash = {name: result.figures[name]["crash"].value for name in names}
    safe = [name for name in names if not crashes_more(name)]
    safe = safe or [name for name in names if crash[name] == min(crash.values())]
    return min(safe, key=lambda name: result.figures[name]["quiet_braking_share"].value)


def _convoy_rows(result: BenchmarkResult) -> list[Row]:
    benchmark = result.benchmark
    factor, radio = (BEYOND if benchmark.beyond else 1.0), benchmark.bounds
    measure = "crashes in avoidable hazards"
    if radio in CRASH:
        rows = [_bound_row(result, measure, "crash", factor * CRASH[radio], unit="%")]
    else:
        rows = [_none_row(result, round(NO_CRASH_IN / factor), measure)]
    for measure, key, bound_of, unit in (
        ("mean time headway, s", "headway_s", HEADWAY_S, "s"),
        ("false brakes per km, no hazard", "false_brakes_per_km", FALSE_BRAKES_PER_KM, "per km"),
        ("jerk p95, m/s³", "jerk_p95_mps3", JERK_MPS3, "m/s³"),
        ("overreactions, benign", "overreaction", {radio: OVERREACTION}, "%"),
    ):
        if radio in bound_of:
            rows.append(_bound_row(result, measure, key, factor * bound_of[radio], unit=unit))
    if not benchmark.beyond and result.baselines:
        rows += [_braking_row(result), _not_dominated_row(result)]
        if radio == _FRONTIER_RADIO:
            rows.append(_frontier_row(result))
    return rows


def _row(
    result: BenchmarkResult,
    measure: str,
    target: str,
    judge: Callable[[DriverSpec], Found],
    note: str = "",
) -> Row:
    """Judge every model; manoeuvres on another radio than `clean` are a stretch."""
    asked = result.benchmark.weighted or result.benchmark.bounds == "clean"
    found = {model.name: judge(model) for model in result.models}
    return Row(result.benchmark.name, measure, target, found, asked=asked, note=note)


def _none_row(result: BenchmarkResult, asked: int, measure: str) -> Row:
    def judge(model: DriverSpec) -> Found:
        figures = result.figures[model.name]
        crash, hazards = figures["crash"], int(figures["hazards"].value)
        return Found(said(crash, "%"), none_in(crash, hazards, asked), crash)

    return _row(result, measure, f"0 in {asked:,}", judge)


def _bound_row(
    result: BenchmarkResult, measure: str, key: str, bound: float, *, unit: str = ""
) -> Row:
    def judge(model: DriverSpec) -> Found:
        figure = result.figures[model.name][key]
        return Found(said(figure, unit), at_most(figure, bound), figure)

    least, note = least_cases(bound), ""
    figures = [result.figures[model.name][key] for model in result.models]
    if any(figure.hits is not None and figure.count < least for figure in figures):
        note = f"{least:,} cases without a hit would pass, fewer cannot"
    shown = f"≤ {100.0 * bound:.3g} %" if unit == "%" else f"≤ {bound:g} {unit}".rstrip()
    return _row(result, measure, shown, judge, note)


def _braking_row(result: BenchmarkResult) -> Row:
    def judge(model: DriverSpec) -> Found:
        name = best_baseline(result, model)
        apart = result.differences[model.name, name].get("quiet_braking_share")
        if apart is None:
            return Found("no such episodes", INCONCLUSIVE)
        words = (
            f"{100 * apart.candidate:.1f} % to {100 * apart.baseline:.1f} % of {name}, "
            f"{100 * apart.difference:+.2f} [{100 * apart.low:+.2f}, {100 * apart.high:+.2f}] pp"
        )
        verdict = FAILED if apart.low > 0.0 else INCONCLUSIVE
        return Found(words, PASSED if apart.high <= 0.0 else verdict)

    return _row(result, "time braking, no hazard", "≤ the best baseline's", judge)


_WORDS: dict[Standing, str] = {
    "dominates": "dominates",
    "dominated": "dominated by",
    "neither": "neither with",
    "inconclusive": "inconclusive with",
}


def _not_dominated_row(result: BenchmarkResult) -> Row:
    def judge(model: DriverSpec) -> Found:
        of = standings(result, model)
        better = {}
        for name in of:
            apart = result.differences[model.name, name]
            better[name] = any(apart[m].high < 0.0 for m in COMPARED if m in apart)
        words = "; ".join(f"{_WORDS[s]} {name}" for name, s in of.items())
        return Found(words, not_dominated(of, better))

    return _row(result, "dominance", "dominated by no baseline", judge)


def _dominance_row(convoys: Sequence[BenchmarkResult]) -> Row:
    found = {}
    for model in convoys[0].models:
        each: dict[str, list[Standing]] = {}
        for result in convoys:
            for variant in result.variants(model):
                for name, stands in standings(result, variant).items():
                    each.setdefault(name, []).append(stands)
        never = [name for name, stands in each.items() if "dominates" not in stands]
        words = f"does not dominate {', '.join(never)}" if never else "dominates each"
        found[model.name] = Found(words, dominates_each(each))
    return Row("all radios, any gap", "dominance", "dominates each baseline on one or more", found)


def _frontier_row(result: BenchmarkResult) -> Row:
    most_s = HEADWAY_S[_FRONTIER_RADIO]
    headway = {b.name: result.figures[b.name]["headway_s"].value for b in result.baselines}
    near = [name for name, headway_s in headway.items() if headway_s <= most_s]

    def judge(model: DriverSpec) -> Found:
        points = []
        for variant in result.variants(model):
            apart = {name: result.differences[variant.name, name] for name in headway}
            crash = {name: found["crash"] for name, found in apart.items() if "crash" in found}
            points.append((result.figures[variant.name]["headway_s"].value, crash))
        words = ", ".join(f"{headway_s:.2f} s" for headway_s, _ in points)
        compared = ", ".join(near) or "nobody"
        verdict = better_frontier(points, headway, most_s)
        return Found(f"at {words}; compared with {compared}", verdict)

    target = f"better than every baseline's up to {most_s:g} s"
    note = "" if near else f"no baseline keeps less than {most_s:g} s here: name one that does"
    return _row(result, "crash-headway frontier", target, judge, note)


_ROWS_OF: dict[str, Callable[[BenchmarkResult], list[Row]]] = {
    "r157": lambda of: [_none_row(of, NO_CRASH_IN_R157, "crashes in avoidable cases, 1.0 s")],
    "ncap": lambda of: [
        _bound_row(of, "crashes in avoidable CCRb, CCRm", "crash", NCAP_CRASH, unit="%")
    ],
    "plexe": lambda of: [
        _bound_row(of, "gain at the fundamental", "gain", GAIN),
        _bound_row(of, "L2 gain, p95", "gain_l2_p95", GAIN_L2_P95),
    ],
}
"""Of the parts that are not a convoy's."""


def said(figure: Figure, unit: str) -> str:
    """Write a figure with its interval, and a rate with its count."""
    if not figure.count:
        return "no such episodes"
    low, value, high = figure.low, figure.value, figure.high
    if figure.hits is not None:
        return f"{figure.hits} of {figure.count:,} [{100 * low:.3f}, {100 * high:.3f}] %"
    digits = 3 if unit == "per km" else 2
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]".replace("inf", "∞")
