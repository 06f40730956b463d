"""The event simulation of a convoy: slots, air starts and arrivals, in the order of time."""

from typing import Annotated, NamedTuple, Self

import numpy as np

from ml.arrays import Bools, Floats, Ints, allocate
from ml.compiled import inlined
from ml.espnow_emulator import counters as count
from ml.espnow_emulator.clock import elapsed_one_ms
from ml.espnow_emulator.counters import CounterArrays
from ml.espnow_emulator.loss_model import LinkArrays
from ml.espnow_emulator.mac import (
    H_RX,
    NEVER_US,
    MacArrays,
    count_down,
    next_start,
    queue_frame,
    start_us,
    take_head,
    wrapped,
)
from ml.espnow_emulator.message_store import (
    DEPTH,
    LONG_AGO_US,
    StoreArrays,
    hops_of,
    is_expired,
    message_word,
    sequence_of,
    source_of,
)
from ml.espnow_emulator.messages import FrameField
from ml.espnow_emulator.peer_table import TableArrays, enter, move_on
from ml.espnow_emulator.relays import (
    RelayArrays,
    has_seen,
    keep_for_relay,
    mark_seen,
    note_own_pose,
    works,
)
from ml.keyed_random import extend_one, uniform_one

_FRAMES_AT_FIRST = 8
_GENERATED_US = int(FrameField.GENERATED_US)


class FlightArrays(NamedTuple):
    """Frames that have left the air and not arrived, a ring per convoy in order of arrival."""

    arrival_us: Annotated[Ints, "E C"]
    word: Annotated[Ints, "E C"]  # packed by `message_word`
    receivers: Annotated[Ints, "E C"]  # a bit per node that will have it
    head: Annotated[Ints, "E"]
    length: Annotated[Ints, "E"]

    @classmethod
    def of(cls, num_envs: int, capacity: int = _FRAMES_AT_FIRST) -> Self:
        """Return rings without frames."""
        return allocate(cls, {"E": num_envs, "C": capacity})

    def doubled(self) -> Self:
        """Return rings of twice the capacity with the same frames."""
        capacity = self.word.shape[1]
        bigger = self.of(self.word.shape[0], 2 * capacity)
        places = (self.head[:, None] + np.arange(capacity)) % capacity
        for old, new in zip(self[:3], bigger[:3], strict=True):
            new[:, :capacity] = np.take_along_axis(old, places, axis=1)
        bigger.length[:] = self.length
        return bigger


class AirLog(NamedTuple):
    """Frames that went on the air, for whoever watches an episode; without room nobody does."""

    frames: Annotated[Ints, "E LOG 8"]  # columns as in `ml.espnow_emulator.air.AirFrames`, in µs
    length: Annotated[Ints, "E"]  # how many there are


class World(NamedTuple):
    """Everything that the events of a convoy read and change, but for the ring that may grow."""

    store: StoreArrays
    mac: MacArrays
    relays: RelayArrays
    links: LinkArrays
    table: TableArrays
    counters: CounterArrays
    present: Annotated[Bools, "E N"]
    listening: Annotated[Bools, "N"]
    draws: Annotated[Floats, "P"]  # room to work in
    log: AirLog


@inlined
def run_events(
    now_us: Ints, before_us: Ints, world: World, flight: FlightArrays, first: int
) -> int:
    """Run the events of all convoys up to now (E,), from convoy `first` on.

    `before_us` (E,) is the last delivery, or LONG_AGO_US. Returned is E, or the convoy whose ring
    in `flight` is full: to go on from there with bigger ones.
    """
    table = world.table
    for e in range(first, now_us.size):
        for r in range(table.receivers.size):
            drift_ppm = table.clock_drift_ppm[e, table.receivers[r]]
            move_on(table.window, e, r, elapsed_one_ms(now_us[e], drift_ppm))
        known = before_us[e] != LONG_AGO_US
        airtime_us = world.counters.total[count.AIRTIME_US]
        done = _run_convoy(e, now_us[e], world, flight)
        if not known:
            world.counters.total[count.AIRTIME_US] = airtime_us
        if not done:
            return e
        if known:
            world.counters.total[count.ELAPSED_US] += now_us[e] - before_us[e]
    return now_us.size


