"""What the acceptance tests are run on, and what came out: some cases of a suite on one radio.

| part | cases |
|---|---|
| `convoy` | the suite's first hazards and first others with 1 to 8 cars ahead, as in training |
| `r157` | the grid at a time gap of 1.0 s |
| `ncap` | CCRb and CCRm, each with many draws of the sensors' errors |
| `plexe` | the swinging car right in front, with many draws |
| `peers` | as `convoy`, with 9 to 12 cars ahead |
| `road` | as `convoy`, on the rural road |
| `radios` | as `convoy`, on radios between and beyond the presets |
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias, get_args

import numpy as np

from ml.envs.config import KINDS
from ml.envs.scoring.targets import Radio
from ml.evaluation.acceptance.figures import (
    Differences,
    Figures,
    convoy_figures,
    differences,
    manoeuvre_figures,
)
from ml.evaluation.acceptance.radios import OTHER_RADIOS, write_radio
from ml.evaluation.acceptance.sizes import PARTS, PartName, Sizes
from ml.evaluation.records import DriverSpec
from ml.evaluation.result import EpisodeRow
from ml.evaluation.store import CaseSet, Part, parts_of, radio_record, read_parts, road_sha256
from ml.evaluation.suites.convoy import balanced
from ml.evaluation.suites.registry import make_suite
from ml.onboard.observation.spec import MAX_PEERS

_BOTH: tuple[Radio, ...] = ("clean", "bursty")
_LEAST_EPISODES = 40_000
"""Episodes of `convoy` to choose from; more where they do not suffice. The first are the same."""

Picked: TypeAlias = tuple[str, tuple[int, ...]]
"""A suite's specification, and the numbers of some of its cases."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Cases that every driver meets.

    Attributes:
        name: Unique.
        bounds: The preset whose bounds hold.
        beyond: Outside what was trained on: bounds are doubled.
        weighted: Hazards and other cases are a `convoy`'s, and weighted as there.
    """

    part: PartName
    name: str
    cases: CaseSet = field(repr=False)
    bounds: Radio
    beyond: bool = False
    weighted: bool = True
    drivers: tuple[DriverSpec, ...] = field(default=(), repr=False)

    @property
    def parts(self) -> list[Part]:
        """All that is driven."""
        return parts_of(self.cases, self.drivers)


def make_benchmarks(
    sizes: Sizes, radios_folder: Path, parts: Sequence[PartName], *, seed: int
) -> list[Benchmark]:
    """List the benchmarks of some parts; writes the radios that no preset is into `radios_folder`.

    Raises:
        OSError: The folder cannot be written.
    """
    return [
        Benchmark(
            part,
            name,
            CaseSet(suite, radio_record(radio), seed, cases, road_sha256=road_sha256(suite)),
            bounds,
            beyond=part in {"peers", "road", "radios"},
            weighted=part in {"convoy", "peers", "road", "radios"},
        )
        for part in PARTS
        if part in parts
        for name, (suite, cases), radio, bounds in _listed(part, sizes, radios_folder)
    ]


def _listed(
    part: PartName, sizes: Sizes, radios_folder: Path
) -> Iterator[tuple[str, Picked, str, Radio]]:
    """Yield name, cases, radio and the preset whose bounds hold."""
    beyond = sizes.beyond_hazards, sizes.beyond_others
    match part:
        case "convoy":
            hazards = sizes.hazards, sizes.bursty_hazards, sizes.shadowed_hazards
            for base, count in zip(get_args(Radio), hazards, strict=True):
                yield f"convoy {base}", pick_convoy(count, sizes.others), base, base
            return
        case "radios":
            picked = pick_convoy(*beyond)
            yield from (
                (f"radio {of.name}", picked, str(write_radio(of, radios_folder)), of.bounds)
                for of in OTHER_RADIOS
            )
            return
        case "r157":
            grid = range(0, make_suite("r157:1").num_cases, sizes.r157_each)
            name, picked = "r157", ("r157:1", tuple(grid))
        case "ncap":
            name, picked = "ncap", _labelled(f"ncap:{sizes.ncap_draws}", "test", ("CCRb", "CCRm"))
        case "plexe":
            suite, front = f"plexe:{sizes.plexe_draws}", ("sinusoidal in front",)
            name, picked = "plexe", _labelled(suite, "manoeuvre", front)
        case "peers":
            name, picked = "9-12 peers", pick_convoy(*beyond, extrapolated=True)
        case "road":
            suite, cases = pick_convoy(*beyond)
            name, picked = "rural road", (f"{suite}@rural", cases)
    for radio in _BOTH:
        yield f"{name} {radio}", picked, radio, radio


@lru_cache(maxsize=8)
def pick_convoy(hazards: int, others: int, *, extrapolated: bool = False) -> Picked:
    """Choose the first hazards and the first other cases of the suite `convoy`, hazards first.

    They have as many cars ahead as training had, or more where they are `extrapolated`.
    """
    config = make_suite("convoy:1").config
    episodes = _LEAST_EPISODES
    while True:
        strata = balanced(episodes, config)
        here = (strata.num_peers > MAX_PEERS) == extrapolated
        hazard = strata.kind == KINDS.index("hazard")
        brakes, quiet = np.flatnonzero(here & hazard), np.flatnonzero(here & ~hazard)
        if brakes.size >= hazards and quiet.size >= others:
            cases = (*brakes[:hazards].tolist(), *quiet[:others].tolist())
            return f"convoy:{episodes}", cases
        episodes *= 2


def _labelled(suite: str, label: str, begins: tuple[str, ...]) -> Picked:
    """Choose the cases of which a label begins so."""
    built = make_suite(suite)
    labels = (str(built.labels(case)[label]) for case in range(built.num_cases))
    return suite, tuple(case for case, of in enumerate(labels) if of.startswith(begins))


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """What came out on a benchmark.

    Attributes:
        invalid: Cases left out, of any driver's; peers collided there.
        figures: By driver.
        differences: Model − baseline, by both their names; of benchmarks of the suite `convoy`.
        crashes: What each model crashed in, at every time gap; hazards that the reference ego
            also crashes in are left out.
    """

    benchmark: Benchmark
    invalid: int
    figures: dict[str, Figures]
    differences: dict[tuple[str, str], Differences]
    crashes: dict[str, tuple[EpisodeRow, ...]] = field(default_factory=dict)

    @property
    def drivers(self) -> tuple[DriverSpec, ...]:
        """Who drove."""
        return self.benchmark.drivers

    @property
    def models(self) -> list[DriverSpec]:
        """Models as they are meant to drive."""
        return [driver for driver in self.drivers if driver.is_model and not driver.variant]

    @property
    def baselines(self) -> list[DriverSpec]:
        """Classical controllers."""
        return [driver for driver in self.drivers if not driver.is_model]

    def variants(self, model: DriverSpec) -> list[DriverSpec]:
        """A model at every time gap that was driven, its own first."""
        return [
            model,
            *(d for d in self.drivers if d.is_model and d.variant and d.spec == model.spec),
        ]


def measure_benchmark(folder: Path, benchmark: Benchmark) -> BenchmarkResult:
    """Read a benchmark's episodes and measure them.

    Raises:
        EvaluationError: A file is missing or damaged.
    """
    rows = {d.name: read_parts(folder, parts_of(benchmark.cases, [d])) for d in benchmark.drivers}
    measure = convoy_figures if benchmark.weighted else manoeuvre_figures
    models = [driver.name for driver in benchmark.drivers if driver.is_model]
    baselines = [driver.name for driver in benchmark.drivers if not driver.is_model]
    apart = {
        (ours, theirs): differences(rows[ours], rows[theirs], key=benchmark.name)
        for ours in models
        for theirs in baselines
        if benchmark.weighted
    }
    return BenchmarkResult(
        benchmark=benchmark,
        invalid=max((sum(row.invalid for row in of) for of in rows.values()), default=0),
        figures={name: measure(of) for name, of in rows.items()},
        differences=apart,
        crashes={name: tuple(filter(_counts, rows[name])) for name in models},
    )


def _counts(row: EpisodeRow) -> bool:
    """Whether it is a crash that counts: in an avoidable hazard, or where there was none."""
    return row.crash and not row.invalid and (row.avoidable or not row.is_hazard)
