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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ml.envs.config import KINDS
from ml.evaluation.acceptance.figures import (
    Differences,
    Figures,
    convoy_figures,
    differences,
    manoeuvre_figures,
)
from ml.evaluation.acceptance.radios import OTHER_RADIOS, Base, write_radio
from ml.evaluation.acceptance.sizes import PartName, Sizes
from ml.evaluation.records import DriverSpec
from ml.evaluation.result import EpisodeRow
from ml.evaluation.store import CaseSet, Part, parts_of, radio_record, read_parts, road_sha256
from ml.evaluation.suites.convoy import balanced
from ml.evaluation.suites.registry import make_suite
from ml.evaluation.suites.suite import Label
from ml.onboard.observation.spec import MAX_PEERS

_BOTH: tuple[Base, ...] = ("clean", "bursty")
_LEAST_EPISODES = 40_000
"""Episodes of `convoy` to choose from; more where they do not suffice. The first are the same."""
_RURAL = "rural"

Picked: TypeAlias = tuple[str, tuple[int, ...]]
"""A suite's specification, and the numbers of some of its cases."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Cases that every driver meets.

    Attributes:
        part: Which part of the acceptance tests.
        name: Unique.
        cases: What is driven.
        bounds: The preset whose bounds hold.
        beyond: Outside what was trained on: bounds are doubled.
        weighted: Hazards and other cases are a `convoy`'s, and weighted as there.
        drivers: Who drives.
    """

    part: PartName
    name: str
    cases: CaseSet = field(repr=False)
    bounds: Base
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
    """List the benchmarks of some parts; writes the files of the radios that no preset is.

    Args:
        sizes: How many cases.
        radios_folder: Where those files go.
        parts: Which.
        seed: Of the cases.

    Raises:
        OSError: The folder cannot be written.
    """

    def on_both(name: str, picked: Picked) -> list[tuple[str, Picked, str, Base]]:
        return [(f"{name} {radio}", picked, radio, radio) for radio in _BOTH]

    def convoy() -> Picked:
        return pick_convoy(sizes.beyond_hazards, sizes.beyond_others)

    def many_peers() -> Picked:
        return pick_convoy(sizes.beyond_hazards, sizes.beyond_others, extrapolated=True)

    on_presets: dict[Base, int] = {
        "clean": sizes.hazards,
        "bursty": sizes.bursty_hazards,
        "shadowed": sizes.shadowed_hazards,
    }
    # Of each part: name, cases, radio and the preset whose bounds hold.
    listed: dict[PartName, Callable[[], list[tuple[str, Picked, str, Base]]]] = {
        "convoy": lambda: [
            (f"convoy {radio}", pick_convoy(hazards, sizes.others), radio, radio)
            for radio, hazards in on_presets.items()
        ],
        "r157": lambda: on_both("r157", _every("r157:1", sizes.r157_each)),
        "ncap": lambda: on_both("ncap", _labelled(f"ncap:{sizes.ncap_draws}", _is_ccrb_or_ccrm)),
        "plexe": lambda: on_both(
            "plexe", _labelled(f"plexe:{sizes.plexe_draws}", _swings_in_front)
        ),
        "peers": lambda: on_both("9-12 peers", many_peers()),
        "road": lambda: on_both(f"{_RURAL} road", (f"{convoy()[0]}@{_RURAL}", convoy()[1])),
        "radios": lambda: [
            (f"radio {other.name}", convoy(), str(write_radio(other, radios_folder)), other.bounds)
            for other in OTHER_RADIOS
        ],
    }
    return [
        Benchmark(
            part,
            name,
            CaseSet(suite, radio_record(radio), seed, cases, road_sha256=road_sha256(suite)),
            bounds,
            beyond=part in {"peers", "road", "radios"},
            weighted=part in {"convoy", "peers", "road", "radios"},
        )
        for part, make in listed.items()
        if part in parts
        for name, (suite, cases), radio, bounds in make()
    ]


@lru_cache(maxsize=8)
def pick_convoy(hazards: int, others: int, *, extrapolated: bool = False) -> Picked:
    """Choose the first hazards and the first other cases of the suite `convoy`.

    Args:
        hazards: How many.
        others: How many.
        extrapolated: Those with more cars ahead than training had, or those with as many.

    Returns:
        The suite, and the cases, hazards first.
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


def _every(suite: str, step: int) -> Picked:
    return suite, tuple(range(0, make_suite(suite).num_cases, step))


def _is_ccrb_or_ccrm(labels: dict[str, Label]) -> bool:
    return str(labels["test"]).startswith(("CCRb", "CCRm"))


def _swings_in_front(labels: dict[str, Label]) -> bool:
    return labels["manoeuvre"] == "sinusoidal in front"


def _labelled(suite: str, wanted: Callable[[dict[str, Label]], bool]) -> Picked:
    built = make_suite(suite)
    return suite, tuple(case for case in range(built.num_cases) if wanted(built.labels(case)))


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """What came out on a benchmark.

    Attributes:
        benchmark: The benchmark.
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
