"""`roadsense baselines`: plain algorithms of Stable-Baselines3 beside a preset, same steps each."""

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ml.commands.checks import require_counts, require_seeds
from ml.console import make_console, plain_lines
from ml.errors import ConfigError
from ml.options import read_options
from ml.progress import Parts

if TYPE_CHECKING:
    from ml.baselines.units import Unit
    from ml.training.config import TrainConfig

_CONTROLLERS = ("predictive:0.5", "do-nothing")
_SETTINGS_FILE = "settings.json"
_POLL_S = 0.2
_REMEDY = (
    "If it was killed, memory may have run out: use --workers 1. Run the same command again: what "
    "was finished is kept."
)


@dataclass(frozen=True)
class BaselinesOptions:
    """Train plain Stable-Baselines3 algorithms on a preset's environment, and compare all of them.

    The algorithms have the libraries' defaults (docs/algorithms.md says what differs), the preset's
    environment and its features. They are compared with the preset, trained for as many steps, and
    with two controllers. All drive the same validation episodes with the same packets. The same
    command resumes a stopped comparison.
    """

    out: Path = Path("baselines")
    """Folder for models, curves, the table (baselines.md, baselines.json) and the picture."""
    preset: str = "ppo"
    """Preset whose environment is used, and that the algorithms are compared with."""
    algorithms: tuple[str, ...] = ("PPO", "SAC", "TQC", "RecurrentPPO")
    """Algorithms of Stable-Baselines3, and of SB3-Contrib (TQC and RecurrentPPO)."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the training runs of each algorithm and of the preset."""
    steps: int = 500_000
    """Steps of each training run over all convoys."""
    episodes: int = 1000
    """Validation episodes."""
    workers: int = 2
    """Processes that train and evaluate, one simulation and one core each."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    options = read_options(BaselinesOptions, "roadsense baselines", arguments)
    require_counts(options, "steps", "episodes", "workers")
    require_seeds(options, "seeds")
    for name in ("algorithms", "seeds"):
        given = getattr(options, name)
        if not given or len(set(given)) < len(given):
            raise ConfigError(f"--{name} {' '.join(map(str, given))}: name at least one, each once")
    # Torch, numba and matplotlib are slow to import, and --help needs none of them.
    from ml.atomic_files import check_writable  # noqa: PLC0415
    from ml.baselines.algorithms import require_algorithms  # noqa: PLC0415
    from ml.baselines.report import PICTURE_FILE, TABLE_FILE, write_report  # noqa: PLC0415

    require_algorithms(options.algorithms)
    units = _units(options)
    settings = _settings(options, units[0].config)
    check_writable(options.out, "--out")
    settings = _open(options.out, settings)
    console = make_console()
    try:
        _make_all(units, options.workers, console)
    except KeyboardInterrupt:
        out = shlex.quote(str(options.out))
        sys.stderr.write(f"\nstopped; the same command with --out {out} resumes from here\n")
        raise
    console.print(write_report(options.out, units, settings))
    tell = plain_lines(console)
    tell(f"table: {options.out / TABLE_FILE}")
    tell(f"picture: {options.out / PICTURE_FILE}")
    return 0


def _units(options: BaselinesOptions) -> "list[Unit]":
    """Return all drivers of the comparison.

    Raises:
        ConfigError: The preset, the steps or a seed is wrong.
    """
    from ml.baselines.units import Unit  # noqa: PLC0415 (torch is slow to import)
    from ml.training.config import check_combinations  # noqa: PLC0415
    from ml.training.config_files import Layers  # noqa: PLC0415

    layers = Layers()
    layers.put_preset(options.preset)
    layers.put(("total_timesteps",), options.steps, "--steps")
    configs = [layers.changed({"seed": seed}, "--seeds").build() for seed in options.seeds]
    for config in configs:
        check_combinations(config)
    place = options.episodes, options.out
    return [
        *(Unit("preset", options.preset, config.seed, config, *place) for config in configs),
        *(
            Unit("algorithm", name, config.seed, config, *place)
            for name in options.algorithms
            for config in configs
        ),
        *(Unit("controller", name, 0, configs[0], *place) for name in _CONTROLLERS),
    ]


def _settings(options: BaselinesOptions, config: "TrainConfig") -> dict[str, Any]:
    """Return what decides the models of a folder; algorithms and seeds may be added to one."""
    from ml.baselines.algorithms import ALGORITHMS, CONTRIB  # noqa: PLC0415 (torch is slow)
    from ml.training.run_directory import digests  # noqa: PLC0415
    from ml.training.versions import read_versions, version_of  # noqa: PLC0415

    packages = read_versions()["packages"]
    wanted = ("roadsense", "stable-baselines3", "torch")
    recipe = {"imitation", "ppo", "policy", "curriculum", "keep"}
    settings = {
        "preset": options.preset,
        "steps": options.steps,
        "convoys": config.num_envs,
        "environment": config.env.model_dump(mode="json"),
        "files": digests(config.env),
        "recipe": config.model_dump(mode="json", include=recipe),
        "versions": {name: packages[name] for name in wanted},
    }
    for name in options.algorithms:
        algorithm = ALGORITHMS[name]
        settings[name] = algorithm.arguments(config.num_envs)
        if algorithm.package == CONTRIB:
            settings["sb3-contrib"] = version_of("sb3-contrib")
    return settings


def _open(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Make a folder ready, or go on with it; return the settings of all that it holds.

    Raises:
        ConfigError: It holds a comparison with other settings, or something else.
    """
    from ml.atomic_files import write_json  # noqa: PLC0415 (with its caller's)

    file = folder / _SETTINGS_FILE
    found: dict[str, Any] = {}
    if file.exists():
        try:
            found = dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{file} is damaged ({error}). Use another --out, or remove {folder}."
            ) from error
        if differing := [k for k in settings if k in found and found[k] != settings[k]]:
            told = ", ".join(
                f"{name} ({_brief(found[name], settings[name])})" for name in differing
            )
            raise ConfigError(
                f"{folder} holds a comparison with other settings: {told}. Use another --out, or "
                "the settings that it was begun with."
            )
    elif any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no comparison. Use another --out.")
    write_json(file, found | settings)
    return found | settings


