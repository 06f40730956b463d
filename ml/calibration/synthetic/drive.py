"""Drives that are made up: cars that stop, cruise, fall back and close up, one behind another.

One drive is drawn anew for each seed, for synthetic logs. The other is always the same and like the
recorded convoy drive, of which losses, speeds and distances are known as statistics only: it has
its length (582 s), number of cars, mean speed (10.6 m/s) and longest stop (42 s), and follows at
the distances at which most frames were recorded. What it is not: a recording.
"""

from typing import Final, NamedTuple

import numpy as np
from scipy.signal import lfilter

from ml.arrays import Floats, Words
from ml.keyed_random import Stream, fold, normal, uniform
from ml.vehicle import DT_S

_ACCELERATES_MPS2, _BRAKES_MPS2 = 1.3, 2.0
_STANDING_M: Final = 8.5  # from antenna to antenna: a car of 4.5 m and a gap of 4 m
_SPEED_SWAY, _SPEED_SWAY_S = 0.12, 37.0
# What is drawn.
_LEG_S, _CRUISE_MPS, _STAND_S = (45.0, 150.0), (7.0, 15.0), (8.0, 45.0)
_FOLLOWS_S: Final = 4.0
_HEADWAY_S: Final = 1.5
_HEADWAY_SPREAD, _HEADWAY_KNOTS_S = 0.65, 25.0
_HEADWAYS_S: Final = (0.5, 6.0)
_BEND_DEG, _BEND_M = 35.0, 700.0
_STEP_M: Final = 5.0
_LEGS, _STANDS, _CRUISES, _HEADWAYS, _HARD = range(5)
_HARD_MPS2, _HARD_S, _RECOVERS_MPS2, _HARD_AFTER_S = 5.0, 1.2, 1.5, 1.0
_HARD_FROM_MPS, _HARD_SETTLED_S, _HARD_APART_S = 9.0, 5.0, 14.0
# The drive that is like the recorded one. Of each leg: cruising speed in m/s, seconds from its
# beginning to the next, and of these the seconds in which the leader brakes and stands.
_REFERENCE_S: Final = 582.0
_REFERENCE_LEGS: Final = (
    (12.8, 100.0, 14.0),
    (9.7, 80.0, 6.0),
    (14.1, 140.0, 50.0),
    (11.2, 90.0, 10.0),
    (12.9, 172.0, 0.0),
)
_REFERENCE_HEADWAY_S, _HEADWAY_SWAY_S = 1.1, 0.2
_SWAYS_S: Final = (53.0, 61.0)  # so that the two distances wander apart


class Motion(NamedTuple):
    """Where cars are at the start and the end of each tick of 0.1 s; (ticks + 1, N) each."""

    x_m: Floats  # East
    y_m: Floats  # North
    speed_mps: Floats  # Along the road
    heading_deg: Floats  # Clockwise from north, [0, 360)
    accel_mps2: Floats  # Along the road, over the tick before

    @property
    def xy_m(self) -> Floats:
        """(ticks + 1, N, 2), east and north."""
        return np.stack([self.x_m, self.y_m], axis=-1)


def make_drive(
    num_cars: int, duration_s: float, seed: int, *, parked: bool = False, hard_brakings: int = 0
) -> Motion:
    """Drive with stops, at distances that wander: about 8 to 80 m between neighbours.

    The last of N cars leads, car 0 is the rearmost; nobody moves if `parked`. So many times, or
    as often as there is room for it, the leader brakes at 5 m/s² for 1.2 s, everyone behind it a
    second after the car ahead, and all speed up again. The same seed gives the same drive.
    """
    ticks = round(duration_s / DT_S)
    key = fold(seed, Stream.SYNTHETIC_LOGS, 1)
    speed_mps = np.zeros(ticks + 1) if parked else _drawn_speed(ticks, key)
    # A driver takes a while to follow: the distance belongs to the speed of just now.
    keep = np.exp(-DT_S / _FOLLOWS_S)
    smooth_mps, _ = lfilter([1.0 - keep], [1.0, -keep], speed_mps, zi=[keep * speed_mps[0]])
    headways_s = [_wandering(ticks, fold(key, _HEADWAYS, car)) for car in range(1, num_cars)]
    along_m = _row_of_cars(1000.0 + np.cumsum(speed_mps) * DT_S, smooth_mps, headways_s)
    for tick in hard_braking_ticks(speed_mps, seed, hard_brakings):
        _brake_hard(along_m, tick)
    return _on_road(along_m)


def hard_braking_ticks(speed_mps: Floats, seed: int, count: int) -> list[int]:
    """Draw when the leader brakes hard, so far apart that each braking is over before the next.

    It cruises then: from 5 s before on, until all have made up for it.

    Args:
        speed_mps: (ticks + 1,), the leader's speed without these brakings.
        seed: Of the drive.
        count: How many at most.
    """
    key = fold(seed, Stream.SYNTHETIC_LOGS, _HARD)[0]
    lasts = round(_HARD_APART_S / DT_S)
    slow = np.concatenate([[0], np.cumsum(speed_mps < _HARD_FROM_MPS)])
    before = round(_HARD_SETTLED_S / DT_S)
    starts = np.arange(before, max(speed_mps.size - lasts, before))
    room = starts[slow[starts + lasts] == slow[starts - before]]
    found: list[int] = []
    for tick in room[np.argsort(uniform(fold(key, room)), kind="stable")].tolist():
        if len(found) == count:
            break
        if all(abs(tick - other) > lasts for other in found):
            found.append(tick)
    return sorted(found)


