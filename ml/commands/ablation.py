"""`roadsense ablate`: what is each part of the recipe worth? Train without it, and judge beside."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from typing import TYPE_CHECKING

from ml.atomic_files import check_writable, write_atomically
from ml.commands.ablate import ABLATIONS, BASE
from ml.console import WholeTable, make_console
from ml.errors import EvaluationError
from ml.evaluation.drivers import PolicyDriver, interface_of, make_driver
from ml.evaluation.result import read_cell, slug, write_cell
from ml.evaluation.seeds import VALIDATION_SEED
from ml.evaluation.suites.registry import make_suite
from ml.evaluation.summary import summarise
from ml.evaluation.together import run_together
from ml.installation import same_code
from ml.parameters import PRESET_NAMES, load_parameters
from ml.progress import Parts
from ml.training.checkpoints import load_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ml.commands.ablate import AblateOptions, Ablation
    from ml.evaluation.drivers import Driver
    from ml.evaluation.summary import CellSummary, Figure

_BASELINE = "predictive:0.5"
_TABLE_FILE = "ablation.md"


def run_ablations(options: AblateOptions) -> int:
    """Train and judge all rows, and write the table.

    Raises:
        RoadSenseError: With what to do next.
    """
    for radio in options.radio:
        load_parameters(radio)  # before anything is trained for it
    check_writable(options.out, "--out")
    rows = [a for a in ABLATIONS if not options.only or a.name in {*options.only, BASE}]
    console = make_console()
    trained = [ablation for ablation in rows if ablation.options is not None]
    done = sum(_model(ablation, options).exists() for ablation in trained)
    with Parts(console, "training", total=len(trained), done=done, unit="recipes") as parts:
        for ablation in trained:
            if not _model(ablation, options).exists():
                parts.begin(ablation.name)
                _train(ablation, options)
    found: list[tuple[str, CellSummary]] = []
    radios = list(dict.fromkeys([*options.radio, *(r for a in rows for r in a.radios)]))
    with Parts(console, "judging", total=len(radios), unit="radios") as parts:
        for radio in radios:
            parts.begin(radio)
            here = [a for a in rows if (radio in a.radios if a.radios else radio in options.radio)]
            found += _judge(here, radio, options)
    table = _markdown(found, options)
    write_atomically(options.out / _TABLE_FILE, table)
    console.print(_console_table(found))
    console.print(f"table: {options.out / _TABLE_FILE}", markup=False)
    return 0


def _model(ablation: Ablation, options: AblateOptions) -> Path:
    """Where the model of a row is; rows that train none share the recipe's."""
    name = ablation.name if ablation.options is not None else BASE
    return options.out / slug(name) / "models" / "deep_sets_final.zip"


def _train(ablation: Ablation, options: AblateOptions) -> None:
    """Train in a process of its own, with folders of its own."""
    model = _model(ablation, options)
    folder = model.parents[1]
    folder.mkdir(parents=True, exist_ok=True)
    steps = () if options.steps is None else ("--total-timesteps", str(options.steps))
    command = [sys.executable, "-P", "-m", "ml.cli", "train", "--preset", options.preset]
    command += ["--seed", str(options.seed), *steps, *(ablation.options or ())]
    command += ["--evaluation.every-steps", "0", "--evaluation.closing-episodes", "0"]
    environ = same_code() | {"RUNS_DIR": str(folder / "runs"), "MODELS_DIR": str(model.parent)}
    log = folder / "train.log"
    with log.open("w", encoding="utf-8") as stream:
        ended = subprocess.run(  # noqa: S603 (this program, with its own options)
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            check=False,
        )
    if ended.returncode != 0:
        said = log.read_text(encoding="utf-8").strip().splitlines()
        raise EvaluationError(
            f"{ablation.name}: the training ended with exit code {ended.returncode} "
            f"({said[-1] if said else 'it said nothing'}). {log} says more."
        )


def _driver(ablation: Ablation, options: AblateOptions) -> Driver:
    model = load_model(_model(ablation, options))
    interface = interface_of(model)
    if ablation.variant == "no safety layer":
        interface = interface.model_copy(update={"safety_layer": False})
    off = ablation.variant == "radio off"
    return PolicyDriver(model, ablation.name, radio_off=off, interface=interface)


def _radio_key(radio: str) -> str:
    """Name a radio in a file's name; one of the user's own by its content, too."""
    if radio in PRESET_NAMES:
        return slug(radio)
    content = load_parameters(radio).model_dump_json()
    return f"{slug(radio)}-{sha256(content.encode()).hexdigest()[:8]}"


def _judge(
    rows: Sequence[Ablation], radio: str, options: AblateOptions
) -> list[tuple[str, CellSummary]]:
    """Drive all of them, and the best classical controller, through the same cases of a radio."""
    names = [a.name for a in rows] + [_BASELINE]
    kind = f"{_radio_key(radio)}-{options.episodes}.jsonl"
    files = {name: options.out / slug(name) / kind for name in names}
    missing = [name for name in names if not files[name].exists()]
    if missing:
        drivers: list[Driver] = [_driver(a, options) for a in rows if a.name in missing]
        if _BASELINE in missing:
            drivers.append(make_driver(_BASELINE))
        suite = make_suite(f"convoy:{options.episodes}")
        found = run_together(drivers, suite, radio=radio, seed=VALIDATION_SEED)
        for name, episodes in zip(missing, found, strict=True):
            write_cell(files[name], episodes)
    return [(name, summarise(read_cell(files[name]))[0]) for name in names]


_COLUMNS = (
    ("crashes in avoidable hazards", "crash_rate", 100.0, "%"),
    ("time headway", "headway_s", 1.0, "s"),
    ("false brakes", "false_brakes_per_km", 1.0, "/km"),
    ("jerk p95", "jerk_p95_mps3", 1.0, "m/s³"),
)


def _said(figure: Figure, scale: float, unit: str) -> str:
    low, value, high = (scale * v for v in (figure.low, figure.value, figure.high))
    if figure.hits is not None:
        return f"{figure.hits} of {figure.count} [{low:.1f}, {high:.1f}] {unit}"
    return f"{value:.2f} [{low:.2f}, {high:.2f}] {unit}"


def _cells(name: str, summary: CellSummary) -> list[str]:
    figures = [_said(summary.figures[key], scale, unit) for _, key, scale, unit in _COLUMNS]
    return [summary.radio, name, *figures]


def _markdown(found: Sequence[tuple[str, CellSummary]], options: AblateOptions) -> str:
    """Return the table for docs/."""
    steps = "the recipe's steps" if options.steps is None else f"{options.steps:,} steps"
    lines = [
        f"Preset `{options.preset}`, seed {options.seed}, {steps} each;",
        f"{options.episodes} cases of the suite `convoy` per radio, seed {VALIDATION_SEED};",
        "95 % intervals.",
        "",
        "| radio | what | " + " | ".join(title for title, *_ in _COLUMNS) + " |",
        "|---" * (2 + len(_COLUMNS)) + "|",
    ]
    lines += ["| " + " | ".join(_cells(name, summary)) + " |" for name, summary in found]
    return "\n".join(lines) + "\n"


def _console_table(found: Sequence[tuple[str, CellSummary]]) -> WholeTable:
    table = WholeTable("radio", "what", *(title for title, *_ in _COLUMNS), title="ablations")
    for name, summary in found:
        table.add_row(*_cells(name, summary))
    return table
