"""The newest messages of every source, once for all who relay or receive them.

Inside the event loops a frame is one word, `message_word(source, sequence, hops)`; its numbers and
its payload stay here.
"""

import math
from typing import Annotated, Final, NamedTuple

from ml.arrays import Bools, Floats, Ints
from ml.compiled import inlined
from ml.espnow_emulator.messages import FrameField

DEPTH: Final = 16
"""So many messages of each source are kept; what refers to an older one is dropped."""
MAX_NODES: Final = 32
LONG_AGO_US: Final = -(2**62)
REBOOT_MS: Final = 1000
"""A timestamp older by more than this than the newest of its source is of a new start."""
_SOURCE_BITS = 5
_WORD_BITS = 8


_SEQUENCE, _EPOCH, _TIMESTAMP_MS, _GENERATED_US, _ = (int(field) for field in FrameField)


class Frames(NamedTuple):
    """What all nodes hand over at one call of `transmit`; see there."""

    sending: Annotated[Bools, "E N"]
    t_generated_us: Annotated[Ints, "E N"]
    timestamp_ms: Annotated[Ints, "E N"]
    payload: Annotated[Floats, "E N F"]
    node_xy_m: Annotated[Floats, "E N 2"]
    now_us: Annotated[Ints, "E"]


class StoreArrays(NamedTuple):
    """What the nodes of all convoys have lately said; `reset` before use."""

    numbers: Annotated[Ints, "E N DEPTH 4"]  # by sequence modulo DEPTH, indexed by FrameField
    payload: Annotated[Floats, "E N DEPTH F"]
    next_sequence: Annotated[Ints, "E N"]  # frames handed over in this episode
    next_slot: Annotated[Ints, "E N"]  # the first of them whose slot has not come
    first: Annotated[Ints, "E N"]  # the first one since the last reset or clear
    epoch: Annotated[Ints, "E N"]  # starts of the board
    newest_ms: Annotated[Ints, "E N"]  # newest timestamp since the last start
    generated_us: Annotated[Ints, "E N"]  # true time of the last frame handed over

    def reset(self, env_indices: Ints) -> None:
        """Begin an episode: sequence numbers start at 0. `clear` what was."""
        self.next_sequence[env_indices] = 0
        self.epoch[env_indices] = 0
        self.newest_ms[env_indices] = LONG_AGO_US

    def clear(self, env_indices: Ints) -> None:
        """Forget the frames that wait for their slot."""
        self.next_slot[env_indices] = self.next_sequence[env_indices]
        self.first[env_indices] = self.next_sequence[env_indices]
        self.generated_us[env_indices] = LONG_AGO_US


@inlined
def message_word(source: int, sequence: int, hops: int) -> int:
    """Pack what names a frame into one integer."""
    return (sequence << _WORD_BITS) | (hops << _SOURCE_BITS) | source


@inlined
def source_of(word: int) -> int:
    """Whose state a frame carries."""
    return word & (MAX_NODES - 1)


@inlined
def hops_of(word: int) -> int:
    """How often a frame was relayed."""
    return (word >> _SOURCE_BITS) & 7


@inlined
def sequence_of(word: int) -> int:
    """Which of its source's messages a frame carries."""
    return word >> _WORD_BITS


@inlined
def is_expired(store: StoreArrays, env: int, source: int, sequence: int) -> bool:
    """Tell whether a message is no longer in the store."""
    return bool(sequence < store.next_sequence[env, source] - DEPTH)


@inlined
def are_fine(frames: Frames, delivered_us: Ints, offered_us: Ints, generated_us: Ints) -> bool:
    """Tell whether all numbers are finite and all times in order.

    Args:
        frames: What is handed over.
        delivered_us: (E,), up to when all has been delivered.
        offered_us: (E,), the time of the last call.
        generated_us: (E, N), of each node's last frame.
    """
    fine = True
    for e in range(frames.sending.shape[0]):
        now_us = frames.now_us[e]
        fine &= now_us >= offered_us[e]
        for n in range(frames.sending.shape[1]):
            t_us = frames.t_generated_us[e, n]
            in_order = max(delivered_us[e], generated_us[e, n]) <= t_us <= now_us
            fine &= in_order or not frames.sending[e, n]
            for field in range(frames.payload.shape[2]):
                fine &= math.isfinite(frames.payload[e, n, field])
            fine &= math.isfinite(frames.node_xy_m[e, n, 0])
            fine &= math.isfinite(frames.node_xy_m[e, n, 1])
    return bool(fine)


@inlined
def accept_frames(frames: Frames, store: StoreArrays) -> None:
    """Number the frames of all senders, keep what they carry, and notice who was started anew."""
    for e in range(frames.sending.shape[0]):
        for n in range(frames.sending.shape[1]):
            if not frames.sending[e, n]:
                continue
            timestamp_ms, generated_us = frames.timestamp_ms[e, n], frames.t_generated_us[e, n]
            if timestamp_ms < store.newest_ms[e, n] - REBOOT_MS:
                store.epoch[e, n] += 1
                store.newest_ms[e, n] = timestamp_ms
            store.newest_ms[e, n] = max(store.newest_ms[e, n], timestamp_ms)
            sequence = store.next_sequence[e, n]
            place = sequence % DEPTH
            store.numbers[e, n, place, _SEQUENCE] = sequence
            store.numbers[e, n, place, _EPOCH] = store.epoch[e, n]
            store.numbers[e, n, place, _TIMESTAMP_MS] = timestamp_ms
            store.numbers[e, n, place, _GENERATED_US] = generated_us
            for field in range(frames.payload.shape[2]):
                store.payload[e, n, place, field] = frames.payload[e, n, field]
            store.generated_us[e, n] = generated_us
            store.next_sequence[e, n] = sequence + 1
