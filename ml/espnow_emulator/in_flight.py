"""Frames that were sent and have not arrived: slots per source, shared by its receivers."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from ml.compiled import compiled
from ml.espnow_emulator.messages import PayloadField

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER_US: Final = int(np.iinfo(np.int64).max)
_SLOTS_AT_FIRST = 4


class FrameField(IntEnum):
    """Index of each whole number that travels with a frame."""

    SEQUENCE = 0
    EPOCH = 1
    TIMESTAMP_MS = 2
    GENERATED_US = 3


class InFlightQueue:
    """Pending frames of a whole batch in arrays; it doubles its slots rather than drop one.

    A frame takes the lowest slot of its source from which no receiver has anything to expect any
    more.

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
        done = 0
        while True:
            done = _put(
                done,
                sending,
                arrival_us,
                numbers,
                payload,
                self._arrival_us,
                self._numbers,
                self._payload,
            )
            if done == sending.size:
                return
            self._grow()

    def slots(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return the slots themselves, for the loop that takes out what has arrived.

        Returns:
            arrival_us: (slots, E, R, S) int64, true time; NEVER_US where nothing is expected.
            numbers: (slots, 4, E, S) int64, indexed by `FrameField`.
            payload: (slots, E, S, F) float64.
        """
        return self._arrival_us, self._numbers, self._payload

    def pending(self) -> list[tuple[int, int, int, int]]:
        """Return (convoy, receiver, source, sequence) of every frame that has yet to arrive."""
        slot, env, receiver, source = np.nonzero(self._arrival_us != NEVER_US)
        sequence = self._numbers[slot, FrameField.SEQUENCE, env, source]
        return sorted(
            zip(env.tolist(), receiver.tolist(), source.tolist(), sequence.tolist(), strict=True)
        )

    def _grow(self) -> None:
        self._arrival_us = np.concatenate(
            [self._arrival_us, np.full_like(self._arrival_us, NEVER_US)]
        )
        self._numbers = np.concatenate([self._numbers, np.zeros_like(self._numbers)])
        self._payload = np.concatenate([self._payload, np.zeros_like(self._payload)])


@compiled
def _put(
    begin: int,
    sending: NDArray[np.bool_],
    arrival_us: NDArray[np.int64],
    numbers: NDArray[np.int64],
    payload: NDArray[np.float64],
    slot_arrival_us: NDArray[np.int64],
    slot_numbers: NDArray[np.int64],
    slot_payload: NDArray[np.float64],
) -> int:
    """Put frames into slots, from source `begin` on, counted over all convoys.

    Returns:
        The first source without a free slot, or E · S where every frame has found one.
    """
    num_slots, _, num_receivers, num_sources = slot_arrival_us.shape
    for source in range(begin, sending.size):
        e, s = source // num_sources, source % num_sources
        if not sending[e, s]:
            continue
        slot = _free_slot(slot_arrival_us, e, s)
        if slot == num_slots:
            return source
        for r in range(num_receivers):
            slot_arrival_us[slot, e, r, s] = arrival_us[e, r, s]
        for field in range(numbers.shape[0]):
            slot_numbers[slot, field, e, s] = numbers[field, e, s]
        for field in range(payload.shape[2]):
            slot_payload[slot, e, s, field] = payload[e, s, field]
    return sending.size


@compiled
def _free_slot(slot_arrival_us: NDArray[np.int64], env: int, source: int) -> int:
    """Return the lowest slot that no receiver expects a source's frame from, or their number."""
    num_slots, _, num_receivers, _ = slot_arrival_us.shape
    for slot in range(num_slots):
        free = True
        for r in range(num_receivers):
            free = free and slot_arrival_us[slot, env, r, source] == NEVER_US
        if free:
            return slot
    return int(num_slots)
