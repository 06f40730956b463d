"""What each receiver knows: the newest message of each source, and how old it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.espnow_emulator.in_flight import FrameField
from ml.espnow_emulator.messages import PayloadField
from ml.espnow_emulator.offset_window import EMPTY_MS, OffsetWindow

if TYPE_CHECKING:
    from typing import TypeVar

    from numpy.typing import NDArray

    from ml.espnow_emulator.clock import NodeClocks
    from ml.espnow_emulator.in_flight import Arrivals, InFlightQueue

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
        local_ms = self._clocks.local_ms(now_us)[:, :, None]
        offset = self._window.smallest_ms
        empty = offset == EMPTY_MS
        if empty.any():
            offset = np.where(empty, self._received_local_ms - self.timestamp_ms, offset)
        age: NDArray[np.float64] = (local_ms - self.timestamp_ms - offset).astype(np.float64)
        age[~self._heard] = 0.0
        return age

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
        self._window.advance(self._clocks.elapsed_ms(now_us))
        for arrivals in queue.take(now_us):
            self._receive(arrivals)

    def _receive(self, arrivals: Arrivals) -> None:
        arrived, received_us, numbers = arrivals.arrived, arrivals.arrival_us, arrivals.numbers
        sequence, epoch, timestamp_ms, _ = numbers
        known_sequence, known_epoch, known_timestamp_ms, _ = self._numbers
        elapsed_ms = self._clocks.elapsed_ms(received_us)
        local_ms = elapsed_ms + self._clocks.offset_ms[:, :, None]
        self._window.add(arrived, local_ms - timestamp_ms, elapsed_ms, epoch)

        newer = timestamp_ms > known_timestamp_ms
        double = arrived & self._heard & (timestamp_ms == known_timestamp_ms)
        if double.any():
            # Arrivals come in no order, so of two doubles the later may have come first here.
            earlier = received_us < self._received_us
            earlier |= (received_us == self._received_us) & (sequence < known_sequence)
            newer = newer | (double & earlier)
        newer = newer & (epoch == known_epoch)
        newer = newer | (epoch > known_epoch) | ~self._heard
        newer &= arrived

        np.copyto(self._numbers, numbers, where=newer)
        np.copyto(self._received_us, received_us, where=newer)
        np.copyto(self._received_local_ms, local_ms, where=newer)
        np.copyto(self._payload, arrivals.payload, where=newer[..., None])
        self._heard |= newer
