"""What a search leaves behind: the best trials, all of them, the winner, two pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from ml.atomic_files import finite, write_atomically, write_json
from ml.console import WholeTable, markdown_table
from ml.evaluation.safety_score import INVALID, in_words, paired_gain
from ml.evaluation.seeds import TEST_SEED, VALIDATION_SEED
from ml.reports.style import BLACK, BLUE, GREY, WIDTH_IN, house_style, new_figure, save_picture
from ml.tuning.objective import Objective
from ml.tuning.study import Search, Tried

WINNER_FILE = "best.yaml"
_SHOWN = 10
_BAR_IN = 0.24
_COLUMNS = ("trial", "score", "crashes", "false brakes / km", "headway", "jerk p95")


def write_report(
    search: Search, objective: Objective, tried: Sequence[Tried], folder: Path
) -> WholeTable:
    """Write `tuning.md`, `tuning.json`, `best.yaml` and the pictures; return a table of the best.

    Raises:
        OSError: The folder cannot be written.
    """
    best = ranking(tried)
    importances = search.importances()
    if best:
        first = best[0]
        comment = (
            f"{objective.title}: best of {len(tried)} trials, safety score "
            f"{first.outcome.score:.2f} on seed {VALIDATION_SEED} (trial {first.number}); "
            f"{beside_usual(tried, first)}"
        )
        write_atomically(folder / WINNER_FILE, objective.winner(first.values, comment))
    trials = [
        {"trial": t.number, "values": t.values, "progress": t.progress, **asdict(t.outcome)}
        for t in tried
    ]
    found = {"objective": objective.title, "importances": importances, "trials": trials}
    write_json(folder / "tuning.json", finite(found))
    write_atomically(folder / "tuning.md", _markdown(objective, tried, importances))
    with house_style():
        if tried:
            save_picture(draw_history(tried), folder / "history.png")
        if importances:
            save_picture(draw_importances(importances), folder / "importance.png")
    title = f"{objective.title}: the best of {len(tried)} trials"
    return WholeTable(*_COLUMNS, rows=map(_cells, best[:_SHOWN]), title=title)


def ranking(tried: Sequence[Tried]) -> list[Tried]:
    """Return the complete trials, best first."""
    complete = [trial for trial in tried if trial.outcome.state == "complete"]
    return sorted(complete, key=lambda trial: -trial.outcome.score)


def beside_usual(tried: Sequence[Tried], winner: Tried) -> str:
    """Say whether the winner is shown to be better than the first trial, the usual values."""
    usual = tried[0]
    if winner is usual:
        return "the usual values"
    gain = None
    if usual.outcome.state == "complete":
        ours, theirs = (
            [INVALID if score is None else score for score in trial.outcome.by_case]
            for trial in (winner, usual)
        )
        gain = paired_gain(ours, theirs)
    if gain is None:
        return f"not compared with trial {usual.number}, which is not complete"
    word = "better" if gain.low > 0.0 else "not shown to be better"
    return f"{in_words(gain)} to trial {usual.number}: {word}"


def _cells(trial: Tried) -> list[str]:
    runs = trial.outcome.runs
    crashes, episodes = (
        sum(int(run[name]) for run in runs) for name in ("avoidable_crashes", "avoidable_episodes")
    )
    return [
        str(trial.number),
        f"{trial.outcome.score:.2f}",
        f"{crashes} of {episodes}",
        _mean(runs, "false_brakes_per_km", ".3f"),
        _mean(runs, "time_headway_s", ".2f", " s"),
        _mean(runs, "jerk_p95_mps3", ".2f", " m/s³"),
    ]


def _mean(runs: Sequence[dict[str, float]], name: str, digits: str, unit: str = "") -> str:
    known = [run[name] for run in runs if math.isfinite(run.get(name, math.nan))]
    return f"{fmean(known):{digits}}{unit}" if known else "–"


def _markdown(objective: Objective, tried: Sequence[Tried], importances: dict[str, float]) -> str:
    states = [trial.outcome.state for trial in tried]
    best = ranking(tried)
    text = (
        f"# Search: {objective.title}\n\n"
        f"{len(tried)} trials: {states.count('complete')} complete, {states.count('pruned')} given "
        f"up early, {states.count('failed')} failed. Objective: the safety score "
        f"(`ml/evaluation/safety_score.py`) on validation seed {VALIDATION_SEED}. The best of many "
        "is flattered by its own choice: what it is worth, the card says, on test seed "
        f"{TEST_SEED} (`roadsense evaluate`).\n\n"
    )
    text += markdown_table(_COLUMNS, [_cells(trial) for trial in best[:_SHOWN]])
    if best:
        text += f"\nTrial {best[0].number}: {beside_usual(tried, best[0])}.\n"
        few = best[: _SHOWN // 2]
        rows = [
            [
                f"`{name}`",
                *(_shown(trial.values[name]) for trial in few),
                f"{importances[name]:.0%}" if name in importances else "–",
            ]
            for name in best[0].values
        ]
        heads = ["parameter", *(f"trial {trial.number}" for trial in few), "importance"]
        text += "\n" + markdown_table(heads, rows)
    for trial in tried:
        if trial.outcome.state == "failed":
            text += f"\nTrial {trial.number} failed: {trial.outcome.note}\n"
    return text


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw_history(tried: Sequence[Tried]) -> Figure:
    """Draw each trial's score, and the best so far; what was given up is where it stood.

    Both pictures are to be drawn in the house style.
    """
    complete = [(t.number, t.outcome.score) for t in tried if t.outcome.state == "complete"]
    pruned = [
        (t.number, t.progress[max(t.progress)])
        for t in tried
        if t.outcome.state == "pruned" and t.progress
    ]
    figure = new_figure(WIDTH_IN, 3.0)
    axes = figure.add_subplot()
    if complete:
        numbers, scores = zip(*complete, strict=True)
        axes.plot(numbers, scores, "o", color=BLUE, label="complete")
        axes.step(numbers, list(accumulate(scores, max)), where="post", color=BLACK, label="best")
    if pruned:
        axes.plot(*zip(*pruned, strict=True), "x", color=GREY, label="given up")
    axes.set(xlabel="trial", ylabel="safety score", title="What the search found")
    if complete or pruned:
        axes.legend()
    return figure


def draw_importances(importances: Mapping[str, float]) -> Figure:
    """Draw how much each parameter decides, most important on top."""
    ordered = sorted(importances.items(), key=lambda pair: pair[1])
    figure = new_figure(WIDTH_IN, 1.0 + _BAR_IN * len(ordered))
    axes = figure.add_subplot()
    axes.barh([name for name, _ in ordered], [share for _, share in ordered], color=BLUE)
    axes.set(xlabel="importance (PED-ANOVA)", title="What decides")
    return figure
