"""`roadsense tune`: options and checks; what is slow to import comes after."""

import math
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ml.commands.checks import require_counts, require_seeds
from ml.console import make_console, plain_lines
from ml.errors import ConfigError
from ml.execution.executor import CLUSTER_HELP, make_executor
from ml.options import read_options
from ml.progress import Parts
from ml.tuning.objective import Objective


@dataclass(frozen=True)
class TuneOptions:
    """Search for better values of a recipe, or of a classical controller by the same score.

    Each trial is scored by the safety score on the validation seed, never on the test seed. A trial
    of a recipe is a training run per seed, pruned if it does worse than most or does not learn; a
    trial of a controller drives the same cases. The same command resumes a stopped search.
    """

    out: Path = Path("tuning")
    """Folder for trials, table, pictures and the winner (best.yaml)."""
    controller: str | None = None
    """Kind of classical controller to search over, such as predictive; default: the recipe."""
    preset: str = "convoy"
    """The recipe. Its environment defines the validation cases, also for a controller."""
    config: Path | None = None
    """YAML file with values over the preset's, as for roadsense train."""
    radio: str | None = None
    """Radio preset, or a parameter file; default: the recipe's."""
    space: Path | None = None
    """YAML file of the search space, with lines such as `ppo.n_epochs: {low: 2, high: 8}`;
    default: the built-in space."""
    trials: int = 40
    """Trials, including those of earlier calls."""
    minutes: float | None = None
    """Start no trial after so many minutes; default: no limit."""
    seeds: tuple[int, ...] = (0, 1)
    """Seeds of a trial's training runs, whose scores are averaged; unused for a controller."""
    steps: int | None = None
    """Steps of each training run; default: the recipe's."""
    evaluations: int = 4
    """Evaluations during each training run, after each of which it may be pruned."""
    episodes: int = 256
    """Validation cases."""
    seed: int = 0
    """Seed of the search's proposals."""
    workers: int = 1
    """Parallel trials on this machine; a training run can use two cores. The same command in
    several shells, also on machines that share the folder, works on one search."""
    cluster: Annotated[str | None, tyro.conf.arg(help=CLUSTER_HELP)] = None


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    options = read_options(TuneOptions, "roadsense tune", arguments)
    require_counts(options, "trials", "evaluations", "episodes", "workers")
    require_seeds(options, "seed", "seeds")
    if options.minutes is not None and not 0.0 < options.minutes < math.inf:
        raise ConfigError(f"--minutes must be > 0, got {options.minutes:g}")
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        raise ConfigError(f"--seeds {' '.join(map(str, options.seeds))}: give different ones")
    from ml.training.stop_signals import StopRequested, StopSignals  # noqa: PLC0415

    with StopSignals() as stop:
        try:
            return _search(options)
        except StopRequested:
            sys.stderr.write(
                "roadsense tune: stopped; the same command resumes the trials that were running\n"
            )
        return stop.exit_code


def _search(options: TuneOptions) -> int:
    objective = _objective(options)
    from ml.tuning.report import WINNER_FILE, write_report  # noqa: PLC0415 (matplotlib is slow)
    from ml.tuning.study import Search, alone_in  # noqa: PLC0415 (so is Optuna)

    console = make_console()
    until_s = math.inf if options.minutes is None else time.monotonic() + 60.0 * options.minutes

    tell = plain_lines(console)
    executor = make_executor(options.cluster, workers=1, watched=options.workers, tell=tell)
    with closing(Search(objective, options.out, seed=options.seed, tell=tell)) as search:
        before = len(search.tried())
        total = max(options.trials, before)
        what = f"tuning {objective.title}"
        with Parts(console, what, total=total, done=before, unit="trials") as parts:
            try:
                search.run(
                    options.trials,
                    until_s=until_s,
                    on_trial=parts.advance,
                    executor=executor,
                    cores=objective.cores,
                )
            finally:
                if options.controller is not None:
                    from ml.tuning.controller_objective import end_idle  # noqa: PLC0415

                    end_idle()
                with alone_in(options.out):  # other shells write it, too
                    table = write_report(search, objective, search.tried(), options.out)
        console.print(table)
        tell(f"report: {options.out / 'tuning.md'}")
        if (options.out / WINNER_FILE).exists():
            tell(f"winner: {options.out / WINNER_FILE}")
    return 0


def _objective(options: TuneOptions) -> Objective:
    """Check all that was asked for, and build what it is about.

    Raises:
        ConfigError: A preset, file, space or controller is wrong.
    """
    from ml.parameters import load_parameters  # noqa: PLC0415 (numpy is slow to import)
    from ml.training.config_files import Layers  # noqa: PLC0415
    from ml.training.run_directory import absolute_files  # noqa: PLC0415
    from ml.tuning.space import read_space  # noqa: PLC0415

    recipe, own = Layers(), Layers()
    recipe.put_preset(options.preset)
    for layers in (recipe, own):
        if options.config is not None:
            layers.put_file(options.config)
        if options.radio is not None:
            layers.put(("env", "radio"), options.radio, "--radio")
    files = absolute_files(recipe.build().env)
    for layers in (recipe, own):
        for key, path in files.items():  # a trial runs in a folder of its own
            layers.put(("env", key), path, f"--{key}")
    recipe.put(("preset",), options.preset, f"preset {options.preset}")
    if options.steps is not None:
        recipe.put(("total_timesteps",), options.steps, "--steps")
    config = recipe.build()
    load_parameters(config.env.radio)  # before anything is trained for it
    if options.controller is not None:
        from ml.tuning.controller_objective import ControllerObjective  # noqa: PLC0415

        built_in = "predictive" if options.controller.startswith("predictive") else "follower"
        space, source = read_space(options.space, built_in)
        return ControllerObjective(options.controller, space, source, config.env, options.episodes)
    from ml.training.config import check_combinations  # noqa: PLC0415
    from ml.tuning.policy_objective import PolicyObjective  # noqa: PLC0415

    check_combinations(config)
    space, source = read_space(options.space, "policy")
    return PolicyObjective(
        recipe,
        own,
        space,
        source,
        seeds=options.seeds,
        evaluations=options.evaluations,
        episodes=options.episodes,
    )
