"""`roadsense cases`: find critical cases with a weaker driver, and drive them with others."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import tyro

from ml.commands.checks import require_counts, require_file
from ml.console import WholeTable, make_console
from ml.errors import ConfigError
from ml.options import read_subcommand

if TYPE_CHECKING:
    from ml.envs.episodes.critical_cases import CriticalCases
    from ml.evaluation.critical import DriveCases
    from ml.evaluation.records import DriverSpec
    from ml.evaluation.result import EpisodeRow

_MODEL_ENDS = ".zip"
_EPISODES_PER_S = 50.0
"""On two cores."""
_START_S = 15.0
_COLUMNS = ("driver", "half", ">crashes [95 %]", ">critical [95 %]", ">time headway", ">jerk p95")


@dataclass(frozen=True)
class FindOptions:
    """Find critical cases: drive many episodes with a weaker driver, and list the critical ones.

    A case is critical if the hazard is avoidable (the reference ego does not crash) and the driver
    crashes, or falls below a time to collision of 1.5 s or a gap of 3 m. A case is the number of an
    episode under the search's seed, so that training can replay it: roadsense train --cases FILE
    --cases-share 0.3. Half of the cases, drawn by number, are held out from training.

    A stopped search, or one for more episodes, resumes from the contents of --out.
    """

    out: Path
    """File of the cases (.yaml)."""
    preset: str = "ppo"
    """Preset of `roadsense train` whose environment is searched."""
    radio: str | None = None
    """Radio preset, or a parameter file; default: the preset's."""
    driver: str = "predictive:0.3"
    """The weaker driver: a controller, or a model (.zip)."""
    episodes: int = 20_000
    """Total number of episodes."""
    workers: int = 2
    """Processes."""


