"""Cases cut out of recorded convoys: 20 s before a hard braking of a car ahead to 25 s after it."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np

from ml.arrays import Floats
from ml.calibration.brakings import brakings_of
from ml.calibration.convoys.recorded import RecordedConvoy
from ml.compiled import compiled
from ml.vehicle import CAR_LENGTH_M, DT_S, HEADWAY_SPEED_MPS

BRAKING_MPS2: Final = -3.0
"""A case is cut around a braking below this, over half a second: a single step of a speed that was
measured at 10 Hz is noise."""
BEFORE_S, AFTER_S = 20.0, 25.0
BEFORE_TICKS: Final = round(BEFORE_S / DT_S)
TICKS: Final = BEFORE_TICKS + round(AFTER_S / DT_S)
FOLLOWS_WITHIN_M: Final = 0.5
"""How far cars that are driven at the case's speeds may be from where the recording has them."""

_BACK_ROWS, _ON_ROWS = 2, 3
_STEP_S: Final = (0.08, 0.12)
_GAIN_PER_S: Final = 0.5
_LET_BE_M: Final = 0.1


@dataclass(frozen=True, slots=True)
class RecordedCase:
    """A piece of a convoy, to be driven again; car 0 is the last one, T ticks of 0.1 s.

    Attributes:
        convoy: What it was cut out of.
        start_row: Its first row there.
        speed_mps: (T + 1, cars) float64: at these speeds the cars are where the recording has them.
        gap_m: (T + 1, cars − 1) float64, recorded, bumper to bumper.
        brake_car: Which car braked first, 1 or more; 0 for nobody.
        onset_tick: The tick in which that began.
        release_tick: The first one after all brakings of the case.
        hardest_mps2: Hardest braking of a car ahead, negative.
    """

    convoy: RecordedConvoy
    start_row: int
    speed_mps: Floats
    gap_m: Floats
    brake_car: int
    onset_tick: int
    release_tick: int
    hardest_mps2: float

    @property
    def follower_mps(self) -> Floats:
        """(T + 1,) speed of the real last car."""
        speed: Floats = self.speed_mps[:, 0]
        return speed

    @property
    def least_gap_m(self) -> float:
        """The real last car's smallest gap."""
        return float(self.gap_m[:, 0].min())

    @property
    def headway_s(self) -> float:
        """The real last car's mean time headway, gap over speed, above 5 m/s; NaN if never.

        The speed is that of the drivers' headways, `HEADWAY_SPEED_MPS`.
        """
        rows = slice(self.start_row, self.start_row + self.gap_m.shape[0])
        speed = self.convoy.speed_mps[rows, 0]
        moving = speed > HEADWAY_SPEED_MPS
        return float((self.gap_m[moving, 0] / speed[moving]).mean()) if moving.any() else np.nan


@dataclass(frozen=True, slots=True)
class _Braking:
    onset: int
    end: int
    car: int
    hardest_mps2: float


def cut_cases(convoy: RecordedConvoy) -> tuple[list[RecordedCase], Counter[str]]:
    """Cut cases out of a convoy.

    A braking that begins before a case ends belongs to it. That of the last car alone makes none:
    in its place the driver under test is driving.

    Returns:
        The cases, and how many were refused for which reason.
    """
    cases, refused = [], Counter[str]()
    brakings = _brakings(convoy)
    while brakings:
        start = brakings[0].onset - BEFORE_TICKS
        within = [braking for braking in brakings if braking.onset < start + TICKS]
        brakings = brakings[len(within) :]
        found = _piece(convoy, start, start + TICKS, within)
        if isinstance(found, str):
            refused[found] += 1
        else:
            cases.append(found)
    return cases, refused


def piece_of(convoy: RecordedConvoy, start: int, end: int) -> RecordedCase | str:
    """Cut out the rows from `start` to `end`, whatever happens there; or say why that cannot be."""
    within = [braking for braking in _brakings(convoy) if start <= braking.onset < end]
    return _piece(convoy, start, end, within)


def _piece(
    convoy: RecordedConvoy, start: int, end: int, brakings: list[_Braking]
) -> RecordedCase | str:
    """Cut out rows in which such brakings begin, or say why that cannot be."""
    why = _why_not(convoy, start, end)
    if why:
        return why
    rows = slice(start, end + 1)
    gap_m = convoy.gap_m[rows]
    speed_mps, off_m = follow(convoy.speed_mps[rows], gap_m)
    if off_m > FOLLOWS_WITHIN_M:
        return "speeds and gaps disagree"
    return RecordedCase(
        convoy=convoy,
        start_row=start,
        speed_mps=speed_mps,
        gap_m=gap_m,
        brake_car=brakings[0].car if brakings else 0,
        onset_tick=brakings[0].onset - start if brakings else 0,
        release_tick=min(max(b.end for b in brakings), end) - start if brakings else 0,
        hardest_mps2=min((b.hardest_mps2 for b in brakings), default=0.0),
    )


