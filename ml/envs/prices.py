"""What a driver's faults cost: one list of prices, which the reward and the safety score charge.

A price is in points per unit of a metric of `ml.envs.scoring.metrics`, for an episode. They are
choices, and follow from what is asked for (docs/targets.md): 0.1 s of time headway, 4 points,
stands for one crash in a thousand avoidable episodes, a third of a false brake, a tenth of an
overreaction to a benign slowing, 20 percentage points of time spent braking while nothing is the
matter, or 2 m/s³ of jerk.

The crash is dear on purpose. A driver that never answers silence follows closer, brakes less and
drives smoother, and crashes in a few avoidable hazards of a thousand: at less than about 2,600
points a crash it would be paid for that.
"""

from typing import Final

PRICES: Final = {
    "crash": 4000.0,
    "headway_s": 40.0,
    "false_brakes": 12.0,
    "braking_share": 20.0,
    "overreaction": 40.0,
    "jerk_p95_mps3": 2.0,
    "progress": 50.0,
}
"""Points per crash in an avoidable episode, s, event, share of the ticks without a hazard, full
overreaction (`ml.envs.scoring.metrics.overreaction_share`), m/s³, and share of the way of the car
in front that the ego falls behind: who stands keeps no headway."""

EPISODE_TICKS = 500
"""Of the usual episode, 50 s: what a price of an episode is spread over, tick by tick."""
