"""What a driver is held to: one table of bounds, by the names of the dictionary of metrics.

* **must**: a driver on these sensors and this radio can keep to it; it counts.
* **stretch**: judged in the same way, and not counted.
* **limit**: information binds. No driver on these sensors and this radio is known to reach it, so
  that there is no pass or fail that counts, but the distance to it, and how the bound was derived.

The acceptance tests judge by this table (`ml.evaluation.acceptance.table`). Less is better in every
metric of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Radio = Literal["clean", "bursty", "shadowed"]
"""A preset of `--radio` that bounds are stated for."""
Level = Literal["must", "stretch", "limit"]
Baselines = Literal["", "baselines at equal headway", "the best baseline"]

EQUAL_HEADWAY_S = 0.05
"""Two mean time headways that differ by no more are taken as equal."""
BEYOND = 2.0
"""What bounds of `convoy` are multiplied by beyond what was trained on."""


@dataclass(frozen=True, slots=True)
class Target:
    """A bound.

    Attributes:
        metric: Its name in `ml.envs.scoring.metrics`.
        radio: Preset.
        bound: The most that keeps to it, in the metric's unit; shares and rates in [0, 1]. Where
            `than` is set: the most of candidate − baseline.
        level: See the module.
        where: Part of the acceptance tests.
        derivation: How a limit was derived, and where it is not what was asked for from the
            beginning, why a must is within reach.
        than: Whom the driver is compared with, on the same cases; "" for a bound on its own figure.
        cases: "0 in `cases`": no hit in so many; 0 for any other bound.
        headway_s: The mean time headway up to which a limit is meant, s; 0 for any.
    """

    metric: str
    radio: Radio
    bound: float
    level: Level = "must"
    where: str = "convoy"
    derivation: str = ""
    than: Baselines = ""
    cases: int = 0
    headway_s: float = 0.0


TARGETS: Sequence[Target] = (
    Target("crash_rate", "clean", 0.0005,
           derivation="three training runs crashed in 2 to 3 of 10,000, and the bias of GPS alone "
           "predicts 1 to 7"),
    Target("crash_rate", "clean", 0.00025, than="baselines at equal headway",
           derivation="no more than a classical controller: half of what the bound itself allows "
           "is taken for no difference"),
    Target("headway_s", "clean", 1.3),
    Target("false_brakes_per_km", "clean", 0.05),
    Target("jerk_p95_mps3", "clean", 2.0),
    Target("overreaction_rate", "clean", 0.02),
    Target("braking_share", "clean", 0.0, than="the best baseline"),
    Target("crash_rate", "clean", 0.0, "limit", cases=10_000,
           derivation="nothing that the board hears tells the bias between two GPS receivers (a "
           "model that learned from whole drives explained none of it), and the tail of that bias "
           "alone lets the ego creep into the car in front in 1 to 7 of 10,000 hazards"),
    Target("crash_rate", "bursty", 0.0006,
           derivation="twice the limit; 6 to 8 of 12,560 were found, at 1.6 s"),
    Target("headway_s", "bursty", 1.5),
    Target("false_brakes_per_km", "bursty", 0.05),
    Target("jerk_p95_mps3", "bursty", 3.5),
    Target("overreaction_rate", "bursty", 0.04,
           derivation="twice the limit; 40 to 44 of 960 were found"),
    Target("braking_share", "bursty", 0.27,
           derivation="26 to 27 % were measured where packets' fates went by the ego's own place"),
    Target("crash_rate", "bursty", 0.0003, "limit", headway_s=1.5,
           derivation="with perfect sensors the same driver keeps 0.07 s less, and without its "
           "answer to silence 0.11 s less for 6 crashes in 1,009 hazards; all else of its headway "
           "is the wait for the next packet, in the first second of which a braking that was not "
           "heard cannot be told from none (area under the ROC curve 0.51)"),
    Target("overreaction_rate", "bursty", 0.02, "limit",
           derivation="with perfect sensors on the same packets 1 of 100 benign slowings was still "
           "answered too hard, with the real ones 3 [1, 8.5]: how hard a car slows is not known "
           "until it is heard"),
    Target("braking_share", "bursty", 0.23, "limit",
           derivation="with perfect sensors on the same packets the same driver brakes for 23.3 % "
           "of the time; what would save more is to leave silence unanswered, at the price of 6 "
           "crashes in 1,009 hazards"),
    Target("crash_rate", "shadowed", 0.02),
    Target("headway_s", "shadowed", 3.0),
    Target("false_brakes_per_km", "shadowed", 0.3),
    Target("braking_share", "shadowed", 0.0, than="the best baseline"),
    Target("overreaction_rate", "shadowed", 0.02, "limit",
           derivation="the limit on bursty, where silences are shorter; none was derived for this "
           "radio"),
    Target("crash_rate", "clean", 0.0, where="r157", cases=1121),
    Target("crash_rate", "bursty", 0.0, "stretch", "r157", cases=1121),
    Target("crash_rate", "clean", 0.001, where="ncap"),
    Target("crash_rate", "bursty", 0.001, "stretch", "ncap"),
    Target("gain_at_fundamental", "clean", 0.8, where="plexe"),
    Target("string_gain_l2_p95", "clean", 1.0, where="plexe"),
    Target("gain_at_fundamental", "bursty", 0.8, "stretch", "plexe"),
    Target("string_gain_l2_p95", "bursty", 1.0, "stretch", "plexe"),
)  # fmt: skip
"""In the order of the acceptance tests."""


def targets_of(where: str, radio: str) -> list[Target]:
    """Return all that holds on a part of the acceptance tests, on a preset."""
    return [t for t in TARGETS if (t.where, t.radio) == (where, radio)]


def bound_of(
    metric: str, radio: str, *, where: str = "convoy", level: Level = "must"
) -> float | None:
    """Return the bound on a driver's own figure of a metric; None where there is none."""
    own = (t for t in targets_of(where, radio) if not t.than)
    return next((t.bound for t in own if (t.metric, t.level) == (metric, level)), None)
