"""From `roadsense train …` to an effective configuration.

Precedence, highest first: command line, environment variables, configuration file (`--config`,
or the run's own when resuming), preset, defaults. We merge them ourselves, since pydantic-settings
keeps no place (file and line, variable, option) to blame a wrong value on.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel
from rich.markup import escape

from ml.console import WholeTable
from ml.errors import ConfigError, UsageError
from ml.execution.executor import CLUSTER_HELP
from ml.options import read_options
from ml.training.config import TrainConfig, check_combinations
from ml.training.config_files import KeyPath, Layers, flatten, shown
from ml.training.defaults import DEFAULT_PRESET
from ml.training.deployment import Deployment, read_deployment, read_hosts
from ml.training.run_directory import RunDirectory, absolute_files, find_run, require_same

_WITHOUT_PREFIX = "env"
"""The section whose options stand at the top: `--radio`, not `--env.radio`."""
_ONCE_ZERO: tuple[KeyPath, ...] = (
    ("env", "position_common_share"),
    ("env", "reward", "braking"),
    ("env", "reward", "overreaction"),
)
"""Values whose default is not what runs had that were begun before there were such values."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the user asked for.

    Attributes:
        config: The effective configuration.
        baseline: The preset's (or, when resuming, the run's own) configuration, to compare with.
        changes: Where each value that differs from the baseline was set, by dotted key.
        deployment: Paths and hosts of this machine.
        resumed_run: The run to continue, if any.
        resumed_checkpoint: The checkpoint that was named; none: the newest.
        seeds: Of several runs side by side; none: one run.
        cluster: Where those are to run; None for this machine.
    """

    config: TrainConfig
    baseline: TrainConfig
    changes: dict[str, str]
    deployment: Deployment
    resumed_run: RunDirectory | None = None
    resumed_checkpoint: Path | None = None
    seeds: tuple[int, ...] = ()
    cluster: str | None = None

    def table(self) -> WholeTable:
        """One row per section; what differs from the baseline is marked, and where it was set."""
        basis = "the run's own" if self.resumed_run else f"preset {self.config.preset}"
        table = WholeTable(
            title=f"effective configuration ([bold]*[/] differs from {escape(basis)})", box=None
        )
        table.add_column("section", style="cyan")
        table.add_column("values")
        sections: dict[str, list[str]] = {}
        for path, value in flatten(self.config).items():
            text = escape(f"{'.'.join(path[1:] or path)} {shown(value)}")
            marked = ".".join(path) in self.changes
            cells = sections.setdefault(path[0] if len(path) > 1 else "run", [])
            cells.append(f"[bold]{text}*[/]" if marked else text)
        for section, cells in sections.items():
            table.add_row(section, " · ".join(cells))
        for key, place in self.changes.items():
            table.add_row("", f"* {escape(key)}: set by {escape(place)}")
        return table


def parse_command_line(argv: Sequence[str], deployment: Deployment | None = None) -> Invocation:
    """Merge all sources into one validated configuration.

    Args:
        argv: Arguments without the program's name.
        deployment: Environment variables; read from the process if not given.

    Raises:
        ConfigError: A value is wrong, with its place and what is allowed.
        CheckpointError: There is nothing to resume.
        SystemExit: `--help` (0), or an option that does not exist (2); tyro has printed why.
    """
    deployment = deployment or read_deployment()
    early = _early_arguments(argv)
    hosts_from = "environment variable SUMO_HOST"
    if early.sumo_hosts:
        hosts_from = "--sumo-hosts"
        deployment = deployment._replace(sumo_hosts=read_hosts(early.sumo_hosts, hosts_from))
    wants_help = bool({"-h", "--help"} & set(argv))
    run, checkpoint = None, None
    try:
        resume = early.resume or deployment.resume
        if resume is not None:
            run, checkpoint = find_run(resume, deployment.runs_dir)
        baseline, layers = _layers(early, deployment, run, hosts_from)
        base = layers.build()
    except UsageError:
        if not wants_help:
            raise
        baseline, layers, base = TrainConfig(), Layers(), TrainConfig()
    seeds, cluster = _put_options(argv, base, early, layers)
    config = layers.build()
    if files := absolute_files(config.env):
        config = config.model_copy(update={"env": config.env.model_copy(update=files)})
    check_combinations(config)
    if run is not None:
        require_same(run.inputs_file, baseline.env, config.env)
    before = flatten(baseline)
    changed = [path for path, value in flatten(config).items() if value != before[path]]
    changes = {".".join(path): layers.place(path) for path in changed}
    return Invocation(
        config, baseline, changes, deployment, run, checkpoint, seeds=seeds, cluster=cluster
    )


def _early_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the options that decide the others' defaults."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset", nargs="?")
    parser.add_argument("--config", nargs="?", type=Path)
    parser.add_argument("--resume", nargs="?")
    parser.add_argument("--sumo-hosts", nargs="?")
    return parser.parse_known_args(list(argv))[0]


def _layers(
    early: argparse.Namespace, deployment: Deployment, run: RunDirectory | None, hosts_from: str
) -> tuple[TrainConfig, Layers]:
    """Everything below the command line, and the baseline that changes are told against."""
    layers = Layers()
    if deployment.sumo_hosts:
        layers.put(("env", "backend"), "traci", hosts_from)
    if run is not None:
        if early.preset or early.config:
            raise ConfigError(
                f"--resume continues {run.path} with its own config.yaml; leave out "
                f"{'--preset' if early.preset else '--config'}. Single values may be changed, "
                "for example --total-timesteps."
            )
        # A run from before there were such values goes on as it began: with independent errors,
        # and without being charged for what cost nothing.
        for path in _ONCE_ZERO:
            layers.put(path, 0.0, "runs that do not name it")
        layers.put_file(run.config_file)
        baseline = layers.build()
        if deployment.sumo_hosts:  # where SUMO runs is this machine's business
            layers.put(("env", "backend"), "traci", hosts_from)
    else:
        preset = early.preset or deployment.preset or DEFAULT_PRESET
        layers.put_preset(preset)
        baseline = layers.build()
        if early.config is not None:
            layers.put_file(early.config)
            layers.put(("preset",), preset, f"preset {preset}")
    for variable, text in deployment.overrides.items():
        layers.put((variable.lower(),), text, f"environment variable {variable}")
    return baseline, layers


def _put_options(
    argv: Sequence[str], base: TrainConfig, early: argparse.Namespace, layers: Layers
) -> tuple[tuple[int, ...], str | None]:
    """Let tyro parse the command line, and put what differs from `base` on top.

    Returns:
        The seeds of several runs, and the cluster.
    """
    config_help = "YAML file with any of the values below (see a run's config.yaml)."
    resume_help = "Resume a run: latest, a run directory, or a checkpoint in one."
    seeds_help = (
        "Train once with each of these seeds. Each run has its own folder; the same command "
        "resumes them. Sequential on this machine, parallel on a --cluster."
    )
    hosts_help = (
        "SUMO servers to connect to over TraCI, one per worker, as a:8813,b:8813. A name with "
        "several addresses counts as several servers. (Environment variable: SUMO_HOST.)"
    )
    options = _as_options(
        base,
        ("sumo_hosts", str | None, hosts_help, early.sumo_hosts),
        ("config", Path | None, config_help, early.config),
        ("resume", str | None, resume_help, early.resume),
        ("seeds", tuple[int, ...], seeds_help, ()),
        ("cluster", str | None, CLUSTER_HELP, None),
    )
    parsed = read_options(
        type(options),
        "roadsense train",
        argv,
        description="Train a driving policy for the last car of a convoy, on real SUMO through a "
        "lossy radio. Defaults shown include the chosen preset, file and environment variables.",
        default=options,
        config=(tyro.conf.FlagConversionOff,),
    )
    before = flatten(base)
    for path, value in flatten(parsed).items():
        if path in before and value != before[path]:
            layers.put(path, value, option_name(path))
    return tuple(parsed.seeds), parsed.cluster


def option_name(path: KeyPath) -> str:
    """How a value is called on the command line."""
    named = path[1:] if path[0] == _WITHOUT_PREFIX else path
    return "--" + ".".join(named).replace("_", "-")


def _as_options(config: BaseModel, *first: tuple[str, Any, str, Any]) -> Any:
    """Return a configuration as a plain dataclass, which is what tyro reads types and help from.

    Ranges are not its business: they are checked once, after all sources are merged, so that
    a wrong value reads the same wherever it was written.

    Args:
        config: With the values that are shown as defaults.
        *first: Further options: name, type, help and value.
    """
    columns = list(first)
    for name, info in type(config).model_fields.items():
        value, kind = getattr(config, name), info.annotation
        if isinstance(value, BaseModel):
            value = _as_options(value)
            kind = type(value)
        columns.append((name, kind, info.description or "", value))
    fields = []
    for name, kind, text, _ in columns:
        shown_as = "" if name == _WITHOUT_PREFIX else None
        fields.append((name, Annotated[kind, tyro.conf.arg(name=shown_as, help=text)]))
    made = make_dataclass(
        type(config).__name__, fields, frozen=True, namespace={"__doc__": type(config).__doc__}
    )
    return made(*(value for *_, value in columns))
