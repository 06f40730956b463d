"""Do reward, score and targets agree on which of two drivers is better? Paired, with intervals.

What a policy is paid, what it is chosen by and what it is asked for are three figures of the same
episodes. Where one of them puts a driver above another and the next one below, a policy learns one
thing and is judged by another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ml.console import WholeTable
from ml.envs.config import EnvConfig
from ml.envs.prices import PRICES
from ml.envs.scoring.targets import targets_of
from ml.evaluation.acceptance.figures import convoy_figures
from ml.evaluation.acceptance.verdicts import FAILED, at_most
from ml.evaluation.behaviours import DEAF, TEACHER, Expectation, expectations
from ml.evaluation.drivers import Driver
from ml.evaluation.episodes import run_drawn
from ml.evaluation.paired import PairedEstimate, paired_rates, paired_ratios
from ml.evaluation.result import EpisodeRow
from ml.evaluation.safety_score import costs_of

RARE = frozenset({TEACHER, DEAF})
"""What these two differ in shows in one case of hundreds: few cases in which neither crashed prove
nothing, and their interval has to say so."""


MATTERS = 1.0
"""Points an episode, 0.025 s of headway or 0.5 m/s³ of jerk, from which on a contradiction between
two sums counts: near the gap that is set the reward is flat, and the score is not."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two drivers on the same cases; differences are first − second, in points an episode.

    Attributes:
        expected: Why the first must be the better one; "" where nothing is expected.
        paid: By return.
        scored: By safety score.
        accepted: 1 where the first is shown to miss no target and the second is; -1 the other way
            round; else 0.
    """

    first: str
    second: str
    expected: str
    paid: PairedEstimate
    scored: PairedEstimate
    accepted: int

    def complaint(self) -> str:
        """Say what is wrong; "" where nothing is."""
        signs = {
            "the reward": _shown(self.paid),
            "the score": _shown(self.scored),
            "the targets": self.accepted,
        }
        if self.expected:
            wrong = [name for name, sign in signs.items() if sign < 0]
            if wrong:
                return (
                    f"{' and '.join(wrong)} put {self.second} above {self.first} "
                    f"({self._said()}); {self.first} is better: {self.expected}"
                )
        signs["the reward"] *= abs(self.paid.difference) > MATTERS
        signs["the score"] *= abs(self.scored.difference) > MATTERS
        above = [name for name, sign in signs.items() if sign > 0]
        below = [name for name, sign in signs.items() if sign < 0]
        if above and below:
            return (
                f"{' and '.join(above)} put {self.first} above {self.second}, "
                f"{' and '.join(below)} below ({self._said()})"
            )
        return ""

    def _said(self) -> str:
        return f"return {_interval(self.paid)}, score {_interval(self.scored)}"


@dataclass(frozen=True, slots=True)
class Ranking:
    """Every driver on the same cases, and every pair of them."""

    rows: Mapping[str, Sequence[EpisodeRow]]
    pairs: list[Pair]

    @property
    def complaints(self) -> list[str]:
        """What is wrong, in words."""
        return [words for words in map(Pair.complaint, self.pairs) if words]

    @property
    def shown(self) -> tuple[int, int]:
        """How many of the expected orders are shown by return and score, and how many there are."""
        asked = [pair for pair in self.pairs if pair.expected]
        return sum(_shown(p.paid) > 0 and _shown(p.scored) > 0 for p in asked), len(asked)

    def tables(self) -> list[WholeTable]:
        """Build the console tables: each driver's return and score, and what was expected."""
        drivers = WholeTable(
            *("driver", ">return", ">score", *(f">{name.removesuffix('_s')}" for name in PRICES)),
            title="points an episode: what it is paid, its score and what costs it so much",
        )
        for name, rows in self.rows.items():
            valid = [row for row in rows if not row.invalid]
            costs = [costs_of(row) for row in valid]
            means = {price: float(np.mean([cost[price] for cost in costs])) for price in PRICES}
            paid = float(np.mean([row.mean_return for row in valid]))
            cells = (f"{value:.1f}" for value in (paid, -sum(means.values()), *means.values()))
            drivers.add_row(name, *cells)
        most = max((pair.paid.pairs for pair in self.pairs), default=0)
        pairs = WholeTable(
            *("better", "than", ">return [95 %]", ">score [95 %]", "targets", "as expected"),
            title=f"who must be better, points an episode, paired: {most:,} cases",
        )
        for pair in self.pairs:
            if pair.expected:
                shown = _shown(pair.paid) > 0 and _shown(pair.scored) > 0
                word = "wrong" if pair.complaint() else "yes" if shown else "not shown"
                targets = {1: "agree", 0: "cannot tell", -1: "disagree"}[pair.accepted]
                said = (_interval(pair.paid), _interval(pair.scored))
                pairs.add_row(pair.first, pair.second, *said, targets, word)
        return [drivers, pairs]


