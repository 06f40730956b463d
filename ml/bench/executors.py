"""What a cluster costs beside this machine's own processes: `python -m ml.bench.executors`.

The same jobs, each so many seconds of a core, by both in turns. Start Ray first, with as many cores
as `--workers` says: `ray start --head --num-cpus=2`.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from ml.console import make_console, plain_lines
from ml.execution.executor import make_executor
from ml.options import read_options


@dataclass(frozen=True)
class Options:
    """Time jobs on this machine's processes and on a Ray cluster of as many cores, in turns."""

    cluster: str = "auto"
    """Address of the cluster."""
    jobs: int = 200
    """In each round."""
    seconds: float = 5.0
    """Of a core that a job takes."""
    workers: int = 2
    """Processes on this machine, and cores of the cluster."""
    rounds: int = 1
    """Of both."""


def burn(seconds: float) -> float:
    """Use a core for so long; returns the time that passed, s."""
    began_s, until_s = time.perf_counter(), time.process_time() + seconds
    while time.process_time() < until_s:
        sum(range(10_000))
    return time.perf_counter() - began_s


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; returns 0."""
    options = read_options(Options, "python -m ml.bench.executors", arguments or sys.argv[1:])
    tell = plain_lines(make_console())
    ratios = []
    for number in range(options.rounds):
        here_s, there_s = _time(None, options, tell), _time(options.cluster, options, tell)
        ratios.append(there_s / here_s)
        tell(
            f"round {number + 1}: processes {here_s:.1f} s, cluster {there_s:.1f} s, "
            f"ratio {ratios[-1]:.3f}"
        )
    tell(f"median ratio {median(ratios):.3f} for {options.jobs} jobs of {options.seconds:g} s")
    return 0


def _time(cluster: str | None, options: Options, tell: Callable[[str], None]) -> float:
    began_s = time.perf_counter()
    executor = make_executor(cluster, workers=options.workers, tell=tell)
    done = sum(1 for _ in executor.run(burn, [options.seconds] * options.jobs))
    assert done == options.jobs  # noqa: S101 - what is timed is all of it
    return time.perf_counter() - began_s


if __name__ == "__main__":
    # By the name by which other processes find `burn`.
    from ml.bench import executors  # noqa: PLW0406

    sys.exit(executors.main())
