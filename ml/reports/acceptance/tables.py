"""The acceptance tests for people (Markdown, console) and for programs (JSON)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.text import Text

from ml.atomic_files import finite
from ml.console import WholeTable, markdown_table
from ml.envs.scoring.targets import Level
from ml.evaluation.acceptance.benchmarks import BenchmarkResult
from ml.evaluation.acceptance.table import Row, said, standings, summary_of
from ml.evaluation.acceptance.verdicts import FAILED, INCONCLUSIVE, PASSED
from ml.evaluation.result import Origin

_COLOURS: dict[str, str] = {PASSED: "green", FAILED: "bold red", INCONCLUSIVE: "yellow"}
_CONVOY_COLUMNS = (
    ("crashes in avoidable hazards", "crash_rate", "%"),
    ("crashes, no hazard", "quiet_crash_rate", "%"),
    ("time headway, s", "headway_s", "s"),
    ("false brakes / km", "false_brakes_per_km", "per km"),
    ("time braking, no hazard", "braking_share", ""),
    ("time braking", "braking_share_all", ""),
    ("jerk p95, m/s³", "jerk_p95_mps3", "m/s³"),
    ("overreactions, benign", "overreaction_rate", "%"),
)
_MANOEUVRE_COLUMNS = (
    ("crashes in avoidable hazards", "crash_rate", "%"),
    ("gain at the fundamental", "gain_at_fundamental", ""),
    ("L2 gain, p95", "string_gain_l2_p95", ""),
)
_MOST_CRASHES = 12
"""Listed of a model on a benchmark; how many more there are is said."""
_CRASH_COLUMNS = (
    "where", "driver", "case", "kind", "cars ahead", "who brakes", "impact, m/s",
    "told after, s", "in time up to, s", "longest silence, s", "why",
)  # fmt: skip
_CRASH_RULES = """\
Avoidable hazards, and cases without a hazard, that ended in a crash. "Told after": from onset to
the arrival of the first message that shows the braking. "In time up to": the longest such delay
after which full braking from the speed and the place at the start still avoids the crash. Told
later than that, or never (blank), is a blackout; told in time, informed. Without a hazard nobody
had to be told: informed, or unavoidable where the reference ego crashes, too. "Who brakes"
counts from the car in front; the longest silence is its. Of models alone, and of each
on a benchmark the first 12; targets.json has all."""
_RULES = """\
Each figure stands with its 95 % interval. What **must** be reached passes where the whole interval
keeps to its bound, fails where none of it does, and is inconclusive otherwise. "0 in N" fails with
one crash. Several models pass a test where each passes it, and fail it where one fails it. A
**stretch** is judged in the same way, and not counted. No driver on these sensors and this radio is
known to reach a **limit**: the distance to it is told, and how it was derived.