@inlined
def _run_convoy(e: int, now_us: int, world: World, flight: FlightArrays) -> bool:
    """Run one convoy's events up to now; False if its ring in `flight` is full.

    Each step stands here, and in what it calls, once: all is copied into one loop, which is slower
    as soon as it is longer than what the processor keeps of a program at hand.
    """
    mac = world.mac
    slot_node, slot_us, air_node, air_us = 0, NEVER_US, 0, NEVER_US
    slots_changed = air_changed = True
    while True:
        if slots_changed:
            slot_node, slot_us = _next_slot(world.store, e)
        if air_changed:
            air_node, air_us = next_start(mac, e)
        slots_changed = air_changed = False
        arrival_us = NEVER_US
        if flight.length[e] > 0:
            arrival_us = flight.arrival_us[e, flight.head[e]]
        if min(arrival_us, slot_us, air_us) > now_us:
            return True
        if arrival_us <= slot_us and arrival_us <= air_us:
            _arrive(e, arrival_us, world, flight)
        elif slot_us <= air_us:
            _have_slot(e, slot_node, slot_us, world)
            slots_changed = air_changed = True
        else:
            if flight.length[e] == flight.word.shape[1]:
                return False
            _start_on_air(e, air_node, air_us, world, flight)
            air_changed = True


@inlined
def _next_slot(store: StoreArrays, e: int) -> tuple[int, int]:
    """Which node has the next slot, and when: (node, NEVER_US) if none has."""
    first, first_us = 0, NEVER_US
    for n in range(store.next_slot.shape[1]):
        sequence, last = store.next_slot[e, n], store.next_sequence[e, n] - 1
        if sequence > last:
            continue
        at_us = store.generated_us[e, n]  # of the last, which mostly is the only one
        if sequence < last:
            sequence = max(sequence, last + 1 - DEPTH)
            at_us = store.numbers[e, n, sequence % DEPTH, _GENERATED_US]
        if at_us < first_us:
            first, first_us = n, at_us
    return first, first_us


@inlined
def _have_slot(e: int, node: int, t_us: int, world: World) -> None:
    """A node hands its own frame to its MAC, and all that it relays if it does so now."""
    store, relays, counters = world.store, world.relays, world.counters
    sequence = max(store.next_slot[e, node], store.next_sequence[e, node] - DEPTH)
    counters.total[count.EXPIRED] += sequence - store.next_slot[e, node]
    store.next_slot[e, node] = sequence + 1
    note_own_pose(relays, store, e, node, sequence % DEPTH)
    if node > 0:
        _judge_reception(e, node, sequence, world)
    if relays.waiting[e, node] > 0 and not works(relays, e, node, t_us):
        relays.waiting[e, node] = 0
    for k in range(-1, relays.waiting[e, node]):  # its own first
        own = k < 0
        word = message_word(node, sequence, 0) if own else relays.word[e, node, k]
        if not own and is_expired(store, e, source_of(word), sequence_of(word)):
            counters.total[count.EXPIRED] += 1
        elif not queue_frame(world.mac, e, node, word, t_us):
            counters.total[count.QUEUE_DROPS] += 1
            if own and node > 0:
                _count_own_frame(e, node, 0, world)
    relays.waiting[e, node] = 0


@inlined
def _judge_reception(e: int, source: int, sequence: int, world: World) -> None:
    """Count whether an earlier message of a source has reached the recorded nodes by any path."""
    judged = sequence - count.JUDGED_AFTER
    if judged < world.store.first[e, source]:
        return
    for r in range(world.table.receivers.size):
        node = world.table.receivers[r]
        if node != source and world.present[e, node]:
            world.counters.total[count.JUDGED] += 1
            if has_seen(world.relays, e, node, source, judged):
                world.counters.total[count.REACHED] += 1


@inlined
def _start_on_air(e: int, node: int, t_us: int, world: World, flight: FlightArrays) -> None:
    """A frame goes on the air, alone or into a collision."""
    mac, rules, total = world.mac, world.mac.rules, world.counters.total
    senders, end_us = 1 << node, t_us + rules.airtime_us
    if rules.enabled:
        for other in range(mac.length.shape[1]):
            if other == node or mac.length[e, other] == 0:
                continue
            other_us = start_us(mac, e, other)
            if other_us < t_us + rules.vulnerable_us:
                senders |= 1 << other
                end_us = max(end_us, other_us + rules.airtime_us)
            else:
                count_down(mac, e, other, t_us)
        mac.idle_from_us[e] = end_us
    total[count.AIRTIME_US] += end_us - t_us
    free_us, arrival_us = end_us, end_us + int(mac.times[e, H_RX])
    if not rules.enabled:
        free_us = t_us
        end_us = arrival_us = t_us + rules.fixed_latency_us
    alone = senders == 1 << node
    for sender in range(mac.length.shape[1]):
        if not (senders >> sender) & 1:
            continue
        word = take_head(mac, e, sender, free_us)
        total[count.ON_AIR] += 1
        total[count.COLLIDED] += not alone
        reached = _receivers(e, sender, word, end_us, world) if alone else 0
        source = source_of(word)
        if hops_of(word) == 0 and source > 0:
            _count_own_frame(e, source, reached, world)
        numbers = (sequence_of(word), hops_of(word), reached, int(alone))
        _note_frame(e, (t_us, arrival_us, sender, source, *numbers), world.log)
        if reached != 0:
            place = wrapped(flight.head[e] + flight.length[e], flight.word.shape[1])
            flight.arrival_us[e, place] = arrival_us
            flight.word[e, place] = word
            flight.receivers[e, place] = reached
            flight.length[e] += 1


