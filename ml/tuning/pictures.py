"""Two pictures of a search: how the score grew, and what decided it."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from matplotlib.figure import Figure

from ml.reports.style import BLACK, BLUE, GREY, WIDTH_IN, new_figure
from ml.tuning.study import Tried

_BAR_IN = 0.24


def draw_history(tried: Sequence[Tried]) -> Figure:
    """Draw each trial's score, and the best so far; what was given up is where it stood.

    Both pictures are to be drawn in the house style.
    """
    complete = [(t.number, t.outcome.score) for t in tried if t.outcome.state == "complete"]
    pruned = [
        (t.number, t.progress[max(t.progress)])
        for t in tried
        if t.outcome.state == "pruned" and t.progress
    ]
    figure = new_figure(WIDTH_IN, 3.0)
    axes = figure.add_subplot()
    if complete:
        numbers, scores = zip(*complete, strict=True)
        axes.plot(numbers, scores, "o", color=BLUE, label="complete")
        axes.step(numbers, list(accumulate(scores, max)), where="post", color=BLACK, label="best")
    if pruned:
        axes.plot(*zip(*pruned, strict=True), "x", color=GREY, label="given up")
    axes.set(xlabel="trial", ylabel="safety score", title="What the search found")
    if complete or pruned:
        axes.legend()
    return figure


def draw_importances(importances: Mapping[str, float]) -> Figure:
    """Draw how much each parameter decides, most important on top."""
    ordered = sorted(importances.items(), key=lambda pair: pair[1])
    figure = new_figure(WIDTH_IN, 1.0 + _BAR_IN * len(ordered))
    axes = figure.add_subplot()
    axes.barh([name for name, _ in ordered], [share for _, share in ordered], color=BLUE)
    axes.set(xlabel="importance (PED-ANOVA)", title="What decides")
    return figure
