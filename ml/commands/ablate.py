"""`roadsense ablate`: what is each part of the recipe worth? Train without it, and judge beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ml.commands.checks import require_counts, require_seeds
from ml.console import WholeTable, make_console, markdown_table, plain_lines
from ml.errors import ConfigError, EvaluationError
from ml.execution.executor import CLUSTER_HELP, Executor, make_executor
from ml.options import read_options

if TYPE_CHECKING:
    from rich.console import Console

    from ml.evaluation.paired import PairedEstimate
    from ml.evaluation.records import Variant
    from ml.evaluation.result import EpisodeRow
    from ml.evaluation.summary import CellSummary, Figure
    from ml.training.apart import TrainingJob

_HISTORY = [
    f"peers.{name}"
    for back in (1, 2, 3)
    for name in (f"accel_{back}_before", f"slowed_since_{back}", f"span_{back}")
]
_AGE = ["ego.silence", "ego.nearest_age", "ego.missing_room", "peers.age"]
_UNCERTAINTY = ["ego.position_sd", "ego.nearest_sd", "peers.position_sd"]
_DEMANDS = ["ego.needed_braking", "ego.missing_room", "peers.needed_braking"]
BASE = "the recipe"
_BASELINE = "predictive:0.5"
_TABLE_FILE = "ablation.md"
_COLUMNS = (
    ("crashes in avoidable hazards", "crash_rate", 100.0, "%"),
    ("time headway", "headway_s", 1.0, "s"),
    ("false brakes", "false_brakes_per_km", 1.0, "/km"),
    ("jerk p95", "jerk_p95_mps3", 1.0, "m/s³"),
)
TITLES = ("radio", "what", *(title for title, *_ in _COLUMNS), "points beside the recipe")
_TRANSITION_S, _START_S = 4e-4, 15.0
"""Of a training run on two cores: a transition of the warm start or of PPO, and the rest."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """One row of the table.

    Attributes:
        options: Of `roadsense train`; None where the recipe's own model is judged.
        variant: How the model is plugged in.
        radios: Where it is judged; empty for the usual ones.
    """

    name: str
    options: tuple[str, ...] | None = None
    variant: Variant = ""
    radios: tuple[str, ...] = ()


ABLATIONS = (
    Ablation(BASE, ()),
    Ablation("radio off", variant="radio off"),
    Ablation("no safety layer when driving", variant="no safety layer"),
    Ablation("no safety layer from the start", ("--safety-layer", "False")),
    Ablation("no history of messages", ("--policy.hidden", *_HISTORY)),
    Ablation("no age of messages", ("--policy.hidden", *_AGE)),
    Ablation("no position uncertainty", ("--policy.hidden", *_UNCERTAINTY)),
    Ablation("no demands of the layer shown", ("--policy.hidden", *_DEMANDS)),
    Ablation("mean instead of max pooling", ("--policy.pooling", "mean")),
    Ablation("trained on clean alone", ("--radio", "clean")),
    Ablation("no restraint term", ("--reward.restraint", "0")),
    Ablation("no warm start", ("--imitation.rounds", "0")),
    Ablation("warm start alone", ("--ppo.learning-rate", "1e-12")),
    Ablation("raw GPS hold", radios=("gps-hold",)),
)


@dataclass(frozen=True)
class AblateOptions:
    """Train the recipe without each of its parts, and judge all on the same cases.

    Runs on the validation seed, not on the test seed. What is there already is not done again, so
    a run that was stopped goes on.
    """

    out: Path = Path("ablation")
    """Folder for training runs, episodes and the table (ablation.md)."""
    preset: str = "convoy"
    """The recipe."""
    steps: int | None = None
    """Steps of each training run; default: the recipe's."""
    seed: int = 0
    """Of the training runs."""
    episodes: int = 600
    """Cases of the suite convoy on each radio."""
    radio: tuple[str, ...] = ("clean", "bursty")
    """Radios on which they are judged."""
    only: tuple[str, ...] = ()
    """Rows to make, by their names; default: all."""
    workers: int = 2
    """Processes on this machine that judge; training runs follow one another here."""
    cluster: Annotated[str | None, tyro.conf.arg(help=CLUSTER_HELP)] = None
    force: bool = False
    """Judge again where --out holds episodes of other software; trained models stay."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = read_options(AblateOptions, "roadsense ablate", arguments)
    require_counts(options, "episodes", "workers")
    require_seeds(options, "seed")
    names = [ablation.name for ablation in ABLATIONS]
    for name in options.only:
        if name not in names:
            known = ", ".join(names)
            raise ConfigError(f"--only {name!r}: there is no such row. There are: {known}")
    # Torch, numba and matplotlib are slow to import, and --help needs none of them.
    from ml.atomic_files import check_writable, write_atomically  # noqa: PLC0415
    from ml.commands.fill import fill, make_origin  # noqa: PLC0415
    from ml.evaluation.drivers import controller_spec, model_spec  # noqa: PLC0415
    from ml.evaluation.seeds import VALIDATION_SEED  # noqa: PLC0415
    from ml.evaluation.store import CaseSet, parts_of, radio_record, read_parts  # noqa: PLC0415
    from ml.training.checkpoints import load_model  # noqa: PLC0415

    console = make_console()
    executor = make_executor(options.cluster, workers=options.workers, tell=plain_lines(console))
    rows = [a for a in ABLATIONS if not options.only or a.name in {*options.only, BASE}]
    radios = dict.fromkeys([*options.radio, *(radio for a in rows for radio in a.radios)])
    records = [radio_record(radio) for radio in radios]  # before anything is trained for them
    _training_s(options)  # a wrong preset, steps or seed is told now
    origin = make_origin("ablate", arguments, (VALIDATION_SEED,))
    check_writable(options.out, "--out")
    origin.open(options.out, force=options.force)
    trained = [ablation for ablation in rows if ablation.options is not None]
    todo = [ablation for ablation in trained if not _model(ablation, options).exists()]
    _train_all(todo, len(trained), options, executor, console)
    specs = {}
    for ablation in rows:
        path = str(_model(ablation, options))
        interface = load_model(path).interface
        specs[ablation] = model_spec(path, ablation.name, interface, variant=ablation.variant)
    found = []
    for radio in records:
        cases = CaseSet(
            f"convoy:{options.episodes}", radio, VALIDATION_SEED, range(options.episodes)
        )
        drivers = [spec for a, spec in specs.items() if radio.name in (a.radios or options.radio)]
        found += [parts_of(cases, [driver]) for driver in (*drivers, controller_spec(_BASELINE))]
    everything = [part for parts in found for part in parts]
    fill(options.out, everything, executor, what="judging", console=console)
    judged = [read_parts(options.out, parts) for parts in found]
    steps = "the recipe's steps" if options.steps is None else f"{options.steps:,} steps"
    made = (
        f"Preset `{options.preset}`, seed {options.seed}, {steps} each;\n"
        f"{options.episodes} cases of the suite `convoy` per radio, seed {VALIDATION_SEED};\n"
        "95 % intervals."
    )
    lines = table_lines(judged)
    write_atomically(options.out / _TABLE_FILE, f"{made}\n\n{markdown_table(TITLES, lines)}")
    console.print(WholeTable(*TITLES, rows=lines, title="ablations"))
    console.print(f"table: {options.out / _TABLE_FILE}", markup=False)
    return 0


def _train_all(
    todo: Sequence[Ablation],
    total: int,
    options: AblateOptions,
    executor: Executor,
    console: Console,
) -> None:
    """Train what is missing of `total` recipes, and show how far that is."""
    from ml.progress import Parts  # noqa: PLC0415 (with what is slow)
    from ml.training.apart import train_whole  # noqa: PLC0415
    from ml.training.workers import MOST_BY_DEFAULT  # noqa: PLC0415

    done, lasts_s = total - len(todo), len(todo) * _training_s(options)
    with Parts(
        console, "training", total=total, done=done, unit="recipes", usual_s=lasts_s
    ) as shown:
        jobs = [_job(ablation, options) for ablation in todo]
        if jobs:
            shown.say(jobs[0].name)
        for job, wrong in executor.run_watched(
            train_whole, jobs, lambda *_: False, cores=MOST_BY_DEFAULT
        ):
            if wrong:
                raise EvaluationError(f"{job}: {wrong}")
            shown.say(f"last: {job}")
            shown.advance()


def table_lines(judged: Sequence[Sequence[EpisodeRow]]) -> list[list[str]]:
    """Return the table's lines under `TITLES`, of episodes by radio, the recipe's first on each."""
    from ml.evaluation.safety_score import paired_gain, score_of  # noqa: PLC0415
    from ml.evaluation.summary import summarise  # noqa: PLC0415

    recipe: dict[str, Sequence[float]] = {}
    lines = []
    for episodes in judged:
        (summary,), by_case = summarise(episodes), score_of(episodes).by_case
        gain = None
        if summary.controller == BASE:
            recipe[summary.radio] = by_case
        elif summary.radio in recipe:
            gain = paired_gain(by_case, recipe[summary.radio])
        lines.append([*cells(summary), beside(gain)])
    return lines


def beside(gain: PairedEstimate | None) -> str:
    """Say in the table's last column how a row's safety score differs from the recipe's."""
    if gain is None:
        return "–"
    from ml.evaluation.safety_score import in_words  # noqa: PLC0415

    word = "better" if gain.low > 0.0 else "worse" if gain.high < 0.0 else "not shown to differ"
    return f"{in_words(gain)}: {word}"


