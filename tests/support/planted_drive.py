"""Logs of a convoy on a straight road, in which who brakes hard, and when, is planted.

Three cars, `a` the last: they stand for 40 s, cruise, brake hard where it is said, and stand again.
What is logged is exact; of each beacon it is said whether it arrives.
"""

from __future__ import annotations

from math import floor

import numpy as np

from ml.calibration.synthetic.logs import RX_HEADER, TX_HEADER
from ml.espnow_emulator import GeoReference

OFFSET_MS = {"a": 1_000_000, "b": 250_000, "c": 77_000}
PHASE_MS = {"a": 0, "b": 30, "c": 65}
AHEAD_M = {"a": 0.0, "b": 40.0, "c": 80.0}
LATENCY_MS = 4
STANDS_S = 40.0
CRUISE_MPS = 15.0
HARD_MPS2, HARD_S, RECOVERS_MPS2 = 6.0, 1.0, 2.0
_STEP_S = 0.001


class PlantedDrive:
    """What happens on the drive.

    Args:
        minutes: How long it lasts.
        brakings: For each car that brakes hard, when, s.
        lost: Which beacons do not arrive: (sender, receiver, sent at in ms) to bool.
    """

    def __init__(self, minutes, brakings, lost=lambda _sender, _receiver, _at_ms: False):
        self.lasts_ms = round(60_000 * minutes)
        self.lost = lost
        self.accel, self.speed, self.x_m = {}, {}, {}
        for name in OFFSET_MS:
            self._drive(name, brakings.get(name, ()))

    def _drive(self, name, brakings):
        time_s = np.arange(self.lasts_ms + 1) * _STEP_S
        ends_s = time_s[-1] - STANDS_S
        accel = np.zeros(time_s.size)
        accel[(time_s >= STANDS_S) & (time_s < STANDS_S + 10.0)] = CRUISE_MPS / 10.0
        accel[(time_s >= ends_s - 10.0) & (time_s < ends_s)] = -CRUISE_MPS / 10.0
        for at_s in brakings:
            recovers_s = at_s + HARD_S + HARD_S * HARD_MPS2 / RECOVERS_MPS2
            accel[(time_s >= at_s) & (time_s < recovers_s)] = RECOVERS_MPS2
            accel[(time_s >= at_s) & (time_s < at_s + HARD_S)] = -HARD_MPS2
        speed = np.maximum(np.cumsum(accel) * _STEP_S, 0.0)
        self.accel[name], self.speed[name] = accel, speed
        self.x_m[name] = AHEAD_M[name] + np.cumsum(speed) * _STEP_S

    def beacons_ms(self, name):
        """When a board sends, true time."""
        return np.arange(PHASE_MS[name], self.lasts_ms, 100)

    def message(self, name, at_ms):
        """What a log says of a beacon, behind its first column."""
        plane = GeoReference.at(48.0, 11.0)
        lon_deg = plane.lon_deg + self.x_m[name][at_ms] / plane.east_m_per_deg
        stamp = at_ms + OFFSET_MS[name]
        return (
            f"{stamp},{name},{plane.lat_deg:.9f},{lon_deg:.9f},{self.speed[name][at_ms]:.3f},90.0,"
            f"{self.accel[name][at_ms]:.3f},0.0,9.81,0,02:00:00:00:00:0{ord(name) - 96}"
        )

    def write(self, folder, names=("a", "b", "c"), receivers=("a", "b", "c")):
        """Write the logs of some boards, and return the files."""
        files = []
        for name in names:
            rows = [
                f"{at_ms + OFFSET_MS[name]},{self.message(name, at_ms)}"
                for at_ms in self.beacons_ms(name).tolist()
            ]
            files.append(_written(folder / f"{name}-tx.csv", [TX_HEADER, *rows]))
        for name in set(names) & set(receivers):
            entries = [
                (at_ms + LATENCY_MS, other, at_ms)
                for other in names
                if other != name
                for at_ms in self.beacons_ms(other).tolist()
                if not self.lost(other, name, at_ms)
            ]
            rows = [
                f"{local_ms + OFFSET_MS[name]},{self.message(other, at_ms)}"
                for local_ms, other, at_ms in sorted(entries)
            ]
            files.append(_written(folder / f"{name}-rx.csv", [RX_HEADER, *rows]))
        return sorted(files)


def tick_after(at_s):
    """The tick of the ego's board that is the first at or after a moment, s."""
    return floor(round(1000 * at_s) / 100 - 1e-9) + 1


def _written(file, lines):
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
