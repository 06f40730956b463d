"""Fill a result's folder: every controller in every suite on every radio, cell by cell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ml.atomic_files import write_atomically
from ml.errors import ConfigError
from ml.evaluation.drivers import PolicyDriver, interface_of, make_driver
from ml.evaluation.episodes import run_suite
from ml.evaluation.result import (
    CELLS_FOLDER,
    MANIFEST_FILE,
    SUMMARY_FILE,
    CellRecord,
    ControllerRecord,
    Manifest,
    read_cell,
    read_manifest,
    read_rows,
    write_cell,
    write_manifest,
)
from ml.evaluation.suites.registry import make_suite
from ml.evaluation.summary import as_json, summarise
from ml.evaluation.workers import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stable_baselines3.common.base_class import BaseAlgorithm

    from ml.evaluation.drivers import Driver
    from ml.evaluation.summary import CellSummary

POLICY_FAMILY = "policy"
_MOST_DIFFERENCES = 6

ModelLoader: TypeAlias = "Callable[[str], BaseAlgorithm]"
"""Loads a saved model; importable by a fresh process."""


@dataclass(frozen=True, slots=True)
class CellJob:
    """What a worker needs to fill a cell.

    Attributes:
        folder: The result's.
        cell: Which cell.
        controller: Who drives.
        seeds: Seeds of the cases.
        radio_position: See `EnvConfig.radio_position`.
        load_model: For trained policies.
    """

    folder: Path
    cell: CellRecord
    controller: ControllerRecord
    seeds: tuple[int, ...]
    radio_position: str
    load_model: ModelLoader

    def __str__(self) -> str:
        return f"{self.cell.controller} in {self.cell.suite} on {self.cell.radio}"


def driver_of(record: ControllerRecord, load_model: ModelLoader) -> Driver:
    """Build the driver that a record describes.

    Raises:
        EvaluationError: There is no such controller.
        CheckpointError: The model cannot be loaded.
    """
    if record.family != POLICY_FAMILY:
        return make_driver(record.spec)
    model = load_model(record.spec)
    interface = interface_of(model)
    changes: dict[str, object] = {"time_gap_s": record.time_gap_s}
    if record.variant == "no safety layer":
        changes["safety_layer"] = False
    return PolicyDriver(
        model,
        record.name,
        radio_off=record.variant == "radio off",
        interface=interface.model_copy(update=changes),
    )


def fill_cell(job: CellJob) -> int:
    """Run a cell's episodes and write them; returns how many (called in a worker)."""
    suite = make_suite(job.cell.suite)
    rows = []
    for seed in job.seeds:
        driver = driver_of(job.controller, job.load_model)
        driver.name = job.controller.name
        rows += run_suite(
            driver,
            suite,
            radio=job.cell.radio,
            seed=seed,
            radio_position=job.radio_position,
        )
    write_cell(job.folder / job.cell.file, rows)
    return len(rows)


def open_result(folder: Path, manifest: Manifest, *, force: bool = False) -> Manifest:
    """Make a folder ready for an evaluation, or for going on with one.

    Args:
        folder: The result's.
        manifest: What shall be in it.
        force: Remove what another evaluation left there.

    Returns:
        The manifest that stands there now: an older one of the same content keeps its time.

    Raises:
        ConfigError: The folder holds something else, and `force` is off.
    """
    if (folder / MANIFEST_FILE).exists():
        found = read_manifest(folder)
        if found.key() == manifest.key():
            return found
        if not force:
            raise ConfigError(
                f"{folder} holds the result of another evaluation; it differs in "
                f"{', '.join(_differences(found, manifest))}. Use another --out, or --force to "
                "replace it."
            )
        for file in (folder / CELLS_FOLDER).glob("*.jsonl"):
            file.unlink()
    elif folder.exists() and any(folder.iterdir()) and not force:
        raise ConfigError(f"{folder} is not empty and holds no result. Use another --out.")
    (folder / CELLS_FOLDER).mkdir(parents=True, exist_ok=True)
    write_manifest(folder, manifest)
    return manifest


def missing_cells(folder: Path, manifest: Manifest) -> list[CellRecord]:
    """List the cells that are still to be filled."""

    def complete(cell: CellRecord) -> bool:
        file = folder / cell.file
        return file.exists() and len(read_cell(file)) == cell.episodes

    return [cell for cell in manifest.cells if not complete(cell)]


def fill_result(
    folder: Path,
    manifest: Manifest,
    *,
    load_model: ModelLoader,
    workers: int = 2,
) -> Iterator[CellRecord]:
    """Fill what is missing, in parallel; yields each cell as it is done.

    Raises:
        RoadSenseError: A cell could not be filled; those that were done are kept.
    """
    jobs = [
        CellJob(
            folder=folder,
            cell=cell,
            controller=manifest.controller(cell.controller),
            seeds=manifest.seeds,
            radio_position=manifest.radio_position,
            load_model=load_model,
        )
        for cell in missing_cells(folder, manifest)
    ]
    if not jobs:
        return
    pool: WorkerPool[CellJob, int] = WorkerPool(fill_cell, min(workers, len(jobs)))
    try:
        for job, _ in pool.run(jobs):
            yield job.cell
    finally:
        pool.close()


def write_summary(folder: Path) -> list[CellSummary]:
    """Summarise a complete result, and write `summary.json`.

    Raises:
        EvaluationError: A cell is missing or damaged.
    """
    summaries = summarise(read_rows(folder))
    write_atomically(folder / SUMMARY_FILE, json.dumps(as_json(summaries), indent=1) + "\n")
    return summaries


def _differences(found: Manifest, wanted: Manifest) -> list[str]:
    before, after = (m.model_dump(exclude={"command", "created_utc"}) for m in (found, wanted))
    names = [name for name in before if before[name] != after[name]]
    return names[:_MOST_DIFFERENCES]
