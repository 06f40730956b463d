"""The smallest (reception - timestamp) of the last minute: what makes two clocks comparable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_BUCKETS: Final = 12
BUCKET_MS: Final = 5_000
EMPTY_MS: Final = np.iinfo(np.int64).max
_LONG_AGO = np.iinfo(np.int64).min // 4


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
        smallest_ms: (E, R, S) int64, EMPTY_MS where no reception lies in the window.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.smallest_ms: NDArray[np.int64] = np.full(shape, EMPTY_MS, np.int64)
        self._buckets = np.full((WINDOW_BUCKETS, *shape), EMPTY_MS, np.int64)
        self._current = np.full(shape[:2], _LONG_AGO, np.int64)
        self._epoch = np.zeros(shape, dtype=np.int64)
        self._links: NDArray[np.int64] = np.arange(self.smallest_ms.size).reshape(shape)

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Forget all receptions of the given convoys."""
        self.smallest_ms[env_indices] = EMPTY_MS
        self._buckets[:, env_indices] = EMPTY_MS
        self._current[env_indices] = _LONG_AGO
        self._epoch[env_indices] = 0

    def advance(self, elapsed_ms: NDArray[np.int64]) -> None:
        """Move to the present and drop what has left the window.

        Args:
            elapsed_ms: (E, R) int64, each receiver's clock since the start of the episode.
        """
        present = elapsed_ms // BUCKET_MS
        moved = present != self._current
        if not moved.any():
            return
        env, receiver = np.nonzero(moved)
        new, old = present[env, receiver], self._current[env, receiver]
        place = np.arange(WINDOW_BUCKETS)[:, None]
        stands_for = new - (new - place) % WINDOW_BUCKETS
        buckets = self._buckets[:, env, receiver]
        buckets[stands_for > old] = EMPTY_MS
        self._buckets[:, env, receiver] = buckets
        self.smallest_ms[env, receiver] = buckets.min(axis=0)
        self._current[env, receiver] = new

    def add(
        self,
        received: NDArray[np.bool_],
        offset_ms: NDArray[np.int64],
        elapsed_ms: NDArray[np.int64],
        epoch: NDArray[np.int64],
    ) -> None:
        """Take note of receptions; call `advance` first.

        Args:
            received: (E, R, S) bool.
            offset_ms: (E, R, S) int64, reception in the receiver's clock less the timestamp.
            elapsed_ms: (E, R, S) int64, the receiver's clock at the reception.
            epoch: (E, R, S) int64, the source's boot epoch that the message is from.
        """
        rebooted = received & (epoch > self._epoch)
        if rebooted.any():
            np.copyto(self._epoch, epoch, where=rebooted)
            self._buckets[:, rebooted] = EMPTY_MS
            self.smallest_ms[rebooted] = EMPTY_MS
        bucket = elapsed_ms // BUCKET_MS
        inside = received & (epoch == self._epoch)
        inside &= bucket > self._current[:, :, None] - WINDOW_BUCKETS
        offset = np.where(inside, offset_ms, EMPTY_MS)
        flat = (bucket % WINDOW_BUCKETS) * self._links.size + self._links
        cells = self._buckets.reshape(-1)
        cells[flat] = np.minimum(cells[flat], offset)
        np.minimum(self.smallest_ms, offset, out=self.smallest_ms)
