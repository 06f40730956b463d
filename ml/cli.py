"""`roadsense`: one entry for every command."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 (tyro reads the types)
from typing import TYPE_CHECKING

import tyro

from ml import __version__
from ml.atomic_files import check_output
from ml.bench.report import SECTIONS, Section
from ml.console import make_console
from ml.errors import ConfigError, RoadSenseError
from ml.installation import hidden_message, require_own_python
from ml.progress import Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_INTERRUPTED = 130
_AUDITED_EPISODE_S, _BENCH_PART_S = 0.06, 2.2  # on two cores
_COMPILE_TICKS = 15  # more than an episode, so that resets are compiled, too


@dataclass(frozen=True)
class AuditOptions:
    """Check that the reward ranks drivers as a person would, before anything is trained on it."""

    episodes: int = 128
    """Episodes per driver and kind."""
    scenario: str = "highway"
    """Scenario in sumo-configs/, or a sumocfg."""
    radio: str = "clean"
    """Radio preset, or a parameter file."""


@dataclass(frozen=True)
class BenchOptions:
    """Measure environment and training against their ceilings and the usual way, side by side."""

    num_envs: int = 64
    """Convoys of the main comparison."""
    num_peers: int = 5
    """Cars ahead of each ego in the main comparison."""
    radio: str = "clean"
    """Radio preset, or a parameter file."""
    rounds: int = 5
    """Rounds that count; one more warms up."""
    only: tuple[Section, ...] = ()
    """Measure these alone: the lettered comparison; a training with everything on beside its
    ceiling; the radio's cost per convoy and tick; the environment over its sizes. All if left
    out."""
    profile: bool = False
    """Only show where a tick of the environment goes."""
    json: Path | None = None
    """Write all figures to this file."""
    picture: Path | None = None
    """Draw the figures into this file; left out: no picture."""


def _require(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name} = {value}; allowed is {least} or more")


def _train(arguments: Sequence[str]) -> int:
    from ml.training.train_convoy import main as train  # noqa: PLC0415 (torch is slow to import)

    return train(arguments)


def _audit_reward(arguments: Sequence[str]) -> int:
    options = tyro.cli(AuditOptions, prog="roadsense audit-reward", args=arguments)
    _require("--episodes", options.episodes, 1)
    from ml.envs.config import EnvConfig  # noqa: PLC0415
    from ml.evaluation.reward_audit import RUNS, audit_reward  # noqa: PLC0415

    console = make_console()
    usual_s = _AUDITED_EPISODE_S * RUNS * options.episodes
    with Parts(console, "auditing the reward", total=RUNS, unit="runs", usual_s=usual_s) as parts:
        report = audit_reward(
            EnvConfig(scenario=options.scenario, radio=options.radio),
            episodes=options.episodes,
            on_cell=lambda driver, kind: parts.begin(f"{kind} episodes: {driver}"),
        )
    for table in report.tables():
        console.print(table)
    for complaint in report.complaints:
        console.print(f"[red]wrong[/red]  {complaint}")
    if not report.complaints:
        console.print("[green]ok[/green]  the ranking is right and no penalty fires without cause")
    return 1 if report.complaints else 0


def _evaluate(arguments: Sequence[str]) -> int:
    from ml.commands.evaluate import evaluate  # noqa: PLC0415 (torch is slow to import)

    return evaluate(arguments)


def _replay(arguments: Sequence[str]) -> int:
    from ml.commands.replay import replay  # noqa: PLC0415 (torch is slow to import)

    return replay(arguments)


def _ablate(arguments: Sequence[str]) -> int:
    from ml.commands.ablate import ablate  # noqa: PLC0415

    return ablate(arguments)


def _targets(arguments: Sequence[str]) -> int:
    from ml.commands.targets import targets  # noqa: PLC0415

    return targets(arguments)


def _tune(arguments: Sequence[str]) -> int:
    from ml.commands.tune import tune  # noqa: PLC0415

    return tune(arguments)


def _bench(arguments: Sequence[str]) -> int:
    options = tyro.cli(BenchOptions, prog="roadsense bench", args=arguments)
    _require("--rounds", options.rounds, 1)
    _require("--num-envs", options.num_envs, 1)
    _require("--num-peers", options.num_peers, 1)
    for name, file in (("--json", options.json), ("--picture", options.picture)):
        if file is not None:
            check_output(name, file)
    from ml.bench.bench import bench, count_parts  # noqa: PLC0415
    from ml.bench.profile import profile  # noqa: PLC0415

    console = make_console()
    if options.profile:
        with console.status("profiling"):
            table = profile(options.num_envs, options.num_peers, options.radio)
        console.print(table)
        return 0
    sections = options.only or SECTIONS
    total = count_parts(sections, options.rounds)
    with Parts(console, "measuring", total=total, usual_s=_BENCH_PART_S * total) as parts:
        report = bench(
            num_envs=options.num_envs,
            num_peers=options.num_peers,
            radio=options.radio,
            rounds=options.rounds,
            sections=sections,
            on_part=parts.begin,
        )
    for table in report.tables():
        console.print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    if options.picture is not None:
        report.draw(options.picture)
        console.print(f"picture: {options.picture}")
    return 0


def _doctor(arguments: Sequence[str]) -> int:
    from ml.commands.doctor import doctor  # noqa: PLC0415

    return doctor(arguments)


def _calibrate(arguments: Sequence[str]) -> int:
    from ml.commands.calibrate import main as calibrate  # noqa: PLC0415

    return calibrate(arguments)


def _logs(arguments: Sequence[str]) -> int:
    from ml.commands.logs import main as logs  # noqa: PLC0415

    return logs(arguments)


def _params(arguments: Sequence[str]) -> int:
    from ml.commands.params import main as params  # noqa: PLC0415

    return params(arguments)


def _scenario(arguments: Sequence[str]) -> int:
    from ml.commands.scenario import main as scenario  # noqa: PLC0415

    return scenario(arguments)


def _observation(arguments: Sequence[str]) -> int:
    tyro.cli(_NoOptions, prog="roadsense observation", args=arguments)
    from ml.onboard.observation.spec import observation_table  # noqa: PLC0415

    sys.stdout.write(observation_table())
    return 0


def _compile(arguments: Sequence[str]) -> int:
    tyro.cli(_CompileOptions, prog="roadsense compile", args=arguments)
    import numpy as np  # noqa: PLC0415

    from ml.envs.config import EnvConfig  # noqa: PLC0415
    from ml.envs.convoy_vec_env import ConvoyVecEnv  # noqa: PLC0415

    env = ConvoyVecEnv(2, EnvConfig(episode_s=1.0, domain_randomisation=True))
    try:
        env.reset()
        for _ in range(_COMPILE_TICKS):
            env.step(np.zeros((2, 1), dtype=np.float32))
    finally:
        env.close()
    return 0


@dataclass(frozen=True)
class _NoOptions:
    """Print the table of the observation's features, as in docs/observation.md."""


