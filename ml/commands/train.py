"""`roadsense train`: the trainer, which shows an episode as pictures in TensorBoard."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml.errors import ConfigError
from ml.training import train_convoy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ml.console import WholeTable
    from ml.evaluation.recording import Recording
    from ml.evaluation.result import EpisodeRow
    from ml.training.apart import TrainingJob
    from ml.training.command_line import Invocation
    from ml.training.config import TrainConfig
    from ml.training.evaluated import Drawn

_COLUMNS = ("seed", "state", "steps", "safety score", "run")


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    return train_convoy.main(arguments, draw=draw_episode, several=train_several)


def draw_episode(recording: Recording, title: str, row: EpisodeRow) -> Drawn:
    """Draw an episode, as a PNG and as a page; called in the process that evaluates."""
    from ml.reports.episode.files import drive_of  # noqa: PLC0415 (matplotlib is slow)
    from ml.reports.episode.page import page  # noqa: PLC0415
    from ml.reports.episode.still import still_png  # noqa: PLC0415
    from ml.training.evaluated import Drawn  # noqa: PLC0415

    in_a_line = title.replace("\n", ", ")
    return Drawn(still_png(recording, title), page(in_a_line, [drive_of(row, recording)]))


@dataclass
class _Row:
    """How far a run is, as the table shows it."""

    job: TrainingJob
    total: int
    state: str = "waiting"
    step: int = 0
    score: float | None = None

    def cells(self) -> tuple[str, ...]:
        from ml.training.apart import runs_in  # noqa: PLC0415 (torch is slow to import)

        runs = runs_in(self.job.folder)
        score = "–" if self.score is None else f"{self.score:.2f}"
        folder = runs[-1].path if runs else self.job.folder
        run = str(folder.relative_to(self.job.folder.parent))
        steps = f"{self.step:,} of {self.total:,}"
        return self.job.name.split()[-1], self.state, steps, score, run


def train_several(invocation: Invocation) -> int:
    """Train with several seeds, each run whole and in a folder of its own.

    They follow one another on this machine, where each has work for all cores, and run side by side
    on a cluster. What is finished is not done again.

    Returns:
        0, or 1 where a run failed; the others are carried on with.

    Raises:
        ConfigError: Options that do not go together.
        StopRequested: A signal came; the runs save, and the same command goes on.
    """
    from rich.live import Live  # noqa: PLC0415 (with what is slow)

    from ml.atomic_files import check_writable  # noqa: PLC0415
    from ml.console import make_console, plain_lines  # noqa: PLC0415
    from ml.execution.executor import make_executor  # noqa: PLC0415
    from ml.progress import Parts  # noqa: PLC0415
    from ml.training.apart import train_whole  # noqa: PLC0415
    from ml.training.config import steps_collected  # noqa: PLC0415
    from ml.training.workers import MOST_BY_DEFAULT  # noqa: PLC0415

    config, runs_dir = invocation.config, invocation.deployment.runs_dir
    seeds = invocation.seeds or (config.seed,)
    _check(invocation, seeds)
    console = make_console()
    tell = plain_lines(console)
    executor = make_executor(invocation.cluster, workers=1, tell=tell)
    check_writable(runs_dir, "RUNS_DIR")
    folder = _folder_of(config, runs_dir).absolute()
    console.print(invocation.table())
    tell(f"runs: {folder} (tensorboard --logdir {folder})")
    total = steps_collected(config)
    rows = {job.name: _Row(job, total) for job in _jobs(config, seeds, folder)}
    todo = []
    for row in rows.values():
        if row.job.finished:
            row.state, row.step = "finished", row.total
        else:
            todo.append(row.job)
    failed = 0
    shown = Parts(
        console,
        "training runs",
        total=len(rows),
        done=len(rows) - len(todo),
        unit="runs",
        work=float(len(todo) * total),
    )

    def on_report(job: TrainingJob, said: tuple[Any, ...]) -> bool:
        row = rows[job.name]
        step, score = said
        shown.advance(0, work=max(step - row.step, 0))
        row.state, row.step = "training", step
        row.score = score if score is not None else row.score
        shown.say("; ".join(f"{r.job.name}: {_brief(r)}" for r in rows.values()))
        return False

    live = Live(get_renderable=lambda: _table(rows.values()), console=console, transient=True,
                refresh_per_second=1)  # fmt: skip
    with live if console.is_terminal else shown:
        for job, wrong in executor.run_watched(
            train_whole, todo, on_report, cores=config.workers or MOST_BY_DEFAULT
        ):
            row = rows[job.name]
            shown.advance(work=max(row.total - row.step, 0))
            row.state = "failed" if wrong else "finished"
            row.step = row.step if wrong else row.total
            if wrong:
                failed += 1
                tell(f"{job}: {wrong}")
    _read_scores(rows.values())
    console.print(_table(rows.values()))
    return 1 if failed else 0


def _check(invocation: Invocation, seeds: Sequence[int]) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigError: Something does not.
    """
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds {' '.join(map(str, seeds))}: give different ones")
    if min(seeds) < 0:
        raise ConfigError(f"--seeds must be ≥ 0, got {min(seeds)}")
    if invocation.resumed_run is not None:
        raise ConfigError(
            "--seeds and --cluster go on by themselves where the same command was stopped; leave "
            "out --resume"
        )
    if invocation.cluster is not None and invocation.deployment.sumo_hosts:
        raise ConfigError(
            "on a --cluster each run has SUMO in its own processes: leave out --sumo-hosts, and "
            "unset SUMO_HOST"
        )


def _folder_of(config: TrainConfig, runs_dir: Path) -> Path:
    """Return the folder of a recipe's runs, named by all that decides them but the seed."""
    from ml.evaluation.result import named_by_content, slug  # noqa: PLC0415
    from ml.training.run_directory import digests  # noqa: PLC0415

    recipe = config.model_dump(mode="json", exclude={"seed", "workers"})
    return runs_dir / named_by_content(
        f"{slug(config.preset)}-seeds", [recipe, digests(config.env)]
    )


def _jobs(config: TrainConfig, seeds: Sequence[int], folder: Path) -> list[TrainingJob]:
    from ml.training.apart import TrainingJob  # noqa: PLC0415 (torch is slow to import)

    return [
        TrainingJob(
            f"seed {seed}", folder / f"seed{seed}", (), config.model_copy(update={"seed": seed})
        )
        for seed in seeds
    ]


def _brief(row: _Row) -> str:
    if row.state != "training":
        return row.state
    score = "" if row.score is None else f", score {row.score:.1f}"
    return f"{row.step / row.total:.0%}{score}"


def _table(rows: Iterable[_Row]) -> WholeTable:
    from ml.console import WholeTable  # noqa: PLC0415 (with what is slow)

    return WholeTable(*_COLUMNS, rows=[row.cells() for row in rows], title="training runs")


def _read_scores(rows: Iterable[_Row]) -> None:
    """Take over the score of each run's best model."""
    from ml.training.apart import runs_in  # noqa: PLC0415 (torch is slow to import)

    for row in rows:
        runs = runs_in(row.job.folder)
        if runs and runs[-1].best_record.exists():
            best = json.loads(runs[-1].best_record.read_text(encoding="utf-8"))
            row.score = best["safety_score"]
