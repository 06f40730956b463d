"""What each receiver knows: the newest message of each source, and how old it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.espnow_emulator.clock import elapsed_one_ms
from ml.espnow_emulator.in_flight import NEVER_US, FrameField
from ml.espnow_emulator.messages import PayloadField
from ml.espnow_emulator.offset_window import EMPTY_MS, OffsetWindow, move_on, note_reception

if TYPE_CHECKING:
    from typing import TypeVar

    from numpy.typing import NDArray

    from ml.espnow_emulator.clock import NodeClocks
    from ml.espnow_emulator.in_flight import InFlightQueue
    from ml.espnow_emulator.offset_window import WindowArrays

    Scalar = TypeVar("Scalar", bound=np.generic)

_SEQUENCE, _EPOCH, _TIMESTAMP_MS, _GENERATED_US = (int(field) for field in FrameField)


def _read_only(array: NDArray[Scalar]) -> NDArray[Scalar]:
    view = array.view()
    view.flags.writeable = False
    return view


class PeerTable:
    """The newest message per link; arrays (E, R, S), 0 where `heard` is False.

    Newest is by boot epoch of the source, then timestamp, never by arrival; of two messages with
    the same timestamp the first to arrive stays. The arrays are read-only views of the channel's
    own memory and change with its next `deliver`, `clear` or `reset`: copy what must last.

    Args:
        clocks: Of the receivers, (E, R).
        num_sources: S.

    Attributes:
        heard: bool, whether the receiver holds a message of the source.
        sequence: int64, number of that message among those the source sent in this episode.
        payload: float64 (E, R, S, F), indexed by `PayloadField`.
        timestamp_ms: int64, in the source's clock.
        t_generated_us: int64, true time of sampling.
        received_us: int64, true time of arrival.
        received_local_ms: int64, arrival in the receiver's clock.
    """

    def __init__(self, clocks: NodeClocks, num_sources: int) -> None:
        num_envs, num_receivers = clocks.offset_ms.shape
        links = (num_envs, num_receivers, num_sources)
        self._clocks = clocks
        self._window = OffsetWindow(links)
        self._heard = np.zeros(links, dtype=bool)
        self._numbers = np.zeros((len(FrameField), *links), dtype=np.int64)
        self._received_us = np.zeros(links, dtype=np.int64)
        self._received_local_ms = np.zeros(links, dtype=np.int64)
        self._payload = np.zeros((*links, len(PayloadField)))
        self.heard = _read_only(self._heard)
        self.sequence = _read_only(self._numbers[FrameField.SEQUENCE])
        self.timestamp_ms = _read_only(self._numbers[FrameField.TIMESTAMP_MS])
        self.t_generated_us = _read_only(self._numbers[FrameField.GENERATED_US])
        self.received_us = _read_only(self._received_us)
        self.received_local_ms = _read_only(self._received_local_ms)
        self.payload = _read_only(self._payload)

    @property
    def age_at_reception_ms(self) -> NDArray[np.float64]:
        """(E, R, S) float64, true age of the newest message at its arrival."""
        age: NDArray[np.float64] = (self.received_us - self.t_generated_us) / 1000.0
        return age

    def age_true_us(self, now_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return now less the time of sampling, both true: for metrics, not for the policy.

        Args:
            now_us: (E,) int64, true time.

        Returns:
            (E, R, S) int64, 0 where nothing was heard.
        """
        return np.where(self._heard, now_us[:, None, None] - self.t_generated_us, 0)

    def age_est_ms(self, now_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the age as the receiving board can compute it from clocks that disagree.

        It is (now - timestamp) in the receiver's clock, less the smallest (reception -
        timestamp) of that source in the window of `OffsetWindow` as of the last delivery: the
        age in excess of the fastest message of the last minute. Where the last minute brought
        nothing, it is the time since the newest message was received.

        Args:
            now_us: (E,) int64, true time, not before the last delivery.

        Returns:
            (E, R, S) float64, whole milliseconds, 0 where nothing was heard.
        """
        age_ms = np.zeros(self._heard.shape)
        _estimate_age(
            now_us,
            self._clocks.offset_ms,
            self._clocks.drift_ppm,
            self._heard,
            self._numbers,
            self._received_local_ms,
            self._window.smallest_ms,
            age_ms,
        )
        return age_ms

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Forget every message of the given convoys (called by the channel)."""
        self._window.clear(env_indices)
        self._heard[env_indices] = False
        self._numbers[:, env_indices] = 0
        self._received_us[env_indices] = 0
        self._received_local_ms[env_indices] = 0
        self._payload[env_indices] = 0.0

    def receive(self, queue: InFlightQueue, now_us: NDArray[np.int64]) -> None:
        """Take from the queue what has arrived by now (called by the channel).

        Args:
            queue: Pending frames; those that arrived leave it.
            now_us: (E,) int64, true time.
        """
        _receive(
            now_us,
            *queue.slots(),
            self._clocks.offset_ms,
            self._clocks.drift_ppm,
            self._window.arrays,
            self._heard,
            self._numbers,
            self._received_us,
            self._received_local_ms,
            self._payload,
        )


