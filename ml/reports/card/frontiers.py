"""What a controller costs in headway for what it gives in safety, calm or comfort.

A controller with a time gap is a curve, not a point: two controllers are compared where they keep
the same distance.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ml.reports import style

_ROOM = 1.12
_LEGEND_COLUMNS = 2
_LEGEND_ROW_IN = 0.2
_BOUND: dict[str, Any] = {"color": style.GREY, "markersize": 6, "markerfacecolor": "white",
                          "linestyle": "none", "elinewidth": 0.8, "zorder": 4}  # fmt: skip
_POLICY: dict[str, Any] = {"color": style.POLICY_COLOUR, "marker": "*", "markersize": 14,
                           "markeredgecolor": style.BLACK, "markeredgewidth": 0.6,
                           "elinewidth": 1.6, "zorder": 5}  # fmt: skip


class FrontierPoint(NamedTuple):
    """One controller on one radio: what it gives, with a 95 % interval, at its mean time headway.

    Attributes:
        family: Whose curve it is on; points of a family are joined in the order of headway.
        role: `policy` and `bound` are points of their own, `classical` ones are joined.
    """

    name: str
    family: str
    role: Literal["policy", "classical", "bound"]
    headway_s: float
    value: float
    low: float
    high: float


class FrontierAxis(NamedTuple):
    """The vertical axis.

    Attributes:
        label: With its unit.
        linear_below: The axis is logarithmic above this value and linear below, down to 0; none
            for a linear axis.
        top: Its upper end; none: as the points need it.
    """

    label: str
    linear_below: float | None = None
    top: float | None = None


def draw_frontier(
    points: Sequence[FrontierPoint],
    axis: FrontierAxis,
    styles: Mapping[str, style.FamilyStyle],
    title: str,
) -> Figure:
    """Draw headway against one figure, for every controller of a suite on a radio.

    Call it in the house style; `styles` are the looks of the classical families.
    """
    shown = [point for point in points if np.isfinite([point.headway_s, point.value]).all()]
    within = [point for point in shown if point.role != "bound"] or shown
    entries = len({p.name if p.role == "bound" else p.family for p in shown})
    rows = -(-entries // _LEGEND_COLUMNS)
    figure = style.new_figure(style.WIDTH_IN, 3.7 + _LEGEND_ROW_IN * rows)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel="mean time headway above 5 m/s, s", ylabel=axis.label)
    if not shown:
        style.say_nothing(axes, "no episodes")
        return figure
    right = max(point.headway_s for point in within) * _ROOM
    axes.set_xlim(0.0, right)
    _scale(axes, axis, within)
    for family in dict.fromkeys(point.family for point in shown):
        of_family = [p for p in shown if p.family == family and p.headway_s <= right]
        _draw_family(axes, sorted(of_family, key=lambda p: p.headway_s), styles)
    beyond = [point for point in shown if point.headway_s > right]
    if beyond:
        names = ", ".join(f"{point.name} ({point.headway_s:.1f} s)" for point in beyond)
        axes.set_xlabel(axes.get_xlabel() + f"\nfarther right: {names}")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=_LEGEND_COLUMNS)
    return figure


def _scale(axes: Axes, axis: FrontierAxis, points: Sequence[FrontierPoint]) -> None:
    highest = max(max(p.value, p.high if np.isfinite(p.high) else p.value) for p in points)
    top = axis.top if axis.top is not None else max(highest * _ROOM, 1e-3)
    if axis.linear_below is None:
        axes.set_ylim(-0.03 * top, top)
        return
    least = axis.linear_below
    axes.set_yscale("symlog", linthresh=least, linscale=0.6)
    ticks = [0.0, *(least * 10.0**k for k in range(6) if least * 10.0**k <= top)]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    # Room below 0, so that a marker at 0 is whole, and above the top for one there.
    axes.set_ylim(-0.18 * least, top * 1.7)


def _draw_family(
    axes: Axes, points: Sequence[FrontierPoint], styles: Mapping[str, style.FamilyStyle]
) -> None:
    """Join a family's points; bounds stand alone, and the legend names each, where none overlap."""
    if not points:
        return
    first = points[0]
    if first.role == "bound":
        for point, marker in zip(points, style.BOUND_MARKERS * len(points), strict=False):
            _draw(axes, [point], label=point.name, marker=marker, **_BOUND)
    elif first.role == "policy":
        _draw(axes, points, label=first.family, **_POLICY)
    else:
        colour, marker, dash = styles[first.family]
        look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": dash}
        _draw(axes, points, label=first.family, markersize=5, elinewidth=0.8, alpha=0.9, **look)


def _draw(axes: Axes, points: Sequence[FrontierPoint], **look: Any) -> None:
    """Draw points with their intervals, as far as these are known."""
    headway_s, value, low, high = np.array([point[3:] for point in points]).T
    below, above = np.nan_to_num(value - low), np.nan_to_num(high - value)
    axes.errorbar(headway_s, value, np.clip([below, above], 0.0, None), **look)
