"""The table at the end: the trained policy beside its baselines, on episodes of its own."""

from rich.console import Console

from ml.atomic_files import write_atomically, write_json
from ml.evaluation.closing import as_json, as_markdown, as_table, baselines, compare
from ml.evaluation.drivers import Driver, PolicyDriver
from ml.progress import Parts
from ml.training.checkpoints import load_model
from ml.training.config import TrainConfig
from ml.training.run_directory import RunDirectory


def write_closing_table(run: RunDirectory, config: TrainConfig, console: Console) -> None:
    """Evaluate the final and the best model and the baselines; print and keep the table.

    It goes to `evaluation/closing.md` and `evaluation/closing.json`. SUMO is embedded here, on
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
        update={"backend": "libsumo", "time_gap_s": (time_gap_s, time_gap_s)}
    )
    drivers += baselines()
    what = f"closing table, {episodes} episodes per driver"
    with Parts(console, what, total=len(drivers), unit="drivers") as parts:
        rows = compare(drivers, env_config, episodes=episodes, on_driver=parts.begin)
    console.print(as_table(rows))
    write_atomically(run.evaluation / "closing.md", as_markdown(rows))
    write_json(run.evaluation / "closing.json", as_json(rows))
