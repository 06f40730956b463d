"""Fill a folder with every driver's episodes, some cases at a time, in worker processes.

A file holds one driver's rows of one chunk of a course. Its name holds a digest of all that
decides the rows but the software, which the folder's `origin.json` records: what is there is not
done again, and never taken for something else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ml.atomic_files import write_atomically
from ml.errors import ConfigError, EvaluationError
from ml.evaluation.drivers import PolicyDriver, interface_of, make_driver
from ml.evaluation.result import read_cell, slug, write_cell
from ml.evaluation.together import run_together
from ml.evaluation.workers import WorkerPool
from ml.parameters import load_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from stable_baselines3.common.base_class import BaseAlgorithm

    from ml.evaluation.acceptance.courses import Course
    from ml.evaluation.drivers import Driver
    from ml.evaluation.result import EpisodeRow

    ModelLoader: TypeAlias = Callable[[str], BaseAlgorithm]

CELLS_FOLDER = "cells"
ORIGIN_FILE = "origin.json"
CHUNK_CASES = 960
"""A kill costs a chunk per worker at most."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """Who drives.

    Attributes:
        name: What tables call it; unique.
        spec: A model's path, or a controller's specification.
        model_sha256: Of the model's file; empty for a controller.
        time_gap_s: A model's time gap where it is not its own.
        variant_of: Name of the model of which it is another time gap.
        courses: Names of the courses that it drives; empty for all.
    """

    name: str
    spec: str
    model_sha256: str = ""
    time_gap_s: float | None = None
    variant_of: str = ""
    courses: frozenset[str] = frozenset()

    @property
    def is_model(self) -> bool:
        """Whether it was trained."""
        return bool(self.model_sha256)

    def drives(self, course: Course) -> bool:
        """Whether it meets a course."""
        return not self.courses or course.name in self.courses


@dataclass(frozen=True, slots=True)
class ChunkJob:
    """What a worker needs for some cases of a course.

    Attributes:
        course: The course, its cases cut to the chunk's.
        entrants: Who drives.
        files: Where each one's rows go.
        seed: Of the cases.
        load_model: For models; importable by a fresh process.
    """

    course: Course
    entrants: tuple[Entrant, ...]
    files: tuple[Path, ...]
    seed: int
    load_model: ModelLoader

    def __str__(self) -> str:
        return f"{len(self.course.cases)} cases of {self.course.name}"


def open_folder(folder: Path, origin: Mapping[str, object], *, force: bool = False) -> None:
    """Make a folder ready for measuring, or for going on with it.

    Args:
        folder: Where.
        origin: The software and the seed: what decides rows beside a cell's own name.
        force: Remove what other software left there.

    Raises:
        ConfigError: The folder holds what other software made, or something else, and `force` is
            off.
    """
    file, wanted = folder / ORIGIN_FILE, json.dumps(origin, indent=1, sort_keys=True) + "\n"
    if file.exists():
        if file.read_text(encoding="utf-8") == wanted:
            return
        if not force:
            raise ConfigError(
                f"{folder} holds figures of other software or another seed: compare {file}. Use "
                "another --out, or --force to measure all of it again."
            )
        for cell in (folder / CELLS_FOLDER).glob("*.jsonl"):
            cell.unlink()
    elif folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no figures. Use another --out.")
    (folder / CELLS_FOLDER).mkdir(parents=True, exist_ok=True)
    write_atomically(file, wanted)


def chunks(course: Course) -> list[tuple[int, ...]]:
    """Cut a course's cases."""
    return [
        course.cases[start : start + CHUNK_CASES]
        for start in range(0, len(course.cases), CHUNK_CASES)
    ]


def cell_path(
    folder: Path, course: Course, entrant: Entrant, cases: Sequence[int], seed: int
) -> Path:
    """Return where one driver's rows of a chunk are.

    Raises:
        ParameterError: The radio cannot be read.
    """
    who = [entrant.model_sha256 or entrant.spec, entrant.time_gap_s]
    content = [course.suite.spec, _radio_content(course.radio), who, list(cases), seed]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    kind = "model" if entrant.is_model else slug(entrant.spec)
    return folder / CELLS_FOLDER / f"{slug(course.name)}__{kind}__{digest}.jsonl"


@lru_cache
def _radio_content(radio: str) -> str:
    return load_parameters(radio).model_dump_json()


def make_jobs(
    folder: Path,
    courses: Sequence[Course],
    entrants: Sequence[Entrant],
    *,
    seed: int,
    load_model: ModelLoader,
) -> tuple[list[ChunkJob], int]:
    """List what is to be done, and count what there will be in all: files.

    Raises:
        ParameterError: A radio cannot be read.
    """
    jobs, total = [], 0
    for course in courses:
        here = [entrant for entrant in entrants if entrant.drives(course)]
        for cases in chunks(course):
            files = {e: cell_path(folder, course, e, cases, seed) for e in here}
            total += len(files)
            missing = tuple(e for e in here if not files[e].exists())
            if missing:
                jobs.append(
                    ChunkJob(
                        replace(course, cases=cases),
                        missing,
                        tuple(files[e] for e in missing),
                        seed,
                        load_model,
                    )
                )
    return jobs, total


def run_jobs(jobs: Sequence[ChunkJob], *, workers: int) -> Iterator[ChunkJob]:
    """Do them in parallel; yields each when it is done.

    Raises:
        RoadSenseError: One could not be done; those that were are kept.
    """
    if not jobs:
        return
    pool: WorkerPool[ChunkJob, int] = WorkerPool(fill_chunk, min(workers, len(jobs)))
    try:
        for job, _ in pool.run(jobs):
            yield job
    finally:
        pool.close()


def fill_chunk(job: ChunkJob) -> int:
    """Run the episodes of a chunk and write them; returns how many (called in a worker)."""
    drivers = [_driver(entrant, job.load_model) for entrant in job.entrants]
    found = run_together(
        drivers,
        job.course.suite.build(),
        radio=job.course.radio,
        seed=job.seed,
        cases=job.course.cases,
    )
    for file, rows in zip(job.files, found, strict=True):
        write_cell(file, rows)
    return sum(map(len, found))


def _driver(entrant: Entrant, load_model: ModelLoader) -> Driver:
    """Build the driver.

    Raises:
        EvaluationError: There is no such controller, or the model's file has changed.
        CheckpointError: The model cannot be loaded.
    """
    if not entrant.is_model:
        driver = make_driver(entrant.spec)
        driver.name = entrant.name
        return driver
    if file_sha256(entrant.spec) != entrant.model_sha256:
        raise EvaluationError(f"{entrant.spec} has changed since the start; run the command again.")
    model = load_model(entrant.spec)
    interface = interface_of(model)
    if entrant.time_gap_s is not None:
        interface = interface.model_copy(update={"time_gap_s": entrant.time_gap_s})
    return PolicyDriver(model, entrant.name, interface=interface)


def file_sha256(file: str) -> str:
    """Return the digest of a model's file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(
            f"model {file} cannot be read ({error.strerror}). Name a .zip that `roadsense train` "
            "saved."
        ) from error


def read_course(folder: Path, course: Course, entrant: Entrant, seed: int) -> list[EpisodeRow]:
    """Read all of a driver's rows of a course, in the order of its cases.

    Raises:
        EvaluationError: A file is missing or damaged.
    """
    rows = []
    for cases in chunks(course):
        file = cell_path(folder, course, entrant, cases, seed)
        found = read_cell(file)
        if [row.case for row in found] != list(cases):
            raise EvaluationError(f"{file} does not hold its cases. Delete it and run again.")
        rows += found
    return rows
