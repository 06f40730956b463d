"""The card's pictures, each inline and with words for those who cannot see it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ml.evaluation.result import EpisodeRow
from ml.evaluation.selection import (
    MOST_SHOWN_POLICIES,
    CrashGrid,
    ResultView,
    by_loss_and_silence,
    by_peers_and_radio,
    family_labels,
    representatives,
    rival_of,
    role_of,
)
from ml.reports.card.frontiers import FrontierAxis, FrontierPoint, draw_frontier
from ml.reports.card.tables import Summaries
from ml.reports.style import (
    BLACK,
    BLUE,
    ORANGE,
    PALE,
    WIDTH_IN,
    Picture,
    as_picture,
    family_styles,
    new_figure,
    say_nothing,
)

_AXES = (
    ("safety", "crash_rate", 100.0, FrontierAxis("crashes in avoidable hazards, %", 0.1, 100.0)),
    ("false alarms", "false_brakes_per_km", 1.0,
     FrontierAxis("false brakes per km, no hazard", 0.01)),
    ("comfort", "jerk_p95_mps3", 1.0, FrontierAxis("jerk, 95th percentile, m/s³")),
    ("calm", "braking_share", 100.0, FrontierAxis("time spent braking, no hazard, %")),
)  # fmt: skip

_FULL_COLOUR = 0.1
"""Crash share from which on a heat map's colour does not deepen."""
_DARK = 0.6
_ROW_IN, _LOW_ROW_IN = 0.42, 0.24
_MANY_ROWS = 8
_CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "linespacing": 0.95}
_TAILS = (5, 25, 50, 75, 95)
_BOX_OFFSET = 0.17


def frontier_pictures(view: ResultView, summaries: Summaries) -> list[tuple[str, list[Picture]]]:
    """Draw headway against safety, calm and comfort in the main suite; pictures by radio.

    Like all of this module it is to be called in the house style.
    """
    suite = view.main_suite
    families = family_labels([c for c in view.manifest.controllers if role_of(c) == "classical"])
    styles = family_styles(families.values())
    groups = []
    for radio in view.radios(suite):
        pictures = []
        for aspect, key, scale, axis in _AXES:
            points = []
            for c in view.controllers(suite, radio):
                figures, role = summaries[suite, radio, c.name].figures, role_of(c)
                family = families[c.family] if role == "classical" else role
                x, y = figures["headway_s"].value, figures[key]
                interval = (scale * end for end in (y.value, y.low, y.high))
                points.append(FrontierPoint(c.name, family, role, x, *interval))
            figure = draw_frontier(points, axis, styles, f"{aspect}, {radio} radio")
            said = f"{axis.label} over mean time headway, {suite} on {radio}"
            pictures.append(as_picture(figure, said))
        groups.append((f"{suite} on {radio}", pictures))
    return groups


def heat_map_pictures(view: ResultView) -> list[Picture]:
    """Draw where policies and the law to beat crash in the main suite."""
    suite = view.main_suite
    radios = view.radios(suite)
    pictures = []
    for name in _watched(view, suite):
        rows = [row for radio in radios for row in view.rows.get((suite, radio, name), [])]
        for grid, over in (
            (by_peers_and_radio(rows, radios), "cars ahead and radio"),
            (by_loss_and_silence(rows), "share of beacons lost and longest burst of losses"),
        ):
            text = f"{name}: crashes in avoidable hazards over {over}, {suite}"
            pictures.append(as_picture(draw_crash_grid(grid, name), text))
    return pictures


def _watched(view: ResultView, suite: str) -> list[str]:
    """Names of policies and, on every radio, of the law to beat; or of laws alone."""
    policies = view.policies()[:MOST_SHOWN_POLICIES]
    names = [policy.name for policy in policies]
    radios = view.radios(suite)
    if policies:
        rivals = [rival_of(view, suite, radio, policies[0]) for radio in radios]
        names += [rival.name for rival in rivals if rival is not None]
    else:
        shown = representatives(view, suite, radios[0])
        laws = [c.name for c in shown if role_of(c) == "classical"]
        names += (laws or [c.name for c in shown])[:MOST_SHOWN_POLICIES]
    return list(dict.fromkeys(names))


