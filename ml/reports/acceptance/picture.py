"""Crashes over headway with both intervals, a panel per radio, and the tests' bounds and limits."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ml.envs.scoring.targets import Level, bound_of
from ml.evaluation.acceptance.benchmarks import BenchmarkResult
from ml.evaluation.records import DriverSpec
from ml.reports import style

_PERCENT = 100.0
_LINEAR_BELOW = 0.01
_HEIGHT_IN = 3.4
_MODEL_MARKERS = "*PXDv^"
_LINES: dict[Level, str] = {"must": "--", "limit": ":"}


def write_picture(results: Sequence[BenchmarkResult], file: Path) -> bool:
    """Draw the suite `convoy` on the presets; returns False where it was not measured.

    Raises:
        OSError: The file cannot be written.
    """
    convoys = [result for result in results if result.benchmark.part == "convoy"]
    if not convoys:
        return False
    with style.house_style():
        style.save_picture(_draw(convoys), file)
    return True


def _draw(convoys: Sequence[BenchmarkResult]) -> Figure:
    figure = style.new_figure(style.WIDTH_IN * len(convoys) * 0.8, _HEIGHT_IN)
    panels = figure.subplots(1, len(convoys), squeeze=False)[0]
    styles = style.family_styles([b.name for result in convoys for b in result.baselines])
    shown: dict[str, Artist] = {}
    for axes, result in zip(panels, convoys, strict=True):
        axes.set(title=result.benchmark.cases.radio.name, xlabel="mean time headway, s")
        axes.set_yscale("symlog", linthresh=_LINEAR_BELOW, linscale=0.5)
        ticks = [0.0, 0.01, 0.1, 1.0, 10.0, 100.0]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        models = [model.spec for model in result.models]
        for driver in result.drivers:
            if driver.is_model:
                marker = _MODEL_MARKERS[models.index(driver.spec) % len(_MODEL_MARKERS)]
                _point(axes, result, driver, style.POLICY_COLOUR, marker)
            else:
                _point(axes, result, driver, *styles[driver.name][:2])
        for level, line in _LINES.items():
            for metric, draw, factor in (
                ("headway_s", axes.axvline, 1.0),
                ("crash_rate", axes.axhline, _PERCENT),
            ):
                bound = bound_of(metric, result.benchmark.bounds, level=level)
                if bound is not None:
                    draw(
                        factor * bound, label=level, color=style.GREY, linestyle=line, linewidth=1.0
                    )
        axes.set_ylim(-0.15 * _LINEAR_BELOW, None)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(str(label), handle)
    panels[0].set_ylabel("crashes in avoidable hazards, %")
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=4)
    return figure


def _point(
    axes: Axes, result: BenchmarkResult, driver: DriverSpec, colour: str, marker: str
) -> None:
    headway, crash = (result.figures[driver.name][key] for key in ("headway_s", "crash_rate"))
    if not np.isfinite(headway.value) or not np.isfinite(crash.value):
        return
    x, low_x, high_x = headway.value, headway.low, headway.high
    if not np.isfinite([low_x, high_x, crash.low, crash.high]).all():
        low_x = high_x = x
    y, low_y, high_y = (_PERCENT * value for value in (crash.value, crash.low, crash.high))
    axes.errorbar(
        [x],
        [y],
        xerr=[[max(x - low_x, 0.0)], [max(high_x - x, 0.0)]],
        yerr=[[max(y - low_y, 0.0)], [max(high_y - y, 0.0)]],
        color=colour,
        marker=marker,
        markersize=9 if driver.is_model else 6,
        markeredgecolor=style.BLACK,
        markeredgewidth=0.5,
        linestyle="none",
        elinewidth=1.0,
        label=driver.name,
    )
