"""One board's log of a drive whose truth is known, with mounting, bias and GPS delay planted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml.calibration.logs.board_log import BoardLog, log_of_rows
from ml.calibration.logs.trajectories import trajectory
from ml.calibration.synthetic.drive import Motion, make_drive
from ml.espnow_emulator import GeoReference

LAT_DEG, LON_DEG = 48.0, 11.0
START_MS = 5_000
PERIOD_MS = 100
HEADER = (
    "timestamp_local_ms,msg_timestamp,vehicle_id,lat,lon,speed,heading,"
    "accel_x,accel_y,accel_z,hop_count,source_mac"
)


@dataclass
class PlantedBoard:
    """A board that logs ten rows a second of one car.

    Attributes:
        axis: Which of x, y, z points forward.
        sign: -1 where it points backwards.
        bias_mps2: Of the forward acceleration.
        delay_ms: From a fix's moment to the first row that holds it, whole rows.
        rows_per_fix: 10 for one a second.
        noise_mps2: Of each axis.
        speed_sd_mps: White, of a fix's speed.
        position_sd_m: White, of a fix's position per axis.
        motion: What the car does; a drive of ten minutes with stops by default.
        fix_age: Whether the log says how old a fix is, all of its delay.
        seed: Of all that is drawn.
    """

    axis: int = 0
    sign: int = 1
    bias_mps2: float = 0.0
    delay_ms: int = 300
    rows_per_fix: int = 10
    noise_mps2: float = 0.15
    speed_sd_mps: float = 0.1
    position_sd_m: float = 0.0
    motion: Motion | None = None
    fix_age: bool = False
    seed: int = 31

    def __post_init__(self):
        """Draw what the board logs."""
        motion = make_drive(1, 600.0, 11) if self.motion is None else self.motion
        rng = np.random.Generator(np.random.PCG64(self.seed))
        self.truth = Motion(*(values[:, 0] for values in motion))
        rows = np.arange(self.truth.x_m.size)
        self.time_ms = START_MS + PERIOD_MS * rows
        late = self.delay_ms // PERIOD_MS
        # Fixes are of the moments of some rows; none had come in the first rows.
        self.fix_row = (rows - late) // self.rows_per_fix * self.rows_per_fix
        fixes = np.maximum(self.fix_row, 0)
        at = fixes // self.rows_per_fix
        count = at[-1] + 1
        self.speed = np.maximum(
            self.truth.speed_mps[fixes] + self.speed_sd_mps * rng.normal(size=count)[at], 0.0
        )
        error_m = self.position_sd_m * rng.normal(size=(2, count))[:, at]
        self.x_m, self.y_m = self.truth.x_m[fixes] + error_m[0], self.truth.y_m[fixes] + error_m[1]
        self.heading = self.truth.heading_deg[fixes]
        axes = self.noise_mps2 * rng.normal(size=(rows.size, 3))
        axes[:, 2] += 9.81
        axes[:, self.axis] += self.sign * (self.truth.accel_mps2 + self.bias_mps2)
        self.accel = axes

    def log(self) -> BoardLog:
        """What would be read of it."""
        reference = GeoReference.at(LAT_DEG, LON_DEG)
        lat = LAT_DEG + self.y_m / reference.north_m_per_deg
        lon = LON_DEG + self.x_m / reference.east_m_per_deg
        lat[self.fix_row < 0] = lon[self.fix_row < 0] = 0.0
        way = trajectory(reference, self.time_ms.astype(np.float64), lat, lon, self.speed)
        columns = (self.speed, self.heading, None)
        return log_of_rows("a", "a-tx.csv", way, self.accel, columns)

    def write(self, folder: Path, name: str = "a") -> Path:
        """Write its TX log."""
        reference = GeoReference.at(LAT_DEG, LON_DEG)
        lines = [HEADER + (",fix_age_ms" if self.fix_age else "")]
        for k, time_ms in enumerate(self.time_ms.tolist()):
            unknown = self.fix_row[k] < 0
            lat = 0.0 if unknown else LAT_DEG + self.y_m[k] / reference.north_m_per_deg
            lon = 0.0 if unknown else LON_DEG + self.x_m[k] / reference.east_m_per_deg
            x, y, z = self.accel[k]
            row = f"{time_ms},{time_ms},{name},{lat:.7f},{lon:.7f},{self.speed[k]:.2f},"
            row += f"{self.heading[k]:.1f},{x:.3f},{y:.3f},{z:.3f},0,02:00:00:00:00:01"
            age_ms = time_ms - START_MS - PERIOD_MS * self.fix_row[k]
            lines.append(row + (f",{age_ms}" if self.fix_age else ""))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}-tx.csv"
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return path
