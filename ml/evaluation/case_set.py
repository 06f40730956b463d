"""Which cases are driven, on which road and radio, by name and by content."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ml.errors import EvaluationError
from ml.evaluation.records import RadioPosition, RadioRecord
from ml.evaluation.suites.registry import make_suite
from ml.parameters import PRESET_NAMES, load_parameters
from ml.sumo.scenarios import load_scenario

PART_CASES = 960
"""Cases that are driven in one go: what a kill costs, times the drivers that share a world."""


@dataclass(frozen=True, slots=True)
class CaseSet:
    """Cases of a suite on a radio, the same for every driver.

    Attributes:
        suite: Specification, as `make_suite` takes it.
        radio: On which.
        seed: Of every draw.
        cases: Their numbers.
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

    def parts(self) -> Iterator[CaseSet]:
        """Yield it in parts of `PART_CASES` cases."""
        for start in range(0, len(self.cases), PART_CASES):
            yield replace(self, cases=self.cases[start : start + PART_CASES])

    def decides(self) -> list[Any]:
        """Return what rows depend on, beside the driver and the software."""
        where = [self.suite, self.road_sha256, self.radio.sha256, self.radio_position]
        return [*where, self.seed, list(self.cases)]


def radio_record(name: str) -> RadioRecord:
    """Describe a preset or a parameter file.

    Raises:
        ParameterError: It cannot be read.
    """
    file = "" if name in PRESET_NAMES else str(Path(name).absolute())
    content = json.dumps(load_parameters(name).model_dump(mode="json"), sort_keys=True)
    return RadioRecord(name=name, sha256=sha256(content.encode()).hexdigest(), file=file)


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
    if "@" not in suite:
        return ""
    built = make_suite(suite)
    scenario = load_scenario(built.config.scenario)
    built.supply(built.config, scenario.road)
    content = scenario.net_file.read_bytes() + " ".join(scenario.route_edges).encode()
    return sha256(content).hexdigest()
