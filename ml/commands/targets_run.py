"""Hold models to the targets, and write what came out: `roadsense targets` at work."""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING

from ml import __version__
from ml.atomic_files import check_writable, write_atomically
from ml.commands.progress import follow_cells
from ml.commands.targets import PARTS
from ml.console import make_console
from ml.errors import ConfigError
from ml.evaluation.acceptance.cells import Entrant, file_sha256, make_jobs, open_folder, run_jobs
from ml.evaluation.acceptance.courses import Sizes, make_courses
from ml.evaluation.acceptance.results import measure_course
from ml.evaluation.acceptance.table import make_table
from ml.evaluation.drivers import interface_of
from ml.evaluation.planning import controllers_named
from ml.progress import Parts
from ml.reports.acceptance.picture import write_picture
from ml.reports.acceptance.tables import as_json, as_markdown, console_table
from ml.training.checkpoints import load_model
from ml.training.versions import read_versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ml.commands.targets import TargetsOptions
    from ml.evaluation.acceptance.cells import ChunkJob

TABLE_FILE, JSON_FILE, PICTURE_FILE = "targets.md", "targets.json", "targets.png"
_BURSTY, _SHADOWED = "convoy bursty", "convoy shadowed"
_EACH_R157, _EACH_R157_QUICK = 1, 60


def run(options: TargetsOptions, arguments: Sequence[str]) -> int:
    """Measure what is missing, and write table, figures and picture.

    Args:
        options: Already checked.
        arguments: The command line, for the record.

    Raises:
        RoadSenseError: With what to do next.
    """
    console = make_console()
    entrants = _entrants(options, console)  # now: a mistake is told before anything is written
    versions = read_versions()
    origin: dict[str, object] = {
        "version": __version__,
        "git_commit": versions["git_commit"],
        "packages": versions["packages"],
        "seed": options.seed,
    }
    check_writable(options.out, "--out")
    open_folder(options.out, origin, force=options.force)
    courses = make_courses(_sizes(options), options.out / "radios", options.only or PARTS)
    jobs, total = make_jobs(
        options.out, courses, entrants, seed=options.seed, load_model=load_model
    )
    _fill(jobs, total, options, console)
    results = []
    with Parts(console, "figures", total=len(courses), unit="courses") as parts:
        for course in courses:
            parts.begin(course.name)
            results.append(measure_course(options.out, course, entrants, options.seed))
    rows = make_table(results)
    command = shlex.join(["roadsense", "targets", *arguments])
    out = options.out
    write_atomically(out / TABLE_FILE, as_markdown(rows, results, command, options.seed))
    write_atomically(out / JSON_FILE, as_json(rows, results, command, origin))
    drawn = write_picture(results, out / PICTURE_FILE)
    console.print(console_table(rows))
    for file in (TABLE_FILE, JSON_FILE, *([PICTURE_FILE] if drawn else [])):
        console.print(f"{out / file}", markup=False)
    return 0


def _sizes(options: TargetsOptions) -> Sizes:
    return Sizes(
        hazards={
            "clean": options.hazards,
            "bursty": options.bursty_hazards,
            "shadowed": options.shadowed_hazards,
        },
        others=options.others,
        beyond_hazards=options.beyond_hazards,
        beyond_others=options.beyond_others,
        r157_each=_EACH_R157_QUICK if options.quick else _EACH_R157,
        ncap_draws=options.ncap_draws,
        plexe_draws=options.plexe_draws,
    )


def _entrants(options: TargetsOptions, console: Console) -> list[Entrant]:
    """List who drives: models, models at other time gaps, baselines.

    Raises:
        ConfigError: An unknown controller, or one that sees what no radio tells; a time gap that a
            model was not trained for.
        CheckpointError: A model cannot be loaded.
    """
    entrants = []
    for path, name in zip(options.models, short_names(options.models), strict=True):
        digest = file_sha256(path)
        interface = interface_of(load_model(path))
        console.print(f"{path}: weights read; nothing in that file is run", markup=False)
        entrants.append(Entrant(name, path, digest))
        low_s, high_s = interface.time_gaps_s or (interface.time_gap_s,) * 2
        for gap_s, courses in gaps_of(options).items():
            if not low_s <= gap_s <= high_s:
                options_of = {_BURSTY: "--bursty-gaps", _SHADOWED: "--shadowed-gaps"}
                where = " and ".join(options_of[course] for course in sorted(courses))
                raise ConfigError(
                    f"{where} {gap_s:g}: {path} was trained for {low_s:g} to {high_s:g} s"
                )
            if gap_s != interface.time_gap_s:
                entrants.append(Entrant(f"{name} {gap_s:g} s", path, digest, gap_s, name, courses))
    usual = controllers_named(options.controllers) if options.controllers else []
    there = controllers_named(options.shadowed_controllers) if options.shadowed_controllers else []
    for record in (*usual, *there):
        if record.knows != "radio":
            raise ConfigError(
                f"--controllers {record.spec}: it does not drive by the radio, so it is no baseline"
            )
    entrants += [Entrant(record.name, record.spec) for record in usual]
    entrants += [
        Entrant(record.name, record.spec, courses=frozenset({_SHADOWED}))
        for record in there
        if record.spec not in {r.spec for r in usual}
    ]
    names = [entrant.name for entrant in entrants]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(f"two drivers would be called {double!r}; name one of them once")
    return entrants


def gaps_of(options: TargetsOptions) -> dict[float, frozenset[str]]:
    """Return each further time gap of the models with the courses that are driven with it."""
    asked = ((_BURSTY, options.bursty_gaps), (_SHADOWED, options.shadowed_gaps))
    gaps = sorted({gap_s for _, of in asked for gap_s in of})
    return {gap_s: frozenset(course for course, of in asked if gap_s in of) for gap_s in gaps}


def short_names(paths: Sequence[str]) -> list[str]:
    """Name models by the parts of their paths in which they differ; one alone is the policy."""
    if len(paths) == 1:
        return ["policy"]
    parts = [list(PurePath(path).parts) for path in paths]
    for end in (0, -1):
        while min(map(len, parts)) > 1 and len({p[end] for p in parts}) == 1:
            for p in parts:
                p.pop(end)
    return ["/".join(p).removesuffix(".zip") for p in parts]


def _fill(jobs: Sequence[ChunkJob], total: int, options: TargetsOptions, console: Console) -> None:
    lasts_s = {job.course.suite: job.course.suite.build().config.episode_s for job in jobs}

    def simulated_s(job: ChunkJob) -> float:
        return len(job.files) * len(job.course.cases) * lasts_s[job.course.suite]

    filled = run_jobs(jobs, workers=options.workers)
    follow_cells(
        ((str(job), len(job.files), simulated_s(job)) for job in filled),
        what="measuring",
        total=total,
        done=total - sum(len(job.files) for job in jobs),
        simulated_s=sum(map(simulated_s, jobs)),
        console=console,
        go_on="the same command goes on from here",
    )
