"""Every command line of the project: what it does, and about how long it takes.

The one place for these times: `roadsense --help`, `roadsense doctor` and the site show them.
"""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import NamedTuple, cast

_SECONDS = "seconds"


class Command(NamedTuple):
    """What a command does, and how long with its default options on two cores that only do that."""

    summary: str
    lasts: str = _SECONDS


COMMANDS = {
    "train": Command("train a policy, or resume a run", "5 to 8 min"),
    "evaluate": Command(
        "compare models with classical controllers, and write a safety card", "10 min"
    ),
    "curves": Command("draw the learning curves of runs side by side"),
    "watch": Command("show an episode as a page, or follow training runs live", "20 s"),
    "replay": Command("rerun an episode of an evaluation, and draw it"),
    "ablate": Command("train the recipe without each of its parts, and compare", "1.5 h"),
    "baselines": Command("compare a preset with plain Stable-Baselines3 algorithms", "hours"),
    "targets": Command("run the acceptance tests on models: pass, fail or inconclusive", "40 min"),
    "verify": Command("run a submission to the leaderboard again: do its figures agree?", "40 min"),
    "tune": Command(
        "search hyperparameters of the recipe or of a controller", "hours, or --minutes"
    ),
    "cases": Command("find critical cases for training, and drive them", "7 min"),
    "audit-reward": Command("check that the reward ranks drivers in the expected order", "2 min"),
    "bench": Command("measure training throughput against its upper bound", "5 min"),
    "doctor": Command("check this machine; for bug reports"),
    "compile": Command("compile the environment's loops ahead of the first run", "10 s"),
    "params": Command("show, compare and fit parameters of radio and sensors"),
    "calibrate": Command(
        "turn logs of real boards into a parameter file", "1 min; --coverage 3 min"
    ),
    "logs": Command("write synthetic logs; map other formats; test boards"),
    "judge-drive": Command(
        "evaluate a policy on the logs of a recorded drive", "30 s; --closed-loop 2 min"
    ),
    "export": Command("export a model as C for an ESP32, checked on three cores", "1 min"),
    "hil": Command("run a board in the loop: here, under QEMU or at a serial port", "30 s"),
    "drives": Command("list the recorded convoys and cases of a folder"),
    "scenario": Command("check a road of your own, and name what to change"),
    "observation": Command("print the table of the observation's features"),
}


def run(name: str, arguments: Sequence[str]) -> int:
    """Run a command; return its exit code.

    Its module is imported now, so that `roadsense --help` loads nothing that is slow to import.

    Args:
        name: Of the command; `audit-reward` is `main` of `ml.commands.audit_reward`.
        arguments: Its options.

    Raises:
        RoadSenseError: A user's mistake, or something failed; with what to do next.
    """
    module = import_module(f"ml.commands.{name.replace('-', '_')}")
    return cast("int", module.main(arguments))


AROUND = {
    "make train": ("train on this machine, without Docker", COMMANDS["train"].lasts),
    "docker compose up train": ("train in containers", COMMANDS["train"].lasts),
    "make model": ("rebuild the shipped model and its safety card", "20 min"),
    "make board": ("export the shipped model to C, and measure it on three cores", "1 min"),
    "make test-fast": ("run the fast tests", "2 min"),
    "make test": ("run all tests that need no Docker", "9 min"),
    "make lint": ("check style, types, imports, scripts and spelling", "2 min"),
    "make soak": ("run faults, random input and episodes by the thousand", "hours"),
}
"""Command lines that are no commands of `roadsense`: what each does, and about how long."""

COLUMNS = ("command", "what it does", "about")


def command_lines(*, markdown: bool = False) -> Iterator[tuple[str, str, str]]:
    """Yield a row per command line, those that a newcomer meets first on top."""
    for line, (what, lasts) in AROUND.items():
        yield f"`{line}`" if markdown else line, what, lasts
    for name, command in COMMANDS.items():
        line = f"roadsense {name}"
        yield f"`{line}`" if markdown else line, command.summary, command.lasts