@inlined
def _note_frame(e: int, frame: tuple[int, ...], log: AirLog) -> None:
    """Keep a frame in the log, if it has room: where nobody watches it has none."""
    place = log.length[e]
    if place == log.frames.shape[1]:
        return
    for column in range(log.frames.shape[2]):
        log.frames[e, place, column] = frame[column]
    log.length[e] = place + 1


@inlined
def _receivers(e: int, transmitter: int, word: int, end_us: int, world: World) -> int:
    """Decide who receives a frame that is alone on the air until `end_us`; a bit per node."""
    links, draws = world.links, world.draws
    num_nodes = world.present.shape[1]
    source, sequence = source_of(word), sequence_of(word)
    source_key = world.mac.node_keys[e, source]
    # Without a branch, so that vector instructions do several nodes at once; who needs none is
    # left out after that.
    for node in range(draws.size):
        key = extend_one(extend_one(links.keys[e, transmitter, node], source_key), sequence)
        draws[node] = uniform_one(key)
    reached = 0
    for node in range(num_nodes):
        chance = links.chance[e, node, transmitter]
        if links.blackout_loss[e, node] > 0.0:
            since_us = (end_us - links.blackout_start_us[e, node]) % links.blackout_period_us[e]
            if since_us < links.blackout_length_us[e]:
                chance *= 1.0 - links.blackout_loss[e, node]
        if draws[node] >= chance or node in (transmitter, source):
            continue
        if not (world.present[e, node] and world.listening[node]):
            continue
        if not has_seen(world.relays, e, node, source, sequence):
            reached |= 1 << node
    return reached


@inlined
def _count_own_frame(e: int, source: int, reached: int, world: World) -> None:
    """Count at which recorded nodes a source's own frame arrived (`reached`, a bit per node).

    The source is not node 0, which nobody records.
    """
    total, run, receivers = world.counters.total, world.counters.run, world.table.receivers
    for r in range(receivers.size):
        node = receivers[r]
        if node == source or not world.present[e, node]:
            continue
        link = (e, r, source - 1)
        total[count.OFFERED] += 1
        if (reached >> node) & 1:
            total[count.RECEIVED] += 1
            if run[link] > 0:
                total[count.BURSTS] += 1
                total[count.BURST_FRAMES] += run[link]
                run[link] = 0
        else:
            run[link] += 1
            total[count.BURST_MAX] = max(total[count.BURST_MAX], run[link])


@inlined
def _arrive(e: int, t_us: int, world: World, flight: FlightArrays) -> None:
    """The first frame in flight arrives at all who receive it."""
    place = flight.head[e]
    word, reached = flight.word[e, place], flight.receivers[e, place]
    flight.head[e] = wrapped(place + 1, flight.word.shape[1])
    flight.length[e] -= 1
    source, sequence = source_of(word), sequence_of(word)
    expired = is_expired(world.store, e, source, sequence)
    for node in range(world.present.shape[1]):
        if not (reached >> node) & 1:
            continue
        if expired:
            world.counters.total[count.EXPIRED] += 1
            continue
        if not mark_seen(world.relays, e, node, source, sequence):
            world.counters.total[count.DUPLICATES] += 1
            continue
        keep_for_relay(world.relays, world.store, e, node, word)
        row = world.table.row_of[node]
        if row >= 0 and source > 0:
            _enter(world.table, world.store, e, row, word, t_us)


@inlined
def _enter(
    table: TableArrays, store: StoreArrays, e: int, r: int, word: int, arrival_us: int
) -> None:
    """Let a message of a source other than node 0 arrive at row `r` of the table."""
    source, place = source_of(word), sequence_of(word) % DEPTH
    frame = (e, source, place)
    link = (e, r, source - 1)
    enter(table, link, store.numbers, store.payload, frame, hops_of(word), arrival_us)
