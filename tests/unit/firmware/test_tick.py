"""Ticks stay in their slot, and one that came or ended too late is told."""

from __future__ import annotations

import ctypes

import pytest

pytestmark = pytest.mark.board


class Tick(ctypes.Structure):
    """`struct tick`."""

    _fields_ = (
        ("due_us", ctypes.c_int64),
        ("next_us", ctypes.c_int64),
        ("missed", ctypes.c_uint32),
        ("late_us", ctypes.c_int32),
        ("took_us", ctypes.c_int32),
    )


class Clock:
    """Ticks from 50 ms after the board began."""

    def __init__(self, library):
        self.tick, self._library = Tick(), library
        library.tick_is_due.restype = library.tick_end.restype = ctypes.c_bool
        library.tick_begin(ctypes.byref(self.tick), ctypes.c_int64(50_000))

    def is_due(self, now_us):
        """Whether a tick begins."""
        return self._library.tick_is_due(ctypes.byref(self.tick), ctypes.c_int64(now_us))

    def overran(self, now_us):
        """End it."""
        return self._library.tick_end(ctypes.byref(self.tick), ctypes.c_int64(now_us))


@pytest.fixture
def clock(node_parts):
    """See `Clock`."""
    return Clock(node_parts)


def test_a_tick_is_due_once_and_a_period_after_the_one_before(clock):
    """However late each began: the next is due on the grid."""
    assert not clock.is_due(149_999)
    assert clock.is_due(153_000)
    assert clock.tick.late_us == 3_000
    assert not clock.overran(200_000)
    assert not clock.is_due(249_999)
    assert clock.is_due(250_000)
    assert clock.tick.missed == 0


def test_ticks_that_are_past_are_left_out_and_counted(clock):
    """Not made up for one upon the other, and the slot stays where it was."""
    assert clock.is_due(480_000)
    assert clock.tick.due_us == 450_000
    assert clock.tick.missed == 3
    assert clock.overran(481_000)
    assert not clock.is_due(481_000)
    assert clock.is_due(550_000)
    assert not clock.overran(551_000)
    assert clock.tick.missed == 3


@pytest.mark.parametrize(("ends_us", "overruns"), [(250_000, False), (250_001, True)])
def test_a_tick_overruns_when_it_ends_after_the_next_was_due(clock, ends_us, overruns):
    """To the microsecond."""
    assert clock.is_due(160_000)
    assert clock.overran(ends_us) == overruns
    assert clock.tick.took_us == ends_us - 150_000
