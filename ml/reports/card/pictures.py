"""The card's pictures, each inline and with words for those who cannot see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ml.evaluation.records import DriverSpec
from ml.evaluation.selection import (
    MOST_SHOWN_POLICIES,
    ResultView,
    by_loss_and_silence,
    by_peers_and_radio,
    family_labels,
    representatives,
    rival_of,
    role_of,
)
from ml.reports.card.frontiers import FrontierAxis, FrontierPoint, draw_frontier
from ml.reports.card.heat_maps import draw_crash_grid
from ml.reports.card.reactions import draw_reactions
from ml.reports.style import Picture, as_picture, family_styles

if TYPE_CHECKING:
    from ml.evaluation.summary import CellSummary

    Summaries = Mapping[tuple[str, str, str], CellSummary]

_AXES = (
    ("safety", "crash_rate", 100.0, FrontierAxis("crashes in avoidable hazards, %", 0.1, 100.0)),
    (
        "false alarms",
        "false_brakes_per_km",
        1.0,
        FrontierAxis("false brakes per km, no hazard", 0.01),
    ),
    ("comfort", "jerk_p95_mps3", 1.0, FrontierAxis("jerk, 95th percentile, m/s³")),
    ("calm", "braking_share", 100.0, FrontierAxis("time spent braking, no hazard, %")),
)


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
            points = [
                _point(summaries[suite, radio, c.name], c, families, key, scale)
                for c in view.controllers(suite, radio)
            ]
            figure = draw_frontier(points, axis, styles, f"{aspect}, {radio} radio")
            said = f"{axis.label} over mean time headway, {suite} on {radio}"
            pictures.append(as_picture(figure, said))
        groups.append((f"{suite} on {radio}", pictures))
    return groups


def _point(
    summary: CellSummary,
    controller: DriverSpec,
    families: Mapping[str, str],
    key: str,
    scale: float,
) -> FrontierPoint:
    figure, role = summary.figures[key], role_of(controller)
    family = families[controller.family] if role == "classical" else role
    headway_s = summary.figures["headway_s"].value
    interval = (scale * x for x in (figure.value, figure.low, figure.high))
    return FrontierPoint(controller.name, family, role, headway_s, *interval)


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