def rank(
    drivers: Sequence[Driver],
    config: EnvConfig,
    *,
    episodes: int,
    seed: int,
    on_driver: Callable[[str], None] = lambda _: None,
) -> Ranking:
    """Drive the same cases with everybody, packets by the reference ego, and compare all pairs.

    The reward is the configuration's. `on_driver` is told each one's name before it drives.
    """
    config = config.model_copy(update={"stop_at_collision": False, "radio_position": "reference"})
    rows = {}
    for driver in drivers:
        on_driver(driver.name)
        rows[driver.name] = run_drawn(driver, config, episodes=episodes, seed=seed)
    return Ranking(rows, compare_all(rows, config))


def compare_all(rows: Mapping[str, Sequence[EpisodeRow]], config: EnvConfig) -> list[Pair]:
    """Compare every pair of drivers that drove the same cases; the expected ones come first."""
    failed = {name: _failed(of, config.radio) for name, of in rows.items()}
    expected = expectations(list(rows))
    named = {frozenset((e.better, e.worse)) for e in expected}
    others = [
        Expectation(first, second, "")
        for first, second in combinations(rows, 2)
        if frozenset((first, second)) not in named
    ]
    pairs = []
    for better, worse, why in ((e.better, e.worse, e.why) for e in (*expected, *others)):
        accepted = bool(failed[worse]) - bool(failed[better])
        both = [
            (a, b)
            for a, b in zip(rows[better], rows[worse], strict=True)
            if not (a.invalid or b.invalid)
        ]
        rare = {better, worse} <= RARE
        paid = _gain(both, lambda row: row.mean_return, config.reward.collision, rare=rare)
        scored = _gain(both, lambda row: -sum(costs_of(row).values()), PRICES["crash"], rare=rare)
        pairs.append(Pair(better, worse, why, paid, scored, accepted))
    return pairs


def _gain(
    both: Sequence[tuple[EpisodeRow, EpisodeRow]],
    points: Callable[[EpisodeRow], float],
    crash_price: float,
    *,
    rare: bool,
) -> PairedEstimate:
    """Compare points, case by case.

    Where crashes are rare, they have an interval of their own (Newcombe's), at their price, around
    the bootstrap's of all else.
    """
    crashed = np.array([[row.crash and row.avoidable for row in pair] for pair in both]).T
    values = np.array([[points(row) for row in pair] for pair in both]).T
    ones = np.ones(len(both))
    whole = paired_ratios((values[0], ones), (values[1], ones), key="ranking")
    if not rare:
        return whole
    rest = values + crash_price * crashed
    apart = paired_ratios((rest[0], ones), (rest[1], ones), key="ranking")
    rates = paired_rates(crashed[0], crashed[1])
    return PairedEstimate(
        pairs=len(both),
        candidate=whole.candidate,
        baseline=whole.baseline,
        low=apart.low - crash_price * rates.high,
        high=apart.high - crash_price * rates.low,
        p_value=max(apart.p_value, rates.p_value),
    )


def _failed(rows: Sequence[EpisodeRow], radio: str) -> frozenset[str]:
    """Name the targets that a driver is shown to miss on a radio; none where it has none."""
    figures = convoy_figures(rows)
    own = [t for t in targets_of("convoy", radio) if t.level == "must" and not t.than]
    return frozenset(t.metric for t in own if at_most(figures[t.metric], t.bound) == FAILED)


def _shown(gain: PairedEstimate) -> int:
    return int(gain.low > 0.0) - int(gain.high < 0.0)


def _interval(gain: PairedEstimate) -> str:
    return f"{gain.difference:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]"
