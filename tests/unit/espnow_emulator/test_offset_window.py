import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.arrays import allocate
from ml.espnow_emulator.peer_table import (
    BUCKET_MS,
    EMPTY_MS,
    WINDOW_BUCKETS,
    WindowArrays,
    move_on,
    note_reception,
)

# (elapsed ms at the poll, then how long before it the message came, and its offset)
POLLS = st.lists(
    st.tuples(
        st.integers(0, 30_000),
        st.lists(st.tuples(st.integers(0, 70_000), st.integers(-50, 50)), max_size=4),
    ),
    max_size=25,
)


def _empty_window() -> WindowArrays:
    window = allocate(WindowArrays, {"E": 1, "R": 1, "S": 1, "BUCKETS": WINDOW_BUCKETS})
    window.clear(np.array([0]))
    return window


def _add(window: WindowArrays, elapsed_ms: int, offset_ms: int, epoch: int = 0) -> None:
    note_reception(window, (0, 0, 0), offset_ms, elapsed_ms, epoch)


@settings(max_examples=200, deadline=None)
@given(POLLS)
def test_the_minimum_is_that_of_the_present_bucket_and_the_eleven_before(polls):
    """A list of all receptions, searched at every poll, gives the same minimum."""
    window = _empty_window()
    receptions: list[tuple[int, int]] = []
    now_ms = 0
    for pause_ms, messages in polls:
        now_ms += pause_ms
        move_on(window, 0, 0, now_ms)
        for before_ms, offset_ms in messages:
            receptions.append((now_ms - before_ms, offset_ms))
            _add(window, now_ms - before_ms, offset_ms)
        oldest = now_ms // BUCKET_MS - WINDOW_BUCKETS + 1
        inside = [offset for at_ms, offset in receptions if at_ms // BUCKET_MS >= oldest]
        assert window.smallest_ms[0, 0, 0] == min(inside, default=EMPTY_MS)


@pytest.mark.parametrize(("age_ms", "counts"), [(54_999, True), (59_999, True), (60_000, False)])
def test_the_window_reaches_back_at_most_a_minute(age_ms: int, *, counts: bool):
    """At the end of a bucket what is just under a minute old counts, and a minute does not."""
    window = _empty_window()
    now_ms = 20 * BUCKET_MS - 1
    move_on(window, 0, 0, now_ms)
    _add(window, now_ms, 9)
    _add(window, now_ms - age_ms, 3)
    assert window.smallest_ms[0, 0, 0] == (3 if counts else 9)


def test_a_reboot_empties_the_window_and_the_old_boot_counts_no_more():
    """After a message of a new boot, offsets of the old one neither stay nor come back late."""
    window = _empty_window()
    move_on(window, 0, 0, 1_000)
    _add(window, 900, -5_000)
    _add(window, 950, 40, epoch=1)
    assert window.smallest_ms[0, 0, 0] == 40
    _add(window, 960, -5_000, epoch=0)
    assert window.smallest_ms[0, 0, 0] == 40
    window.clear(np.array([0]))
    assert window.smallest_ms[0, 0, 0] == EMPTY_MS
