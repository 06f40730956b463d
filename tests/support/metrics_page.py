"""`docs/metrics.md`, made of the dictionary: `PYTHONPATH=tests python -m support.metrics_page`."""

import sys

from ml.console import markdown_table
from ml.envs.prices import PRICES
from ml.envs.scoring.metrics import (
    CURVES,
    METRICS,
    OF_ACCEPTANCE,
    OF_RECORDED_DRIVE,
    OVER_EPISODES,
)

PAGE = """\
# Metrics

Made from `ml/envs/scoring/metrics.py`; a test holds it to the code. Reward, \
TensorBoard and evaluation share these definitions. What is not defined in an episode \
is not a number. Figures of the ego end at its crash, its accelerations a tick before.

## An episode

A row of `roadsense evaluate`. *Mean over*: the episodes of which summaries give the \
mean (`quiet`: benign and free). *Summary*: the name in the environment's \
`episode_summary`.

{episode}
## Many episodes

Beside the means; rates have Wilson's 95 % interval. The last two are of `roadsense targets` alone.

{many}
## A recorded drive

Of `roadsense judge-drive`. A hard braking is one beyond a threshold, 3 m/s² if nothing else is \
said, that begins while the ego moves; a pause of up to 0.5 s is part of it. `distance_m` and \
`message_delay_s` are those of an episode.

{recorded}
## Prices

What a fault costs in an episode, in points: of the safety score, whose best is 0, and of the \
reward (`ml/envs/prices.py`). A crash counts in avoidable episodes, braking in quiet ones, an \
overreaction in benign ones, from 0.5 (nothing) to 1.5 m/s² (all); progress is the share of the \
way that is missing.

{prices}
## TensorBoard

Settled episodes are those that began before every one that still runs, the latest 100 or \
more; until each convoy has ended one there is no point.

{curves}"""


def page():
    """The dictionary as Markdown."""
    rows = [
        (f"`{m.name}`", m.unit, m.formula, m.threshold, m.mean_over, m.summary and f"`{m.summary}`")
        for m in METRICS
    ]
    columns = ("name", "unit", "formula", "threshold", "mean over", "summary")
    many, recorded, curves = (
        markdown_table(("name", "formula"), [(f"`{name}`", said) for name, said in table.items()])
        for table in (OVER_EPISODES | OF_ACCEPTANCE, OF_RECORDED_DRIVE, CURVES)
    )
    prices = [(f"`{name}`", f"{price:,.0f}") for name, price in PRICES.items()]
    return PAGE.format(
        prices=markdown_table(("metric", "points"), prices),
        episode=markdown_table(columns, rows),
        many=many,
        recorded=recorded,
        curves=curves,
    )


if __name__ == "__main__":
    sys.stdout.write(page())