@compiled
def _receive(
    now_us: NDArray[np.int64],
    slot_arrival_us: NDArray[np.int64],
    slot_numbers: NDArray[np.int64],
    slot_payload: NDArray[np.float64],
    clock_offset_ms: NDArray[np.int64],
    clock_drift_ppm: NDArray[np.float64],
    window: WindowArrays,
    heard: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    received_us: NDArray[np.int64],
    received_local_ms: NDArray[np.int64],
    payload: NDArray[np.float64],
) -> None:
    """Empty the slots whose frames have arrived by now (E,) and keep what is newer than known.

    Slots are as `InFlightQueue.slots` returns them, clocks (E, R), and the last five are the
    table's own arrays.
    """
    num_slots, num_envs, num_receivers, num_sources = slot_arrival_us.shape
    for e in range(num_envs):
        for r in range(num_receivers):
            move_on(window, e, r, elapsed_one_ms(now_us[e], clock_drift_ppm[e, r]))
            for slot in range(num_slots):
                for s in range(num_sources):
                    arrival_us = slot_arrival_us[slot, e, r, s]
                    if arrival_us > now_us[e]:
                        continue
                    slot_arrival_us[slot, e, r, s] = NEVER_US
                    elapsed_ms = elapsed_one_ms(arrival_us, clock_drift_ppm[e, r])
                    local_ms = elapsed_ms + clock_offset_ms[e, r]
                    offset_ms = local_ms - slot_numbers[slot, _TIMESTAMP_MS, e, s]
                    epoch = slot_numbers[slot, _EPOCH, e, s]
                    note_reception(window, (e, r, s), offset_ms, elapsed_ms, epoch)
                    frame = (
                        epoch,
                        slot_numbers[slot, _TIMESTAMP_MS, e, s],
                        -arrival_us,
                        -slot_numbers[slot, _SEQUENCE, e, s],
                    )
                    known = (
                        numbers[_EPOCH, e, r, s],
                        numbers[_TIMESTAMP_MS, e, r, s],
                        -received_us[e, r, s],
                        -numbers[_SEQUENCE, e, r, s],
                    )
                    # Newest by boot epoch, then timestamp; of doubles the first to arrive.
                    if heard[e, r, s] and frame < known:
                        continue
                    heard[e, r, s] = True
                    received_us[e, r, s] = arrival_us
                    received_local_ms[e, r, s] = local_ms
                    for field in range(numbers.shape[0]):
                        numbers[field, e, r, s] = slot_numbers[slot, field, e, s]
                    for field in range(payload.shape[3]):
                        payload[e, r, s, field] = slot_payload[slot, e, s, field]


@compiled
def _estimate_age(
    now_us: NDArray[np.int64],
    clock_offset_ms: NDArray[np.int64],
    clock_drift_ppm: NDArray[np.float64],
    heard: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    received_local_ms: NDArray[np.int64],
    smallest_offset_ms: NDArray[np.int64],
    age_ms: NDArray[np.float64],
) -> None:
    """Fill `age_ms` (E, R, S) where something was heard; see `PeerTable.age_est_ms`."""
    num_envs, num_receivers, num_sources = heard.shape
    for e in range(num_envs):
        for r in range(num_receivers):
            local_ms = elapsed_one_ms(now_us[e], clock_drift_ppm[e, r]) + clock_offset_ms[e, r]
            for s in range(num_sources):
                if not heard[e, r, s]:
                    continue
                timestamp_ms = numbers[_TIMESTAMP_MS, e, r, s]
                offset_ms = smallest_offset_ms[e, r, s]
                if offset_ms == EMPTY_MS:
                    offset_ms = received_local_ms[e, r, s] - timestamp_ms
                age_ms[e, r, s] = local_ms - timestamp_ms - offset_ms
