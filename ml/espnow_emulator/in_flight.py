"""Frames that were sent and have not arrived: slots per source, shared by its receivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ml.espnow_emulator.messages import PayloadField

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER_US: Final = np.iinfo(np.int64).max
_SLOTS_AT_FIRST = 4


class InFlightQueue:
    """Pending frames of a whole batch in arrays; it doubles its slots rather than drop one.

    A frame takes the lowest slot of its source from which no receiver has anything to expect any
    more. The slot's axis comes first, so that one slot of all links is one contiguous block and
    an empty block costs a single comparison.

    Args:
        num_envs: E.
        num_receivers: R.
        num_sources: S.

    Attributes:
        arrival_us: (slots, E, R, S) int64, true time; NEVER_US where nothing is pending.
        sequence, epoch, timestamp_ms, generated_us: (slots, E, S) int64, of the frame.
        payload: (slots, E, S, F) float64.
    """

    def __init__(self, num_envs: int, num_receivers: int, num_sources: int) -> None:
        frames = (_SLOTS_AT_FIRST, num_envs, num_sources)
        links = (_SLOTS_AT_FIRST, num_envs, num_receivers, num_sources)
        self.arrival_us: NDArray[np.int64] = np.full(links, NEVER_US, np.int64)
        self.sequence: NDArray[np.int64] = np.zeros(frames, np.int64)
        self.epoch: NDArray[np.int64] = np.zeros(frames, np.int64)
        self.timestamp_ms: NDArray[np.int64] = np.zeros(frames, np.int64)
        self.generated_us: NDArray[np.int64] = np.zeros(frames, np.int64)
        self.payload: NDArray[np.float64] = np.zeros((*frames, len(PayloadField)))

    @property
    def num_slots(self) -> int:
        """Slots per source at present."""
        return len(self.arrival_us)

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Drop everything that is pending in the given convoys."""
        self.arrival_us[:, env_indices] = NEVER_US

    def put(
        self,
        sending: NDArray[np.bool_],
        arrival_us: NDArray[np.int64],
        *,
        sequence: NDArray[np.int64],
        epoch: NDArray[np.int64],
        timestamp_ms: NDArray[np.int64],
        generated_us: NDArray[np.int64],
        payload: NDArray[np.float64],
    ) -> None:
        """Queue one frame per sending source.

        Args:
            sending: (E, S) bool.
            arrival_us: (E, R, S) int64, NEVER_US on links that lose the frame.
            sequence: (E, S) int64.
            epoch: (E, S) int64.
            timestamp_ms: (E, S) int64.
            generated_us: (E, S) int64.
            payload: (E, S, F) float64.
        """
        waiting = sending
        slot = 0
        while waiting.any():
            if slot == self.num_slots:
                self.grow(2 * slot)
            free = (self.arrival_us[slot] == NEVER_US).all(axis=1)
            here = waiting & free
            np.copyto(self.arrival_us[slot], arrival_us, where=here[:, None])
            np.copyto(self.sequence[slot], sequence, where=here)
            np.copyto(self.epoch[slot], epoch, where=here)
            np.copyto(self.timestamp_ms[slot], timestamp_ms, where=here)
            np.copyto(self.generated_us[slot], generated_us, where=here)
            np.copyto(self.payload[slot], payload, where=here[:, :, None])
            waiting = waiting & ~free
            slot += 1

    def grow(self, num_slots: int) -> None:
        """Give every source so many slots, at least as many as it has."""
        more = num_slots - self.num_slots
        for name, array in vars(self).items():
            fill = NEVER_US if name == "arrival_us" else 0
            extra = np.full((more, *array.shape[1:]), fill, array.dtype)
            setattr(self, name, np.concatenate([array, extra]))
