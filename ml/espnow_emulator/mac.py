"""From a node's wish to send to the frame on the air: queues, contention, collisions.

Carrier sensing as in IEEE 802.11's DCF for broadcasts: no acknowledgement, no second try, a backoff
drawn once per frame and frozen while others send. Everybody hears everybody's carrier, and no
frame survives a collision: two simplifications.
"""

import math
from typing import Annotated, Final, NamedTuple, Self

import numpy as np

from ml.arrays import Floats, Ints, Words, allocate
from ml.compiled import inlined
from ml.espnow_emulator.loss_model import Episodes
from ml.espnow_emulator.message_store import DEPTH, LONG_AGO_US, sequence_of, source_of
from ml.espnow_emulator.parameters.radio import MacParameters
from ml.keyed_random import Stream, extend_one, fold, uniform_one

NEVER_US: Final = int(np.iinfo(np.int64).max)
QUEUE_CAPACITY: Final = 32
"""Transmit buffers of the board; a frame that finds them full is dropped."""
_US_PER_MS = 1000.0
_H_TX, H_RX, _WAIT_PROBABILITY, _WAIT_MEAN = range(4)
_TIMES = ("mac.h_tx_ms", "mac.h_rx_ms", "mac.wait_probability", "mac.wait_mean_ms")


class MacRules(NamedTuple):
    """What is the same for all convoys, in whole microseconds where it is a time."""

    enabled: bool
    airtime_us: int
    slot_us: int
    difs_us: int
    contention_window: int
    vulnerable_us: int
    fixed_latency_us: int


class MacArrays(NamedTuple):
    """The queues of all nodes and the medium they share; `reset` before use."""

    rules: MacRules
    word: Annotated[Ints, "E N Q"]  # rings of frames, packed by `message_word`
    ready_us: Annotated[Ints, "E N Q"]  # when the MAC has them
    head: Annotated[Ints, "E N"]  # place of the first
    length: Annotated[Ints, "E N"]  # frames in the ring
    contention_us: Annotated[Ints, "E N"]  # since when the first one contends
    backoff: Annotated[Ints, "E N"]  # slots that it has left
    idle_from_us: Annotated[Ints, "E"]  # end of the last transmission
    times: Annotated[Floats, "E 4"]  # by _H_TX and so on: delays, share that waits, mean wait; µs
    node_keys: Annotated[Ints, "E N"]
    backoff_key: Annotated[Words, "E N"]
    wait_key: Annotated[Words, "E N"]

    @classmethod
    def of(cls, mac: MacParameters, num_envs: int, num_nodes: int) -> Self:
        """Return the queues of all nodes; switched off, they have room for the whole store."""
        rules = MacRules(
            enabled=mac.enabled,
            airtime_us=mac.airtime_us,
            slot_us=mac.slot_us,
            difs_us=mac.difs_us,
            contention_window=mac.cw,
            vulnerable_us=mac.vulnerable_us,
            fixed_latency_us=round(mac.fixed_latency_ms * _US_PER_MS),
        )
        capacity = QUEUE_CAPACITY if mac.enabled else 1 + num_nodes * DEPTH
        return allocate(cls, {"E": num_envs, "N": num_nodes, "Q": capacity}, rules=rules)

    def reset(self, episodes: Episodes) -> None:
        """Begin episodes; `clear` what was."""
        h_tx_ms, h_rx_ms, share, wait_ms = (episodes.values[name] for name in _TIMES)
        delays_us = np.rint(h_tx_ms * _US_PER_MS), np.rint(h_rx_ms * _US_PER_MS)
        times = np.stack([*delays_us, share, wait_ms * _US_PER_MS], axis=1)
        self.times[episodes.env_indices] = times
        self.rekey(episodes)

    def rekey(self, episodes: Episodes) -> None:
        """Fold the keys of the draws per frame."""
        here, nodes, episode = episodes.env_indices, episodes.node_keys, episodes.keys[:, None]
        self.node_keys[here] = nodes
        self.backoff_key[here] = fold(episode, Stream.MAC_BACKOFF, nodes)
        self.wait_key[here] = fold(episode, Stream.MAC_WAIT, nodes)

    def clear(self, env_indices: Ints) -> None:
        """Empty the queues and the medium of the given convoys."""
        self.length[env_indices] = 0
        self.head[env_indices] = 0
        self.idle_from_us[env_indices] = LONG_AGO_US


