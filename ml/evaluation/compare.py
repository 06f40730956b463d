"""Is one better than the other? Paired comparison of two controllers, as a gate for CI.

Both met the same cases with the same packet fates, so that each case is its own control. For every
suite, radio and metric there is a difference with its 95 % interval and a verdict:

* **worse**, **better**: the difference is larger than the stated margin, and it is significant at
  5 % for all verdicts of the comparison together (Holm);
* **no difference shown** otherwise. Whether a loss beyond the margin can be ruled out is said
  beside it: few cases show nothing, and rule nothing out.

One "worse" is a regression.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ml.console import WholeTable
from ml.errors import ConfigError, EvaluationError
from ml.evaluation.paired import holm_significant, paired_rates, paired_ratios
from ml.evaluation.summary import RESAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ml.evaluation.paired import PairedEstimate
    from ml.evaluation.result import EpisodeRow, Manifest

Verdict = Literal["better", "worse", "no difference shown"]
_NO_DIFFERENCE: Verdict = "no difference shown"
_CALM_KINDS = ("benign", "free")


def _in_avoidable_hazards(row: EpisodeRow) -> bool:
    return row.kind == "hazard" and row.avoidable


def _where_nothing_happens(row: EpisodeRow) -> bool:
    return row.kind in _CALM_KINDS


def _everywhere(row: EpisodeRow) -> bool:
    del row
    return True


@dataclass(frozen=True, slots=True)
class Metric:
    """What is compared, in which episodes, and from when on a difference matters.

    Attributes:
        key: Its name in options and files.
        label: Its name for people.
        unit: Unit of the difference and the margin; shares are compared in percentage points.
        column: Field of an episode's row.
        margin: The smallest difference that matters, in `unit`.
        more_is_better: Whether a larger figure is the better one.
        counts: Which episodes enter.
        per: Field of an episode's row that the sum is divided by; none: a mean over episodes.
        scale: From the rows' unit to `unit`.
    """

    key: str
    label: str
    unit: str
    column: str
    margin: float
    more_is_better: bool = False
    counts: Callable[[EpisodeRow], bool] = _everywhere
    per: str | None = None
    scale: float = 1.0


METRICS = (
    Metric("crash", "crashes, avoidable hazards", "pp", "crash", 1.0, counts=_in_avoidable_hazards),
    Metric("calm_crash", "crashes, no hazard", "pp", "crash", 0.5, counts=_where_nothing_happens),
    Metric(
        "false_brakes",
        "false brakes, no hazard",
        "/km",
        "false_brakes",
        0.05,
        counts=_where_nothing_happens,
        per="distance_m",
        scale=1000.0,
    ),
    Metric("braking_share", "time spent braking", "pp", "braking_share", 3.0, scale=100.0),
    Metric("below_rss", "time below RSS distance", "pp", "share_below_rss", 3.0, scale=100.0),
    Metric("jerk", "jerk, 95th percentile", "m/s³", "jerk_p95_mps3", 0.5),
    Metric("headway", "time headway", "s", "headway_s", 0.1),
    Metric("progress", "progress", "pp", "progress", 2.0, more_is_better=True, scale=100.0),
    Metric("reaction", "reaction after the message", "s", "reaction_after_message_s", 0.1),
)
"""The margins are choices, not measurements: what a change of policy may cost before CI objects."""

_BY_KEY = {metric.key: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric in one suite on one radio.

    Attributes:
        suite: Of the episodes.
        radio: Of the episodes.
        metric: What was compared.
        estimate: Both figures and the interval of their difference, in the metric's unit.
        verdict: Of the candidate.
        loss_ruled_out: Whether the interval holds no loss beyond the margin.
    """

    suite: str
    radio: str
    metric: Metric
    estimate: PairedEstimate
    verdict: Verdict = _NO_DIFFERENCE
    loss_ruled_out: bool = False

    @property
    def loss(self) -> float:
        """How much worse the candidate is, in the metric's unit; negative when it is better."""
        return -self.estimate.difference if self.metric.more_is_better else self.estimate.difference

    @property
    def largest_loss(self) -> float:
        """The end of the interval at which the candidate does worst."""
        return -self.estimate.low if self.metric.more_is_better else self.estimate.high

    def judged(self, *, significant: bool) -> Difference:
        """Return the difference with its verdict."""
        verdict: Verdict = _NO_DIFFERENCE
        if significant and abs(self.loss) > self.metric.margin:
            verdict = "worse" if self.loss > 0.0 else "better"
        ruled_out = self.largest_loss <= self.metric.margin
        return replace(self, verdict=verdict, loss_ruled_out=ruled_out)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences between a candidate and a baseline.

    Attributes:
        candidate: Name of the controller under test.
        baseline: Name of the controller it is held against.
        differences: By suite, radio and metric.
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
        table = WholeTable(
            title=f"{self.candidate} against {self.baseline}: {self.pairs:,} paired episodes"
            + (f", {self.unpaired:,} without a partner left out" if self.unpaired else ""),
            caption="difference = candidate − baseline with its 95 % interval; * a loss beyond the "
            "margin is not ruled out",
        )
        for column in ("suite", "radio", "metric"):
            table.add_column(column)
        for column in ("candidate", "baseline", "difference [95 %]", "margin", "verdict"):
            table.add_column(column, justify="left" if column == "verdict" else "right")
        before = ("", "")
        for item in self.differences:
            here = (item.suite, item.radio)
            if here != before:
                table.add_section()
            shown = here if here != before else ("", "")
            before = here
            colour = {"worse": "bold red", "better": "green"}.get(item.verdict, "")
            table.add_row(*shown, *_cells(item), style=colour)
        return table

    def as_json(self) -> dict[str, Any]:
        """Build what a file holds."""
        return {
            "candidate": self.candidate,
            "baseline": self.baseline,
            "pairs": self.pairs,
            "unpaired": self.unpaired,
            "regression": bool(self.regressions),
            "differences": [
                {
                    "suite": item.suite,
                    "radio": item.radio,
                    "metric": item.metric.key,
                    "unit": item.metric.unit,
                    "margin": item.metric.margin,
                    **asdict(item.estimate),
                    "difference": item.estimate.difference,
                    "verdict": item.verdict,
                    "loss_ruled_out": item.loss_ruled_out,
                }
                for item in self.differences
            ],
        }


