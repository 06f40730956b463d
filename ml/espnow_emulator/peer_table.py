"""What each receiver knows: the newest message of each source, and how old it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ml.compiled import inlined
from ml.espnow_emulator.clock import elapsed_one_ms
from ml.espnow_emulator.message_store import DEPTH, FrameField, hops_of, sequence_of, source_of
from ml.espnow_emulator.messages import PayloadField
from ml.espnow_emulator.offset_window import EMPTY_MS, OffsetWindow, WindowArrays, note_reception

if TYPE_CHECKING:
    from typing import TypeVar

    from numpy.typing import NDArray

    from ml.espnow_emulator.clock import NodeClocks
    from ml.espnow_emulator.message_store import StoreArrays

    Scalar = TypeVar("Scalar", bound=np.generic)

_SEQUENCE, _EPOCH, _TIMESTAMP_MS, _GENERATED_US, _HOPS = (int(field) for field in FrameField)


class TableArrays(NamedTuple):
    """The memory of a `PeerTable`, as its loops want it; int64 where not said otherwise.

    Attributes:
        heard: (E, R, S) bool.
        numbers: (5, E, R, S), indexed by `FrameField`.
        received_us: (E, R, S).
        received_local_ms: (E, R, S).
        payload: (E, R, S, F) float64.
        window: Of the smallest offsets.
        clock_offset_ms: (E, N), of all nodes.
        clock_drift_ppm: (E, N) float64.
        receivers: (R,), the nodes that are recorded.
        row_of: (N,), the row of a node, -1 for a node that is not recorded.
    """

    heard: NDArray[np.bool_]
    numbers: NDArray[np.int64]
    received_us: NDArray[np.int64]
    received_local_ms: NDArray[np.int64]
    payload: NDArray[np.float64]
    window: WindowArrays
    clock_offset_ms: NDArray[np.int64]
    clock_drift_ppm: NDArray[np.float64]
    receivers: NDArray[np.int64]
    row_of: NDArray[np.int64]


def _read_only(array: NDArray[Scalar]) -> NDArray[Scalar]:
    view = array.view()
    view.flags.writeable = False
    return view


class PeerTable:
    """The newest message per link; arrays (E, R, S), 0 where `heard` is False.

    Source s is node s + 1; nobody records what node 0, the ego, says. Newest is by boot epoch of
    the source, then timestamp, never by arrival; of two messages with the same timestamp the first
    to arrive stays. The arrays are read-only views of the channel's own memory and change with its
    next `deliver`, `clear` or `reset`: copy what must last.

    Args:
        clocks: Of all nodes, (E, N).
        receivers: (R,) int64, the nodes that are recorded.

    Attributes:
        arrays: The memory itself, for compiled loops.
        heard: bool, whether the receiver holds a message of the source.
        sequence: int64, number of that message among those the source sent in this episode.
        hops: int64, how often the copy that came first was relayed.
        payload: float64 (E, R, S, F), indexed by `PayloadField`.
        timestamp_ms: int64, in the source's clock.
        t_generated_us: int64, true time of sampling.
        received_us: int64, true time of arrival.
        received_local_ms: int64, arrival in the receiver's clock.
    """

    def __init__(self, clocks: NodeClocks, receivers: NDArray[np.int64]) -> None:
        num_envs, num_nodes = clocks.offset_ms.shape
        links = (num_envs, receivers.size, num_nodes - 1)
        row_of = np.full(num_nodes, -1, np.int64)
        row_of[receivers] = np.arange(receivers.size)
        self._window = OffsetWindow(links)
        self.arrays = TableArrays(
            heard=np.zeros(links, dtype=bool),
            numbers=np.zeros((len(FrameField), *links), dtype=np.int64),
            received_us=np.zeros(links, dtype=np.int64),
            received_local_ms=np.zeros(links, dtype=np.int64),
            payload=np.zeros((*links, len(PayloadField))),
            window=self._window.arrays,
            clock_offset_ms=clocks.offset_ms,
            clock_drift_ppm=clocks.drift_ppm,
            receivers=receivers,
            row_of=row_of,
        )
        self.heard = _read_only(self.arrays.heard)
        numbers = self.arrays.numbers
        self.sequence = _read_only(numbers[FrameField.SEQUENCE])
        self.timestamp_ms = _read_only(numbers[FrameField.TIMESTAMP_MS])
        self.t_generated_us = _read_only(numbers[FrameField.GENERATED_US])
        self.hops = _read_only(numbers[FrameField.HOPS])
        self.received_us = _read_only(self.arrays.received_us)
        self.received_local_ms = _read_only(self.arrays.received_local_ms)
        self.payload = _read_only(self.arrays.payload)

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
        return np.where(self.heard, now_us[:, None, None] - self.t_generated_us, 0)

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
        age_ms = np.zeros(self.heard.shape)
        _estimate_age(now_us, self.arrays, age_ms)
        return age_ms

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Forget every message of the given convoys (called by the channel)."""
        self._window.clear(env_indices)
        self.arrays.heard[env_indices] = False
        self.arrays.numbers[:, env_indices] = 0
        self.arrays.received_us[env_indices] = 0
        self.arrays.received_local_ms[env_indices] = 0
        self.arrays.payload[env_indices] = 0.0


