"""Recorded convoys that are made up: cars behind one another, of which one ahead brakes hard."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DT_S = 0.1
CAR_M = 4.5


class Convoy:
    """Speeds and gaps as a perfect instrument has them; column 0 is the first car.

    The first car cruises and brakes at 5 m/s² from each of `brakes_s` on for 1.5 s; the others
    follow it half a second later, at 1.2 s.
    """

    def __init__(
        self,
        cars: int = 3,
        duration_s: float = 100.0,
        cruise_mps: float = 20.0,
        brakes_s: Sequence[float] = (40.0,),
        seed: int = 0,
    ) -> None:
        rows = round(duration_s / DT_S) + 1
        self.time_s = np.arange(rows) * DT_S
        accel = np.zeros(rows)
        for at_s in brakes_s:
            since = self.time_s - at_s
            accel[(since >= 0.0) & (since < 1.5)] = -5.0
            accel[(since >= 4.0) & (since < 9.0)] = 1.5
        lead = cruise_mps + np.concatenate(
            ([0.0], np.cumsum(0.5 * (accel[1:] + accel[:-1]) * DT_S))
        )
        sway = 0.3 * np.sin(self.time_s / 7.0 + seed)  # another seed, another file
        speeds = [np.maximum(lead + sway, 0.0)]
        places = [_travel(speeds[0])]
        for _ in range(cars - 1):
            place, speed = _follow(places[-1], speeds[-1])
            places.append(place)
            speeds.append(speed)
        self.speed_mps = np.stack(speeds, axis=1)
        self.place_m = np.stack(places, axis=1)
        self.gap_m = self.place_m[:, :-1] - self.place_m[:, 1:] - CAR_M

    def write(
        self,
        file: Path,
        *,
        without: Sequence[int] = (),
        positions: bool = True,
        factor: float = 1.0,
        holes: Sequence[tuple[float, str]] = (),
        cut_s: tuple[float, float] = (0.0, 0.0),
    ) -> Path:
        """Write it in OpenACC's layout.

        Args:
            file: Where.
            without: Numbers of cars that have no columns.
            positions: Write E and N.
            factor: What speeds are multiplied by.
            holes: Times, and columns whose cells are empty then.
            cut_s: Rows of these times are left out.
        """
        cars = [n for n in range(1, self.speed_mps.shape[1] + 1) if n not in without]
        columns = {"Time": self.time_s}
        for n in cars:
            columns[f"Speed{n}"] = factor * self.speed_mps[:, n - 1]
            if positions:
                columns[f"E{n}"] = 0.6 * self.place_m[:, n - 1]
                columns[f"N{n}"] = 0.8 * self.place_m[:, n - 1]
            columns[f"Driver{n}"] = np.full(self.time_s.size, np.nan)
        for n, behind in itertools.pairwise(cars):
            columns[f"IVS{n}"] = self.place_m[:, n - 1] - self.place_m[:, behind - 1] - CAR_M
        cells = {
            name: [f"{value!r}" for value in values.tolist()] for name, values in columns.items()
        }
        for name in cells:
            if name.startswith("Driver"):
                cells[name] = ["Human"] * self.time_s.size
        for at_s, name in holes:
            cells[name][round(at_s / DT_S)] = ""
        kept = (self.time_s < cut_s[0]) | (self.time_s >= cut_s[1])
        lines = [
            "Date,01,02,2024",
            "Vehicle_order," + ",".join(f"car-{n}" for n in cars),
            f"Number_of_vehicles,{len(cars)}",
            "ACC,0",
            "Distance_setting,",
            ",".join(cells),
        ]
        rows = zip(*cells.values(), strict=True)
        lines += [",".join(row) for row, keep in zip(rows, kept, strict=True) if keep]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file


def _travel(speed_mps: np.ndarray) -> np.ndarray:
    """Where a car is that moves at the mean of two speeds in a tick."""
    steps = 0.5 * (speed_mps[1:] + speed_mps[:-1]) * DT_S
    return np.concatenate(([0.0], np.cumsum(steps)))


def _follow(ahead_m: np.ndarray, ahead_mps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drive behind a car, 1.2 s and 3 m behind it, within 6 m/s² of braking."""
    rows, late = ahead_m.size, 3
    speed, place = np.empty(rows), np.empty(rows)
    speed[0] = ahead_mps[0]
    place[0] = ahead_m[0] - CAR_M - 3.0 - 1.2 * speed[0]
    for k in range(1, rows):
        seen = max(k - 1 - late, 0)
        gap = ahead_m[k - 1] - place[k - 1] - CAR_M
        wish = 0.3 * (gap - 3.0 - 1.2 * speed[k - 1]) + 1.2 * (ahead_mps[seen] - speed[k - 1])
        speed[k] = max(speed[k - 1] + min(max(wish, -6.0), 2.0) * DT_S, 0.0)
        place[k] = place[k - 1] + 0.5 * (speed[k] + speed[k - 1]) * DT_S
    return place, speed
