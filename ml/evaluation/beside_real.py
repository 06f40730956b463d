"""Drivers in recorded cases beside the real last car, in whose place they drove."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ml.console import WholeTable
from ml.envs.episodes.recorded import REAL_GAP, REAL_HEADWAY
from ml.evaluation.result import EpisodeRow

REAL = "the real last car"


@dataclass(frozen=True, slots=True)
class BesideReal:
    """One driver in the recorded cases of a suite on a radio; or the real last car.

    Attributes:
        suite: Which.
        radio: Which.
        driver: Its name.
        cases: How many, invalid ones left out.
        crashes: In how many of them.
        least_gap_m: The smallest gap of all.
        usual_least_gap_m: Median over cases of the smallest gap in each.
        headway_s: Mean over cases of the mean time headway in each.
    """

    suite: str
    radio: str
    driver: str
    cases: int
    crashes: int
    least_gap_m: float
    usual_least_gap_m: float
    headway_s: float

    def as_json(self) -> dict[str, Any]:
        """Return the attributes by name; what is not a number is None."""
        values = asdict(self)
        return {name: None if value != value else value for name, value in values.items()}  # noqa: PLR0124


def beside_real(rows: Sequence[EpisodeRow]) -> list[BesideReal]:
    """Sum up rows of recorded cases, driver by driver, the real last car after them."""
    cells: dict[tuple[str, str], dict[str, list[EpisodeRow]]] = {}
    for row in rows:
        if REAL_GAP in row.labels and not row.invalid:
            cells.setdefault((row.suite, row.radio), {}).setdefault(row.controller, []).append(row)
    found = []
    for (suite, radio), drivers in cells.items():
        for driver, its in drivers.items():
            gaps = [row.min_gap_m for row in its]
            headways = [row.headway_s for row in its]
            crashes = sum(row.crash for row in its)
            found.append(_summed(suite, radio, driver, gaps, headways, crashes))
        once = list({(row.case, row.seed): row for its in drivers.values() for row in its}.values())
        gaps = [float(row.labels[REAL_GAP]) for row in once]
        headways = [float(row.labels[REAL_HEADWAY]) for row in once]
        found.append(_summed(suite, radio, REAL, gaps, headways, 0))
    return found


def _summed(
    suite: str, radio: str, driver: str, gaps: list[float], headways: list[float], crashes: int
) -> BesideReal:
    known = [headway for headway in headways if np.isfinite(headway)]
    return BesideReal(
        suite,
        radio,
        driver,
        len(gaps),
        crashes,
        float(min(gaps)),
        float(np.median(gaps)),
        float(np.mean(known)) if known else float("nan"),
    )


def beside_table(found: Sequence[BesideReal]) -> WholeTable:
    """Build the console's table."""
    columns = (">cases", ">crashes", ">smallest gap\nm", ">its median\nm", ">headway\ns")
    table = WholeTable("recorded cases on", "driver", *columns)
    for one in found:
        table.add_row(
            one.radio,
            one.driver,
            str(one.cases),
            str(one.crashes),
            f"{one.least_gap_m:.1f}",
            f"{one.usual_least_gap_m:.1f}",
            f"{one.headway_s:.2f}",
        )
    return table
