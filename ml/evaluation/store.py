"""A folder of episodes that fills part by part, in processes of its own or on a cluster.

A part is a driver's rows of some cases. Its file is named by a digest of all that decides them but
the software, which the folder's `Origin` records: what is there is not driven again, and is never
taken for something else. It is there whole or not at all, so that a run that was killed goes on.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from ml.errors import EvaluationError
from ml.evaluation.drivers import ModelLoader, driver_files, make_driver
from ml.evaluation.records import DriverSpec, RadioPosition, RadioRecord
from ml.evaluation.result import (
    PARTS_FOLDER,
    EpisodeRow,
    named_by_content,
    read_part,
    slug,
    write_part,
)
from ml.evaluation.suites.registry import folder_of, make_suite, suite_at, suite_files
from ml.evaluation.together import run_together
from ml.execution.executor import Executor
from ml.execution.jobs import Files, Portable
from ml.parameters import PRESET_NAMES, load_parameters, split_boards
from ml.sumo.scenarios import DEFAULT_SCENARIO, load_scenario

PART_CASES = 960
"""Cases that are driven in one go: what a kill costs, times the drivers that share a world."""
_LONGEST_NAME = 40
_MOST_SIMULATED_S = 250_000.0
"""Time that the episodes of a job last; it takes about a minute …"""
_LEAST_TOGETHER = 8
"""… but that many drivers share a world even where it takes longer."""


@dataclass(frozen=True, slots=True)
class CaseSet:
    """Cases of a suite on a radio, the same for every driver.

    Attributes:
        suite: Specification, as `make_suite` takes it.
        radio_position: See `RadioPosition`.
        road_sha256: Of the road where it is not the suite's own (`road_sha256`).
    """

    suite: str
    radio: RadioRecord
    seed: int
    cases: Sequence[int] = field(repr=False)
    radio_position: RadioPosition = "reference"
    road_sha256: str = ""

    @property
    def simulated_s(self) -> float:
        """How long the episodes of one driver last together."""
        return len(self.cases) * make_suite(self.suite).config.episode_s

    def decides(self) -> list[Any]:
        """Return what rows depend on, beside the driver and the software."""
        where = [self.suite, self.road_sha256, self.radio.sha256, self.radio_position]
        recorded = make_suite(self.suite).options.get("recordings_sha256")
        where += [str(recorded)] if recorded else []
        return [*where, self.seed, list(self.cases)]


@dataclass(frozen=True)
class Part:
    """Some cases, and who drives them.

    Attributes:
        cases: At most `PART_CASES`.
    """

    cases: CaseSet
    driver: DriverSpec

    @cached_property
    def file(self) -> str:
        """Path of its rows inside the folder."""
        content = [*self.cases.decides(), *self.driver.decides()]
        said = (self.cases.suite, self.cases.radio.name, self.driver.name)
        label = "__".join(slug(name)[-_LONGEST_NAME:] for name in said)
        return f"{PARTS_FOLDER}/{named_by_content(label, content)}.jsonl"


@dataclass(frozen=True, slots=True)
class DriveJob(Portable):
    """What a worker needs to drive some cases with drivers that share a world.

    Attributes:
        parts: Of the same cases.
    """

    parts: tuple[Part, ...]
    load_model: ModelLoader

    def __str__(self) -> str:
        cases, first = self.parts[0].cases, self.parts[0].driver.name
        others = f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else ""
        return f"{first}{others} in {cases.suite} on {cases.radio.name}"

    @property
    def simulated_s(self) -> float:
        """How long all episodes last together."""
        return sum(part.cases.simulated_s for part in self.parts)

    def files(self) -> list[Files]:
        """List models and parameters of the drivers, the radio's, the road or the recordings."""
        cases = self.parts[0].cases
        named = {p.driver.file: driver_files(p.driver) for p in self.parts if p.driver.file}
        if cases.radio.file:
            file = split_boards(cases.radio.file)[0]
            named[file] = [Path(file)]
        named |= suite_files(cases.suite)
        return [Files.of(path, files) for path, files in named.items()]

    def at(self, places: Mapping[str, str]) -> Self:
        """Return it with the paths of these files as they are elsewhere."""
        cases = self.parts[0].cases
        file, boards = split_boards(cases.radio.file)
        moved = f"{places.get(file, file)}:{boards}" if boards else places.get(file, file)
        radio = cases.radio.model_copy(update={"file": moved})
        there = replace(cases, suite=suite_at(cases.suite, places), radio=radio)
        parts = [
            Part(there, of.driver.model_copy(update={"file": places.get(of.driver.file, "")}))
            for of in self.parts
        ]
        return replace(self, parts=tuple(parts))


