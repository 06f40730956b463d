"""The radio of one convoy as a discrete-event simulation: a heap of events, run one by one."""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from ml.keyed_random import Stream
from oracle.links import Scene, create_links, draw_uniform
from oracle.table import Link, Message, Reception

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml.espnow_emulator import RadioParameters
    from oracle.links import Point

_DEPTH = 16
_QUEUE_CAPACITY = 32
_SEEN_BACK = 64
_X, _Y, _HEADING = 0, 1, 3


class Kind(IntEnum):
    """What happens; at equal times in this order."""

    ARRIVAL = 0
    SLOT = 1
    AIR_START = 2


@dataclass(frozen=True)
class Frame:
    """One copy of a message that somebody sends."""

    message: Message
    hops: int


@dataclass
class Queued:
    """A frame at the transmitter: when it may contend, and the backoff it has left."""

    frame: Frame
    ready_us: int
    backoff: int


@dataclass(frozen=True)
class OnAir:
    """A frame that was on the air."""

    sender: int
    frame: Frame
    start_us: int
    end_us: int
    collided: bool


@dataclass(frozen=True)
class Slot:
    """A node's turn to send its own state."""

    message: Message


@dataclass(frozen=True)
class Arrival:
    """A frame at one receiver's end."""

    receiver: int
    frame: Frame


@dataclass(frozen=True)
class AirStart:
    """Somebody begins to send: `sender` at once if the MAC is off, else whoever is first.

    `version` names the state of contention that it was computed from; stale ones are skipped.
    """

    version: int = 0
    sender: int = 0
    frame: Frame | None = None


Event = tuple[int, Kind, int, int, "Slot | Arrival | AirStart"]


@dataclass
class Node:
    """A board."""

    queue: deque[Queued] = field(default_factory=deque)
    relays: list[Frame] = field(default_factory=list)
    seen: dict[int, set[int]] = field(default_factory=dict)
    own: Message | None = None

    def has_seen(self, source: int, seq: int) -> bool:
        """Marked, or too old to be looked up."""
        marks = self.seen.get(source)
        return marks is not None and (seq in marks or seq < max(marks) - _SEEN_BACK)