def nearest_cars(convoy: RecordedConvoy, peers: int) -> RecordedConvoy:
    """Leave out cars farther ahead of the last one than so many."""
    cars = slice(0, peers + 1)
    return RecordedConvoy(
        convoy.time_s,
        convoy.speed_mps[:, cars],
        convoy.gap_m[:, :peers],
        convoy.names[cars],
        convoy.source,
        convoy.sha256,
    )


def _brakings(convoy: RecordedConvoy) -> list[_Braking]:
    """Find hard brakings of the cars ahead, in the order of their beginnings."""
    found = []
    for car in range(1, convoy.speed_mps.shape[1]):
        accel = _accel_mps2(convoy, car)
        for begin, end in brakings_of(accel).tolist():
            hardest_mps2 = float(np.nanmin(accel[begin:end]))
            if hardest_mps2 < BRAKING_MPS2:
                found.append(_Braking(begin, end, car, hardest_mps2))
    return sorted(found, key=lambda braking: (braking.onset, braking.car))


def _accel_mps2(convoy: RecordedConvoy, car: int) -> Floats:
    """(n,) acceleration over half a second about each row; 0 at the ends, NaN at holes."""
    speed, time_s = convoy.speed_mps[:, car], convoy.time_s
    across = _BACK_ROWS + _ON_ROWS
    accel = np.zeros(speed.size)
    step_s = time_s[across:] - time_s[:-across]
    accel[_BACK_ROWS : speed.size - _ON_ROWS] = (speed[across:] - speed[:-across]) / step_s
    return accel


def _why_not(convoy: RecordedConvoy, start: int, end: int) -> str:
    """Say why the rows from `start` to `end` are no case; nothing if they may be one."""
    if start < 0:
        return f"begins less than {BEFORE_S:g} s before it"
    if end >= convoy.time_s.size:
        return f"ends less than {AFTER_S:g} s after it"
    rows = slice(start, end + 1)
    steps = np.diff(convoy.time_s[rows])
    if ((steps < _STEP_S[0]) | (steps > _STEP_S[1])).any():
        return "time jumps"
    if not (np.isfinite(convoy.speed_mps[rows]).all() and np.isfinite(convoy.gap_m[rows]).all()):
        return "missing cells"
    if (convoy.gap_m[rows] <= 0.0).any():
        return "a gap of 0 or less"
    return ""


def follow(speed_mps: Floats, gap_m: Floats) -> tuple[Floats, float]:
    """Find speeds at which cars are where a recording has them.

    Recorded speeds and gaps never agree quite. The first car drives as recorded; those behind do,
    and close in on their recorded places by 0.5 m/s per m beyond 0.1 m that they are off.

    Args:
        speed_mps: (T + 1, C), recorded, the last car first.
        gap_m: (T + 1, C − 1), recorded.

    Returns:
        (T + 1, C) speeds, and by how much a car is off at most, m.
    """
    found = np.array(speed_mps, order="C")
    off_m = _follow(np.ascontiguousarray(speed_mps), np.ascontiguousarray(gap_m), found)
    return found, float(off_m)


@compiled
def _follow(speed_mps: Floats, gap_m: Floats, found_mps: Floats) -> float:
    """Fill `found_mps`; see `follow`. Cars move as SUMO moves them, at the mean of two speeds."""
    cars = speed_mps.shape[1]
    place_m = np.zeros(cars)
    for car in range(cars - 2, -1, -1):
        place_m[car] = place_m[car + 1] - CAR_LENGTH_M - gap_m[0, car]
    worst_m = 0.0
    for t in range(1, speed_mps.shape[0]):
        wanted_m = 0.0
        for car in range(cars - 1, -1, -1):
            was_mps, mps = found_mps[t - 1, car], speed_mps[t, car]
            moved_m = place_m[car] + 0.5 * (was_mps + mps) * DT_S
            if car == cars - 1:
                wanted_m = moved_m
            else:
                wanted_m -= CAR_LENGTH_M + gap_m[t, car]
                off_m = wanted_m - moved_m
                if abs(off_m) > _LET_BE_M:
                    beyond_m = off_m - math.copysign(_LET_BE_M, off_m)
                    mps = max(mps + _GAIN_PER_S * beyond_m, 0.0)
                    moved_m = place_m[car] + 0.5 * (was_mps + mps) * DT_S
            found_mps[t, car] = mps
            place_m[car] = moved_m
            worst_m = max(worst_m, abs(wanted_m - moved_m))
    return worst_m
