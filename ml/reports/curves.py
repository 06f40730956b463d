"""Learning curves of training runs side by side: one colour a preset, one line a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ml.errors import ConfigError
from ml.reports.style import family_styles, house_style, new_figure, save_picture, say_nothing

PANELS = (
    ("crashes in hazards, share", "episodes/collision_rate_hazard"),
    ("return", "rollout/ep_rew_mean"),
    ("evaluated: time headway, s", "evaluation/time_headway_s"),
    ("evaluated: false brakes per km", "evaluation/false_brakes_per_km"),
)
"""Title and name of the figures that people look at first; the first two are of training."""
_COLUMNS, _PANEL_IN = 2, (4.5, 3.0)


class Curves(NamedTuple):
    """What a run wrote while it learnt: (step, value) by the curve's name in TensorBoard."""

    preset: str
    points: Mapping[str, Sequence[tuple[int, float]]]


def read_curves(run: Path) -> Curves:
    """Read the curves of a run directory.

    Raises:
        ConfigError: It is none, or nothing was learnt in it yet; or a line is damaged.
    """
    file = run / "metrics.jsonl"
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(
            f"{run} is no run directory ({error.strerror}: {file.name}). Name folders such as "
            "runs/20261001T120000Z-ppo-s0."
        ) from error
    points: dict[str, list[tuple[int, float]]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            values = json.loads(line)
            step = int(values.pop("step"))
            figures = {name: float(value) for name, value in values.items() if value is not None}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{file}:{number}: no line of figures ({error}). Where a run was killed, "
                "--resume mends its last line."
            ) from error
        for name, value in figures.items():
            points.setdefault(name, []).append((step, value))
    if not points:
        raise ConfigError(f"{file} is empty: the run has not finished a rollout yet.")
    preset = run.resolve().name.split("-", 1)[-1].rsplit("-s", 1)[0]
    return Curves(preset, points)


def write_curves(
    runs: Sequence[Curves], path: Path, panels: Sequence[tuple[str, str]] = PANELS
) -> None:
    """Draw a panel for each figure.

    Args:
        runs: Those of one `preset` share a colour.
        path: Picture, .png or .svg.
        panels: Title and name of each, two or four.

    Raises:
        OSError: The file cannot be written.
    """
    styles = family_styles(run.preset for run in runs)
    lines = len(panels) // _COLUMNS
    with house_style():
        figure = new_figure(_COLUMNS * _PANEL_IN[0], lines * _PANEL_IN[1])
        for axes, (title, name) in zip(figure.subplots(lines, _COLUMNS).flat, panels, strict=True):
            axes.set_title(title)
            axes.set_xlabel("environment steps")
            axes.set_xscale("log", nonpositive="mask")  # a warm start is evaluated at step 0
            named = set()
            for run in runs:
                if name not in run.points:
                    continue
                style = styles[run.preset]
                count = sum(other.preset == run.preset for other in runs)
                label = (
                    None
                    if run.preset in named
                    else f"{run.preset}, {count} run" + "s" * (count > 1)
                )
                named.add(run.preset)
                axes.plot(*zip(*run.points[name], strict=True), color=style.colour,
                          linestyle=style.dash, linewidth=1.0, label=label)  # fmt: skip
            if named:
                axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
                axes.legend()
            else:
                say_nothing(axes, "no run has this figure")
        save_picture(figure, path)