@dataclass
class OracleRadio:
    """All boards of one convoy and the medium between them.

    Attributes:
        parameters: Of the radio.
        key: Of the episode.
        node_keys: Names of the nodes, by index.
        present: Who is there at all; the others send and hear nothing and hide nobody.
        receptions: All, in order of arrival; also those of nodes that nobody records.
        on_air: All frames that were sent.
        links: (receiver, source) -> what has arrived since the last `clear`.
        drops: Frames that found a full queue.
        expired: Entries dropped because their message was too old.
        duplicates: Arrivals of what was known.
    """

    parameters: RadioParameters
    key: int
    node_keys: Sequence[int]
    present: Sequence[bool]
    receptions: list[Reception] = field(default_factory=list)
    on_air: list[OnAir] = field(default_factory=list)
    links: dict[tuple[int, int], Link] = field(default_factory=dict)
    drops: int = 0
    expired: int = 0
    duplicates: int = 0

    def __post_init__(self) -> None:
        """Start an episode: silent, nobody has said anything."""
        self.nodes = [Node() for _ in self.node_keys]
        mac = self.parameters.mac
        # Preamble and header, then 43 bytes more than the payload at the rate.
        self.air_us = round(192.0 + 8000.0 * (43 + mac.payload_bytes) / mac.rate_kbps)
        self.link_model = create_links(self.parameters.loss, self.key, self.node_keys)
        self.scene: Scene | None = None
        self.idle_from_us = 0
        self._events: list[Event] = []
        self._counter = 0
        self._version = 0
        self._newest_seq = [-1] * len(self.node_keys)
        self._boots: list[tuple[int, int | None]] = [(0, None)] * len(self.node_keys)

    # What the environment does.

    def transmit(
        self,
        *,
        now_us: int,
        sending: Sequence[bool],
        t_generated_us: Sequence[int],
        timestamp_ms: Sequence[int],
        payload: Sequence[Sequence[float]],
        xy_m: Sequence[Point],
    ) -> None:
        """Everybody who sends gets a slot at his own time; the links move to `now_us`."""
        points = tuple((float(x), float(y)) for x, y in xy_m)
        self.scene = Scene(now_us, points, tuple(self.present))
        numbers = [self._newest_seq[j] + 1 if sends else None for j, sends in enumerate(sending)]
        self.link_model.move(self.scene, numbers)
        for j, sends in enumerate(sending):
            if not sends:
                continue
            self._newest_seq[j] += 1
            message = Message(
                source=j,
                seq=self._newest_seq[j],
                epoch=self._boot_epoch(j, timestamp_ms[j]),
                timestamp_ms=timestamp_ms[j],
                t_generated_us=t_generated_us[j],
                payload=tuple(float(value) for value in payload[j]),
            )
            self._push(message.t_generated_us, Kind.SLOT, j, Slot(message))
        # Of a node's own messages that wait for their slot only the newest are remembered.
        waiting = [
            event
            for event in self._events
            if not isinstance(event[4], Slot) or not self._is_expired(event[4].message)
        ]
        self.expired += len(self._events) - len(waiting)
        self._events = waiting
        heapq.heapify(self._events)

    def deliver(self, now_us: int) -> None:
        """Run all events up to and at `now_us`."""
        while self._events and self._events[0][0] <= now_us:
            t_us, _, node, _, event = heapq.heappop(self._events)
            if isinstance(event, Slot):
                self._run_slot(t_us, node, event.message)
            elif isinstance(event, Arrival):
                self._arrive(t_us, event)
            elif event.frame is not None:
                end_us = t_us + _microseconds(self.parameters.mac.fixed_latency_ms)
                self.on_air.append(OnAir(event.sender, event.frame, t_us, end_us, collided=False))
                self._receive(event.sender, event.frame, end_us, end_us)
            elif event.version == self._version:
                self._contend()

    def clear(self) -> None:
        """Boards off and on; links, sequence numbers and clocks live on."""
        self.idle_from_us = 0
        self._events.clear()
        self.links.clear()
        self.link_model.forget_time()
        for node in self.nodes:
            node.queue.clear()
            node.relays.clear()
            node.seen.clear()
            node.own = None

    # What happens inside.

    def _push(self, t_us: int, kind: Kind, node: int, event: Slot | Arrival | AirStart) -> None:
        self._counter += 1
        heapq.heappush(self._events, (t_us, kind, node, self._counter, event))

    def _boot_epoch(self, j: int, timestamp_ms: int) -> int:
        """A timestamp more than a second before the newest one is that of another boot."""
        epoch, newest_ms = self._boots[j]
        if newest_ms is not None and timestamp_ms < newest_ms - 1000:
            epoch, newest_ms = epoch + 1, None
        self._boots[j] = epoch, timestamp_ms if newest_ms is None else max(newest_ms, timestamp_ms)
        return epoch

    def _is_expired(self, message: Message) -> bool:
        return message.seq <= self._newest_seq[message.source] - _DEPTH

    def _run_slot(self, t_us: int, j: int, message: Message) -> None:
        node = self.nodes[j]
        if node.own is None or message.seq > node.own.seq:
            node.own = message
        if not self._works(t_us, j):
            node.relays.clear()
        relays = [frame for frame in node.relays if not self._is_expired(frame.message)]
        self.expired += len(node.relays) - len(relays)
        for frame in [Frame(message, 0), *relays]:
            if self.parameters.mac.enabled:
                self._queue(t_us, j, frame)
            else:
                self._push(t_us, Kind.AIR_START, j, AirStart(sender=j, frame=frame))
        node.relays.clear()
        self._plan_air_start()

    def _works(self, t_us: int, j: int) -> bool:
        """A relay works or is idle for a while, then the dice are cast again."""
        relay, key = self.parameters.relay, (Stream.RELAYING, self.node_keys[j])
        spell_us = round(relay.forward_time_s * 1e6)
        begun_us = int(draw_uniform(self.key, *key, 2) * spell_us)
        mean = relay.forward_probability
        widest = min(relay.forward_spread, mean, 1.0 - mean)
        share = mean + (2.0 * draw_uniform(self.key, *key, 1) - 1.0) * widest
        return draw_uniform(self.key, *key, 0, (t_us + begun_us) // spell_us) < share

    def _queue(self, t_us: int, j: int, frame: Frame) -> None:
        if len(self.nodes[j].queue) == _QUEUE_CAPACITY:
            self.drops += 1
            return
        mac, message = self.parameters.mac, frame.message
        parts = (self.node_keys[j], self.node_keys[message.source], message.seq)
        ready_us = t_us + _microseconds(mac.h_tx_ms)
        u = draw_uniform(self.key, Stream.MAC_WAIT, *parts)
        if u < mac.wait_probability:
            ready_us += _microseconds(-mac.wait_mean_ms * math.log(1.0 - u / mac.wait_probability))
        backoff = int(draw_uniform(self.key, Stream.MAC_BACKOFF, *parts) * (mac.cw + 1))
        self.nodes[j].queue.append(Queued(frame, ready_us, backoff))

    def _counting_from_us(self, head: Queued) -> int:
        """When the backoff of a head begins to run down, if nobody else begins to send."""
        return max(head.ready_us, self.idle_from_us) + self.parameters.mac.difs_us

    def _starts_us(self) -> list[tuple[int, int]]:
        """(start, node) of all heads as long as the medium stays idle."""
        return [
            (self._counting_from_us(head) + head.backoff * self.parameters.mac.slot_us, j)
            for j, node in enumerate(self.nodes)
            for head in list(node.queue)[:1]
        ]

    def _plan_air_start(self) -> None:
        self._version += 1
        starts = self._starts_us()
        if starts:
            start_us, j = min(starts)
            self._push(start_us, Kind.AIR_START, j, AirStart(version=self._version))

    def _contend(self) -> None:
        """Whoever is first sends, and so do those who could not hear it yet."""
        mac = self.parameters.mac
        starts = sorted(self._starts_us())
        first_us, first = starts[0]
        senders = [(first_us, first)]
        senders += [(s, j) for s, j in starts[1:] if s < first_us + mac.vulnerable_us]
        for _, j in starts:
            if j not in {sender for _, sender in senders}:
                head = self.nodes[j].queue[0]
                gone = (first_us - self._counting_from_us(head)) // mac.slot_us
                head.backoff -= min(max(gone, 0), head.backoff)
        collided = len(senders) > 1
        for start_us, j in senders:
            frame = self.nodes[j].queue.popleft().frame
            end_us = start_us + self.air_us
            self.on_air.append(OnAir(j, frame, start_us, end_us, collided))
            if not collided:
                self._receive(j, frame, end_us, end_us + _microseconds(mac.h_rx_ms))
        self.idle_from_us = max(start_us for start_us, _ in senders) + self.air_us
        self._plan_air_start()

    def _receive(self, j: int, frame: Frame, end_us: int, arrival_us: int) -> None:
        """Decide who gets a frame that nobody disturbed."""
        assert self.scene is not None
        source, seq = frame.message.source, frame.message.seq
        for i, node in enumerate(self.nodes):
            if i in {j, source} or not self.present[i] or node.has_seen(source, seq):
                continue
            parts = (self.node_keys[i], self.node_keys[j], self.node_keys[source], seq)
            u = draw_uniform(self.key, Stream.RADIO_LOSS, *parts)
            if u < self.link_model.p_ok(i, j, end_us):
                self._push(arrival_us, Kind.ARRIVAL, i, Arrival(i, frame))

    def _arrive(self, t_us: int, arrival: Arrival) -> None:
        frame, node = arrival.frame, self.nodes[arrival.receiver]
        message = frame.message
        if self._is_expired(message):
            self.expired += 1
            return
        if node.has_seen(message.source, message.seq):
            self.duplicates += 1
            return
        node.seen.setdefault(message.source, set()).add(message.seq)
        reception = Reception(arrival.receiver, message, frame.hops, t_us)
        self.receptions.append(reception)
        link = self.links.setdefault((arrival.receiver, message.source), Link())
        link.receptions.append(reception)
        if frame.hops < self.parameters.relay.max_hops and self._lies_ahead(node, message):
            node.relays.append(Frame(message, frame.hops + 1))

    def _lies_ahead(self, node: Node, message: Message) -> bool:
        """By what the node believes of itself, as of its last slot."""
        relay = self.parameters.relay
        if not relay.front_cone:
            return True
        if node.own is None:
            return False
        east_m = message.payload[_X] - node.own.payload[_X]
        north_m = message.payload[_Y] - node.own.payload[_Y]
        if relay.cone_half_angle_deg >= 180.0 or (east_m, north_m) == (0.0, 0.0):
            return True
        bearing_deg = math.degrees(math.atan2(east_m, north_m))
        off_deg = (bearing_deg - node.own.payload[_HEADING] + 180.0) % 360.0 - 180.0
        return abs(off_deg) <= relay.cone_half_angle_deg


def _microseconds(milliseconds: float) -> int:
    return round(milliseconds * 1000.0)
