"""What each receiver knows: the newest message of each source, and how old it is."""

from typing import Annotated, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ml.arrays import Bools, Floats, Ints, allocate
from ml.compiled import inlined
from ml.errors import EmulatorError
from ml.espnow_emulator.clock import NodeClocks, elapsed_one_ms
from ml.espnow_emulator.message_store import REBOOT_MS
from ml.espnow_emulator.messages import FrameField, PayloadField

WINDOW_BUCKETS: Final = 12
BUCKET_MS: Final = 5_000
EMPTY_MS: Final = int(np.iinfo(np.int64).max)
_LONG_AGO: Final = np.iinfo(np.int64).min // 4
_SEQUENCE, _EPOCH, _TIMESTAMP_MS, _GENERATED_US, _HOPS = (int(field) for field in FrameField)

Scalar = TypeVar("Scalar", bound=np.generic)


class WindowArrays(NamedTuple):
    """Smallest (reception - timestamp) per link of the last minute: makes two clocks comparable.

    A running minimum over buckets of 5 s of the receiver's clock: the bucket of the last delivery
    and the eleven before it, so it reaches back between 55 and 60 s, in twelve numbers per link, as
    on the board. Buckets are counted from the receiver's reading at the start of the episode, so
    that the clock's offset does not move them. A source that reboots starts an empty window,
    because its clock has jumped. `clear` before use.
    """

    smallest_ms: Annotated[Ints, "E R S"]  # EMPTY_MS where no reception lies in the window
    bucket_ms: Annotated[Ints, "E R S BUCKETS"]  # of each bucket, by its number modulo 12
    current: Annotated[Ints, "E R"]  # the number of the present bucket
    epoch: Annotated[Ints, "E R S"]  # the source's boot epoch that the window is of

    def clear(self, env_indices: Ints) -> None:
        """Forget all receptions of the given convoys."""
        for array, empty in zip(self, (EMPTY_MS, EMPTY_MS, _LONG_AGO, 0), strict=True):
            array[env_indices] = empty


