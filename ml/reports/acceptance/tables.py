"""The acceptance tests for people (Markdown, console) and for programs (JSON)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.text import Text

from ml.atomic_files import finite
from ml.console import WholeTable, markdown_table
from ml.evaluation.acceptance.benchmarks import BenchmarkResult
from ml.evaluation.acceptance.submission import (
    CONVOY_FIGURES,
    MANOEUVRE_FIGURES,
    DriverRecord,
    FoundRecord,
    RowRecord,
    Submission,
)
from ml.evaluation.acceptance.table import Row, said, standings, summary_of
from ml.evaluation.acceptance.verdicts import FAILED, INCONCLUSIVE, PASSED
from ml.evaluation.result import Origin

_COLOURS: dict[str, str] = {PASSED: "green", FAILED: "bold red", INCONCLUSIVE: "yellow"}
_CONVOY_COLUMNS = (
    ("crashes in avoidable hazards", "%"),
    ("crashes, no hazard", "%"),
    ("time headway, s", "s"),
    ("false brakes / km", "per km"),
    ("time braking, no hazard", ""),
    ("time braking", ""),
    ("jerk p95, m/s³", "m/s³"),
    ("overreactions, benign", "%"),
)
"""Title and unit of each of `CONVOY_FIGURES`."""
_MANOEUVRE_COLUMNS = (
    ("crashes in avoidable hazards", "%"),
    ("gain at the fundamental", ""),
    ("L2 gain, p95", ""),
)
"""The same of `MANOEUVRE_FIGURES`."""
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


def as_markdown(submission: Submission, title: str = "Acceptance tests") -> str:
    """Return the tables as a document."""
    rows, models = submission.rows, [model.name for model in submission.models]
    summary = submission.summary
    text = f"# {title}\n\nMade by `{submission.command}`, seed {submission.asked.seed}.\n\n"
    text += f"**{summary.verdict.capitalize()}; {summary}.**\n\n{_RULES}\n"
    judged = [row for row in rows if row.level != "limit"]
    limits = [row for row in rows if row.level == "limit"]
    if judged:
        found = [
            [*_asked(row), *(_judged(row.found[model]) for model in models), row.verdict]
            for row in judged
        ]
        text += "\n## What must be reached\n\n"
        text += markdown_table(["where", "measured", "target", *models, "verdict"], found)
        notes = [f"* {row.where}, {row.measured}: {row.note}.\n" for row in judged if row.note]
        text += "".join(["\n", *notes] if notes else [])
    if limits:
        found = [
            [*_asked(row), *(row.found[model].said for model in models), row.derivation]
            for row in limits
        ]
        text += "\n## Limits, and the distance to them\n\n"
        text += markdown_table(["where", "measured", "limit", *models, "how derived"], found)
    for of, names, columns in (
        ("Figures on `convoy`", CONVOY_FIGURES, _CONVOY_COLUMNS),
        ("Figures on manoeuvres", MANOEUVRE_FIGURES, _MANOEUVRE_COLUMNS),
    ):
        here = [result for result in submission.results if set(result.figures) == set(names)]
        if here:
            heads = ["where", "driver", "cases (invalid)", *(name for name, _ in columns)]
            units = [unit for _, unit in columns]
            lines = [_figures(result, names, units) for result in here]
            text += f"\n## {of}\n\n{markdown_table(heads, lines)}"
    crashes = [line for result in submission.results for line in _crashes(result)]
    if crashes:
        table = markdown_table(_CRASH_COLUMNS, crashes)
        text += f"\n## What ended in a crash\n\n{_CRASH_RULES}\n\n{table}"
    return text


def _judged(found: FoundRecord) -> str:
    return f"{found.said} **{found.verdict}**"


def _asked(row: RowRecord) -> tuple[str, str, str]:
    stretch = " (stretch)" if row.level == "stretch" else ""
    return row.where, row.measured, row.target + stretch


def _figures(result: DriverRecord, names: Sequence[str], units: Sequence[str]) -> list[str]:
    figures = (
        said(result.figures[name].figure, unit) for name, unit in zip(names, units, strict=True)
    )
    return [result.where, result.driver, f"{result.cases:,} ({result.invalid})", *figures]


def _crashes(result: DriverRecord) -> Iterator[list[str]]:
    """Yield what a model crashed in, the first cases only."""
    for row in result.crashes:
        yield [
            *(result.where, result.driver, str(row.case), row.kind, str(row.num_peers)),
            str(row.brake_rank or ""),
            _number(row.impact_speed_mps, 1),
            *(_number(delay_s, 2) for delay_s in (row.message_delay_s, row.delay_budget_s)),
            *(_number(row.longest_blackout_s, 1), row.crash_class),
        ]
    if more := result.crashed - len(result.crashes):
        cells = [result.where, result.driver, f"and {more:,} more"]
        yield [*cells, *[""] * (len(_CRASH_COLUMNS) - 3)]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def console_tables(submission: Submission) -> list[WholeTable]:
    """Build the tables for a terminal: what must be reached, and the limits; those there are."""
    judged = [row for row in submission.rows if row.level != "limit"]
    limits = [row for row in submission.rows if row.level == "limit"]
    models = [model.name for model in submission.models]
    title = "acceptance tests: what must be reached"
    tables = [_console_table(judged, models, title, judged=True)] if judged else []
    if limits:
        title = "limits, and the distance to them; targets.md says how they were derived"
        tables.append(_console_table(limits, models, title, judged=False))
    return tables


def _console_table(
    rows: Sequence[RowRecord], models: Sequence[str], title: str, *, judged: bool
) -> WholeTable:
    several = ["all"] if judged and len(models) > 1 else []
    columns = ("where", "measured", "target" if judged else "limit", *models, *several)
    table = WholeTable(*map(escape, columns), title=title)
    before = ""
    for row in rows:
        if before not in {"", row.where}:
            table.add_section()
        where, *asked = _asked(row)
        found = [row.found[model] for model in models]
        if judged:
            cells = [_coloured(f"{f.said}\n", f.verdict) for f in found]
            cells += [_coloured("", row.verdict) for _ in several]
        else:
            cells = [Text(f.said.replace("; ", "\n")) for f in found]
        shown = ("" if where == before else where, *asked)
        table.add_row(*map(Text, shown), *cells)
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
