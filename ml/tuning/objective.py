"""What a search asks of whatever it searches over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from ml.execution.jobs import Files, Link


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a trial.

    Attributes:
        state: `pruned`: given up, as it did worse than most or did not learn.
        score: Mean safety score over the runs; not a number unless complete.
        runs: Figures of each run (training seed), by the names of `safety_score.as_figures`.
        note: Why it is not complete.
        by_case: Safety score of each validation case, mean over the runs, points; None where a run
            has no valid episode of it.
    """

    state: Literal["complete", "pruned", "failed"]
    score: float = float("nan")
    runs: list[dict[str, float]] = field(default_factory=list)
    note: str = ""
    by_case: list[float | None] = field(default_factory=list)


class Objective(Protocol):
    """A thing with parameters that is scored on the validation cases; `title` is for people."""

    title: str

    @property
    def cores(self) -> int:
        """How many cores a trial takes."""

    @property
    def space(self) -> Mapping[str, Any]:
        """What is searched: a `Dimension` by parameter."""

    def usual(self) -> dict[str, Any]:
        """Values of the searched parameters as they are without a search."""

    def run(self, values: Mapping[str, Any], folder: Path, report: Link) -> Outcome:
        """Carry out a trial.

        Args:
            values: By parameter.
            folder: The trial's own; what is there already is not done again.
            report: Told number and score so far now and then; True gives the trial up.

        Raises:
            JobStopped: The link says to stop.
        """

    def files(self) -> list[Files]:
        """List the files that it reads."""

    def at(self, places: Mapping[str, str]) -> Self:
        """Return it with these files elsewhere."""

    def record(self) -> dict[str, Any]:
        """What must be the same for two trials to be comparable."""

    def winner(self, values: Mapping[str, Any], comment: str) -> str:
        """A YAML file with the parameters, and how it is used."""
