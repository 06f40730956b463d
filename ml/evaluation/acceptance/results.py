"""The figures of all drivers on a benchmark, and what pairs of them differ by."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml.evaluation.acceptance.benchmarks import Benchmark
from ml.evaluation.acceptance.figures import (
    Differences,
    Figures,
    convoy_figures,
    differences,
    manoeuvre_figures,
)
from ml.evaluation.records import DriverSpec
from ml.evaluation.result import EpisodeRow
from ml.evaluation.store import parts_of, read_parts


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
    drivers = benchmark.drivers
    rows = {d.name: read_parts(folder, parts_of(benchmark.cases, [d])) for d in drivers}
    measure = convoy_figures if benchmark.weighted else manoeuvre_figures
    models = [driver.name for driver in drivers if driver.is_model]
    baselines = [driver.name for driver in drivers if not driver.is_model]
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
        crashes={name: _crashes(rows[name]) for name in models},
    )


def _crashes(rows: Sequence[EpisodeRow]) -> tuple[EpisodeRow, ...]:
    """Pick the crashes that count: in avoidable hazards, and where there was none."""
    return tuple(
        row
        for row in rows
        if row.crash and not row.invalid and (row.avoidable or row.kind != "hazard")
    )
