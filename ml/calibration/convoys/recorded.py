"""A recorded convoy: the one thing that every kind of recording is turned into."""

from dataclasses import dataclass
from pathlib import Path

from ml.arrays import Floats


@dataclass(frozen=True, slots=True)
class RecordedConvoy:
    """Cars that followed one another; car 0 is the last one, car k + 1 drives ahead of car k.

    Attributes:
        time_s: (n,) float64, of the rows, ascending; rows are 0.1 s apart but where time jumps.
        speed_mps: (n, cars) float64; NaN where unknown.
        gap_m: (n, cars − 1) float64, bumper to bumper, of car k to car k + 1; NaN where unknown.
        names: What the recording calls the cars.
        source: The file, or the folder of the boards' logs.
        sha256: Of the content, wherever it lies.
    """

    time_s: Floats
    speed_mps: Floats
    gap_m: Floats
    names: tuple[str, ...]
    source: Path
    sha256: str

    @property
    def duration_s(self) -> float:
        """From the first row to the last."""
        return float(self.time_s[-1] - self.time_s[0])
