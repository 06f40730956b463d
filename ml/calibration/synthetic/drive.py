"""Made-up drives for made-up logs: cars that stop, cruise, fall back and close up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.keyed_random import Stream, fold, normal, uniform
from ml.vehicle import DT_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

CAR_M: Final = 4.5
_LEG_S: Final = (45.0, 150.0)
_CRUISE_MPS: Final = (7.0, 15.0)
_STAND_S: Final = (8.0, 45.0)
_ACCELERATES_MPS2, _BRAKES_MPS2 = 1.3, 2.0
_FOLLOWS_S: Final = 4.0
_STANDING_M: Final = 8.5  # antenna to antenna
_HEADWAY_S: Final = 1.5
_HEADWAY_SPREAD, _HEADWAY_KNOTS_S = 0.65, 25.0
_HEADWAYS_S: Final = (0.5, 6.0)
_BEND_DEG, _BEND_M = 35.0, 700.0
_STEP_M: Final = 5.0
_LEGS, _STANDS, _CRUISES, _HEADWAYS = range(4)


@dataclass(frozen=True, slots=True)
class Drive:
    """Where some cars are, at the end of each tick of .1 s and at the start; (ticks + 1, N) each.

    Attributes:
        along_m: Along the road.
        xy_m: (ticks + 1, N, 2), east and north.
        speed_mps: Along the road.
        heading_deg: Clockwise from north, [0, 360).
        accel_mps2: Along the road, over the tick before.
    """

    along_m: NDArray[np.float64]
    xy_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    heading_deg: NDArray[np.float64]
    accel_mps2: NDArray[np.float64]


def make_drive(num_cars: int, duration_s: float, seed: int, *, parked: bool = False) -> Drive:
    """Drive with stops, at distances that wander: some 8 to 80 m between neighbours.

    Args:
        num_cars: N; the last one leads, car 0 is the rearmost.
        duration_s: How long.
        seed: Of everything drawn; the same seed, the same drive.
        parked: Nobody moves.
    """
    ticks = round(duration_s / DT_S)
    key = fold(seed, Stream.SYNTHETIC_LOGS, 1)
    speed_mps = np.zeros(ticks + 1) if parked else _leader_speed(ticks, key)
    along_m = [1000.0 + np.cumsum(speed_mps) * DT_S]
    for car in range(1, num_cars):
        headway_s = _wandering(ticks, fold(key, _HEADWAYS, car))
        # A driver takes a while to follow: the distance belongs to the speed of just now.
        wanted_m = _STANDING_M + headway_s * _smoothed(speed_mps)
        along_m.append(np.maximum.accumulate(along_m[-1] - wanted_m))
    return _on_road(np.stack(along_m[::-1], axis=-1))


def _leader_speed(ticks: int, key: NDArray[np.uint64]) -> NDArray[np.float64]:
    wanted = np.zeros(ticks + 1)
    begin, leg = 0, 0
    while begin <= ticks:
        draws = [float(uniform(fold(key, part, leg))[0]) for part in (_LEGS, _STANDS, _CRUISES)]
        low_high = (_LEG_S, _STAND_S, _CRUISE_MPS)
        leg_s, stand_s, cruise_mps = (
            low + (high - low) * u for (low, high), u in zip(low_high, draws, strict=True)
        )
        drives = round(leg_s / DT_S)
        sway = 1.0 + 0.12 * np.sin(2.0 * np.pi * np.arange(drives) * DT_S / 37.0)
        end = min(begin + drives, ticks + 1)
        wanted[begin:end] = cruise_mps * sway[: end - begin]
        begin, leg = begin + drives + round(stand_s / DT_S), leg + 1
    speed = np.zeros(ticks + 1)
    for k in range(1, ticks + 1):
        change = wanted[k] - speed[k - 1]
        speed[k] = speed[k - 1] + min(max(change, -_BRAKES_MPS2 * DT_S), _ACCELERATES_MPS2 * DT_S)
    return speed


def _wandering(ticks: int, key: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Time headways whose logarithm wanders smoothly between knots that are drawn."""
    per_knot = round(_HEADWAY_KNOTS_S / DT_S)
    knots = ticks // per_knot + 3
    values = normal(fold(key[0], np.arange(knots))) * _HEADWAY_SPREAD
    at = np.arange(ticks + 1) / per_knot
    left = at.astype(np.int64)
    share = 0.5 - 0.5 * np.cos(np.pi * (at - left))
    log_ratio = (1.0 - share) * values[left] + share * values[left + 1]
    return np.clip(_HEADWAY_S * np.exp(log_ratio), *_HEADWAYS_S)


def _smoothed(speed_mps: NDArray[np.float64]) -> NDArray[np.float64]:
    keep = np.exp(-DT_S / _FOLLOWS_S)
    smooth = np.empty_like(speed_mps)
    value = speed_mps[0]
    for k, speed in enumerate(speed_mps):
        value = keep * value + (1.0 - keep) * speed
        smooth[k] = value
    return smooth


def _on_road(along_m: NDArray[np.float64]) -> Drive:
    """Lay distances along a road that bends left and right."""
    low_m, high_m = along_m.min() - _STEP_M, along_m.max() + 2.0 * _STEP_M
    road_m = np.arange(low_m, high_m, _STEP_M)
    bearing = np.radians(90.0 + _BEND_DEG * np.sin(road_m / _BEND_M))
    steps = np.stack([np.sin(bearing), np.cos(bearing)], axis=-1) * _STEP_M
    road_xy = np.cumsum(steps, axis=0) - steps[0]
    xy_m = np.stack([np.interp(along_m, road_m, road_xy[:, k]) for k in range(2)], axis=-1)
    heading_deg = (90.0 + _BEND_DEG * np.sin(along_m / _BEND_M)) % 360.0
    speed = np.diff(along_m, axis=0, prepend=along_m[:1]) / DT_S
    accel = np.diff(speed, axis=0, prepend=speed[:1]) / DT_S
    return Drive(along_m, xy_m, speed, heading_deg, accel)
