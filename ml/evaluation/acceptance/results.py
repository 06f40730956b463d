"""The figures of all drivers on a course, and what pairs of them differ by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ml.evaluation.acceptance.cells import read_course
from ml.evaluation.acceptance.figures import convoy_figures, differences, manoeuvre_figures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ml.evaluation.acceptance.cells import Entrant
    from ml.evaluation.acceptance.courses import Course
    from ml.evaluation.acceptance.figures import Differences, Figures
    from ml.evaluation.result import EpisodeRow


@dataclass(frozen=True, slots=True)
class CourseResult:
    """What came out on a course.

    Attributes:
        course: The course.
        entrants: Who drove it.
        invalid: Cases left out, of any driver's; peers collided there.
        figures: By driver.
        differences: Model − baseline, by both their names; of courses of the suite `convoy`.
        crashes: What each model crashed in, at every time gap; hazards that the reference driver
            also crashes in are left out.
    """

    course: Course
    entrants: tuple[Entrant, ...]
    invalid: int
    figures: dict[str, Figures]
    differences: dict[tuple[str, str], Differences]
    crashes: dict[str, tuple[EpisodeRow, ...]] = field(default_factory=dict)

    @property
    def models(self) -> list[Entrant]:
        """Models as they are meant to drive."""
        return [e for e in self.entrants if e.is_model and not e.variant_of]

    @property
    def baselines(self) -> list[Entrant]:
        """Classical controllers."""
        return [e for e in self.entrants if not e.is_model]

    def variants(self, model: Entrant) -> list[Entrant]:
        """A model at every time gap that was driven, its own first."""
        return [model, *(e for e in self.entrants if e.variant_of == model.name)]


def measure_course(
    folder: Path, course: Course, entrants: Sequence[Entrant], seed: int
) -> CourseResult:
    """Read a course's episodes and measure them.

    Raises:
        EvaluationError: A file is missing or damaged.
    """
    here = [entrant for entrant in entrants if entrant.drives(course)]
    rows = {entrant.name: read_course(folder, course, entrant, seed) for entrant in here}
    measure = convoy_figures if course.weighted else manoeuvre_figures
    apart = {}
    if course.weighted:
        apart = {
            (ours.name, theirs.name): differences(
                rows[ours.name], rows[theirs.name], key=course.name
            )
            for ours in here
            if ours.is_model
            for theirs in here
            if not theirs.is_model
        }
    return CourseResult(
        course=course,
        entrants=tuple(here),
        invalid=max((sum(row.invalid for row in of) for of in rows.values()), default=0),
        figures={name: measure(of) for name, of in rows.items()},
        differences=apart,
        crashes={
            entrant.name: _crashes(rows[entrant.name]) for entrant in here if entrant.is_model
        },
    )


def _crashes(rows: Sequence[EpisodeRow]) -> tuple[EpisodeRow, ...]:
    """Pick the crashes that count: in avoidable hazards, and where there was none."""
    return tuple(
        row
        for row in rows
        if row.crash and not row.invalid and (row.avoidable or row.kind != "hazard")
    )