def parts_of(cases: CaseSet, drivers: Iterable[DriverSpec]) -> list[Part]:
    """Return the parts of some drivers: all of the first, then all of the next."""
    starts = range(0, len(cases.cases), PART_CASES)
    chunks = [replace(cases, cases=cases.cases[k : k + PART_CASES]) for k in starts]
    return [Part(chunk, driver) for driver in drivers for chunk in chunks]


def make_jobs(folder: Path, parts: Iterable[Part], load_model: ModelLoader) -> list[DriveJob]:
    """Share out what is missing: the same cases together, and no job too long.

    A kill costs a job per worker at most, and workers that end with short ones end together:
    longest first.
    """
    alike: dict[CaseSet, list[Part]] = {}
    for part in parts:
        if not (folder / part.file).exists():
            alike.setdefault(part.cases, []).append(part)
    jobs = []
    for cases, missing in alike.items():
        most = max(int(_MOST_SIMULATED_S / cases.simulated_s), _LEAST_TOGETHER)
        count = math.ceil(len(missing) / most)
        for k in range(count):
            share = missing[len(missing) * k // count : len(missing) * (k + 1) // count]
            jobs.append(DriveJob(tuple(share), load_model))
    return sorted(jobs, key=lambda job: -job.simulated_s)


def run_jobs(folder: Path, jobs: Sequence[DriveJob], executor: Executor) -> Iterator[DriveJob]:
    """Do them in parallel, and write the rows; yields each when that is done.

    Raises:
        RoadSenseError: One could not be done; those that were are kept.
    """
    for job, found in executor.run(drive, jobs):
        for part, rows in zip(job.parts, found, strict=True):
            for row in rows:  # elsewhere its files have other paths
                row.suite, row.radio = part.cases.suite, part.cases.radio.name
            write_part(folder / part.file, rows)
        yield job


def drive(job: DriveJob) -> list[list[EpisodeRow]]:
    """Run a job's episodes (called in a worker); the rows of each part."""
    cases = job.parts[0].cases
    return run_together(
        [make_driver(part.driver, job.load_model) for part in job.parts],
        make_suite(cases.suite),
        radio=radio_source(cases.radio),
        seed=cases.seed,
        radio_position=cases.radio_position,
        cases=cases.cases,
    )


def read_parts(folder: Path, parts: Iterable[Part]) -> list[EpisodeRow]:
    """Read rows, in the order of the parts and of their cases.

    Raises:
        EvaluationError: A file is missing or damaged, or holds other cases.
    """
    found = []
    for part in parts:
        rows = read_part(folder / part.file)
        if [row.case for row in rows] != list(part.cases.cases):
            raise EvaluationError(
                f"{folder / part.file} does not hold its cases. Delete it and run again."
            )
        for row in rows:  # another command may have called them otherwise
            row.controller, row.radio = part.driver.name, part.cases.radio.name
        found += rows
    return found


def radio_record(name: str) -> RadioRecord:
    """Describe a preset or a parameter file.

    Raises:
        ParameterError: It cannot be read.
    """
    file = "" if name in PRESET_NAMES else str(Path(name).absolute())
    return RadioRecord(name=name, sha256=load_parameters(name).sha256, file=file)


def radio_source(record: RadioRecord) -> str:
    """Return the preset or file that a radio is, wherever the result is read.

    Raises:
        EvaluationError: It has other parameters than when the result was made.
        ParameterError: It cannot be read.
    """
    source = record.file or record.name
    if radio_record(source).sha256 != record.sha256:
        raise EvaluationError(
            f"the radio {source} has other parameters than when the result was made. Put them back "
            "as they were, or evaluate again into another --out."
        )
    return source


def road_sha256(suite: str) -> str:
    """Return a digest of a suite's road; empty where it is the suite's own.

    Raises:
        ScenarioError: There is no such road, or the suite's cases do not fit on it.
    """
    built = make_suite(suite)
    of_folder = folder_of(suite)
    if "@" not in suite or (of_folder and of_folder[2] == DEFAULT_SCENARIO):
        return ""
    scenario = load_scenario(built.config.scenario)
    built.supply(built.config, scenario.road)
    content = scenario.net_file.read_bytes() + " ".join(scenario.route_edges).encode()
    return sha256(content).hexdigest()
