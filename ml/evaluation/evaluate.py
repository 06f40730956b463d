"""Fill a result's folder: every controller in every suite on every radio, some cells at a time."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ml.atomic_files import write_atomically
from ml.errors import ConfigError, EvaluationError
from ml.evaluation.drivers import PolicyDriver, interface_of, make_driver
from ml.evaluation.result import (
    CELLS_FOLDER,
    MANIFEST_FILE,
    POLICY_FAMILY,
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
from ml.evaluation.together import run_together
from ml.evaluation.workers import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stable_baselines3.common.base_class import BaseAlgorithm

    from ml.evaluation.drivers import Driver
    from ml.evaluation.result import EpisodeRow
    from ml.evaluation.summary import CellSummary

_MOST_DIFFERENCES = 6
_MOST_SIMULATED_S = 250_000.0
"""Time that the episodes of a job last; it takes about a minute …"""
_LEAST_TOGETHER = 8
"""… but that many drivers share a world even where it takes longer."""

ModelLoader: TypeAlias = "Callable[[str], BaseAlgorithm]"
"""Loads a saved model; importable by a fresh process."""


@dataclass(frozen=True, slots=True)
class GroupJob:
    """What a worker needs to fill some cells of one suite and radio, whose drivers share a world.

    Attributes:
        folder: The result's.
        cells: Which cells.
        controllers: Who drives, in the cells' order.
        seeds: Seeds of the cases.
        radio_position: See `EnvConfig.radio_position`.
        load_model: For trained policies.
    """

    folder: Path
    cells: tuple[CellRecord, ...]
    controllers: tuple[ControllerRecord, ...]
    seeds: tuple[int, ...]
    radio_position: str
    load_model: ModelLoader

    def __str__(self) -> str:
        first, *more = self.cells
        others = f" and {len(more)} more" if more else ""
        return f"{first.controller}{others} in {first.suite} on {first.radio}"


def driver_of(record: ControllerRecord, load_model: ModelLoader) -> Driver:
    """Build the driver that a record describes.

    Raises:
        EvaluationError: There is no such controller, or its file is not what it was.
        CheckpointError: The model cannot be loaded.
    """
    _require_same_file(record)
    if record.family != POLICY_FAMILY:
        law, tuned, _ = record.spec.partition("@")
        return make_driver(f"{law}@{record.file}" if tuned and record.file else record.spec)
    model = load_model(record.file or record.spec)
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


def _require_same_file(record: ControllerRecord) -> None:
    wanted = record.model_sha256 or record.file_sha256
    file = Path(record.file)
    if not record.file or wanted is None:
        return
    if file.is_file() and sha256(file.read_bytes()).hexdigest() == wanted:
        return
    happened = "has changed since the result was begun" if file.exists() else "is gone"
    raise EvaluationError(
        f"{record.name}: {file} {happened}. Put it back as it was, or evaluate again into another "
        "--out."
    )


def fill_group(job: GroupJob) -> int:
    """Run the episodes of some cells and write them; returns how many (called in a worker)."""
    suite = make_suite(job.cells[0].suite)
    rows: list[list[EpisodeRow]] = [[] for _ in job.cells]
    for seed in job.seeds:
        drivers = [driver_of(record, job.load_model) for record in job.controllers]
        for driver, record in zip(drivers, job.controllers, strict=True):
            driver.name = record.name
        found = run_together(
            drivers,
            suite,
            radio=job.cells[0].radio,
            seed=seed,
            radio_position=job.radio_position,
        )
        rows = [so_far + new for so_far, new in zip(rows, found, strict=True)]
    for cell, of_cell in zip(job.cells, rows, strict=True):
        write_cell(job.folder / cell.file, of_cell)
    return sum(map(len, rows))


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
        if found.key() == manifest.key():  # perhaps with files that lie elsewhere now
            now = {"radios": manifest.radios, "controllers": manifest.controllers}
            return found.model_copy(update=now)
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
    """Fill what is missing, in parallel, some cells at a time; yields each when it is done.

    Raises:
        RoadSenseError: A cell could not be filled; those that were done are kept.
    """
    jobs = [
        GroupJob(
            folder=folder,
            cells=tuple(cells),
            controllers=tuple(manifest.controller(cell.controller) for cell in cells),
            seeds=manifest.seeds,
            radio_position=manifest.radio_position,
            load_model=load_model,
        )
        for cells in group_cells(missing_cells(folder, manifest))
    ]
    if not jobs:
        return
    pool: WorkerPool[GroupJob, int] = WorkerPool(fill_group, min(workers, len(jobs)))
    try:
        for job, _ in pool.run(jobs):
            yield from job.cells
    finally:
        pool.close()


def group_cells(cells: Sequence[CellRecord]) -> list[list[CellRecord]]:
    """Share cells out among jobs: of one suite and radio each, and none too long.

    A kill costs a job at most, and workers that end with short ones end together: longest first.
    """
    alike: dict[tuple[str, str], list[CellRecord]] = {}
    for cell in cells:
        alike.setdefault((cell.suite, cell.radio), []).append(cell)
    groups: list[tuple[float, list[CellRecord]]] = []
    for (suite, _), members in alike.items():
        cell_s = max(cell.episodes for cell in members) * make_suite(suite).config.episode_s
        most = max(int(_MOST_SIMULATED_S / cell_s), _LEAST_TOGETHER)
        parts = math.ceil(len(members) / most)
        for part in range(parts):
            group = members[len(members) * part // parts : len(members) * (part + 1) // parts]
            groups.append((cell_s * len(group), group))
    return [group for _, group in sorted(groups, key=lambda found: -found[0])]


def write_summary(folder: Path) -> list[CellSummary]:
    """Summarise a complete result, and write `summary.json`.

    Raises:
        EvaluationError: A cell is missing or damaged.
    """
    summaries = summarise(read_rows(folder))
    write_atomically(folder / SUMMARY_FILE, json.dumps(as_json(summaries), indent=1) + "\n")
    return summaries


def _differences(found: Manifest, wanted: Manifest) -> list[str]:
    before, after = (json.loads(manifest.key()) for manifest in (found, wanted))
    names = [name for name in before if before[name] != after[name]]
    return names[:_MOST_DIFFERENCES]