def _brake_hard(along_m: Floats, tick: int) -> None:
    """Let all cars of a row (K, N), leader last, brake hard and recover, one behind another."""
    brakes, recovers = round(_HARD_S / DT_S), round(_HARD_S * _HARD_MPS2 / _RECOVERS_MPS2 / DT_S)
    accel = np.concatenate([np.full(brakes, -_HARD_MPS2), np.full(recovers, _RECOVERS_MPS2)])
    way_m = np.cumsum(np.cumsum(accel)) * DT_S * DT_S
    for behind in range(along_m.shape[1]):
        begin = tick + round(behind * _HARD_AFTER_S / DT_S)
        car = along_m[begin:, along_m.shape[1] - 1 - behind]
        car[: way_m.size] += way_m[: car.size]
        car[way_m.size :] += way_m[-1]


def reference_speed_mps() -> Floats:
    """Return the speed of the reference drive's first car, (5821,), at rest to begin with."""
    time_s = np.arange(round(_REFERENCE_S / DT_S) + 1) * DT_S
    wanted_mps = np.zeros_like(time_s)
    begin_s = 0.0
    for cruise_mps, leg_s, standing_s in _REFERENCE_LEGS:
        wanted_mps[(time_s >= begin_s) & (time_s < begin_s + leg_s - standing_s)] = cruise_mps
        begin_s += leg_s
    return _driven(wanted_mps * _sway(time_s.size))


def reference_drive(num_envs: int) -> Floats:
    """Return where the cars of the reference drive are, the same in each of E convoys.

    Returns:
        (5821, E, 3), metres along a straight road; car 2 leads, car 0 is the last. A car follows
        its leader at 8.5 m and 1.1 s, more or less, and never rolls back.
    """
    speed_mps = reference_speed_mps()
    time_s = np.arange(speed_mps.size) * DT_S
    headways_s = [
        _REFERENCE_HEADWAY_S + _HEADWAY_SWAY_S * np.sin(2.0 * np.pi * time_s / sway_s + 2.0 * k)
        for k, sway_s in enumerate(_SWAYS_S)
    ]
    drive = _row_of_cars(np.cumsum(speed_mps) * DT_S, speed_mps, headways_s)
    return np.repeat(drive[:, None], num_envs, axis=1)


def _drawn_speed(ticks: int, key: Words) -> Floats:
    wanted = np.zeros(ticks + 1)
    begin, leg = 0, 0
    while begin <= ticks:
        leg_s, stand_s, cruise_mps = (
            low + (high - low) * float(uniform(fold(key, part, leg))[0])
            for part, (low, high) in ((_LEGS, _LEG_S), (_STANDS, _STAND_S), (_CRUISES, _CRUISE_MPS))
        )
        drives = round(leg_s / DT_S)
        end = min(begin + drives, ticks + 1)
        wanted[begin:end] = cruise_mps * _sway(end - begin)
        begin, leg = begin + drives + round(stand_s / DT_S), leg + 1
    return _driven(wanted)


def _sway(ticks: int) -> Floats:
    """A cruising speed's factor by tick, (ticks,), up and down by 12 %."""
    sway: Floats = np.sin(2.0 * np.pi * np.arange(ticks) * DT_S / _SPEED_SWAY_S)
    return 1.0 + _SPEED_SWAY * sway


def _driven(wanted_mps: Floats) -> Floats:
    """Follow a wanted speed, from rest, as well as a car can."""
    speed_mps = np.zeros_like(wanted_mps)
    for k in range(1, wanted_mps.size):
        change = wanted_mps[k] - speed_mps[k - 1]
        change = min(max(change, -_BRAKES_MPS2 * DT_S), _ACCELERATES_MPS2 * DT_S)
        speed_mps[k] = speed_mps[k - 1] + change
    return speed_mps


def _row_of_cars(leader_m: Floats, speed_mps: Floats, headways_s: list[Floats]) -> Floats:
    """Put cars behind a leader, each at its headway (K,): (K, N) along the road, leader last."""
    along_m = [leader_m]
    for headway_s in headways_s:
        behind_m = along_m[-1] - (_STANDING_M + headway_s * speed_mps)
        along_m.append(np.maximum.accumulate(behind_m))
    return np.stack(along_m[::-1], axis=-1)


def _wandering(ticks: int, key: Words) -> Floats:
    """Time headways whose logarithm wanders smoothly between knots that are drawn."""
    per_knot = round(_HEADWAY_KNOTS_S / DT_S)
    knots = ticks // per_knot + 3
    values = normal(fold(key[0], np.arange(knots))) * _HEADWAY_SPREAD
    at = np.arange(ticks + 1) / per_knot
    left = at.astype(np.int64)
    share = 0.5 - 0.5 * np.cos(np.pi * (at - left))
    log_ratio = (1.0 - share) * values[left] + share * values[left + 1]
    return np.clip(_HEADWAY_S * np.exp(log_ratio), *_HEADWAYS_S)


def _on_road(along_m: Floats) -> Motion:
    """Lay distances along a road that bends left and right."""
    low_m, high_m = along_m.min() - _STEP_M, along_m.max() + 2.0 * _STEP_M
    road_m = np.arange(low_m, high_m, _STEP_M)
    bearing = np.radians(90.0 + _BEND_DEG * np.sin(road_m / _BEND_M))
    steps = np.stack([np.sin(bearing), np.cos(bearing)], axis=-1) * _STEP_M
    road_xy = np.cumsum(steps, axis=0) - steps[0]
    x_m, y_m = (np.interp(along_m, road_m, axis) for axis in road_xy.T)
    heading_deg = (90.0 + _BEND_DEG * np.sin(along_m / _BEND_M)) % 360.0
    speed = np.diff(along_m, axis=0, prepend=along_m[:1]) / DT_S
    accel = np.diff(speed, axis=0, prepend=speed[:1]) / DT_S
    return Motion(x_m, y_m, speed, heading_deg, accel)
