"""What each receiver knows: the newest message of each source, and how old it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.espnow_emulator.in_flight import NEVER_US
from ml.espnow_emulator.messages import PayloadField
from ml.espnow_emulator.offset_window import EMPTY_MS, OffsetWindow

if TYPE_CHECKING:
    from typing import TypeVar

    from numpy.typing import NDArray

    from ml.espnow_emulator.clock import NodeClocks
    from ml.espnow_emulator.in_flight import InFlightQueue

    Scalar = TypeVar("Scalar", bound=np.generic)


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
        age_at_reception_ms: float64, received_us - t_generated_us in milliseconds.
    """

    def __init__(self, clocks: NodeClocks, num_sources: int) -> None:
        num_envs, num_receivers = clocks.offset_ms.shape
        links = (num_envs, num_receivers, num_sources)
        self._clocks = clocks
        self._window = OffsetWindow(links)
        self._heard = np.zeros(links, dtype=bool)
        self._sequence = np.zeros(links, dtype=np.int64)
        self._epoch = np.zeros(links, dtype=np.int64)
        self._payload = np.zeros((*links, len(PayloadField)))
        self._timestamp_ms = np.zeros(links, dtype=np.int64)
        self._generated_us = np.zeros(links, dtype=np.int64)
        self._received_us = np.zeros(links, dtype=np.int64)
        self._received_local_ms = np.zeros(links, dtype=np.int64)
        self._age_at_reception_ms = np.zeros(links)
        self.heard = _read_only(self._heard)
        self.sequence = _read_only(self._sequence)
        self.payload = _read_only(self._payload)
        self.timestamp_ms = _read_only(self._timestamp_ms)
        self.t_generated_us = _read_only(self._generated_us)
        self.received_us = _read_only(self._received_us)
        self.received_local_ms = _read_only(self._received_local_ms)
        self.age_at_reception_ms = _read_only(self._age_at_reception_ms)

    def age_true_us(self, now_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return now less the time of sampling, both true: for metrics, not for the policy.

        Args:
            now_us: (E,) int64, true time.

        Returns:
            (E, R, S) int64, 0 where nothing was heard.
        """
        return np.where(self._heard, now_us[:, None, None] - self._generated_us, 0)

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
        local_ms = self._clocks.local_ms(now_us)[:, :, None]
        offset = self._window.smallest_ms
        empty = offset == EMPTY_MS
        if empty.any():
            offset = np.where(empty, self._received_local_ms - self._timestamp_ms, offset)
        age = (local_ms - self._timestamp_ms - offset).astype(np.float64)
        age[~self._heard] = 0.0
        return age

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Forget every message of the given convoys (called by the channel)."""
        self._window.clear(env_indices)
        for array in (
            self._heard,
            self._sequence,
            self._epoch,
            self._payload,
            self._timestamp_ms,
            self._generated_us,
            self._received_us,
            self._received_local_ms,
            self._age_at_reception_ms,
        ):
            array[env_indices] = 0

    def receive(self, queue: InFlightQueue, now_us: NDArray[np.int64]) -> None:
        """Take from the queue what has arrived by now (called by the channel).

        Args:
            queue: Pending frames; those that arrived leave it.
            now_us: (E,) int64, true time.
        """
        self._window.advance(self._clocks.elapsed_ms(now_us))
        for slot in range(queue.num_slots):
            pending = queue.arrival_us[slot]
            arrived = pending <= now_us[:, None, None]
            if arrived.any():
                self._receive_slot(queue, slot, arrived)
                np.copyto(pending, NEVER_US, where=arrived)

    def _receive_slot(self, queue: InFlightQueue, slot: int, arrived: NDArray[np.bool_]) -> None:
        received_us = np.where(arrived, queue.arrival_us[slot], 0)
        elapsed_ms = self._clocks.elapsed_ms(received_us)
        local_ms = elapsed_ms + self._clocks.offset_ms[:, :, None]
        sequence = queue.sequence[slot][:, None]
        epoch = queue.epoch[slot][:, None]
        timestamp_ms = queue.timestamp_ms[slot][:, None]
        generated_us = queue.generated_us[slot][:, None]
        epochs = np.broadcast_to(epoch, arrived.shape)
        self._window.add(arrived, local_ms - timestamp_ms, elapsed_ms, epochs)

        same_epoch = epoch == self._epoch
        newer = same_epoch & (timestamp_ms > self._timestamp_ms)
        double = same_epoch & (timestamp_ms == self._timestamp_ms) & arrived & self._heard
        if double.any():
            # Slots are not in order of arrival, so of two doubles the later may come first here.
            earlier = received_us < self._received_us
            earlier |= (received_us == self._received_us) & (sequence < self._sequence)
            newer |= double & earlier
        newer |= epoch > self._epoch
        newer |= ~self._heard
        newer &= arrived

        np.copyto(self._sequence, sequence, where=newer)
        np.copyto(self._epoch, epoch, where=newer)
        np.copyto(self._timestamp_ms, timestamp_ms, where=newer)
        np.copyto(self._generated_us, generated_us, where=newer)
        np.copyto(self._received_us, received_us, where=newer)
        np.copyto(self._received_local_ms, local_ms, where=newer)
        np.copyto(self._age_at_reception_ms, (received_us - generated_us) * 1e-3, where=newer)
        np.copyto(self._payload, queue.payload[slot][:, None], where=newer[..., None])
        self._heard |= newer
