"""The card's pictures, each inline and with words for those who cannot see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml.reports.card.frontiers import FrontierAxis, FrontierPoint, draw_frontier
from ml.reports.card.heat_maps import by_loss_and_silence, by_peers_and_radio, draw_crash_grid
from ml.reports.card.reactions import draw_reactions
from ml.reports.card.selection import (
    MOST_SHOWN_POLICIES,
    family_labels,
    representatives,
    rival_of,
    role_of,
)
from ml.reports.style import as_data_uri, family_styles, house_style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml.evaluation.records import DriverSpec
    from ml.evaluation.result import EpisodeRow
    from ml.evaluation.summary import CellSummary
    from ml.reports.card.selection import ResultView

    Summaries = Mapping[tuple[str, str, str], CellSummary]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture inside the page.

    Attributes:
        uri: Its content, as a `data:` URI.
        text: What it shows.
    """

    uri: str
    text: str


@dataclass(frozen=True, slots=True)
class PictureGroup:
    """Pictures under one heading."""

    title: str
    pictures: list[Picture]


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


def frontier_pictures(view: ResultView, summaries: Summaries) -> list[PictureGroup]:
    """Draw headway against safety, calm and comfort in the main suite, a group per radio."""
    suite = view.main_suite
    families = family_labels([c for c in view.manifest.controllers if role_of(c) == "classical"])
    styles = family_styles(list(families.values()))
    groups = []
    with house_style():
        for radio in view.radios(suite):
            here = view.controllers(suite, radio)
            pictures = []
            for aspect, key, scale, axis in _AXES:
                points = [
                    _point(summaries[suite, radio, c.name], c, families, key, scale) for c in here
                ]
                figure = draw_frontier(points, axis, styles, f"{aspect}, {radio} radio")
                said = f"{axis.label} over mean time headway, {suite} on {radio}"
                pictures.append(Picture(as_data_uri(figure), said))
            groups.append(PictureGroup(f"{suite} on {radio}", pictures))
    return groups


def _point(
    summary: CellSummary,
    controller: DriverSpec,
    families: Mapping[str, str],
    key: str,
    scale: float,
) -> FrontierPoint:
    figure, role = summary.figures[key], role_of(controller)
    return FrontierPoint(
        name=controller.name,
        family=families[controller.family] if role == "classical" else role,
        role=role,
        headway_s=summary.figures["headway_s"].value,
        value=scale * figure.value,
        low=scale * figure.low,
        high=scale * figure.high,
    )


def heat_map_pictures(view: ResultView) -> list[Picture]:
    """Draw where policies and the law to beat crash in the main suite."""
    suite = view.main_suite
    radios = view.radios(suite)
    pictures = []
    with house_style():
        for name in _watched(view, suite):
            rows = [row for radio in radios for row in view.rows.get((suite, radio, name), [])]
            for grid, over in (
                (by_peers_and_radio(rows, radios), "cars ahead and radio"),
                (by_loss_and_silence(rows), "share of beacons lost and longest burst of losses"),
            ):
                text = f"{name}: crashes in avoidable hazards over {over}, {suite}"
                pictures.append(Picture(as_data_uri(draw_crash_grid(grid, name)), text))
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
    with house_style():
        for radio in view.radios(suite):
            rows: dict[str, list[EpisodeRow]] = {
                c.name: view.rows[suite, radio, c.name]
                for c in representatives(view, suite, radio)
                if c.knows != "nothing"
            }
            figure = draw_reactions(rows, f"{radio} radio")
            pictures.append(Picture(as_data_uri(figure), f"reaction times, {suite} on {radio}"))
    return pictures