@inlined
def _frame_key(mac: MacArrays, key: np.uint64, env: int, word: int) -> np.uint64:
    source_key = mac.node_keys[env, source_of(word)]
    return extend_one(extend_one(key, source_key), sequence_of(word))


@inlined
def _become_head(mac: MacArrays, env: int, node: int, not_before_us: int) -> None:
    """Let the first frame of a queue contend, from a time on or when the MAC has it."""
    place = mac.head[env, node]
    mac.contention_us[env, node] = max(not_before_us, mac.ready_us[env, node, place])
    if mac.rules.enabled:
        key = _frame_key(mac, mac.backoff_key[env, node], env, mac.word[env, node, place])
        slots = mac.rules.contention_window + 1
        mac.backoff[env, node] = int(uniform_one(key) * slots)


@inlined
def wrapped(place: int, capacity: int) -> int:
    """Return a place in a ring, at most once around; a remainder would take a division."""
    return place - capacity if place >= capacity else place


@inlined
def queue_frame(mac: MacArrays, env: int, node: int, word: int, slot_time_us: int) -> bool:
    """Hand a frame to a node's MAC at the time of the node's slot; False if it was dropped."""
    capacity = mac.word.shape[2]
    count = mac.length[env, node]
    if count == capacity:
        return False
    ready_us = slot_time_us
    if mac.rules.enabled:
        ready_us += int(mac.times[env, _H_TX])
        share = mac.times[env, _WAIT_PROBABILITY]
        if share > 0.0:
            draw = uniform_one(_frame_key(mac, mac.wait_key[env, node], env, word))
            if draw < share:
                wait_us = -mac.times[env, _WAIT_MEAN] * math.log(1.0 - draw / share)
                ready_us += int(np.rint(wait_us))
    place = wrapped(mac.head[env, node] + count, capacity)
    mac.word[env, node, place] = word
    mac.ready_us[env, node, place] = ready_us
    mac.length[env, node] = count + 1
    if count == 0:
        _become_head(mac, env, node, LONG_AGO_US)
    return True


@inlined
def start_us(mac: MacArrays, env: int, node: int) -> int:
    """When the first frame of a node's queue starts if nobody else does; NEVER_US without one."""
    if mac.length[env, node] == 0:
        return NEVER_US
    if not mac.rules.enabled:
        return int(mac.contention_us[env, node])
    idle_us = max(mac.contention_us[env, node], mac.idle_from_us[env])
    return int(idle_us + mac.rules.difs_us + mac.backoff[env, node] * mac.rules.slot_us)


@inlined
def next_start(mac: MacArrays, env: int) -> tuple[int, int]:
    """Which node is the next on the air, and when: (node, NEVER_US) if none is."""
    first, first_us = 0, NEVER_US
    for node in range(mac.length.shape[1]):
        at_us = start_us(mac, env, node)
        if at_us < first_us:
            first, first_us = node, at_us
    return first, first_us


@inlined
def take_head(mac: MacArrays, env: int, node: int, end_us: int) -> int:
    """Take the first frame out of a queue, as it goes on the air until `end_us`; return it."""
    place = mac.head[env, node]
    word = mac.word[env, node, place]
    mac.head[env, node] = wrapped(place + 1, mac.word.shape[2])
    mac.length[env, node] -= 1
    if mac.length[env, node] > 0:
        _become_head(mac, env, node, end_us)
    return int(word)


@inlined
def count_down(mac: MacArrays, env: int, node: int, busy_us: int) -> None:
    """Use up the slots that a waiting frame has counted before the medium became busy."""
    since_us = max(mac.contention_us[env, node], mac.idle_from_us[env]) + mac.rules.difs_us
    counted = (busy_us - since_us) // mac.rules.slot_us
    mac.backoff[env, node] -= min(max(counted, 0), mac.backoff[env, node])
