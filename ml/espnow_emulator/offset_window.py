"""The smallest (reception - timestamp) of the last minute: what makes two clocks comparable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ml.compiled import inlined

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_BUCKETS: Final = 12
BUCKET_MS: Final = 5_000
EMPTY_MS: Final = int(np.iinfo(np.int64).max)
_LONG_AGO = np.iinfo(np.int64).min // 4


class WindowArrays(NamedTuple):
    """The memory of an `OffsetWindow`, as its loops want it; int64.

    Attributes:
        smallest_ms: (E, R, S), EMPTY_MS where no reception lies in the window.
        bucket_ms: (E, R, S, 12), the smallest of each bucket, by bucket number modulo 12.
        current: (E, R), the number of the present bucket.
        epoch: (E, R, S), the source's boot epoch that the window is of.
    """

    smallest_ms: NDArray[np.int64]
    bucket_ms: NDArray[np.int64]
    current: NDArray[np.int64]
    epoch: NDArray[np.int64]


class OffsetWindow:
    """Running minimum per link over buckets of 5 s of the receiver's clock.

    The window holds the bucket of the last delivery and the eleven before it, so it reaches back
    between 55 and 60 s: a minute at most, in twelve numbers per link, as on the board. Buckets
    are counted from the receiver's reading at the start of the episode, so that the clock's
    offset does not move them. A source that reboots starts an empty window, because its clock
    has jumped.

    Args:
        shape: (E, R, S).

    Attributes:
        arrays: The memory itself, for `move_on` and `note_reception`.
        smallest_ms: (E, R, S) int64, EMPTY_MS where no reception lies in the window.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.arrays = WindowArrays(
            smallest_ms=np.full(shape, EMPTY_MS, np.int64),
            bucket_ms=np.full((*shape, WINDOW_BUCKETS), EMPTY_MS, np.int64),
            current=np.full(shape[:2], _LONG_AGO, np.int64),
            epoch=np.zeros(shape, dtype=np.int64),
        )
        self.smallest_ms = self.arrays.smallest_ms

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Forget all receptions of the given convoys."""
        self.arrays.smallest_ms[env_indices] = EMPTY_MS
        self.arrays.bucket_ms[env_indices] = EMPTY_MS
        self.arrays.current[env_indices] = _LONG_AGO
        self.arrays.epoch[env_indices] = 0


@inlined
def move_on(window: WindowArrays, env: int, receiver: int, elapsed_ms: int) -> None:
    """Move a receiver's windows to the present and drop what has left them.

    Args:
        window: Of all links.
        env: Convoy.
        receiver: Receiver.
        elapsed_ms: The receiver's clock since the start of the episode.
    """
    new, old = elapsed_ms // BUCKET_MS, window.current[env, receiver]
    if new == old:
        return
    window.current[env, receiver] = new
    for s in range(window.epoch.shape[2]):
        smallest_ms = EMPTY_MS
        for place in range(WINDOW_BUCKETS):
            stands_for = new - (new - place) % WINDOW_BUCKETS
            if stands_for > old:
                window.bucket_ms[env, receiver, s, place] = EMPTY_MS
            smallest_ms = min(smallest_ms, window.bucket_ms[env, receiver, s, place])
        window.smallest_ms[env, receiver, s] = smallest_ms


@inlined
def note_reception(
    window: WindowArrays, link: tuple[int, int, int], offset_ms: int, elapsed_ms: int, epoch: int
) -> None:
    """Add one reception to a window that was moved to the present by `move_on`.

    Args:
        window: Of all links.
        link: (convoy, receiver, source).
        offset_ms: Reception in the receiver's clock less the timestamp.
        elapsed_ms: The receiver's clock at the reception, since the start of the episode.
        epoch: The source's boot epoch that the message is from.
    """
    env, receiver, source = link
    if epoch > window.epoch[link]:
        window.epoch[link] = epoch
        window.smallest_ms[link] = EMPTY_MS
        # Cell by cell: to make a view would cost more than all the rest of this function.
        for place in range(WINDOW_BUCKETS):
            window.bucket_ms[env, receiver, source, place] = EMPTY_MS
    bucket = elapsed_ms // BUCKET_MS
    oldest = window.current[env, receiver] - WINDOW_BUCKETS + 1
    if epoch == window.epoch[link] and bucket >= oldest:
        cell = (env, receiver, source, bucket % WINDOW_BUCKETS)
        window.bucket_ms[cell] = min(window.bucket_ms[cell], offset_ms)
        window.smallest_ms[link] = min(window.smallest_ms[link], offset_ms)