@inlined
def enter_message(
    table: TableArrays, store: StoreArrays, e: int, r: int, word: int, arrival_us: int
) -> None:
    """Let a message of a source other than node 0 arrive at a recorded receiver, in time's order.

    Args:
        table: Of all links.
        store: Where the message is.
        e: Convoy.
        r: Row of the receiver.
        word: The frame, packed by `message_word`.
        arrival_us: True time.
    """
    node = table.receivers[r]
    source, place = source_of(word), sequence_of(word) % DEPTH
    s = source - 1
    elapsed_ms = elapsed_one_ms(arrival_us, table.clock_drift_ppm[e, node])
    local_ms = elapsed_ms + table.clock_offset_ms[e, node]
    epoch = store.numbers[e, source, place, _EPOCH]
    timestamp_ms = store.numbers[e, source, place, _TIMESTAMP_MS]
    note_reception(table.window, (e, r, s), local_ms - timestamp_ms, elapsed_ms, epoch)
    known = (table.numbers[_EPOCH, e, r, s], table.numbers[_TIMESTAMP_MS, e, r, s])
    # Newest by boot epoch, then timestamp; of doubles the first to arrive.
    if table.heard[e, r, s] and (epoch, timestamp_ms) <= known:
        return
    table.heard[e, r, s] = True
    table.received_us[e, r, s] = arrival_us
    table.received_local_ms[e, r, s] = local_ms
    table.numbers[_SEQUENCE, e, r, s] = sequence_of(word)
    table.numbers[_EPOCH, e, r, s] = epoch
    table.numbers[_TIMESTAMP_MS, e, r, s] = timestamp_ms
    table.numbers[_GENERATED_US, e, r, s] = store.numbers[e, source, place, _GENERATED_US]
    table.numbers[_HOPS, e, r, s] = hops_of(word)
    for field in range(table.payload.shape[3]):
        table.payload[e, r, s, field] = store.payload[e, source, place, field]


@inlined
def _estimate_age(
    now_us: NDArray[np.int64], table: TableArrays, age_ms: NDArray[np.float64]
) -> None:
    """Fill `age_ms` (E, R, S) where something was heard; see `PeerTable.age_est_ms`."""
    num_envs, num_receivers, num_sources = table.heard.shape
    for e in range(num_envs):
        for r in range(num_receivers):
            node = table.receivers[r]
            local_ms = elapsed_one_ms(now_us[e], table.clock_drift_ppm[e, node])
            local_ms += table.clock_offset_ms[e, node]
            for s in range(num_sources):
                if not table.heard[e, r, s]:
                    continue
                timestamp_ms = table.numbers[_TIMESTAMP_MS, e, r, s]
                offset_ms = table.window.smallest_ms[e, r, s]
                if offset_ms == EMPTY_MS:
                    offset_ms = table.received_local_ms[e, r, s] - timestamp_ms
                age_ms[e, r, s] = local_ms - timestamp_ms - offset_ms