class TableArrays(NamedTuple):
    """The memory of a `PeerTable`, as its loops want it."""

    heard: Annotated[Bools, "E R S"]
    numbers: Annotated[Ints, "5 E R S"]  # indexed by `FrameField`
    received_us: Annotated[Ints, "E R S"]
    received_local_ms: Annotated[Ints, "E R S"]
    payload: Annotated[Floats, "E R S F"]
    window: WindowArrays  # of the smallest offsets
    clock_offset_ms: Annotated[Ints, "E N"]  # of all nodes
    clock_drift_ppm: Annotated[Floats, "E N"]
    receivers: Annotated[Ints, "R"]  # the nodes that are recorded
    row_of: Annotated[Ints, "N"]  # the row of a node, -1 for a node that is not recorded


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

    def __init__(self, clocks: NodeClocks, receivers: Ints) -> None:
        num_envs, num_nodes = clocks.offset_ms.shape
        sizes = {"E": num_envs, "N": num_nodes, "R": receivers.size, "S": num_nodes - 1}
        sizes |= {"F": len(PayloadField), "BUCKETS": WINDOW_BUCKETS}
        row_of = np.full(num_nodes, -1, np.int64)
        row_of[receivers] = np.arange(receivers.size)
        self.arrays = allocate(
            TableArrays,
            sizes,
            window=allocate(WindowArrays, sizes),
            clock_offset_ms=clocks.offset_ms,
            clock_drift_ppm=clocks.drift_ppm,
            receivers=receivers,
            row_of=row_of,
        )
        self.clear(np.arange(num_envs))
        memory, numbers = self.arrays, self.arrays.numbers
        self.heard = _read_only(memory.heard)
        self.sequence = _read_only(numbers[FrameField.SEQUENCE])
        self.timestamp_ms = _read_only(numbers[FrameField.TIMESTAMP_MS])
        self.t_generated_us = _read_only(numbers[FrameField.GENERATED_US])
        self.hops = _read_only(numbers[FrameField.HOPS])
        self.received_us = _read_only(memory.received_us)
        self.received_local_ms = _read_only(memory.received_local_ms)
        self.payload = _read_only(memory.payload)

    @property
    def age_at_reception_ms(self) -> Floats:
        """(E, R, S) float64, true age of the newest message at its arrival."""
        age: Floats = (self.received_us - self.t_generated_us) / 1000.0
        return age

    def age_true_us(self, now_us: Ints) -> Ints:
        """Return now less the time of sampling, both true: for metrics, not for the policy.

        Args:
            now_us: (E,) int64, true time.

        Returns:
            (E, R, S) int64, 0 where nothing was heard.
        """
        return np.where(self.heard, now_us[:, None, None] - self.t_generated_us, 0)

    def age_est_ms(self, now_us: Ints) -> Floats:
        """Return the age as the receiving board can compute it from clocks that disagree.

        It is (now - timestamp) in the receiver's clock, less the smallest (reception -
        timestamp) of that source in the last minute (`WindowArrays`) as of the last delivery: the
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

    def receive(
        self,
        env_indices: Ints,
        source: int,
        *,
        timestamp_ms: int,
        payload: Floats,
        t_generated_us: int,
        received_us: int,
        hops: int = 0,
    ) -> None:
        """Let a message arrive that no channel brought: of a real board, or of a recording.

        It is treated as one of the channel: an older message, or a double, replaces none, and a
        timestamp that jumps back by more than `REBOOT_MS` is a new start of its source. Messages
        are numbered as they come. Call it in the order of reception, and `poll` at each tick.

        Args:
            env_indices: (K,) int64, the convoys whose first receiver hears it.
            source: s, whose message it is, from 0 on.
            timestamp_ms: When the state was sampled, in the source's clock.
            payload: (F,) float64, indexed by `PayloadField`.
            t_generated_us: The same moment in true time, for metrics alone.
            received_us: When it arrived, in true time since the start.
            hops: How often it was relayed.

        Raises:
            EmulatorError: There is no such source, or a value is not finite.
        """
        if not 0 <= source < self.heard.shape[2]:
            raise EmulatorError(
                f"source is {source}, allowed are 0 to {self.heard.shape[2] - 1}: make the table "
                "for more nodes."
            )
        if payload.shape != (len(PayloadField),) or not np.isfinite(payload).all():
            raise EmulatorError(
                f"the payload of source {source} is {payload.tolist()}, allowed are "
                f"{len(PayloadField)} finite numbers: leave the message out, or correct it."
            )
        numbers = np.array([0, 0, timestamp_ms, t_generated_us], dtype=np.int64)
        frame = (numbers.reshape(1, 1, 1, -1), payload.reshape(1, 1, 1, -1))
        _receive(env_indices, source, *frame, hops, received_us, self.arrays)

    def poll(self, now_us: Ints) -> Floats:
        """Move the receivers' memory of time to now, and return `age_est_ms`, (E, R, S).

        For tables that `receive` fills; a channel does it by itself.

        Args:
            now_us: (E,) int64, true time; it may not run back.
        """
        _move_all_on(now_us, self.arrays)
        return self.age_est_ms(now_us)

    def clear(self, env_indices: Ints) -> None:
        """Forget every message of the given convoys (called by the channel)."""
        memory = self.arrays
        memory.window.clear(env_indices)
        memory.numbers[:, env_indices] = 0
        for array in (memory.heard, memory.received_us, memory.received_local_ms, memory.payload):
            array[env_indices] = 0


@inlined
def _estimate_age(now_us: Ints, table: TableArrays, age_ms: Floats) -> None:
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


@inlined
def move_on(window: WindowArrays, env: int, receiver: int, elapsed_ms: int) -> None:
    """Move a receiver's windows to the present and drop what has left them.

    The present is `elapsed_ms` by the receiver's clock since the start of the episode.
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
    """Add a reception on a link (convoy, receiver, source) that `move_on` moved to the present.

    `offset_ms` is the reception in the receiver's clock less the timestamp, `elapsed_ms` that clock
    since the start of the episode, `epoch` the source's boot epoch that the message is from.
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


@inlined
def enter(
    table: TableArrays,
    link: tuple[int, int, int],
    numbers: Ints,
    payload: Floats,
    frame: tuple[int, int, int],
    hops: int,
    arrival_us: int,
) -> None:
    """Let a message arrive on a link (convoy, receiver, source), in time's order.

    Newest is by boot epoch, then timestamp; of doubles the first to arrive stays. What it carries
    stands at place `frame` in `numbers`, by the first four of `FrameField`, and in `payload`.
    """
    e, r, s = link
    at, of, place = frame
    elapsed_ms = elapsed_one_ms(arrival_us, table.clock_drift_ppm[e, table.receivers[r]])
    local_ms = elapsed_ms + table.clock_offset_ms[e, table.receivers[r]]
    epoch, timestamp_ms = numbers[at, of, place, _EPOCH], numbers[at, of, place, _TIMESTAMP_MS]
    note_reception(table.window, link, local_ms - timestamp_ms, elapsed_ms, epoch)
    known = (table.numbers[_EPOCH, e, r, s], table.numbers[_TIMESTAMP_MS, e, r, s])
    if table.heard[e, r, s] and (epoch, timestamp_ms) <= known:
        return
    table.heard[e, r, s] = True
    table.received_us[e, r, s] = arrival_us
    table.received_local_ms[e, r, s] = local_ms
    table.numbers[_SEQUENCE, e, r, s] = numbers[at, of, place, _SEQUENCE]
    table.numbers[_EPOCH, e, r, s] = epoch
    table.numbers[_TIMESTAMP_MS, e, r, s] = timestamp_ms
    table.numbers[_GENERATED_US, e, r, s] = numbers[at, of, place, _GENERATED_US]
    table.numbers[_HOPS, e, r, s] = hops
    for field in range(table.payload.shape[3]):
        table.payload[e, r, s, field] = payload[at, of, place, field]


@inlined
def _receive(
    convoys: Ints,
    source: int,
    numbers: Ints,
    payload: Floats,
    hops: int,
    received_us: int,
    table: TableArrays,
) -> None:
    """Let one message, at place (0, 0, 0) of its arrays, arrive in convoys (K,)."""
    for e in convoys:
        drift_ppm = table.clock_drift_ppm[e, table.receivers[0]]
        move_on(table.window, e, 0, elapsed_one_ms(received_us, drift_ppm))
        numbers[0, 0, 0, _SEQUENCE] = numbers[0, 0, 0, _EPOCH] = 0
        if table.heard[e, 0, source]:
            newest_ms = table.numbers[_TIMESTAMP_MS, e, 0, source]
            is_new_start = numbers[0, 0, 0, _TIMESTAMP_MS] < newest_ms - REBOOT_MS
            numbers[0, 0, 0, _SEQUENCE] = table.numbers[_SEQUENCE, e, 0, source] + 1
            numbers[0, 0, 0, _EPOCH] = table.numbers[_EPOCH, e, 0, source] + is_new_start
        enter(table, (e, 0, source), numbers, payload, (0, 0, 0), hops, received_us)


@inlined
def _move_all_on(now_us: Ints, table: TableArrays) -> None:
    """Move all windows to now (E,)."""
    for e in range(now_us.size):
        for r in range(table.receivers.size):
            drift_ppm = table.clock_drift_ppm[e, table.receivers[r]]
            move_on(table.window, e, r, elapsed_one_ms(now_us[e], drift_ppm))
