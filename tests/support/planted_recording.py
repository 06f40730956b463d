"""A recording of which the truth is known, for tests of pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml.evaluation.recording import Recording


def planted_recording(*, num_peers: int = 3, brake_slot: int = 2, **changes: Any) -> Recording:
    """Return 20 s at 20 m/s; from 5 s on everybody brakes at 4 m/s², with changes."""
    time_s = np.arange(201) * 0.1
    speed_mps = np.clip(20.0 - 4.0 * (time_s - 5.0), 0.0, 20.0)
    travelled_m = np.cumsum(speed_mps) * 0.1
    cars = np.arange(num_peers + 1)
    accel_mps2 = np.where((time_s > 5.0) & (speed_mps > 0.0), -4.0, 0.0)
    shape = (time_s.size, num_peers)
    arrivals_s = np.repeat(time_s[1:], num_peers)
    values: dict[str, Any] = {
        "time_s": time_s,
        "route_pos_m": travelled_m[:, None] + 30.0 * cars,
        "speed_mps": np.repeat(speed_mps[:, None], cars.size, axis=1),
        "accel_mps2": np.repeat(accel_mps2[:, None], cars.size, axis=1),
        "lateral_m": np.zeros((time_s.size, cars.size)),
        "gap_m": np.full(time_s.size, 25.5),
        "heard": np.ones(shape, dtype=bool),
        "age_s": np.full(shape, 0.05),
        "believed_gap_m": 25.0 + 30.0 * np.tile(np.arange(num_peers), (time_s.size, 1)),
        "arrival_s": arrivals_s,
        "arrival_source": np.tile(np.arange(num_peers), time_s.size - 1),
        "onset_s": np.array(5.0),
        "brake_slot": np.array(brake_slot),
        "informed_s": np.array(5.3),
        "crash_s": np.array(np.nan),
    }
    return Recording(**{**values, **changes})