def cells(summary: CellSummary) -> list[str]:
    """Return a line of the table, under `TITLES`, without the last column."""

    def said(figure: Figure, scale: float, unit: str) -> str:
        low, value, high = (scale * v for v in (figure.low, figure.value, figure.high))
        if figure.hits is not None:
            return f"{figure.hits} of {figure.count} [{low:.1f}, {high:.1f}] {unit}"
        return f"{value:.2f} [{low:.2f}, {high:.2f}] {unit}"

    figures = [said(summary.figures[key], scale, unit) for _, key, scale, unit in _COLUMNS]
    return [summary.radio, summary.controller, *figures]


def _training_options(ablation: Ablation, options: AblateOptions) -> list[str]:
    """Return the options of `roadsense train`; a row that trains nothing has the recipe's."""
    steps = () if options.steps is None else ("--total-timesteps", str(options.steps))
    of_row = ["--preset", options.preset, "--seed", str(options.seed), *steps]
    return [*of_row, *(ablation.options or ())]


def _training_s(options: AblateOptions) -> float:
    """Return about how long a training run takes on two cores, s.

    Raises:
        ConfigError: The preset, the steps or the seed are wrong.
    """
    from ml.training.command_line import parse_command_line  # noqa: PLC0415

    config = parse_command_line(_training_options(ABLATIONS[0], options)).config
    warm_start = config.imitation.rounds * config.imitation.ticks * config.num_envs
    return _START_S + _TRANSITION_S * (config.total_timesteps + warm_start)


def _model(ablation: Ablation, options: AblateOptions) -> Path:
    """Where the model of a row is: in a folder named by all that it is trained with."""
    from ml.evaluation.result import named_by_content, slug  # noqa: PLC0415

    name = ablation.name if ablation.options is not None else BASE
    folder = named_by_content(slug(name), _training_options(ablation, options))
    return options.out / folder / "models" / "deep_sets_final.zip"


def _job(ablation: Ablation, options: AblateOptions) -> TrainingJob:
    """Return the training run of a row, in a folder of its own; nothing is judged on the way."""
    from ml.training.apart import TrainingJob  # noqa: PLC0415 (torch is slow to import)

    unjudged = ("--evaluation.every-steps", "0", "--evaluation.closing-episodes", "0")
    folder = _model(ablation, options).parents[1].absolute()
    return TrainingJob(ablation.name, folder, (*_training_options(ablation, options), *unjudged))
