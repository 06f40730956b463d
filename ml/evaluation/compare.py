"""Is one better than the other? Paired comparison of two controllers, as a gate for CI.

Both met the same cases with the same packet fates, so that each case is its own control. For every
suite, radio and metric there is a difference with its 95 % interval and a verdict:

* **worse**, **better**: the difference is larger than the stated margin, and it is significant at
  5 % for all verdicts of the comparison together (Holm);
* **no difference shown** otherwise. Whether a loss beyond the margin can be ruled out is said
  beside it: few cases show nothing, and rule nothing out.

One "worse" is a regression.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ml.console import WholeTable
from ml.errors import ConfigError, EvaluationError
from ml.evaluation.paired import PairedEstimate, holm_significant, paired_rates, paired_ratios
from ml.evaluation.result import EpisodeRow, Manifest
from ml.evaluation.summary import EPISODES

Verdict = Literal["better", "worse", "no difference shown"]


@dataclass(frozen=True, slots=True)
class Compared:
    """What is compared, in which episodes, and from when on a difference matters.

    Attributes:
        key: Its name in options and files.
        unit: Unit of the difference and the margin; shares are compared in percentage points.
        column: Field of an episode's row; `ml.envs.scoring.metrics` defines it.
        margin: The smallest difference that matters, in `unit`.
        counts: Which episodes enter, a key of `summary.EPISODES`.
        per: Field of an episode's row that the sum is divided by; "": a mean over episodes.
        scale: From the rows' unit to `unit`.
        more_is_better: Whether a larger figure is the better one.
    """

    key: str
    label: str
    unit: str
    column: str
    margin: float
    counts: str = "all"
    per: str = ""
    scale: float = 1.0
    more_is_better: bool = False


_METRICS = (
    Compared("crash", "crashes, avoidable hazards", "pp", "crash", 1.0, "avoidable hazards",
             scale=100.0),
    Compared("calm_crash", "crashes, no hazard", "pp", "crash", 0.5, "quiet", scale=100.0),
    Compared("false_brakes", "false brakes, no hazard", "/km", "false_brakes", 0.05, "quiet",
             per="distance_m", scale=1000.0),
    Compared("braking_share", "time spent braking", "pp", "braking_share", 3.0, scale=100.0),
    Compared("below_rss", "time below RSS distance", "pp", "share_below_rss", 3.0, scale=100.0),
    Compared("jerk", "jerk, 95th percentile", "m/s³", "jerk_p95_mps3", 0.5),
    Compared("headway", "time headway", "s", "headway_s", 0.1),
    Compared("progress", "progress", "pp", "progress", 2.0, scale=100.0, more_is_better=True),
    Compared("reaction", "reaction after the message", "s", "reaction_after_message_s", 0.1),
)  # fmt: skip
"""The margins are choices, not measurements: what a change of policy may cost before CI objects."""

BY_KEY = {metric.key: metric for metric in _METRICS}


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric in one suite on one radio.

    Attributes:
        estimate: Both figures and the interval of their difference, in the metric's unit.
        significant: Whether it is, beside all others of the comparison.
    """

    suite: str
    radio: str
    metric: Compared
    estimate: PairedEstimate
    significant: bool

    @property
    def verdict(self) -> Verdict:
        """Of the candidate."""
        difference = self.estimate.difference
        if not self.significant or abs(difference) <= self.metric.margin:
            return "no difference shown"
        return "better" if (difference > 0.0) == self.metric.more_is_better else "worse"

    @property
    def loss_ruled_out(self) -> bool:
        """Whether the interval holds no loss beyond the margin."""
        more = self.metric.more_is_better
        return (-self.estimate.low if more else self.estimate.high) <= self.metric.margin


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences between a candidate and a baseline.

    Attributes:
        baseline: Name of the controller it is held against.
        pairs: Cases that both met.
        unpaired: Cases that only one of them met; they are left out.
    """

    candidate: str
    baseline: str
    differences: list[Difference]
    pairs: int
    unpaired: int

    @property
    def regressions(self) -> list[Difference]:
        """Where the candidate is worse."""
        return [difference for difference in self.differences if difference.verdict == "worse"]

    @property
    def exit_code(self) -> int:
        """1 on a regression, else 0."""
        return 1 if self.regressions else 0

    def table(self) -> WholeTable:
        """Build the console table."""
        columns = ("suite", "radio", "metric", ">candidate", ">baseline", ">difference [95 %]")
        table = WholeTable(
            *columns,
            ">margin",
            "verdict",
            title=f"{self.candidate} against {self.baseline}: {self.pairs:,} paired episodes"
            + (f", {self.unpaired:,} without a partner left out" if self.unpaired else ""),
            caption="difference = candidate − baseline with its 95 % interval; * a loss beyond the "
            "margin is not ruled out",
        )
        for (suite, radio), items in groupby(self.differences, key=lambda i: (i.suite, i.radio)):
            table.add_section()
            where = (suite, radio)
            for item in items:
                estimate, metric = item.estimate, item.metric
                star = "" if item.loss_ruled_out or item.verdict == "worse" else "*"
                table.add_row(
                    *where,
                    metric.label,
                    f"{estimate.candidate:.2f}",
                    f"{estimate.baseline:.2f} {metric.unit}",
                    f"{estimate.difference:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]",
                    f"{metric.margin:g}",
                    item.verdict + star,
                    style={"worse": "bold red", "better": "green"}.get(item.verdict, ""),
                )
                where = ("", "")
        return table


def compare(
    candidate: Iterable[EpisodeRow],
    baseline: Iterable[EpisodeRow],
    *,
    names: tuple[str, str] | None = None,
    margins: Mapping[str, float] | None = None,
) -> Comparison:
    """Compare two controllers' episodes, paired by case.

    They are called as their rows do, or by `names`; `margins`, by metric key, replace usual ones.

    Raises:
        ConfigError: A margin is negative or of an unknown metric.
        EvaluationError: The two have no case in common.
    """
    metrics = _with_margins(margins or {})
    of_candidate, of_baseline = _by_case(candidate), _by_case(baseline)
    common = sorted(of_candidate.keys() & of_baseline.keys())
    if not common:
        raise EvaluationError(
            f"the two have no case in common ({len(of_candidate)} and {len(of_baseline)} "
            "episodes): paired comparison needs the same suites, radios and seeds. Evaluate both "
            "with the same --suite, --radio, --seeds and --episodes."
        )
    pairs = [(of_candidate[key], of_baseline[key]) for key in common]
    found = []
    for suite, radio in sorted({(row.suite, row.radio) for row, _ in pairs}):
        here = [p for p in pairs if (p[0].suite, p[0].radio) == (suite, radio)]
        for metric in metrics:
            estimate = estimated(metric, here, f"{suite}/{radio}")
            if estimate is not None:
                found.append((suite, radio, metric, estimate))
    flags = holm_significant([estimate.p_value for *_, estimate in found])
    return Comparison(
        candidate=pairs[0][0].controller if names is None else names[0],
        baseline=pairs[0][1].controller if names is None else names[1],
        differences=[Difference(*of, flag) for of, flag in zip(found, flags, strict=True)],
        pairs=len(pairs),
        unpaired=len(of_candidate.keys() ^ of_baseline.keys()),
    )


def require_alike(ours: Manifest, theirs: Manifest) -> None:
    """Refuse to pair results whose cases were not the same.

    Raises:
        ConfigError: A radio of one name has other parameters, a road of one name is another, or
            fates were decided elsewhere.
    """
    hashes = {radio.name: radio.sha256 for radio in theirs.radios}
    changed = [r.name for r in ours.radios if hashes.get(r.name, r.sha256) != r.sha256]
    if changed:
        raise ConfigError(
            f"the radio {changed[0]} has other parameters in the other result: its cases are not "
            "these, and a paired comparison would compare radios. Evaluate the other again."
        )
    for suite, said in ours.suites.items():
        other = theirs.suites.get(suite, said)
        if other.get("road_sha256") != said.get("road_sha256"):
            raise ConfigError(
                f"the road of {suite} is another in the other result: its cases are not these. "
                "Evaluate the other again."
            )
    if ours.radio_position != theirs.radio_position:
        raise ConfigError(
            f"packets' fates were decided by --radio-position {theirs.radio_position} in the "
            f"other result and are by {ours.radio_position} here. Evaluate both with the same."
        )


def parse_margins(texts: Iterable[str]) -> dict[str, float]:
    """Read margins from texts such as "crash=0.5".

    Raises:
        ConfigError: A text is not of that form, or names no metric.
    """
    margins = {}
    for text in texts:
        key, _, number = text.partition("=")
        try:
            margins[key] = float(number)
        except ValueError as error:
            raise ConfigError(
                f"margin {text!r}: write METRIC=NUMBER, as in crash=0.5; metrics: "
                f"{', '.join(BY_KEY)}"
            ) from error
    _with_margins(margins)
    return margins


def _with_margins(margins: Mapping[str, float]) -> list[Compared]:
    for key, margin in margins.items():
        if key not in BY_KEY:
            raise ConfigError(
                f"no metric {key!r} to set a margin for; known are {', '.join(BY_KEY)}"
            )
        if not margin >= 0.0:
            raise ConfigError(f"margin of {key} must be ≥ 0, got {margin}")
    return [replace(m, margin=margins.get(m.key, m.margin)) for m in _METRICS]


def _by_case(rows: Iterable[EpisodeRow]) -> dict[tuple[str, str, int, int], EpisodeRow]:
    """Valid episodes by what identifies a case."""
    return {(row.suite, row.radio, row.seed, row.case): row for row in rows if not row.invalid}


def estimated(
    metric: Compared, pairs: Sequence[tuple[EpisodeRow, EpisodeRow]], key: str
) -> PairedEstimate | None:
    """Compare one metric in valid pairs of the same case; None where no pair has it.

    The bootstrap's draws depend on `key` and the metric.
    """
    counts = EPISODES[metric.counts]
    sides = list(zip(*(pair for pair in pairs if all(map(counts, pair))), strict=True))

    def columns(name: str) -> NDArray[np.float64]:
        return np.array([[float(getattr(row, name)) for row in side] for side in sides])

    values = columns(metric.column)
    if not values.size:
        return None
    if metric.column == "crash":
        estimate = paired_rates(*(values > 0.0))
        shown = ("candidate", "baseline", "low", "high")
        return replace(estimate, **{n: metric.scale * getattr(estimate, n) for n in shown})
    below = columns(metric.per) if metric.per else np.ones(values.shape)
    known = np.isfinite(values).all(axis=0)
    values, below = values[:, known] * metric.scale, below[:, known]
    if not (below.sum(axis=1) > 0.0).all():
        return None
    ours, theirs = zip(values, below, strict=True)
    return paired_ratios(ours, theirs, key=f"{key}/{metric.key}")
