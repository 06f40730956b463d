"""What happened on a recorded drive: hard brakings, and the times around them that count."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.calibration.brakings import brakings_of
from ml.envs.scoring.metrics import (
    ANSWERED_S,
    CAUSE_PEER_BRAKES_MPS2,
    CAUSE_S,
    LATE_S,
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
        reacts: The first tick of this braking (`brakings_of`), at or before the onset.
        tick: Its onset, the first tick in which it brakes as hard as the threshold says.
        end: The first tick after it.
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

    A braking (`brakings_of`) is hard if its acceleration is ≤ −threshold in any tick: what swings
    around the threshold meanwhile is the same braking.

    Args:
        who: The board.
        accel_mps2: (T,), NaN where unknown.
        moving: (T,), whether the ego moves; a braking whose onset is elsewhere does not count.
        threshold_mps2: Above 0.
    """
    found = []
    for reacts, end in brakings_of(accel_mps2).tolist():
        hard = reacts + np.flatnonzero(accel_mps2[reacts:end] <= -threshold_mps2)
        if hard.size and moving[hard[0]]:
            hardest = float(-accel_mps2[hard].min())
            found.append(Event(who, reacts, int(hard[0]), end, hardest))
    return found


def warning_spans(events: list[Event]) -> Spans:
    """Ticks in which firing warns of the ego's own hard brakings: the 3 s before its driver reacts.

    Not a tick more: from then on its own accelerometer tells of the braking, and who merely echoes
    that warns of nothing.
    """
    reacts = np.array([event.reacts for event in events], dtype=np.int64)
    return Spans(np.maximum(reacts - _WARNED_TICKS, 0), reacts)


def answering_spans(events: list[Event], own_mps2: Floats) -> Spans:
    """Ticks in which firing answers hard brakings of peers: an onset, and 3 s behind it.

    No tick in which the ego's driver brakes himself, nor any after it: from then on its own
    accelerometer tells, and who merely echoes that answers nothing. Where he brakes already at the
    onset the span is empty.

    Args:
        events: Of peers.
        own_mps2: (T,) acceleration of the ego, NaN where unknown.
    """
    onset = np.array([event.tick for event in events], dtype=np.int64)
    runs = brakings_of(own_mps2)
    # The end of the braking that is over next tells which one begins, or has begun, first.
    next_run = np.searchsorted(runs[:, 1], onset, side="right")
    begins = np.append(runs[:, 0], own_mps2.size)[next_run]
    return Spans(onset, np.clip(begins, onset, onset + _ANSWERED_TICKS + 1))


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


def answer_ticks(firing: Bools, event: Event, end: int) -> int | None:
    """How many ticks after a peer's onset it fires first; None where it does not.

    `end` is that of the event's span, see `answering_spans`.
    """
    fired = np.flatnonzero(firing[event.tick : end])
    return int(fired[0]) if fired.size else None
