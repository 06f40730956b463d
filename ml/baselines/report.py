"""The comparison as a table, a page, a record for machines, and a picture of how they learnt."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ml.atomic_files import finite, write_atomically, write_json
from ml.baselines.units import Unit
from ml.console import WholeTable, markdown_table
from ml.evaluation.closing import DriverFigures, as_json, as_markdown, figures_of
from ml.evaluation.seeds import VALIDATION_SEED
from ml.evaluation.summary import summarise
from ml.reports.curves import PANELS, read_curves, write_curves

TABLE_FILE, RECORD_FILE, PICTURE_FILE = "baselines.md", "baselines.json", "curves.png"
_COLUMNS = (
    "driver",
    ">crashes in avoidable hazards, by seed",
    ">crashes otherwise",
    ">time headway",
    ">false brakes / km",
    ">jerk p95",
    ">mean return",
    ">CPU time of training",
)


def write_report(folder: Path, units: Sequence[Unit], settings: Mapping[str, Any]) -> WholeTable:
    """Write `baselines.md`, `baselines.json` and `curves.png`; return the table for the console.

    Args:
        folder: Of the comparison.
        units: All finished.
        settings: What they were made with.

    Raises:
        RoadSenseError: Episodes or metrics are missing or damaged, or none was valid.
    """
    rows = {unit: unit.rows() for unit in units}
    figures = {unit: figures_of(str(unit), of) for unit, of in rows.items()}
    jerks = {u: summarise(of)[0].figures["jerk_p95_mps3"].value for u, of in rows.items()}
    seconds = {unit: unit.training_cpu_s() for unit in units}
    groups: dict[str, list[Unit]] = {}
    for unit in units:
        groups.setdefault(unit.group, []).append(unit)
    lines = [
        _line(name, [figures[u] for u in of], [jerks[u] for u in of], [seconds[u] for u in of])
        for name, of in groups.items()
    ]
    config, episodes = units[0].config, units[0].episodes
    said = (
        f"Environment of preset `{config.preset}`, radio `{config.env.radio}`, "
        f"{config.total_timesteps:,} steps for each training run;\n"
        f"{episodes:,} validation episodes (seed {VALIDATION_SEED}), the same packets for all.\n"
        "Figures are means over the training seeds, in brackets the least and the greatest.\n"
    )
    table, every = markdown_table(_COLUMNS, lines), as_markdown(list(figures.values()))
    content = f"{said}\n{table}\nEach driver, with 95 % intervals:\n\n{every}"
    write_atomically(folder / TABLE_FILE, content)
    record = [
        {"group": unit.group, "seed": unit.seed, "training_cpu_s": seconds[unit],
         "jerk_p95_mps3": jerks[unit], **of}
        for unit, of in zip(units, as_json(list(figures.values())), strict=True)
    ]  # fmt: skip
    write_json(folder / RECORD_FILE, finite({"settings": dict(settings), "drivers": record}))
    learnt = [(unit.group, run) for unit in units if (run := unit.run()) is not None]
    curves = [read_curves(run)._replace(preset=group) for group, run in learnt]
    write_curves(curves, folder / PICTURE_FILE, PANELS[:2])
    return WholeTable(*_COLUMNS, rows=lines, title=said.replace("`", "").rstrip())


def _line(
    name: str,
    figures: Sequence[DriverFigures],
    jerks: Sequence[float],
    seconds: Sequence[float],
) -> list[str]:
    """Return the cells of an algorithm's, preset's or controller's row."""

    def spread(values: Sequence[float], digits: int, unit: str) -> str:
        said = f"{fmean(values):.{digits}f}"
        if len(values) > 1:
            said += f" [{min(values):.{digits}f}, {max(values):.{digits}f}]"
        return f"{said} {unit}".rstrip()

    hazards, others = ([getattr(of, name) for of in figures] for name in
                       ("hazard_crashes", "other_crashes"))  # fmt: skip
    return [
        name,
        f"{', '.join(str(rate.hits) for rate in hazards)} of {hazards[0].trials}",
        f"{', '.join(str(rate.hits) for rate in others)} of {others[0].trials}",
        spread([of.time_headway_s for of in figures], 2, "s"),
        spread([of.false_brakes_per_km for of in figures], 2, ""),
        spread(jerks, 2, "m/s³"),
        spread([of.mean_return for of in figures], 1, ""),
        f"{fmean(seconds) / 60.0:.1f} min" if any(seconds) else "none",
    ]
