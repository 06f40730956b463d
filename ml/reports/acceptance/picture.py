"""Crashes over headway with both intervals, a panel per radio, and the tests' bounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ml.evaluation.acceptance.table import CRASH, HEADWAY_S
from ml.evaluation.records import DriverSpec
from ml.reports.style import (
    BLACK,
    GREY,
    POLICY_COLOUR,
    WIDTH_IN,
    family_styles,
    house_style,
    new_figure,
    save_picture,
)

if TYPE_CHECKING:
    from ml.evaluation.acceptance.benchmarks import BenchmarkResult

_PERCENT = 100.0
_LINEAR_BELOW = 0.01
_HEIGHT_IN = 3.4
_MODEL_MARKERS = "*PXDv^"


def write_picture(results: Sequence[BenchmarkResult], file: Path) -> bool:
    """Draw the suite `convoy` on the presets; returns False where it was not measured.

    Raises:
        OSError: The file cannot be written.
    """
    convoys = [result for result in results if result.benchmark.part == "convoy"]
    if convoys:
        with house_style():
            save_picture(draw_convoys(convoys), file)
    return bool(convoys)


def draw_convoys(convoys: Sequence[BenchmarkResult]) -> Figure:
    """Draw a panel per radio; call it in the house style."""
    figure = new_figure(WIDTH_IN * len(convoys) * 0.8, _HEIGHT_IN)
    panels = figure.subplots(1, len(convoys), squeeze=False)[0]
    styles = family_styles([b.name for result in convoys for b in result.baselines])
    shown: dict[str, Artist] = {}
    for axes, result in zip(panels, convoys, strict=True):
        axes.set(title=result.benchmark.cases.radio.name, xlabel="mean time headway, s")
        axes.set_yscale("symlog", linthresh=_LINEAR_BELOW, linscale=0.5)
        ticks = [0.0, 0.01, 0.1, 1.0, 10.0, 100.0]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        models = [model.spec for model in result.models]
        for driver in result.drivers:
            if driver.is_model:
                turn = models.index(driver.spec)
                marker = _MODEL_MARKERS[turn % len(_MODEL_MARKERS)]
                _point(axes, result, driver, POLICY_COLOUR, marker)
            else:
                style = styles[driver.name]
                _point(axes, result, driver, style.colour, style.marker)
        dashed = {"color": GREY, "linestyle": "--", "linewidth": 1.0}
        bounds = result.benchmark.bounds
        axes.axvline(HEADWAY_S[bounds], label="bound", **dashed)
        axes.axhline(_PERCENT * CRASH.get(bounds, 0.0), **dashed)
        axes.set_ylim(-0.15 * _LINEAR_BELOW, None)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(str(label), handle)
    panels[0].set_ylabel("crashes in avoidable hazards, %")
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=4)
    return figure


def _point(
    axes: Axes, result: BenchmarkResult, driver: DriverSpec, colour: str, marker: str
) -> None:
    headway, crash = (result.figures[driver.name][key] for key in ("headway_s", "crash"))
    if not np.isfinite(headway.value) or not np.isfinite(crash.value):
        return
    x, y = headway.value, _PERCENT * crash.value
    sides = [headway.low, headway.high, crash.low, crash.high]
    if not np.isfinite(sides).all():
        sides = [x, x, crash.low, crash.high]
    axes.errorbar(
        [x],
        [y],
        xerr=[[max(x - sides[0], 0.0)], [max(sides[1] - x, 0.0)]],
        yerr=[[max(y - _PERCENT * sides[2], 0.0)], [max(_PERCENT * sides[3] - y, 0.0)]],
        color=colour,
        marker=marker,
        markersize=9 if driver.is_model else 6,
        markeredgecolor=BLACK,
        markeredgewidth=0.5,
        linestyle="none",
        elinewidth=1.0,
        label=driver.name,
    )
