"""What happened on a recorded drive: hard brakings, and the times around them that count."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.envs.scoring.metrics import (
    ANSWERED_S,
    CAUSE_PEER_BRAKES_MPS2,
    CAUSE_S,
    LATE_S,
    REACTION_MPS2,
    WARNED_S,
)
from ml.vehicle import DT_S

_WARNED_TICKS: Final = round(WARNED_S / DT_S)
_LATE_TICKS: Final = round(LATE_S / DT_S)
_ANSWERED_TICKS: Final = round(ANSWERED_S / DT_S)
_CAUSE_TICKS: Final = round(CAUSE_S / DT_S)


class Event(NamedTuple):
    """A hard braking.

    Attributes:
        who: The board whose car brakes.
        reacts: The first tick of this braking, at or before the onset: in all from it to the onset
            the car brakes harder than 1 m/s² (`REACTION_MPS2`).
        tick: Its onset, the first tick in which it brakes as hard as the threshold says.
        end: The first tick after it in which it brakes no harder than 1 m/s².
        hardest_mps2: Its hardest braking, above 0.
    """

    who: str
    reacts: int
    tick: int
    end: int
    hardest_mps2: float


class Spans(NamedTuple):
    """A stretch of ticks for each of N events, (N,) int64 each: from `begin` up to `end`."""

    begin: Ints
    end: Ints


def hard_brakings(
    who: str, accel_mps2: Floats, moving: Bools, threshold_mps2: float
) -> list[Event]:
    """Find a car's hard brakings while the ego moves.

    One begins in the first tick with an acceleration ≤ −threshold, and is over in the first after
    it with one > −1 m/s² (`REACTION_MPS2`), or that is not known: what swings around the threshold
    meanwhile is the same braking.

    Args:
        who: The board.
        accel_mps2: (T,), NaN where unknown.
        moving: (T,), whether the ego moves; a braking whose onset is elsewhere does not count.
        threshold_mps2: Above 0.
    """
    found = []
    hard = np.flatnonzero(accel_mps2 <= -threshold_mps2)
    calm = np.flatnonzero(~(accel_mps2 <= -REACTION_MPS2))
    at = 0
    while at < hard.size:
        onset = int(hard[at])
        later = int(np.searchsorted(calm, onset))
        end = int(calm[later]) if later < calm.size else accel_mps2.size
        reacts = int(calm[later - 1]) + 1 if later else 0
        if moving[onset]:
            hardest = float(-accel_mps2[onset:end].min())
            found.append(Event(who, reacts, onset, end, hardest))
        at = int(np.searchsorted(hard, end))
    return found


def warning_spans(events: list[Event]) -> Spans:
    """Ticks in which firing warns of the ego's own hard brakings: the 3 s before its driver reacts.

    Not a tick more: from then on its own accelerometer tells of the braking, and who merely echoes
    that warns of nothing.
    """
    reacts = np.array([event.reacts for event in events], dtype=np.int64)
    return Spans(np.maximum(reacts - _WARNED_TICKS, 0), reacts)


def answering_spans(events: list[Event], ticks: int) -> Spans:
    """Ticks in which firing answers hard brakings of peers: an onset, and 3 s behind it."""
    onset = np.array([event.tick for event in events], dtype=np.int64)
    return Spans(onset, np.minimum(onset + _ANSWERED_TICKS + 1, ticks))


def quiet_ticks(accel_mps2: Mapping[str, Floats], moving: Bools) -> Bools:
    """Tell in which ticks the ego moves and nobody brakes, (T,).

    Nobody, the ego included, brakes harder than 1 m/s² (`CAUSE_PEER_BRAKES_MPS2`) within 3 s.

    Args:
        accel_mps2: (T,) of each board, NaN where unknown.
        moving: (T,).
    """
    braking = np.zeros(moving.size, dtype=bool)
    for values in accel_mps2.values():
        braking |= values < -CAUSE_PEER_BRAKES_MPS2
    reach = np.ones(2 * _CAUSE_TICKS + 1)
    near = np.convolve(braking, reach)[_CAUSE_TICKS : _CAUSE_TICKS + moving.size] > 0.0
    return moving & ~near


def starts(firing: Bools) -> Bools:
    """Tell in which ticks firing begins, (T,): it fires, and did not in the tick before."""
    begins: Bools = firing & ~np.concatenate([[False], firing[:-1]])
    return begins


def lead_ticks(firing: Bools, event: Event) -> int | None:
    """How many ticks before a driver reacts firing begins, in the 3 s before to the 1 s after.

    Positive before, which is a warning; None where it does not fire there. Who already fires at the
    beginning has a lead of the whole 3 s.
    """
    begin = max(event.reacts - _WARNED_TICKS, 0)
    fired = np.flatnonzero(firing[begin : event.reacts + _LATE_TICKS + 1])
    return event.reacts - begin - int(fired[0]) if fired.size else None


def answer_ticks(firing: Bools, event: Event) -> int | None:
    """How many ticks after a peer's onset it fires first, within 3 s; None where it does not."""
    fired = np.flatnonzero(firing[event.tick : event.tick + _ANSWERED_TICKS + 1])
    return int(fired[0]) if fired.size else None
