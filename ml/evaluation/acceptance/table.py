"""The acceptance tests: what is asked for, and what came out for each model.

Bounds stand in `ml.envs.scoring.targets`. What *must* be reached is judged and counted, a *stretch*
is judged alone, and of a *limit* the distance to it is told. Beyond what was trained on, each must
is doubled, but for the time braking, which is judged on the presets alone, as limits are.

* The share of time braking is compared with **the best baseline**'s: of those that are safe enough,
  which do not significantly crash more often than the model (or, without any, of those with the
  fewest crashes), the one that brakes the least.
* Crashes are compared with every **baseline at equal headway**: whose mean time headway is within
  0.05 s of the model's, at that of the model's time gaps where it is nearest. "No more" holds where
  the interval of the paired difference stays below half of what the bound on crashes allows, of
  each such baseline; without any it is inconclusive. A margin of 0 could never be shown: two
  drivers without a crash differ by up to 1.8 in 10,000 after 21,000 cases.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import isnan

from ml.envs.scoring.targets import (
    BEYOND,
    EQUAL_HEADWAY_S,
    Level,
    Target,
    bound_of,
    targets_of,
)
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
    cases_at_share,
    dominates_each,
    least_cases,
    no_more,
    none_in,
    not_dominated,
    standing,
    together,
)
from ml.evaluation.paired import PairedEstimate
from ml.evaluation.records import DriverSpec
from ml.evaluation.summary import Figure

_FRONTIER_RADIO = "shadowed"
_MEASURES = {
    "crash_rate": ("crashes in avoidable hazards", "%"),
    "headway_s": ("mean time headway, s", "s"),
    "false_brakes_per_km": ("false brakes per km, no hazard", "per km"),
    "jerk_p95_mps3": ("jerk p95, m/s³", "m/s³"),
    "overreaction_rate": ("overreactions, benign", "%"),
    "braking_share": ("time braking, no hazard", "%"),
    "gain_at_fundamental": ("gain at the fundamental", ""),
    "string_gain_l2_p95": ("L2 gain, p95", ""),
}
"""By metric: what the table calls it, and the unit that it is shown in."""
_CRASHES_OF = {
    "r157": "crashes in avoidable cases, 1.0 s",
    "ncap": "crashes in avoidable CCRb, CCRm",
    "baselines at equal headway": "crashes at equal headway",
}
"""By part, or by who is compared with."""
_PRESETS_ALONE = {"braking_share"}
"""Not judged beyond training: twice the share of time braking would bind nobody."""
_THAN = {
    "the best baseline": "≤ the best baseline's",
    "baselines at equal headway": "no more than baselines",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What came out for one model.

    Attributes:
        verdict: Of a limit: whether it is reached, which counts nowhere.
        figure: The figure, where it is one.
        distance: Of a limit: the figure less the bound, with its interval.
        differences: Where it is compared: the figure less a baseline's, by the baseline's name.
    """

    said: str
    verdict: Verdict
    figure: Figure | None = None
    distance: Figure | None = None
    differences: dict[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One acceptance test.

    Attributes:
        where: Benchmark, or `all radios, any gap`.
        target: The bound in words.
        found: By model.
        by: The bound that holds here; None for dominance and the frontier, which must be reached.
    """

    where: str
    measure: str
    target: str
    found: dict[str, Found]
    by: Target | None = None
    note: str = ""

    @property
    def level(self) -> Level:
        """Whether it must be reached."""
        return self.by.level if self.by else "must"

    @property
    def verdict(self) -> Verdict:
        """Over all models."""
        return together(found.verdict for found in self.found.values())


def make_table(results: Sequence[BenchmarkResult]) -> list[Row]:
    """Put every model to every acceptance test, in the order of the benchmarks."""
    rows = [row for result in results for row in _rows(result)]
    convoys = [result for result in results if result.benchmark.part == "convoy"]
    if convoys and convoys[0].baselines:
        rows.append(_dominance_row(convoys))
    return [row for row in rows if row.found]


@dataclass(frozen=True, slots=True)
class Summary:
    """How many tests came out how; stretches count nowhere.

    Attributes:
        must: Tests by verdict.
        limits: How many limits there are.
        reached: How many of them the whole interval of every model keeps to.
    """

    must: dict[Verdict, int]
    limits: int
    reached: int

    @property
    def verdict(self) -> Verdict:
        """Pass where all that must be reached is."""
        return together(verdict for verdict, count in self.must.items() if count)

    def __str__(self) -> str:
        counts = self.must
        said = f"must: {counts[PASSED]} of {sum(counts.values())} passed"
        said += f" ({counts[INCONCLUSIVE]} inconclusive)"
        return f"{said}; limits: {self.reached} of {self.limits} reached"


def summary_of(rows: Sequence[Row]) -> Summary:
    """Count over all tests."""
    return count_verdicts((row.level, row.verdict) for row in rows)


def count_verdicts(found: Iterable[tuple[Level, Verdict]]) -> Summary:
    """Count tests by their level and verdict."""
    judged = list(found)
    must = [verdict for level, verdict in judged if level == "must"]
    limits = [verdict for level, verdict in judged if level == "limit"]
    counts: dict[Verdict, int] = {v: must.count(v) for v in (PASSED, FAILED, INCONCLUSIVE)}
    return Summary(counts, len(limits), limits.count(PASSED))


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
        difference = result.differences[model.name, name].get("crash_rate")
        return difference is not None and difference.high < 0.0

    crash = {name: result.figures[name]["crash_rate"].value for name in names}
    safe = [name for name in names if not crashes_more(name)]
    safe = safe or [name for name in names if crash[name] == min(crash.values())]
    return min(safe, key=lambda name: result.figures[name]["braking_share"].value)


def _rows(result: BenchmarkResult) -> list[Row]:
    benchmark = result.benchmark
    compared = benchmark.weighted and not benchmark.beyond and bool(result.baselines)
    where = "convoy" if benchmark.weighted else benchmark.part
    rows = []
    for target in targets_of(where, benchmark.bounds):
        presets_alone = target.level == "limit" or target.metric in _PRESETS_ALONE
        if (target.than and not compared) or (presets_alone and benchmark.beyond):
            continue
        factor = BEYOND if benchmark.beyond else 1.0
        rows.append(_target_row(result, replace(target, bound=factor * target.bound)))
    if compared:
        rows.append(_not_dominated_row(result))
        if benchmark.bounds == _FRONTIER_RADIO:
            rows.append(_frontier_row(result))
    return rows


def _target_row(result: BenchmarkResult, target: Target) -> Row:
    judge = _JUDGES[target.than]
    found = {model.name: judge(result, model, target) for model in result.models}
    note = "" if target.level == "limit" else _note(found, target)
    measure = _MEASURES[target.metric][0]
    if target.metric == "crash_rate":
        measure = _CRASHES_OF.get(target.than or target.where, measure)
    return Row(result.benchmark.name, measure, _in_words(target), found, target, note)


def _in_words(target: Target) -> str:
    if target.cases:
        return f"0 in {target.cases:,}"
    unit, bound = _MEASURES[target.metric][1], target.bound
    shown = f"{100.0 * bound:.3g} %" if unit == "%" else f"{bound:g} {unit}".rstrip()
    if target.than:
        return _THAN[target.than] + (f", margin {shown}" if bound else "")
    return f"≤ {shown}" + (f" at ≤ {target.headway_s:g} s" if target.headway_s else "")


def _judge_own(result: BenchmarkResult, model: DriverSpec, target: Target) -> Found:
    """Judge a figure by a bound on it."""
    figures = result.figures[model.name]
    figure, unit = figures[target.metric], _MEASURES[target.metric][1]
    if target.cases:
        verdict = none_in(figure, int(figures["hazards"].value), target.cases)
    else:
        verdict = at_most(figure, target.bound)
    words = said(figure, unit)
    if target.level != "limit" or not figure.count:
        return Found(words, verdict, figure)
    if target.headway_s:
        headway = figures["headway_s"]
        verdict = together([verdict, at_most(headway, target.headway_s)])
        words += f" at {headway.value:.2f} s"
    value, low, high = (end - target.bound for end in (figure.value, figure.low, figure.high))
    distance = Figure(value, low, high, figure.count)
    words += f"; {100 * value:+.3f} [{100 * low:+.3f}, {100 * high:+.3f}] pp"
    return Found(words, verdict, figure, distance)


def _judge_best(result: BenchmarkResult, model: DriverSpec, target: Target) -> Found:
    name = best_baseline(result, model)
    apart = result.differences[model.name, name].get(target.metric)
    if apart is None:
        return Found("no such episodes", INCONCLUSIVE)
    words = (
        f"{100 * apart.candidate:.1f} % to {100 * apart.baseline:.1f} % of {name}, "
        f"{100 * apart.difference:+.2f} [{100 * apart.low:+.2f}, {100 * apart.high:+.2f}] pp"
    )
    return Found(words, no_more(apart, target.bound), differences={name: _of_pairs(apart)})


def _of_pairs(apart: PairedEstimate) -> Figure:
    return Figure(apart.difference, apart.low, apart.high, apart.pairs)


def _judge_equal_headway(result: BenchmarkResult, model: DriverSpec, target: Target) -> Found:
    def headway_s(driver: DriverSpec) -> float:
        return result.figures[driver.name]["headway_s"].value

    words, verdicts, differences = [], [], {}
    for baseline in result.baselines:
        there_s = headway_s(baseline)
        near = {abs(headway_s(v) - there_s): v for v in result.variants(model)}
        near = {apart_s: v for apart_s, v in near.items() if apart_s <= EQUAL_HEADWAY_S}
        if not near:
            continue
        variant = near[min(near)]
        apart = result.differences[variant.name, baseline.name].get(target.metric)
        if apart is None:
            continue
        verdicts.append(no_more(apart, target.bound))
        differences[baseline.name] = _of_pairs(apart)
        words.append(
            f"{100 * apart.difference:+.3f} [{100 * apart.low:+.3f}, {100 * apart.high:+.3f}] pp "
            f"to {baseline.name} ({headway_s(variant):.2f} s to {there_s:.2f} s)"
        )
    if not words:
        gaps = ", ".join(f"{headway_s(variant):.2f} s" for variant in result.variants(model))
        return Found(f"no baseline within {EQUAL_HEADWAY_S:g} s of {gaps}", INCONCLUSIVE)
    return Found("; ".join(words), together(verdicts), differences=differences)


_JUDGES: dict[str, Callable[[BenchmarkResult, DriverSpec, Target], Found]] = {
    "": _judge_own,
    "the best baseline": _judge_best,
    "baselines at equal headway": _judge_equal_headway,
}
"""By the one that the driver is compared with."""


def _note(found: dict[str, Found], target: Target) -> str:
    """Say how many cases would decide what is inconclusive; "" where that is not known."""
    inconclusive = [of for of in found.values() if of.verdict == INCONCLUSIVE]
    if target.than == "baselines at equal headway" and inconclusive:
        least = least_cases(target.bound)
        return (
            f"of two drivers without a crash {least:,} cases show it; --clean-controllers adds "
            "baselines, --clean-gaps time gaps of the models"
        )
    figures = [of.figure for of in inconclusive if of.figure and of.figure.hits is not None]
    if target.cases or not figures:
        return ""
    least = least_cases(target.bound)
    if any(figure.count < least for figure in figures):
        return f"{least:,} cases without a hit would pass, fewer cannot"
    shares = [figure.value for figure in figures if figure.value < target.bound]
    if not shares:
        return ""
    more = cases_at_share(target.bound, max(shares))
    return f"at the same share of hits {more:,} cases would pass"


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

    found = {model.name: judge(model) for model in result.models}
    return Row(result.benchmark.name, "dominance", "dominated by no baseline", found)


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
    most_s = bound_of("headway_s", _FRONTIER_RADIO) or 0.0
    headway = {b.name: result.figures[b.name]["headway_s"].value for b in result.baselines}
    near = [name for name, headway_s in headway.items() if headway_s <= most_s]

    def judge(model: DriverSpec) -> Found:
        points = []
        for variant in result.variants(model):
            apart = {name: result.differences[variant.name, name] for name in headway}
            crash = {
                name: found["crash_rate"] for name, found in apart.items() if "crash_rate" in found
            }
            points.append((result.figures[variant.name]["headway_s"].value, crash))
        words = ", ".join(f"{headway_s:.2f} s" for headway_s, _ in points)
        compared = ", ".join(near) or "nobody"
        verdict = better_frontier(points, headway, most_s)
        return Found(f"at {words}; compared with {compared}", verdict)

    target = f"better than every baseline's up to {most_s:g} s"
    note = "" if near else f"no baseline keeps less than {most_s:g} s here: name one that does"
    rows = {model.name: judge(model) for model in result.models}
    return Row(result.benchmark.name, "crash-headway frontier", target, rows, note=note)


def said(figure: Figure, unit: str) -> str:
    """Write a figure with its interval, and a rate with its count."""
    if isnan(figure.value):
        return "no such episodes"
    low, value, high = figure.low, figure.value, figure.high
    if figure.hits is not None:
        return f"{figure.hits} of {figure.count:,} [{100 * low:.3f}, {100 * high:.3f}] %"
    if unit == "%":
        return f"{100 * value:.2f} [{100 * low:.2f}, {100 * high:.2f}] %".replace("inf", "∞")
    digits = 3 if unit == "per km" else 2
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]".replace("inf", "∞")