A driver dominates another where it is no worse in crashes, headway, false brakes and jerk, and
significantly better in one. Over all radios any gap counts that a model was driven with, as a
controller is a baseline with each of its own. Time braking is compared with the baseline that
brakes the least of those that do not significantly crash more often than the model. Crashes at
equal headway are compared with every baseline whose mean headway is within 0.05 s of the model's,
at that of its time gaps where it is nearest: no more where the interval of the difference stays
below the margin, more where all of it is above 0. Beyond what was trained on, bounds are doubled;
time braking and limits are of the presets alone."""


def as_markdown(
    rows: Sequence[Row], results: Sequence[BenchmarkResult], command: str, seed: int
) -> str:
    """Return the tables as a document."""
    models, summary = _models(rows), summary_of(rows)
    text = f"# Acceptance tests\n\nMade by `{command}`, seed {seed}.\n\n"
    text += f"**{summary.verdict.capitalize()}; {summary}.**\n\n{_RULES}\n"
    judged, limits = _of(rows, "must", "stretch"), _of(rows, "limit")
    if judged:
        found = [
            [*_asked(row), *(_judged(row, model) for model in models), row.verdict]
            for row in judged
        ]
        text += "\n## What must be reached\n\n"
        text += markdown_table(["where", "measured", "target", *models, "verdict"], found)
        notes = [f"* {row.where}, {row.measure}: {row.note}.\n" for row in judged if row.note]
        text += "".join(["\n", *notes] if notes else [])
    if limits:
        found = [
            [*_asked(row), *(_said(row, model) for model in models), row.by.derivation]
            for row in limits
            if row.by
        ]
        text += "\n## Limits, and the distance to them\n\n"
        text += markdown_table(["where", "measured", "limit", *models, "how derived"], found)
    for weighted, title, columns in (
        (True, "Figures on `convoy`", _CONVOY_COLUMNS),
        (False, "Figures on manoeuvres", _MANOEUVRE_COLUMNS),
    ):
        here = [result for result in results if result.benchmark.weighted == weighted]
        if here:
            heads = ["where", "driver", "cases (invalid)", *(name for name, _, _ in columns)]
            lines = [line for result in here for line in _figures(result, columns)]
            text += f"\n## {title}\n\n{markdown_table(heads, lines)}"
    crashes = [line for result in results for line in _crashes(result)]
    if crashes:
        table = markdown_table(_CRASH_COLUMNS, crashes)
        text += f"\n## What ended in a crash\n\n{_CRASH_RULES}\n\n{table}"
    return text


def _of(rows: Sequence[Row], *levels: Level) -> list[Row]:
    return [row for row in rows if row.level in levels]


def _said(row: Row, model: str) -> str:
    return found.said if (found := row.found.get(model)) else ""


def _judged(row: Row, model: str) -> str:
    return f"{found.said} **{found.verdict}**" if (found := row.found.get(model)) else ""


def _models(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.found))


def _asked(row: Row) -> tuple[str, str, str]:
    stretch = " (stretch)" if row.level == "stretch" else ""
    return row.where, row.measure, row.target + stretch


def _figures(
    result: BenchmarkResult, columns: Sequence[tuple[str, str, str]]
) -> Iterator[list[str]]:
    for driver in result.drivers:
        figures = (said(result.figures[driver.name][key], unit) for _, key, unit in columns)
        cases = f"{len(result.benchmark.cases.cases):,} ({result.invalid})"
        yield [result.benchmark.name, driver.name, cases, *figures]


def _crashes(result: BenchmarkResult) -> Iterator[list[str]]:
    """Yield what each model crashed in, the first cases only."""
    for name, rows in result.crashes.items():
        for row in rows[:_MOST_CRASHES]:
            yield [
                *(result.benchmark.name, name, str(row.case), row.kind, str(row.num_peers)),
                str(row.brake_rank or ""),
                _number(row.impact_speed_mps, 1),
                *(_number(delay_s, 2) for delay_s in (row.message_delay_s, row.delay_budget_s)),
                *(_number(row.longest_blackout_s, 1), row.crash_class),
            ]
        if len(rows) > _MOST_CRASHES:
            cells = [result.benchmark.name, name, f"and {len(rows) - _MOST_CRASHES:,} more"]
            yield [*cells, *[""] * (len(_CRASH_COLUMNS) - 3)]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else ""


def console_tables(rows: Sequence[Row]) -> list[WholeTable]:
    """Build the tables for a terminal: what must be reached, and the limits; those there are."""
    judged, limits = _of(rows, "must", "stretch"), _of(rows, "limit")
    title = "acceptance tests: what must be reached"
    tables = [_console_table(judged, title, judged=True)] if judged else []
    if limits:
        title = "limits, and the distance to them; targets.md says how they were derived"
        tables.append(_console_table(limits, title, judged=False))
    return tables


def _console_table(rows: Sequence[Row], title: str, *, judged: bool) -> WholeTable:
    models = _models(rows)
    several = ["all"] if judged and len(models) > 1 else []
    columns = ("where", "measured", "target" if judged else "limit", *models, *several)
    table = WholeTable(*columns, title=title)
    before = ""
    for row in rows:
        if before not in {"", row.where}:
            table.add_section()
        where, measure, target = _asked(row)
        if judged:
            found = [row.found.get(model) for model in models]
            cells = [_coloured(f"{f.said}\n", f.verdict) if f else Text() for f in found]
            cells += [_coloured("", row.verdict) for _ in several]
        else:
            cells = [Text(_said(row, model).replace("; ", "\n")) for model in models]
        table.add_row("" if where == before else where, measure, target, *cells)
        before = where
    return table


def _coloured(said: str, verdict: str) -> Text:
    """Colour a verdict, and take brackets of intervals before it for what they are."""
    return Text(said).append(verdict, style=_COLOURS[verdict])


def as_json(rows: Sequence[Row], results: Sequence[BenchmarkResult], origin: Origin) -> str:
    """Return everything as JSON; what is no finite number is null."""
    summary = summary_of(rows)
    content = {
        "schema_version": 2,
        "origin": origin.model_dump(mode="json"),
        "summary": asdict(summary) | {"verdict": summary.verdict, "said": str(summary)},
        "rows": [asdict(row) | {"level": row.level, "verdict": row.verdict} for row in rows],
        "benchmarks": [_benchmark(result) for result in results],
    }
    shown = finite(content, digits=8)
    return json.dumps(shown, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _benchmark(result: BenchmarkResult) -> dict[str, Any]:
    benchmark = result.benchmark
    return {
        "name": benchmark.name,
        "part": benchmark.part,
        "suite": benchmark.cases.suite,
        "radio": benchmark.cases.radio.name,
        "bounds_of": benchmark.bounds,
        "beyond": benchmark.beyond,
        "cases": len(benchmark.cases.cases),
        "invalid": result.invalid,
        "drivers": [
            {
                "name": driver.name,
                "spec": driver.spec,
                "sha256": driver.sha256 or None,
                "time_gap_s": driver.time_gap_s,
                "figures": {k: asdict(f) for k, f in result.figures[driver.name].items()},
            }
            for driver in result.drivers
        ],
        "differences": [
            {
                "model": model,
                "baseline": baseline,
                **{name: asdict(d) | {"difference": d.difference} for name, d in found.items()},
            }
            for (model, baseline), found in result.differences.items()
        ],
        "crashes": {name: [row.flat() for row in rows] for name, rows in result.crashes.items()},
        "standings": {
            driver.name: standings(result, driver)
            for model in result.models
            if result.differences
            for driver in result.variants(model)
        },
    }