@dataclass(frozen=True)
class _CompileOptions:
    """Compile the environment's loops now; otherwise the first run does, in some ten seconds."""


_COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], int]]] = {
    "train": ("train a policy, or resume a training", _train),
    "evaluate": ("judge models beside classical controllers, and write a card", _evaluate),
    "replay": ("run an episode of an evaluation again, and draw it", _replay),
    "ablate": ("measure what each part of the recipe is worth", _ablate),
    "targets": ("hold models to the table of targets: reached, missed or not shown", _targets),
    "tune": ("search for better values of the recipe, or of a controller", _tune),
    "audit-reward": ("check that the reward ranks drivers as a person would", _audit_reward),
    "bench": ("measure training throughput against its ceiling", _bench),
    "doctor": ("look for what this machine lacks; for bug reports", _doctor),
    "compile": ("compile the environment's loops ahead of the first run", _compile),
    "params": ("show, compare and fit parameters of radio and sensors", _params),
    "calibrate": ("turn logs of real boards into a parameter file", _calibrate),
    "logs": ("make up logs of any radio, to try that without boards", _logs),
    "scenario": ("say what keeps convoys off a road of your own, and what mends it", _scenario),
    "observation": ("print the table of the observation's features", _observation),
}


def _usage() -> str:
    lines = ["usage: roadsense COMMAND [OPTIONS]", "", "commands:"]
    lines += [f"  {name:<14}{summary}" for name, (summary, _) in _COMMANDS.items()]
    lines += ["", "roadsense COMMAND --help explains a command's options."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Command and options; None for those of the process.

    Returns:
        0 on success, 1 where something failed, 2 for a user's mistake, 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help"}:
        sys.stdout.write(_usage() + "\n")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        sys.stdout.write(f"roadsense {__version__}\n")
        return 0
    if arguments[0] not in _COMMANDS:
        sys.stderr.write(f"roadsense: no command {arguments[0]!r}\n\n{_usage()}\n")
        return 2
    return _run(arguments[0], arguments[1:])


def _run(name: str, arguments: Sequence[str]) -> int:
    """Run a command, and tell what went wrong in words."""
    try:
        if name != "doctor":  # which examines just that
            require_own_python(sys.argv[0])
        return _COMMANDS[name][1](arguments)
    except RoadSenseError as error:
        sys.stderr.write(f"roadsense {name}: {error}\n")
        return error.exit_code
    except (ImportError, AttributeError):
        if not (hidden := hidden_message()):
            raise
        sys.stderr.write(f"roadsense {name}: {hidden}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"roadsense {name}: interrupted\n")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