def reaction_pictures(view: ResultView) -> list[Picture]:
    """Draw the reaction times of policies, of a law per family and of the bounds."""
    suite = view.main_suite
    pictures = []
    for radio in view.radios(suite):
        shown = [c.name for c in representatives(view, suite, radio) if c.knows != "nothing"]
        rows = {name: view.rows[suite, radio, name] for name in shown}
        figure = draw_reactions(rows, f"{radio} radio")
        pictures.append(as_picture(figure, f"reaction times, {suite} on {radio}"))
    return pictures


def draw_crash_grid(grid: CrashGrid, title: str) -> Figure:
    """Draw shares as colours with their counts; cells without episodes are hatched."""
    down, across = grid.episodes.shape
    low = down > _MANY_ROWS
    between = " " if low else "\n"
    figure = new_figure(WIDTH_IN, 1.1 + (_LOW_ROW_IN if low else _ROW_IN) * max(down, 3))
    axes = figure.add_subplot()
    axes.grid(visible=False)
    axes.set(title=title, xlabel=grid.column_axis, ylabel=grid.row_axis, facecolor="white")
    if not grid.episodes.any():
        say_nothing(axes, "no episodes")
        axes.set(xticks=[], yticks=[])
        return figure
    with np.errstate(invalid="ignore"):
        share = np.where(grid.episodes > 0, grid.crashes / grid.episodes, np.nan)
    image = axes.imshow(share, cmap="Oranges", vmin=0.0, vmax=_FULL_COLOUR, aspect="auto")
    axes.set_xticks(range(across), grid.column_labels)
    axes.set_yticks(range(down), grid.row_labels)
    axes.tick_params(length=0, labelsize=8)
    for (i, j), episodes in np.ndenumerate(grid.episodes):
        if episodes == 0:
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fc="white", ec=PALE, hatch="////"))
            continue
        colour = "white" if share[i, j] > _DARK * _FULL_COLOUR else "black"
        text = f"{grid.crashes[i, j]}{between}/{episodes:,}"
        axes.text(j, i, text, color=colour, **_CENTRED)
    bar = figure.colorbar(image, ax=axes, extend="max", pad=0.02)
    bar.set_label("crashes, %")
    ticks = np.linspace(0.0, _FULL_COLOUR, 3)
    bar.set_ticks(list(ticks), labels=[f"{100 * tick:g}" for tick in ticks])
    return figure


def draw_reactions(rows_of: Mapping[str, Sequence[EpisodeRow]], title: str) -> Figure:
    """Draw median, quartiles and 5–95 % of both reaction times, a line per controller's name."""
    hazards = {
        name: [row for row in rows if row.kind == "hazard" and not row.invalid]
        for name, rows in rows_of.items()
    }
    hazards = {name: rows for name, rows in hazards.items() if rows}
    figure = new_figure(WIDTH_IN, 1.75 + 0.36 * max(len(hazards), 2))
    axes = figure.add_subplot()
    axes.set(title=title, xlabel="s from the event to braking harder than 1 m/s²")
    if not hazards:
        say_nothing(axes, "no hazards")
        return figure
    axes.plot([], [], color=ORANGE, linewidth=6, label="after the hazard's onset")
    axes.plot([], [], color=BLUE, linewidth=6, label="after its message arrived")
    names = []
    for i, (name, rows) in enumerate(hazards.items()):
        _box(axes, i - _BOX_OFFSET, [row.reaction_after_onset_s for row in rows], ORANGE)
        _box(axes, i + _BOX_OFFSET, [row.reaction_after_message_s for row in rows], BLUE)
        never = sum(np.isnan(row.reaction_after_onset_s) for row in rows) / len(rows)
        names.append(f"{name}\nnever: {never:.0%}" if never > 0 else name)
    axes.axvline(0.0, color=BLACK, linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _box(axes: Axes, y: float, values: Sequence[float], colour: str) -> None:
    known = np.array(values)[~np.isnan(values)]
    if not known.size:
        return
    p5, p25, p50, p75, p95 = np.percentile(known, _TAILS)
    axes.plot([p5, p95], [y, y], color=colour, linewidth=1.2, solid_capstyle="butt")
    axes.plot([p25, p75], [y, y], color=colour, linewidth=6, solid_capstyle="butt")
    axes.plot([p50], [y], marker="|", color=BLACK, markersize=9, markeredgewidth=1.8)
