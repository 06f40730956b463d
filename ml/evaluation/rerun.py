"""One episode of a result again, alone and bit for bit, with everything a picture needs."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from ml.envs.convoy_batch import ConvoyBatch
from ml.errors import EvaluationError, RoadSenseError
from ml.evaluation.drivers import ModelLoader, make_driver
from ml.evaluation.episodes import run_suite
from ml.evaluation.planning import require_same_road
from ml.evaluation.recording import Recorder, Recording
from ml.evaluation.records import DriverSpec, RadioPosition, RadioRecord
from ml.evaluation.result import EpisodeRow, Manifest, slug
from ml.evaluation.selection import ResultView
from ml.evaluation.store import radio_source
from ml.evaluation.suites.registry import make_suite
from ml.execution.workers import WorkerPool
from ml.vehicle import DT_S

WORST_FOLDER = "worst"
_MOST_DIFFERENCES = 4


@dataclass(frozen=True, slots=True)
class EpisodeJob:
    """An episode to run again."""

    row: EpisodeRow
    controller: DriverSpec
    radio_position: RadioPosition
    radio: RadioRecord

    def __str__(self) -> str:
        return episode_name(self.row)


def episode_name(row: EpisodeRow) -> str:
    """Say which episode it is, in words."""
    return f"{row.suite} on {row.radio}, {row.controller}: episode {row.case}, seed {row.seed}"


def job_of(manifest: Manifest, row: EpisodeRow) -> EpisodeJob:
    """Find what is needed to run an episode again.

    Raises:
        EvaluationError: Its controller is not in the manifest, or its road has changed.
    """
    require_same_road(manifest, row.suite)
    radio = next(radio for radio in manifest.radios if radio.name == row.radio)
    return EpisodeJob(row, manifest.controller(row.controller), manifest.radio_position, radio)


def rerun(
    job: EpisodeJob,
    load_model: ModelLoader,
    *,
    gui: bool = False,
    on_tick: Callable[[int, int], None] = lambda *_: None,
) -> Recording:
    """Run an episode again and check that it is the same one.

    With `gui` it is shown in sumo-gui, in real time. `on_tick` is told (ticks simulated, ticks of
    the longest episode) after each.

    Raises:
        EvaluationError: A figure differs from the result's, or the radio or the model does.
        RoadSenseError: The radio, the model or SUMO is not there.
    """
    stored = job.row
    recorder = Recorder()

    def watch(batch: ConvoyBatch) -> None:
        recorder.watch(batch)
        on_tick(int(batch.tick[0]), batch.episode_ticks)
        if gui:
            time.sleep(DT_S)

    (again,) = run_suite(
        make_driver(job.controller, load_model),
        make_suite(stored.suite),
        radio=radio_source(job.radio),
        seed=stored.seed,
        radio_position=job.radio_position,
        cases=[stored.case],
        gui=gui,
        on_tick=watch,
        on_start=recorder.watch,
    )
    again.radio = stored.radio  # its name in the result
    _require_same(stored, again)
    return recorder.recording()


def _require_same(stored: EpisodeRow, again: EpisodeRow) -> None:
    before, after = stored.flat(), again.flat()
    changed = [name for name in before if before[name] != after.get(name)][:_MOST_DIFFERENCES]
    if changed:
        shown = ", ".join(f"{name} was {before[name]} and is {after.get(name)}" for name in changed)
        raise EvaluationError(
            f"{episode_name(stored)} is not what it was: {shown}. Something it is made of has "
            "changed since: compare the versions, the radio's parameters and the model with those "
            "in result.json, or evaluate again."
        )


def attempt(job: EpisodeJob, load_model: ModelLoader) -> Recording | RoadSenseError:
    """Run an episode again, or return why that is not possible (called in a worker)."""
    try:
        return rerun(job, load_model)
    except RoadSenseError as error:
        return error


def recordings(
    view: ResultView,
    rows: Sequence[EpisodeRow],
    *,
    load_model: ModelLoader,
    workers: int = 2,
    on_episode: Callable[[int, int], None] = lambda *_: None,
) -> list[Recording | RoadSenseError]:
    """Record episodes in processes of their own; what was recorded before is read.

    They are kept in the result's `worst/`. A fresh process must be able to import `load_model`;
    `on_episode` is told (episodes done, episodes in all).

    Returns:
        A recording per row, or why there is none.
    """
    kept = view.folder / WORST_FOLDER
    if rows:
        kept.mkdir(exist_ok=True)
    files = {f"{recording_name(row)}.npz": row for row in rows}
    found: dict[str, Recording | RoadSenseError] = {}
    for name in files:
        if (kept / name).exists():
            with suppress(EvaluationError):  # of another version: recorded again
                found[name] = Recording.load(kept / name)
    jobs = [job_of(view.manifest, row) for name, row in files.items() if name not in found]
    with WorkerPool(partial(attempt, load_model=load_model), min(workers, len(jobs))) as pool:
        for job, answer in pool.run(jobs):
            name = f"{recording_name(job.row)}.npz"
            found[name] = answer
            if isinstance(answer, Recording):
                answer.save(kept / name)
            on_episode(len(found), len(files))
    return [found[f"{recording_name(row)}.npz"] for row in rows]


def recording_name(row: EpisodeRow) -> str:
    """Name an episode's recording by what happened in it, so that a stale one is never taken."""
    content = json.dumps(row.flat(), sort_keys=True)
    return f"{slug(row.controller)}-{row.case}-{sha256(content.encode()).hexdigest()[:12]}"
