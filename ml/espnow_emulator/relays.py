"""What each node has seen, and what it keeps to send on in its own next slot."""

import math
from typing import Annotated, NamedTuple, Self

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words, allocate
from ml.compiled import compiled, inlined
from ml.espnow_emulator.loss_model import Episodes
from ml.espnow_emulator.message_store import (
    DEPTH,
    StoreArrays,
    hops_of,
    is_expired,
    message_word,
    sequence_of,
    source_of,
)
from ml.espnow_emulator.messages import PayloadField
from ml.espnow_emulator.parameters.radio import RelayParameters
from ml.keyed_random import Stream, extend, extend_one, fold, uniform, uniform_one

_MASK_BITS = 64
_ALL_ROUND_DEG = 180.0
_ONE = np.uint64(1)
_US_PER_S = 1e6
_SPELL, _LEVEL, _PHASE = range(3)
_X_M, _Y_M, _HEADING_DEG = (
    int(field) for field in (PayloadField.X_M, PayloadField.Y_M, PayloadField.HEADING_DEG)
)


class RelayRules(NamedTuple):
    """What is the same for all convoys."""

    max_hops: int
    front_cone: bool
    least_cosine: float


class RelayArrays(NamedTuple):
    """What all nodes have seen, and what waits for their slots; `rekey` and `clear` before use."""

    rules: RelayRules
    newest: Annotated[Ints, "E N N"]  # node, source: the newest message seen, -1 for none
    mask: Annotated[Words, "E N N"]  # bit k for the message k before that one
    word: Annotated[Ints, "E N W"]  # what waits, in order of reception; W holds the whole store
    waiting: Annotated[Ints, "E N"]  # how many those are
    pose: Annotated[Floats, "E N 4"]  # x, y, sine and cosine of the heading in its newest frame
    has_pose: Annotated[Bools, "E N"]  # whether there was one
    works_share: Annotated[Floats, "E N"]  # of the time in which a node sends on what waits
    spell_us: Annotated[Ints, "E"]  # how long it works or is idle at a time
    spell_start_us: Annotated[Ints, "E N"]  # when the first spell began, at most so long before 0
    spell_key: Annotated[Words, "E N"]  # of the draw per spell

    @classmethod
    def of(cls, parameters: RelayParameters, num_envs: int, num_nodes: int) -> Self:
        """Return the memory of all nodes."""
        half_deg = parameters.cone_half_angle_deg
        # A full cone holds every direction, whatever the rounding.
        cosine = math.cos(math.radians(half_deg)) if half_deg < _ALL_ROUND_DEG else -2.0
        sizes = {"E": num_envs, "N": num_nodes, "W": num_nodes * DEPTH}
        rules = RelayRules(parameters.max_hops, parameters.front_cone, cosine)
        return allocate(cls, sizes, rules=rules)

    def rekey(self, episodes: Episodes) -> None:
        """Draw how much each node works; see `RelayParameters`."""
        here, values = episodes.env_indices, episodes.values
        share, spread, time_s = (
            values[f"relay.forward_{name}"][:, None] for name in ("probability", "spread", "time_s")
        )
        key = fold(episodes.keys[:, None], Stream.RELAYING, episodes.node_keys)
        within = np.minimum(spread, np.minimum(share, 1.0 - share))
        spell_us = np.rint(time_s * _US_PER_S)
        self.works_share[here] = share + (2.0 * uniform(extend(key, _LEVEL)) - 1.0) * within
        self.spell_us[here] = spell_us[:, 0]
        self.spell_start_us[here] = -np.floor(uniform(extend(key, _PHASE)) * spell_us)
        self.spell_key[here] = extend(key, _SPELL)

    def clear(self, env_indices: Ints) -> None:
        """Forget what was seen and what waits."""
        self.newest[env_indices] = -1
        self.mask[env_indices] = 0
        self.waiting[env_indices] = 0
        self.has_pose[env_indices] = False


@inlined
def works(relays: RelayArrays, env: int, node: int, t_us: int) -> bool:
    """Tell whether a node sends on what waits, in a slot at a time."""
    spell = (t_us - relays.spell_start_us[env, node]) // relays.spell_us[env]
    draw = uniform_one(extend_one(relays.spell_key[env, node], spell))
    return bool(draw < relays.works_share[env, node])


