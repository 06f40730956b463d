"""The cases of a recorded drive that are driven in closed loop, each as a page to be watched."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ml.envs.episodes.recorded import REAL_GAP
from ml.evaluation.recording import Recording
from ml.evaluation.result import EpisodeRow
from ml.reports.episode.files import drive_of
from ml.reports.episode.page import Drive, write_page


class CasePage(NamedTuple):
    """A page that is written.

    Attributes:
        link: To it, from the folder above its own.
        name: Of the case.
        story: The smallest gap that each had.
    """

    link: str
    name: str
    story: str


class CasePages:
    """Writes a page per case, as its drives come.

    Args:
        folder: Where to; pages that are there are replaced.
        ego: The board at whose wheel they sit.
        drivers: Names of those that are shown, two at most.

    Attributes:
        written: In the order of the cases.
    """

    def __init__(self, folder: Path, ego: str, drivers: Sequence[str]) -> None:
        self.written: list[CasePage] = []
        self._folder, self._ego, self._drivers = folder, ego, drivers
        self._case = -1
        self._drives: list[Drive] = []
        self._gaps: list[str] = []

    def take(self, row: EpisodeRow, recording: Recording) -> None:
        """Add a drive to its case's page; drives of a case come one after the other.

        Invalid ones, and those of drivers that are not shown, are left out.

        Raises:
            EvaluationError: The page cannot be written.
        """
        if row.invalid or row.controller not in self._drivers:
            return
        if row.case != self._case:
            self._case, self._drives, self._gaps = row.case, [], []
        elif self.written:
            self.written.pop()
        self._drives.append(drive_of(row, recording))
        self._gaps.append(f"{row.min_gap_m:.1f} m with {row.controller}")
        at_s = float(row.labels["begins_s"]) + max(float(recording.onset_s), 0.0)
        name = f"Case {row.case + 1}, braking ahead at {at_s // 60:.0f}:{at_s % 60:04.1f}"
        file = self._folder / f"case-{row.case + 1}.html"
        self._folder.mkdir(parents=True, exist_ok=True)
        write_page(file, f"{name} of the drive of {self._ego}", self._drives)
        gaps = ", ".join([*self._gaps, f"{float(row.labels[REAL_GAP]):.1f} m with the real driver"])
        link = f"{self._folder.name}/{file.name}"
        self.written.append(CasePage(link, name, f"smallest gap {gaps}."))