@dataclass(frozen=True)
class DriveOptions:
    """Drive the cases of a file, and report results for the training and the held-out half."""

    cases: Annotated[str, tyro.conf.Positional]
    """A shipped set (clean, bursty), or a file of `roadsense cases find`."""
    drivers: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Controllers, and models (.zip)."""
    workers: int = 2
    """Processes."""


def main(arguments: Sequence[str]) -> int:
    """Run `roadsense cases`; return the exit code."""
    options = read_subcommand(
        {"find": FindOptions, "drive": DriveOptions}, "roadsense cases", arguments
    )
    require_counts(options, "workers")
    if isinstance(options, DriveOptions):
        return _drive(options)
    require_counts(options, "episodes")
    require_file("--out", options.out, ".yaml")
    return _find(options)


def _find(options: FindOptions) -> int:
    # Torch and numba are slow to import, and --help needs none of them.
    from ml.evaluation.critical import DriveCases, find_cases, write_cases  # noqa: PLC0415
    from ml.evaluation.seeds import CASES_SEED  # noqa: PLC0415
    from ml.progress import Parts  # noqa: PLC0415
    from ml.training.checkpoints import load_model  # noqa: PLC0415
    from ml.training.config_files import Layers  # noqa: PLC0415

    layers = Layers()
    layers.put_preset(options.preset)
    env = layers.build().env
    if options.radio is not None:
        env = env.model_copy(update={"radio": options.radio})
    job = DriveCases(_driver(options.driver), env, CASES_SEED, (), load_model)
    found = _so_far(options, job)
    console = make_console()
    missing = max(options.episodes - found.driven, 0)
    lasts_s = _START_S + missing / _EPISODES_PER_S
    what = f"{job.driver.name} on {env.radio}"
    if missing:
        with Parts(console, what, total=max(options.episodes, found.driven), done=found.driven,
                   unit="episodes", usual_s=lasts_s) as shown:  # fmt: skip
            try:
                for state in find_cases(
                    found, job, episodes=options.episodes, workers=options.workers
                ):
                    command = _command(options, state.driven)  # of what the file holds by now
                    write_cases(state.model_copy(update={"command": command}), options.out)
                    shown.say(f"critical: {len(state.train)} + {len(state.held_out)} held out")
                    shown.advance(state.driven - found.driven)
                    found = state
            except KeyboardInterrupt:
                kept = f"resumes after {found.driven:,} episodes" if found.driven else "begins anew"
                sys.stderr.write(f"\nstopped; the same command with --out {options.out} {kept}\n")
                raise
    console.print(
        f"{len(found.train) + len(found.held_out)} critical cases ({len(found.train)} to train on, "
        f"{len(found.held_out)} held out) in {found.driven} episodes, "
        f"{100.0 * found.natural_share:.2f} %: {options.out}",
        markup=False,
        highlight=False,
    )
    return 0


def _so_far(options: FindOptions, job: DriveCases) -> CriticalCases:
    """Return what the file holds; a search that finds nothing yet where there is none.

    Raises:
        ConfigError: It holds the cases of another search.
    """
    from ml.envs.episodes.critical_cases import CriticalCases, deciding, read_cases  # noqa: PLC0415
    from ml.evaluation.critical import DEFINITION  # noqa: PLC0415
    from ml.parameters import load_parameters  # noqa: PLC0415

    wanted = CriticalCases(
        command="",
        definition=DEFINITION,
        driver=job.driver.spec,
        driver_sha256=job.driver.sha256,
        seed=job.seed,
        radio=job.config.radio,
        radio_sha256=load_parameters(job.config.radio).sha256,
        env=deciding(job.config),
        driven=0,
    )
    if not options.out.exists():
        return wanted
    there = read_cases(str(options.out))
    names = ("definition", "driver", "driver_sha256", "seed", "radio_sha256", "env")
    other = [name for name in names if getattr(there, name) != getattr(wanted, name)]
    if other:
        raise ConfigError(
            f"--out = {options.out} holds the cases of another search; it differs in "
            f"{', '.join(other)}. Use another --out, or remove the file."
        )
    return there


def _command(options: FindOptions, episodes: int) -> str:
    radio = () if options.radio is None else ("--radio", options.radio)
    decides = ["--preset", options.preset, *radio, "--driver", options.driver]
    there = ["--episodes", str(episodes), "--out", options.out.name]
    return shlex.join(["roadsense", "cases", "find", *decides, *there])


def _driver(spec: str) -> DriverSpec:
    """Describe a controller, or a model by its path.

    Raises:
        ConfigError: There is no such controller.
        CheckpointError: The model cannot be read.
    """
    from ml.evaluation.drivers import controller_spec, model_spec  # noqa: PLC0415
    from ml.training.checkpoints import load_model  # noqa: PLC0415

    if not spec.endswith(_MODEL_ENDS):
        return controller_spec(spec)
    return model_spec(spec, spec, load_model(spec).interface)


def _drive(options: DriveOptions) -> int:
    from ml.envs.episodes.critical_cases import read_cases  # noqa: PLC0415
    from ml.evaluation.critical import DriveCases, drive_cases, environment_of  # noqa: PLC0415
    from ml.execution.workers import WorkerPool  # noqa: PLC0415
    from ml.progress import Parts  # noqa: PLC0415
    from ml.training.checkpoints import load_model  # noqa: PLC0415

    if not options.drivers:
        raise ConfigError("no driver is named; name controllers, or models (.zip)")
    found = read_cases(options.cases)
    env = environment_of(found)
    halves = {"train": found.train, "held out": found.held_out}
    jobs = {
        DriveCases(_driver(spec), env, found.seed, cases, load_model): half
        for spec in options.drivers
        for half, cases in halves.items()
        if cases
    }
    console = make_console()
    rows: dict[tuple[str, str], list[EpisodeRow]] = {}
    with (
        Parts(console, "driving", total=len(jobs), unit="halves") as shown,
        WorkerPool(drive_cases, min(options.workers, len(jobs) or 1)) as pool,
    ):
        for job, driven in pool.run(list(jobs)):
            rows[job.driver.name, jobs[job]] = driven
            shown.advance()
    named = [(job.driver.name, half) for job, half in jobs.items()]
    lines = [(*names, *cells_of(rows[names])) for names in named]
    console.print(WholeTable(*_COLUMNS, rows=lines, title=f"critical cases: {options.cases}"))
    console.print(
        f"by nature {100.0 * found.natural_share:.2f} % of the episodes are such cases",
        highlight=False,
    )
    return 0


def cells_of(rows: Sequence[EpisodeRow]) -> tuple[str, ...]:
    """Return what a line of the table says of some episodes."""
    from ml.evaluation.critical import is_critical  # noqa: PLC0415
    from ml.evaluation.summary import Rate  # noqa: PLC0415

    valid = [row for row in rows if row.avoidable and not row.invalid]
    rates = [Rate.of(sum(hits), len(hits)) for hits in (
        [row.crash for row in valid], [is_critical(row) for row in valid])]  # fmt: skip
    if not valid:
        return "no avoidable hazard", "–", "–", "–"
    headway_s = fmean(row.headway_s for row in valid)
    jerk = fmean(row.jerk_p95_mps3 for row in valid)
    told = (f"{r.hits} of {r.trials} [{100 * r.low:.1f}, {100 * r.high:.1f}] %" for r in rates)
    return (*told, f"{headway_s:.2f} s", f"{jerk:.2f} m/s³")