@compiled
def all_work(relays: RelayArrays, t_us: Ints, work: Bools) -> None:
    """Fill `work` (E, N): whether each node sends on what waits, in a slot at `t_us` (E, N)."""
    for env in range(t_us.shape[0]):
        for node in range(t_us.shape[1]):
            work[env, node] = works(relays, env, node, t_us[env, node])


@inlined
def has_seen(relays: RelayArrays, env: int, node: int, source: int, sequence: int) -> bool:
    """Tell whether a node has seen a message; what is older than its marks counts as seen."""
    before = relays.newest[env, node, source] - sequence
    if before < 0:
        return False
    if before >= _MASK_BITS:
        return True
    return bool((relays.mask[env, node, source] >> np.uint64(before)) & _ONE)


@inlined
def mark_seen(relays: RelayArrays, env: int, node: int, source: int, sequence: int) -> bool:
    """Mark a message as seen by a node; False if it was already."""
    newest = relays.newest[env, node, source]
    mask = relays.mask[env, node, source]
    if sequence > newest:
        ahead = sequence - newest
        none_left = newest < 0 or ahead >= _MASK_BITS
        mask = np.uint64(0) if none_left else mask << np.uint64(ahead)
        relays.newest[env, node, source] = sequence
        relays.mask[env, node, source] = mask | _ONE
        return True
    before = newest - sequence
    if before >= _MASK_BITS:
        return False
    bit = _ONE << np.uint64(before)
    if mask & bit:
        return False
    relays.mask[env, node, source] = mask | bit
    return True


@inlined
def note_own_pose(relays: RelayArrays, store: StoreArrays, env: int, node: int, place: int) -> None:
    """Remember where a node believed to be, and facing where, when it sent its own frame."""
    heading = math.radians(store.payload[env, node, place, _HEADING_DEG])
    relays.pose[env, node, 0] = store.payload[env, node, place, _X_M]
    relays.pose[env, node, 1] = store.payload[env, node, place, _Y_M]
    relays.pose[env, node, 2] = math.sin(heading)
    relays.pose[env, node, 3] = math.cos(heading)
    relays.has_pose[env, node] = True


@inlined
def is_ahead(relays: RelayArrays, store: StoreArrays, env: int, node: int, word: int) -> bool:
    """Tell whether the position in a message lies within the cone before a node."""
    if not relays.has_pose[env, node]:
        return False
    source, place = source_of(word), sequence_of(word) % DEPTH
    east_m = store.payload[env, source, place, _X_M] - relays.pose[env, node, 0]
    north_m = store.payload[env, source, place, _Y_M] - relays.pose[env, node, 1]
    along_m = east_m * relays.pose[env, node, 2] + north_m * relays.pose[env, node, 3]
    distance_m = math.sqrt(east_m * east_m + north_m * north_m)
    return bool(along_m >= relays.rules.least_cosine * distance_m)


@inlined
def keep_for_relay(relays: RelayArrays, store: StoreArrays, env: int, node: int, word: int) -> None:
    """Keep a message that a node has just received for its next slot, if it is to relay it."""
    hops = hops_of(word)
    if hops >= relays.rules.max_hops:
        return
    if relays.rules.front_cone and not is_ahead(relays, store, env, node, word):
        return
    if relays.waiting[env, node] == relays.word.shape[2]:
        _drop_expired(relays, store, env, node)
    count = relays.waiting[env, node]
    relays.word[env, node, count] = message_word(source_of(word), sequence_of(word), hops + 1)
    relays.waiting[env, node] = count + 1


@inlined
def _drop_expired(relays: RelayArrays, store: StoreArrays, env: int, node: int) -> None:
    """Make room: at most one entry per message of the store is left, so there is room then."""
    kept = 0
    for k in range(relays.waiting[env, node]):
        word = relays.word[env, node, k]
        if not is_expired(store, env, source_of(word), sequence_of(word)):
            relays.word[env, node, kept] = word
            kept += 1
    relays.waiting[env, node] = kept
