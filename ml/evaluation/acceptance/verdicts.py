"""When an acceptance test passes, fails, or is inconclusive.

A bound **passes** where the whole 95 % interval keeps to it, **fails** where none of the interval
does, and is **inconclusive** otherwise: more cases would tell. "0 in N" fails with one crash, and
passes without any in N cases or more. "No more than another driver" is a bound on the paired
difference, and fails as soon as the difference is shown to be above 0.

A bound on a rare event is a bound on its rate, so that what it takes to pass depends on the hits.
"5 in 10,000" is a rate of 0.05 %: no hit in 7,680 cases passes, or 1 in 11,326, 2 in 14,582, 3 in
17,639, 4 in 20,568, 5 in 23,407 (`least_cases`). 5 hits in 10,000 do not pass: the interval of
their rate reaches up to 0.12 %.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from scipy import stats

from ml.evaluation.paired import PairedEstimate
from ml.evaluation.summary import Figure

Verdict = Literal["pass", "fail", "inconclusive"]
PASSED: Verdict = "pass"
FAILED: Verdict = "fail"
INCONCLUSIVE: Literal["inconclusive"] = "inconclusive"

Standing = Literal["dominates", "dominated", "neither", "inconclusive"]
_Z2 = float(stats.norm.ppf(0.975)) ** 2
_VALID_SHARE = 0.999


def at_most(figure: Figure, bound: float) -> Verdict:
    """Judge a figure by an upper bound."""
    if not figure.count or math.isnan(figure.value):
        return INCONCLUSIVE
    if figure.high <= bound:
        return PASSED
    return FAILED if figure.low > bound else INCONCLUSIVE


def none_in(crash: Figure, met: int, asked: int) -> Verdict:
    """Judge a rate of avoidable cases by "0 in `asked`"; `met` are all valid cases.

    One in a thousand of those that are asked for may have been invalid.
    """
    if crash.hits:
        return FAILED
    return PASSED if crash.count and met >= _VALID_SHARE * asked else INCONCLUSIVE


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """Pass where all do; fail where one does."""
    found = list(verdicts)
    if FAILED in found:
        return FAILED
    return PASSED if found and all(v == PASSED for v in found) else INCONCLUSIVE


def no_more(apart: PairedEstimate, margin: float) -> Verdict:
    """Judge whether a figure is no more than a baseline's, by their paired difference.

    It passes where the whole interval of candidate − baseline is at most `margin`, in the figure's
    unit, and fails where all of it is above 0.
    """
    if apart.low > 0.0:
        return FAILED
    return PASSED if apart.high <= margin else INCONCLUSIVE


def least_cases(bound: float, hits: int = 0) -> int:
    """How many cases, with so many hits among them, show that a rate is at most `bound`.

    Wilson's upper end of x hits in n is b where (x − n b)² = z² n b (1 − b), so that
    n = (m + √(m² − x²)) / b with m = x + z² (1 − b) / 2.
    """
    middle = hits + 0.5 * _Z2 * (1.0 - bound)
    return math.ceil((middle + math.sqrt(middle**2 - hits**2)) / bound)


def cases_at_share(bound: float, share: float) -> int:
    """How many cases show that a rate is at most `bound`, should a share s < b of them be hits.

    n = z² b (1 − b) / (b − s)², from the same equation with x = s n.
    """
    return math.ceil(_Z2 * bound * (1.0 - bound) / (bound - share) ** 2)


def standing(differences: Mapping[str, PairedEstimate], compared: Sequence[str]) -> Standing:
    """Say whether a candidate dominates a baseline, or is dominated by it.

    One dominates the other where its figures are no larger in everything that is compared, and one
    of them is shown to be smaller: its interval of the paired difference, candidate − baseline,
    leaves out 0. They are neither where each is shown to be better at something. All else is
    inconclusive.
    """
    found = [differences[name] for name in compared if name in differences]
    if len(found) < len(compared):
        return INCONCLUSIVE
    better, worse = any(d.high < 0.0 for d in found), any(d.low > 0.0 for d in found)
    if better and worse:
        return "neither"
    if better and all(d.difference <= 0.0 for d in found):
        return "dominates"
    if worse and all(d.difference >= 0.0 for d in found):
        return "dominated"
    return INCONCLUSIVE


def not_dominated(standings: Mapping[str, Standing], shown_better: Mapping[str, bool]) -> Verdict:
    """Judge whether "no baseline dominates it" holds of a model on one radio.

    `shown_better` says, by baseline, whether the model is shown to be better at something.
    """
    if "dominated" in standings.values():
        return FAILED
    return PASSED if standings and all(shown_better.values()) else INCONCLUSIVE


def dominates_each(standings: Mapping[str, Sequence[Standing]]) -> Verdict:
    """Judge whether a model "dominates each baseline on at least one radio, at one of its gaps".

    It has a standing per radio and time gap, by baseline.
    """
    return together(
        PASSED
        if "dominates" in found
        else FAILED
        if found and all(s in {"neither", "dominated"} for s in found)
        else INCONCLUSIVE
        for found in standings.values()
    )


def better_frontier(
    points: Sequence[tuple[float, Mapping[str, PairedEstimate]]],
    baselines: Mapping[str, float],
    most_headway_s: float,
) -> Verdict:
    """Judge whether a model's frontier is better than every baseline's up to a headway.

    At each baseline up to there, by its headway, a point of the model must keep no more headway and
    be shown to crash less; it fails where every point with no more headway is shown to crash as
    often or more, or there is none. A point is the model's headway at a time gap, s, and its crash
    rate less a baseline's, by baseline. Inconclusive where no baseline matters.
    """
    verdicts: list[Verdict] = []
    for name, headway_s in baselines.items():
        if not headway_s <= most_headway_s:
            continue
        here = [of[name] for own_s, of in points if own_s <= headway_s and name in of]
        if any(d.high < 0.0 for d in here):
            verdicts.append(PASSED)
        else:
            verdicts.append(FAILED if all(d.low >= 0.0 for d in here) else INCONCLUSIVE)
    return together(verdicts)
