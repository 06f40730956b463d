"""Finding critical cases with a weaker driver, and driving those that were found with another."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from ml.atomic_files import write_atomically
from ml.envs.config import EnvConfig
from ml.envs.episodes.critical_cases import CriticalCases, is_for_training
from ml.envs.episodes.drawn import HAZARD, EpisodeSource
from ml.envs.scoring.metrics import NEAR_MISS_GAP_M, TTC_CRITICAL_S
from ml.evaluation.drivers import ModelLoader, make_driver
from ml.evaluation.episodes import run_validation
from ml.evaluation.records import DriverSpec
from ml.evaluation.result import EpisodeRow
from ml.execution.workers import WorkerPool
from ml.keyed_random import fold
from ml.sumo.scenarios import load_scenario

PART_CASES = 320
"""Cases that are driven in one go: what a kill costs, times the workers."""
DEFINITION = (
    f"a valid, avoidable hazard with a crash, min_ttc_s < {TTC_CRITICAL_S:g} s or min_gap_m < "
    f"{NEAR_MISS_GAP_M:g} m"
)


def is_critical(row: EpisodeRow) -> bool:
    """Whether an episode is critical as `DEFINITION` says, in the metrics' words."""
    near = row.crash or row.min_ttc_s < TTC_CRITICAL_S or row.min_gap_m < NEAR_MISS_GAP_M
    return near and row.is_hazard and row.avoidable and not row.invalid


@dataclass(frozen=True, slots=True)
class DriveCases:
    """What a worker needs to drive some cases, as `run_validation` does.

    Attributes:
        config: Of the environment that is trained in.
        cases: Their numbers.
    """

    driver: DriverSpec
    config: EnvConfig
    seed: int
    cases: tuple[int, ...]
    load_model: ModelLoader

    def __str__(self) -> str:
        return f"{self.driver.name} in {len(self.cases)} cases on {self.config.radio}"


def drive_cases(job: DriveCases) -> list[EpisodeRow]:
    """Drive a job's cases (called in a worker); a row per case."""
    if not job.cases:
        return []
    driver = make_driver(job.driver, job.load_model)
    highest = max(job.cases, default=0) + 1
    return run_validation(driver, job.config, episodes=highest, seed=job.seed, cases=job.cases)


def _hazards_among(cases: range, config: EnvConfig, seed: int) -> tuple[int, ...]:
    """Return the cases in which a peer brings a hazard; nothing is driven to know that."""
    numbers = np.array(cases, dtype=np.int64)
    source = EpisodeSource(config, load_scenario(config.scenario).road)
    plan, _ = source.draw(fold(seed, numbers, 0), numbers)
    return tuple(numbers[plan.kind == HAZARD].tolist())


def environment_of(found: CriticalCases) -> EnvConfig:
    """Return the environment whose cases they are, its other values being the usual ones.

    Raises:
        ConfigError: The radio is another than when they were found.
    """
    config = EnvConfig.model_validate({**found.env, "radio": found.radio})
    found.require_fits(config, found.radio)
    return config


def write_cases(found: CriticalCases, file: Path) -> None:
    """Write a file of cases, whole or not at all.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """
    heading = f"# Critical cases (docs/ppo.md), made by:\n#   {found.command}\n"
    values = found.model_dump(mode="json")
    content = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=96,
                             default_flow_style=None)  # fmt: skip
    write_atomically(file, heading + content)


def find_cases(
    found: CriticalCases, job: DriveCases, *, episodes: int, workers: int
) -> Iterator[CriticalCases]:
    """Go on from what is found until so many episodes are driven; yields the new state at times.

    Args:
        found: Where to go on; with `driven` = 0, from the start.
        job: Who drives where; its cases are not used.
        episodes: Cases to drive in all.
        workers: Processes.

    Raises:
        RoadSenseError: A part could not be driven.
    """
    jobs = {}
    for start in range(found.driven, episodes, PART_CASES):
        cases = range(start, min(start + PART_CASES, episodes))
        # The others are not critical, whoever drives: half the time is saved.
        jobs[replace(job, cases=_hazards_among(cases, job.config, job.seed))] = cases
    answers: dict[int, tuple[range, list[EpisodeRow]]] = {}
    with WorkerPool(drive_cases, min(workers, len(jobs))) as pool:
        for done, rows in pool.run(list(jobs)):
            answers[jobs[done].start] = jobs[done], rows
            before = found.driven
            while found.driven in answers:  # without a gap, so that a search can go on from there
                found = _with_rows(found, *answers.pop(found.driven))
            if found.driven > before:
                yield found


def _with_rows(found: CriticalCases, cases: range, rows: list[EpisodeRow]) -> CriticalCases:
    critical = [row.case for row in rows if is_critical(row)]
    train = tuple(case for case in critical if is_for_training(found.seed, case))
    changes = {
        "driven": cases.stop,
        "train": found.train + train,
        "held_out": found.held_out + tuple(case for case in critical if case not in train),
    }
    return found.model_copy(update=changes)
