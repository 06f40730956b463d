"""When an acceptance test passes, fails, or is inconclusive.

A bound **passes** where the whole 95 % interval keeps to it, **fails** where none of the interval
does, and is **inconclusive** otherwise: more cases would tell. "0 in N" fails with one crash, and
passes without any in N cases or more.
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


def least_cases(bound: float) -> int:
    """How many cases without a hit show that a rate is at most `bound`.

    Wilson's upper end of 0 in n is z² / (n + z²).
    """
    return math.ceil(_Z2 * (1.0 / bound - 1.0))


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
