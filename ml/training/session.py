"""One training run, from the first check to the closing table."""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from rich.console import Console

from ml import __version__
from ml.atomic_files import check_writable, write_atomically, write_json
from ml.console import plain_lines
from ml.envs.episodes.recorded import recordings_in
from ml.evaluation.closing import (
    as_json,
    as_markdown,
    as_table,
    baselines,
    compare,
    figures_of,
    verdict,
)
from ml.evaluation.drivers import Driver, PolicyDriver
from ml.installation import code_folder
from ml.parameters import load_parameters
from ml.progress import Parts
from ml.sumo.scenarios import load_scenario
from ml.training.checkpoints import (
    Checkpoint,
    CheckpointStore,
    load_model,
    model_bytes,
    read_checkpoint,
    restore,
)
from ml.training.child import Child
from ml.training.command_line import Invocation
from ml.training.config import TrainConfig
from ml.training.deployment import Deployment
from ml.training.environment import build_environment, build_learner, seed_from
from ml.training.episode_pages import drop_pages
from ml.training.evaluated import Draw
from ml.training.imitation import imitate
from ml.training.learning import learn, start_environment
from ml.training.loggers import truncate_metrics
from ml.training.periodic_evaluation import REMEDY, evaluate_policy, publish_model
from ml.training.run_directory import RunDirectory, create_run
from ml.training.stop_signals import StopSignals
from ml.training.workers import Share, WorkersVecEnv

_STDERR = 2


def write_closing_table(run: RunDirectory, config: TrainConfig, console: Console) -> None:
    """Judge the final and the best model beside the baselines, on episodes of their own.

    All meet the same packets: their fates are decided along the reference ego's way. The table
    and the verdict on the model that `config.keep` asks for are printed and go to
    `evaluation/closing.md`, the table to `evaluation/closing.json`, too. SUMO is embedded here, on
    both ways of running.

    Raises:
        RoadSenseError: SUMO failed, or no episode was valid.
    """
    episodes = config.evaluation.closing_episodes
    if episodes == 0:
        return
    drivers: list[Driver] = [PolicyDriver(load_model(run.final_model), "trained policy (final)")]
    if run.best_model.exists():
        drivers.append(PolicyDriver(load_model(run.best_model), "trained policy (best)"))
    time_gap_s = config.interface.time_gap_s  # one reward for all: that of the usual setting
    env_config = config.env.model_copy(
        update={
            "backend": "libsumo",
            "time_gap_s": (time_gap_s, time_gap_s),
            "radio_position": "reference",
        }
    )
    kept = drivers[-1 if config.keep == "best" else 0].name
    rival, *others = baselines()
    drivers += [rival, *others]
    what = f"closing table, {episodes} episodes per driver"
    with Parts(console, what, total=len(drivers), unit="drivers") as shown:
        found = compare(drivers, env_config, episodes=episodes, on_driver=shown.begin)
    rows = [figures_of(driver, of) for driver, of in found.items()]
    said = verdict(kept, rival.name, found)
    console.print(as_table(rows))
    console.print(said, markup=False, highlight=False)
    write_atomically(run.evaluation / "closing.md", f"{as_markdown(rows)}\n{said}\n")
    write_json(run.evaluation / "closing.json", as_json(rows))


def _check_inputs(config: TrainConfig, deployment: Deployment) -> None:
    """Refuse a radio, a road or a folder that cannot be used, before SUMO starts."""
    load_parameters(config.env.radio)
    load_scenario(config.env.scenario)
    check_writable(deployment.runs_dir, "RUNS_DIR")
    check_writable(deployment.models_dir, "MODELS_DIR")


