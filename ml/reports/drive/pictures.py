"""Pictures of a judged drive: its course and who fired, the events side by side, and chance."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from ml.arrays import Bools
from ml.calibration.runs import runs_of
from ml.envs.scoring.metrics import LATE_S, WARNED_S
from ml.evaluation.drive.verdict import Figures, Told, Verdict
from ml.reports.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    PALE,
    POLICY_COLOUR,
    WIDTH_IN,
    Picture,
    as_picture,
    house_style,
    new_figure,
    say_nothing,
)
from ml.vehicle import DT_S

_WIDE_IN: Final = 2.0 * WIDTH_IN
_LANE_IN, _EVENT_IN = 0.32, 0.16
_MOST_EVENTS: Final = 40
_KMH: Final = 3.6
_LEAST_SHOWN_S: Final = 0.002
"""Of the picture's width: a firing of a tick is still seen on a drive of half an hour."""


def pictures_of(verdict: Verdict) -> list[Picture]:
    """Draw all pictures of a judged drive."""
    with house_style():
        found = [_course(verdict)]
        if verdict.warnings:
            found += [_events(verdict), _chance(verdict)]
        return found


def _course(verdict: Verdict) -> Picture:
    drivers = verdict.drivers
    minutes = np.arange(verdict.drive.ticks) * DT_S / 60.0
    figure = new_figure(_WIDE_IN, 2.2 + _LANE_IN * len(drivers))
    top, lanes = figure.subplots(
        2, 1, sharex=True, height_ratios=[2.0, _LANE_IN * len(drivers) + 0.2]
    )
    top.plot(minutes, _KMH * verdict.drive.own.speed_mps, color=GREY, linewidth=1.0)
    top.set_ylabel("ego, km/h")
    top.set_ylim(0.0, 1.3 * _KMH * float(verdict.drive.own.speed_mps.max()))
    for events, colour, marker, name in (
        (verdict.answers, BLUE, "v", "a peer brakes hard"),
        (verdict.warnings, POLICY_COLOUR, "D", "the ego's driver brakes hard"),
    ):
        at = [told.event.tick for told in events]
        speed = _KMH * verdict.drive.own.speed_mps[at]
        top.plot(minutes[at], speed, marker, color=colour, markersize=5, label=name)
    top.legend(loc="upper right", ncols=2)
    shortest = _LEAST_SHOWN_S * float(minutes[-1])
    for lane, one in enumerate(drivers):
        _spans(lanes, one, lane, shortest, verdict)
    for told in verdict.warnings:
        lanes.axvline(minutes[told.event.tick], color=POLICY_COLOUR, linewidth=0.5, alpha=0.6)
    _name_lanes(lanes, drivers)
    lanes.set_xlabel("minutes since the beginning")
    return as_picture(
        figure,
        "The drive: the ego's speed with all hard brakings, and below when each driver would brake "
        "harder than 2 m/s². Thin lines: the ego's driver brakes hard.",
    )


def _spans(axes: Axes, one: Figures, lane: int, shortest: float, verdict: Verdict) -> None:
    colour = POLICY_COLOUR if one.name == verdict.policy else BLACK
    minute = DT_S / 60.0
    begin, end = minute * runs_of(one.firing).T
    rows = np.full(begin.size, lane)
    axes.hlines(rows, begin, np.maximum(end, begin + shortest), color=colour, linewidth=11.0)


def _name_lanes(axes: Axes, drivers: Sequence[Figures]) -> None:
    axes.set_yticks(range(len(drivers)), [one.name for one in drivers])
    axes.set_ylim(len(drivers) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _events(verdict: Verdict) -> Picture:
    """Each of the ego's hard brakings a row, each driver a column, time about it across."""
    shown, drivers = verdict.warnings[:_MOST_EVENTS], verdict.drivers
    before, after = round(WARNED_S / DT_S), round(LATE_S / DT_S)
    figure = new_figure(_WIDE_IN, 1.1 + _EVENT_IN * len(shown))
    columns = figure.subplots(1, len(drivers), sharey=True, squeeze=False)[0]
    for axes, one in zip(columns, drivers, strict=True):
        bars = [
            (row, (at - before) * DT_S, (end - before) * DT_S)
            for row, told in enumerate(shown)
            for at, end in runs_of(_around(one.firing, told.event.reacts, before, after))
        ]
        colour = POLICY_COLOUR if one.name == verdict.policy else BLACK
        axes.hlines(*np.array(bars).reshape(-1, 3).T, color=colour, linewidth=7.0)
        axes.axvline(0.0, color=ORANGE, linewidth=1.2)
        axes.set_xlim(-WARNED_S, LATE_S)
        axes.set_title(one.name.replace(", ", ",\n").replace(": ", ":\n"), fontsize=8)
        axes.set_xlabel("s")
    columns[0].set_yticks(range(len(shown)), [clock(told) for told in shown], fontsize=7)
    columns[0].set_ylim(len(shown) - 0.4, -0.6)
    more = len(verdict.warnings) - len(shown)
    rest = f" The first {len(shown)}; {more} more are in the JSON." if more else ""
    return as_picture(
        figure,
        "Each hard braking of the ego's driver, by its time: when each driver would brake, from 3 "
        f"s before the ego's driver begins to brake (orange) to 1 s after.{rest}",
    )


def _around(firing: Bools, tick: int, before: int, after: int) -> Bools:
    """The firing from so many ticks before a moment to so many after it; none beyond the drive."""
    padded = np.pad(firing, (before, after))
    part: Bools = padded[tick : tick + before + after + 1]
    return part


def _chance(verdict: Verdict) -> Picture:
    """How many events the shifted firing series hit, and the real one, of each driver."""
    drivers = verdict.drivers
    figure = new_figure(_WIDE_IN, 0.9 + 0.42 * len(drivers))
    axes = figure.subplots()
    for lane, one in enumerate(drivers):
        hits = one.warned.hits_of_shifts
        if hits.size == 0:
            say_nothing(axes, "the ego never moves")
            break
        low, high = np.percentile(hits, [0.0, 95.0])
        axes.broken_barh([(low, max(high - low, 0.15))], (lane - 0.3, 0.6), color=PALE)
        axes.plot([one.warned.expected.sum()], [lane], "|", color=GREY, markersize=14)
        colour = POLICY_COLOUR if one.name == verdict.policy else BLACK
        axes.plot([one.warned.hits], [lane], "D", color=colour)
    _name_lanes(axes, drivers)
    axes.set_xlim(-0.3, len(verdict.warnings) + 0.3)
    axes.set_xlabel(f"of {len(verdict.warnings)} hard brakings warned of")
    return as_picture(
        figure,
        "What each driver warned of (diamond), and what the same braking at other times would "
        "have: its mean (line) and where 95 % of all shifts lie (grey). To the right of the grey "
        "is better than chance.",
    )


def clock(told: Told) -> str:
    """Say when an event was, minutes and seconds."""
    seconds = told.event.tick * DT_S
    return f"{int(seconds // 60.0)}:{seconds % 60.0:04.1f}"