def _brief(before: object, now: object) -> str:
    """Say what two settings differ in: their values, or the names of those in them."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = dict.fromkeys([*before, *now])
        return ", ".join(name for name in names if before.get(name) != now.get(name))
    return f"{before} there, {now} asked for"


def _make_all(units: "Sequence[Unit]", workers: int, console: Console) -> None:
    """Train and judge what is missing, in processes of their own, and show how far that is.

    Raises:
        EvaluationError: One failed, or its process died. What was finished is kept.
    """
    from ml.baselines.units import make, work_order  # noqa: PLC0415 (torch is slow to import)
    from ml.training.child import Child  # noqa: PLC0415

    todo = work_order(units)
    left_s = {unit: unit.left_s for unit in todo}
    work_s, done = sum(left_s.values()), len(units) - len(todo)
    shown = Parts(console, "baselines", total=len(units), done=done, unit="drivers",
                  work=work_s, usual_s=work_s / workers)  # fmt: skip
    running: dict[Unit, Child[Unit, bool]] = {}
    with shown, ExitStack() as stack:
        while todo or running:
            while todo and len(running) < workers:
                unit = todo.pop(0)
                unit.begin_anew()
                running[unit] = stack.enter_context(Child(make, _REMEDY))
                running[unit].ask(str(unit), unit)
                shown.say("; ".join(map(str, running)))
            for unit, child in list(running.items()):
                if child.poll(_POLL_S):
                    running.pop(unit).close()
                    shown.advance(work=left_s[unit])
                    shown.say("; ".join(map(str, running)))
                    continue
                # What its training has done counts, so that the time left is known early.
                rest_s = max(unit.left_s - unit.training_left_s * unit.share_trained(), 0.0)
                if rest_s < left_s[unit]:
                    shown.advance(0, work=left_s[unit] - rest_s)
                    left_s[unit] = rest_s
