"""Frames that were sent and have not arrived: slots per source, shared by its receivers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.espnow_emulator.messages import PayloadField

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

NEVER_US: Final = np.iinfo(np.int64).max
_SLOTS_AT_FIRST = 4


class FrameField(IntEnum):
    """Index of each whole number that travels with a frame."""

    SEQUENCE = 0
    EPOCH = 1
    TIMESTAMP_MS = 2
    GENERATED_US = 3


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Frames that have arrived, at most one per link.

    Attributes:
        arrived: (E, R, S) bool.
        arrival_us: (E, R, S) int64, true time; 0 where nothing arrived.
        numbers: (4, E, 1 or R, S) int64, indexed by `FrameField`.
        payload: (E, 1 or R, S, F) float64.
    """

    arrived: NDArray[np.bool_]
    arrival_us: NDArray[np.int64]
    numbers: NDArray[np.int64]
    payload: NDArray[np.float64]


class InFlightQueue:
    """Pending frames of a whole batch in arrays; it doubles its slots rather than drop one.

    A frame takes the lowest slot of its source from which no receiver has anything to expect any
    more. The slot's axis comes first, so that one slot of all links is one contiguous block and
    an empty block costs a single comparison.

    Args:
        num_envs: E.
        num_receivers: R.
        num_sources: S.
    """

    def __init__(self, num_envs: int, num_receivers: int, num_sources: int) -> None:
        slots, fields = _SLOTS_AT_FIRST, len(PayloadField)
        self._arrival_us = np.full((slots, num_envs, num_receivers, num_sources), NEVER_US)
        self._numbers = np.zeros((slots, len(FrameField), num_envs, num_sources), dtype=np.int64)
        self._payload = np.zeros((slots, num_envs, num_sources, fields))

    @property
    def num_slots(self) -> int:
        """Slots per source at present."""
        return len(self._arrival_us)

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Drop everything that is pending in the given convoys."""
        self._arrival_us[:, env_indices] = NEVER_US

    def put(
        self,
        sending: NDArray[np.bool_],
        arrival_us: NDArray[np.int64],
        numbers: NDArray[np.int64],
        payload: NDArray[np.float64],
    ) -> None:
        """Queue one frame per sending source.

        Args:
            sending: (E, S) bool.
            arrival_us: (E, R, S) int64, NEVER_US on links that lose the frame.
            numbers: (4, E, S) int64, indexed by `FrameField`.
            payload: (E, S, F) float64.
        """
        waiting = sending
        slot = 0
        while waiting.any():
            if slot == self.num_slots:
                self._grow()
            free = (self._arrival_us[slot] == NEVER_US).all(axis=1)
            here = waiting & free
            np.copyto(self._arrival_us[slot], arrival_us, where=here[:, None])
            np.copyto(self._numbers[slot], numbers, where=here)
            np.copyto(self._payload[slot], payload, where=here[:, :, None])
            waiting = waiting & ~free
            slot += 1

    def take(self, now_us: NDArray[np.int64]) -> Iterator[Arrivals]:
        """Take out what has arrived by now (E,), in no particular order."""
        slots, masks = [], []
        for slot, pending in enumerate(self._arrival_us):
            arrived = pending <= now_us[:, None, None]
            if arrived.any():
                slots.append(slot)
                masks.append(arrived)
        parts = [self._out_of(slot, arrived) for slot, arrived in zip(slots, masks, strict=True)]
        if len(parts) > 1 and np.add.reduce(masks, dtype=np.int8).max() == 1:
            yield _merged(parts)
        else:
            yield from parts

    def pending(self) -> list[tuple[int, int, int, int]]:
        """Return (convoy, receiver, source, sequence) of every frame that has yet to arrive."""
        slot, env, receiver, source = np.nonzero(self._arrival_us != NEVER_US)
        sequence = self._numbers[slot, FrameField.SEQUENCE, env, source]
        return sorted(
            zip(env.tolist(), receiver.tolist(), source.tolist(), sequence.tolist(), strict=True)
        )

    def _out_of(self, slot: int, arrived: NDArray[np.bool_]) -> Arrivals:
        arrival_us = np.where(arrived, self._arrival_us[slot], 0)
        np.copyto(self._arrival_us[slot], NEVER_US, where=arrived)
        return Arrivals(
            arrived, arrival_us, self._numbers[slot][:, :, None], self._payload[slot][:, None]
        )

    def _grow(self) -> None:
        self._arrival_us = np.concatenate(
            [self._arrival_us, np.full_like(self._arrival_us, NEVER_US)]
        )
        self._numbers = np.concatenate([self._numbers, np.zeros_like(self._numbers)])
        self._payload = np.concatenate([self._payload, np.zeros_like(self._payload)])


def _merged(parts: list[Arrivals]) -> Arrivals:
    """Lay arrivals from several slots over each other; no link may have two."""
    shape = parts[0].arrived.shape
    arrived = parts[0].arrived.copy()
    arrival_us = parts[0].arrival_us.copy()
    numbers = np.broadcast_to(parts[0].numbers, (len(FrameField), *shape)).copy()
    payload = np.broadcast_to(parts[0].payload, (*shape, len(PayloadField))).copy()
    for part in parts[1:]:
        arrived |= part.arrived
        arrival_us += part.arrival_us
        np.copyto(numbers, part.numbers, where=part.arrived)
        np.copyto(payload, part.payload, where=part.arrived[..., None])
    return Arrivals(arrived, arrival_us, numbers, payload)
