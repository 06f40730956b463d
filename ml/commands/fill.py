"""Fill a folder of episodes, and show how far it is; for all commands that drive."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ml import __version__
from ml.evaluation.result import Origin
from ml.evaluation.store import Part, make_jobs, run_jobs
from ml.execution.executor import Executor
from ml.progress import Parts
from ml.training.checkpoints import load_model
from ml.training.versions import read_versions

WEIGHTS_READ = "{}: weights read; nothing in that file is run"
_SIMULATED_PER_S = 250_000.0 / 60.0 * 2.0
"""Simulated seconds of episodes, over all drivers, in a second on two cores."""
_START_S = 30.0
"""Until the processes drive: libraries, models, SUMO."""


def make_origin(command: str, arguments: Sequence[str], seeds: tuple[int, ...]) -> Origin:
    """Return where and with what a command runs now."""
    versions = read_versions()
    more = {name: versions[name] for name in ("python", "machine")}
    return Origin(
        version=__version__,
        git_commit=versions["git_commit"],
        packages=versions["packages"] | more,
        command=shlex.join(["roadsense", command, *arguments]),
        created_utc=versions["started_utc"],
        seeds=seeds,
    )


def fill(
    folder: Path, parts: Sequence[Part], executor: Executor, *, what: str, console: Console
) -> None:
    """Drive those of the parts that a folder lacks; says beforehand about how long it takes.

    Raises:
        KeyboardInterrupt: The user stopped it; how to go on is told.
        RoadSenseError: A part could not be driven; those that were are kept.
    """
    jobs = make_jobs(folder, parts, load_model)
    work_s, missing = sum(job.simulated_s for job in jobs), sum(len(job.parts) for job in jobs)
    total, usual_s = len(parts), _START_S + work_s / _SIMULATED_PER_S
    shown = Parts(console, what, total=total, done=total - missing, work=work_s, usual_s=usual_s)
    try:
        with shown:
            if jobs:
                shown.say(f"loading, then first: {jobs[0]}")
            for job in run_jobs(folder, jobs, executor):
                shown.say(f"last: {job}")
                shown.advance(len(job.parts), work=job.simulated_s)
    except KeyboardInterrupt:
        out = shlex.quote(str(folder))
        sys.stderr.write(f"\nstopped; the same command with --out {out} resumes from here\n")
        raise