def compare(
    candidate: Iterable[EpisodeRow],
    baseline: Iterable[EpisodeRow],
    *,
    names: tuple[str, str] | None = None,
    margins: Mapping[str, float] | None = None,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare two controllers' episodes, paired by case.

    Args:
        candidate: Rows of the cells of the controller under test.
        baseline: Rows of the other.
        names: What to call the two; None: as their rows do.
        margins: Margins by metric key that differ from the usual ones.
        resamples: Of the bootstrap.

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
    differences = []
    for suite, radio in sorted({(row.suite, row.radio) for row, _ in pairs}):
        here = [p for p in pairs if (p[0].suite, p[0].radio) == (suite, radio)]
        for metric in metrics:
            estimate = _estimate(metric, here, f"{suite}/{radio}", resamples)
            if estimate is not None:
                differences.append(Difference(suite, radio, metric, estimate))
    flags = holm_significant([item.estimate.p_value for item in differences])
    return Comparison(
        candidate=pairs[0][0].controller if names is None else names[0],
        baseline=pairs[0][1].controller if names is None else names[1],
        differences=[
            item.judged(significant=flag) for item, flag in zip(differences, flags, strict=True)
        ],
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
                f"{', '.join(_BY_KEY)}"
            ) from error
    _with_margins(margins)
    return margins


def _with_margins(margins: Mapping[str, float]) -> list[Metric]:
    for key, margin in margins.items():
        if key not in _BY_KEY:
            raise ConfigError(
                f"no metric {key!r} to set a margin for; known are {', '.join(_BY_KEY)}"
            )
        if not margin >= 0.0:
            raise ConfigError(f"margin of {key} = {margin}; allowed is 0 or more")
    return [replace(m, margin=margins.get(m.key, m.margin)) for m in METRICS]


def _by_case(rows: Iterable[EpisodeRow]) -> dict[tuple[str, str, int, int], EpisodeRow]:
    """Valid episodes by what identifies a case."""
    return {(row.suite, row.radio, row.seed, row.case): row for row in rows if not row.invalid}


def _estimate(
    metric: Metric, pairs: Sequence[tuple[EpisodeRow, EpisodeRow]], cell: str, resamples: int
) -> PairedEstimate | None:
    """Compare one metric in one cell; None where no pair has it."""
    counted = [
        (c, b)
        for c, b in pairs
        if metric.counts(c) and metric.counts(b) and _known(c, metric) and _known(b, metric)
    ]
    if not counted:
        return None
    columns = [
        np.array([float(getattr(pair[i], metric.column)) for pair in counted]) * metric.scale
        for i in range(2)
    ]
    if metric.column == "crash":
        estimate = paired_rates(columns[0] > 0.0, columns[1] > 0.0)
        return replace(
            estimate,
            **{
                name: 100.0 * getattr(estimate, name)
                for name in ("candidate", "baseline", "low", "high")
            },
        )
    if metric.per is None:
        divisors = [np.ones(len(counted))] * 2
    else:
        divisors = [
            np.array([float(getattr(pair[i], metric.per)) for pair in counted]) for i in range(2)
        ]
        if min(divisor.sum() for divisor in divisors) <= 0.0:
            return None
    return paired_ratios(
        (columns[0], divisors[0]),
        (columns[1], divisors[1]),
        key=f"{cell}/{metric.key}",
        resamples=resamples,
    )


def _known(row: EpisodeRow, metric: Metric) -> bool:
    return not np.isnan(float(getattr(row, metric.column)))


def _cells(item: Difference) -> tuple[str, ...]:
    estimate, metric = item.estimate, item.metric
    star = "" if item.loss_ruled_out or item.verdict == "worse" else "*"
    return (
        metric.label,
        f"{estimate.candidate:.2f}",
        f"{estimate.baseline:.2f} {metric.unit}",
        f"{estimate.difference:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]",
        f"{metric.margin:g}",
        item.verdict + star,
    )