def train(
    invocation: Invocation,
    argv: Sequence[str],
    *,
    console: Console,
    stop: StopSignals,
    draw: Draw | None = None,
) -> RunDirectory:
    """Train as asked; what can be checked is checked before anything is written.

    Args:
        invocation: What the user asked for.
        argv: The command line, for `command.txt`.
        console: Where the user looks.
        stop: Signals, already handled.
        draw: Draws an episode of each periodic evaluation, for TensorBoard; None for no pictures.

    Returns:
        The run's directory. A signal that came in between is in `stop.received`; the state is saved
        then, and there is no final model yet.

    Raises:
        RoadSenseError: Something was wrong or failed; the message says what to do.
        OSError: The disk is full, or an output directory is gone.
        StopRequested: A signal came when there was nothing to save.
    """
    say = plain_lines(console)
    config, deployment = invocation.config, invocation.deployment
    say(f"RoadSense {__version__} of {code_folder()}")
    console.print(invocation.table())
    _check_inputs(config, deployment)
    checkpoint = _find_checkpoint(invocation, say)
    start_step = checkpoint.step if checkpoint else 0
    seed = seed_from(config.seed, start_step)
    with ExitStack() as open_things:
        if config.env.episodes_from:
            _read_recordings(config.env.episodes_from, console)
        environment = build_environment(config, deployment, seed)
        open_things.callback(environment.close)
        model = build_learner(config, environment, seed)
        if checkpoint is not None:
            restore(model, checkpoint)
            say(
                f"weights, optimiser and counters from {checkpoint.source}; nothing else in "
                "that file was unpickled or run"
            )
        say(f"starting SUMO ({config.env.backend}): {environment}")
        start_environment(model)
        _say_what_is_mixed_in(environment, config, say)
        run = _prepare_run(invocation, start_step, say)
        run.write_start(config, argv, start_step)
        if checkpoint is None and config.imitation_rounds:
            imitate(model, environment, config, seed=seed, tell=say)
            start_environment(model)
        child = None
        if config.evaluation.every_steps:
            evaluate = partial(evaluate_policy, config=config)
            if draw is not None:
                evaluate = partial(evaluate, draw=draw)
                say(
                    "an episode as it is driven after each evaluation: TensorBoard, Images, "
                    f"and roadsense watch --serve {deployment.runs_dir}"
                )
            child = open_things.enter_context(Child(evaluate, REMEDY))
        stop.on_first = _announce_stop
        stop.hold(held=True)
        finished, failure = learn(
            model, environment, run, config, console=console, stop=stop, child=child
        )
        if not finished:
            say(f"saved. Continue with: roadsense train --resume {run.path}")
            return run
        write_atomically(run.final_model, model_bytes(model))
        which = publish_model(run, config, deployment.models_dir, evaluated=not failure)
    stop.hold(held=False)
    if failure:  # `publish_model` did not choose, either
        config = config.model_copy(update={"keep": "final"})
    write_closing_table(run, config, console)
    say(which)
    say(f"run: {run.path} (tensorboard --logdir {deployment.runs_dir})")
    if failure is not None:
        raise failure
    return run


def _read_recordings(folder: str, console: Console) -> None:
    """Read recorded convoys, and say how far that is."""
    with Parts(console, f"reading {folder}") as shown:
        recordings_in(folder, shown.count)


def _say_what_is_mixed_in(
    environment: WorkersVecEnv, config: TrainConfig, say: Callable[[str], None]
) -> None:
    """Tell of recorded convoys among the episodes."""
    if config.env.episodes_from:
        recorded = environment.run(_recorded)[0]
        say(f"{recorded} in {config.env.episodes_from_share:.0%} of episodes")


def _recorded(share: Share) -> str:
    """Say which recorded convoys are mixed in; asked of a worker."""
    return str(share.env.batch.recorded)


def _find_checkpoint(invocation: Invocation, say: Callable[[str], None]) -> Checkpoint | None:
    run, named = invocation.resumed_run, invocation.resumed_checkpoint
    if run is None or named is not None:
        return read_checkpoint(named) if named else None
    checkpoint, problems = CheckpointStore(run.checkpoints).newest()
    for problem in problems:
        say(f"warning: {problem}")
    if problems:
        say(f"using the one before: {checkpoint.source}")
    return checkpoint


def _prepare_run(
    invocation: Invocation, start_step: int, say: Callable[[str], None]
) -> RunDirectory:
    config, run = invocation.config, invocation.resumed_run
    if run is None:
        run = create_run(invocation.deployment.runs_dir, config.preset, config.seed)
        say(f"run directory: {run.path}")
        say(
            f"curves: tensorboard --logdir {run.path.parent} (Custom Scalars, Overview). Ctrl-C "
            "saves and ends; --resume latest resumes."
        )
        return run
    check_writable(run.path, "RUNS_DIR")
    truncate_metrics(run.metrics_file, start_step)
    drop_pages(run.evaluation, start_step)
    for path in CheckpointStore(run.checkpoints).set_aside_after(start_step):
        say(f"set aside: {path}")
    say(f"resuming {run.path} at step {start_step:,}")
    return run


def _announce_stop(received: signal.Signals) -> None:
    # In a signal handler: the console may be in the midst of a line, and is not reentrant.
    line = f"{received.name}: saving and stopping; a second signal ends at once\n"
    os.write(_STDERR, line.encode())
