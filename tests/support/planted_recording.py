"""A recording of which the truth is known, for tests of pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml.evaluation.recording import Recording


def planted_recording(*, num_peers: int = 3, brake_slot: int = 2, **changes: Any) -> Recording:
    """Return 20 s at 20 m/s; from 5 s on everybody brakes at 4 m/s², with changes.

    Every peer sends at each tenth of a second, from 0.05 s on, and every third frame is lost. The
    car behind the sender has them all, and car 1 sends on what is lost of car 2, 0.1 s later.
    From 5.4 s on car 2 demands braking at 4 m/s², and the driver, who wishes 0, is held to that.
    """
    time_s = np.arange(201) * 0.1
    speed_mps = np.clip(20.0 - 4.0 * (time_s - 5.0), 0.0, 20.0)
    travelled_m = np.cumsum(speed_mps) * 0.1
    cars = np.arange(num_peers + 1)
    accel_mps2 = np.where((time_s > 5.0) & (speed_mps > 0.0), -4.0, 0.0)
    shape = (time_s.size, num_peers)
    arrivals_s = np.repeat(time_s[1:], num_peers)
    ticks = time_s.size
    demanded = (time_s >= 5.4) & (speed_mps > 0.0)
    needed_mps2 = np.zeros(shape)
    needed_mps2[:, min(1, num_peers - 1)] = np.where(demanded, 4.0, 0.0)
    wish_mps2 = np.zeros(ticks)
    wish_mps2[-1] = np.nan
    hard_mps2 = np.where(demanded, -4.0, 2.6)
    number = np.maximum(np.arange(ticks) - 1, 0)
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
        "lead_slot": np.ones(ticks, dtype=np.int64),
        "ttc_s": np.full(ticks, 60.0),
        "needless": np.zeros(ticks, dtype=bool),
        "number": np.repeat(number[:, None], num_peers, axis=1),
        "believed_speed_mps": np.repeat(speed_mps[:, None], num_peers, axis=1),
        "believed_accel_mps2": np.repeat(accel_mps2[:, None], num_peers, axis=1),
        "position_sd_m": np.full(shape, 2.5),
        "needed_mps2": needed_mps2,
        "own_error_m": np.full(ticks, -0.5),
        "own_sd_m": np.full(ticks, 2.1),
        "floor_mps2": np.where(demanded, -5.0, -1.5),
        "soft_mps2": np.full(ticks, 2.6),
        "hard_mps2": hard_mps2,
        "wish_mps2": wish_mps2,
        "command_mps2": np.minimum(wish_mps2, hard_mps2),
        "safety_layer": np.ones((), dtype=bool),
        "time_gap_s": np.array(1.1),
        **_frames(ticks - 1, num_peers),
        "arrival_s": arrivals_s,
        "arrival_source": np.tile(np.arange(num_peers), time_s.size - 1),
        "onset_s": np.array(5.0),
        "brake_slot": np.array(brake_slot),
        "informed_s": np.array(5.3),
        "crash_s": np.array(np.nan),
    }
    return Recording(**{**values, **changes})


def _frames(ticks: int, num_peers: int) -> dict[str, Any]:
    """Return the frames on the air, as columns."""
    rows = []
    for tick in range(ticks):
        for peer in range(1, num_peers + 1):
            sent_s = 0.1 * tick + 0.05 + 0.001 * peer
            lost = tick % 3 == 2
            behind = 1 << (peer - 1) if peer > 1 else 0
            receivers = (0 if lost else 1) | behind
            rows.append((sent_s, sent_s + 0.002, peer, peer, tick, 0, receivers, True))
            if lost and peer == 2:
                later_s = sent_s + 0.1
                rows.append((later_s, later_s + 0.002, 1, 2, tick, 1, 1, True))
    rows.sort()
    names = ("sent_s", "arrival_s", "sender", "source", "number", "hops", "receivers", "alone")
    kinds = (float, float, *[np.int64] * 5, bool)
    columns = zip(*rows, strict=True)
    return {
        f"frame_{name}": np.array(column, dtype=kind)
        for name, kind, column in zip(names, kinds, columns, strict=True)
    }
