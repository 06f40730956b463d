"""A stateless random generator: each draw is a hash of what it is for.

A draw depends on its key alone, never on how many draws were made before it. So the fate of a
packet does not change when the batch grows, when another car is removed or when the order of
calls changes (rule 5 of the design). The hash is the finaliser of splitmix64 (Steele, Lea and
Flood, OOPSLA 2014), applied once per key part; it is the same in scalar and array code and on
every version of numpy.

Usage: fold what is constant into a key once per episode, fold what changes once per tick::

    link_key = fold(seed, env_index, episode, Stream.RADIO, sender, receiver)
    u = uniform(fold(link_key, tick))
"""

import math
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike

from ml.arrays import Floats, Words
from ml.compiled import compiled, elementwise, inlined

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_30, _SHIFT_27, _SHIFT_31, _SHIFT_11 = (np.uint64(n) for n in (30, 27, 31, 11))
_TO_UNIT = 2.0**-53
_ALL_BITS = 2**64 - 1
_NO_PART = np.zeros(1, dtype=np.uint64)


class Stream(IntEnum):
    """What a draw is for. The numbers are part of the reproducibility contract: never renumber."""

    SCENARIO = 1
    DRIVERS = 2
    HAZARD = 3
    LEADER_SPEED = 4
    BEACON_PHASE = 5
    CLOCK = 6
    RADIO_LOSS = 7
    RADIO_LATENCY = 8
    RADIO_PARAMETERS = 9
    GPS = 10
    GPS_COMMON = 11
    SPEED_SENSOR = 12
    HEADING_SENSOR = 13
    ACCELEROMETER = 14
    GYROSCOPE = 30
    RANGING = 31
    SENSOR_FAULTS = 32
    MESSAGE_FAULTS = 33
    WANTED_TIME_GAP = 34
    MAC_BACKOFF = 15
    MAC_WAIT = 16
    SHADOWING = 17
    SLOW_BIAS = 18
    SLOW_BIAS_COMMON = 19
    ANTENNA = 20
    BLACKOUT = 21
    RELAYING = 40
    BEACON_JITTER = 22
    CASE_SPLIT = 35
    REPLAYED_CASE = 36
    RECORDED_EPISODE = 37
    RECORDED_TRAFFIC = 38
    EXPLORATION = 39
    SYNTHETIC_LOGS = 48


def _words(values: ArrayLike) -> Words | np.uint64:
    """View integers of any sign as 64-bit words; see `_word` for larger ones."""
    if isinstance(values, int):
        return _word(values)
    array = np.asarray(values)
    if array.dtype == np.uint64:
        return array
    return array.astype(np.int64).view(np.uint64)


@lru_cache(maxsize=256)
def _word(value: int) -> np.uint64:
    """Return an integer of any size as one word; beyond 64 bits every bit of it counts."""
    word, rest = np.uint64(value & _ALL_BITS), value >> 64
    while rest > 0:  # a negative one is its two's complement
        # Mixed before the next word joins: low and high bits that are equal would cancel out.
        mixed = np.uint64(extend_one(word, np.uint64(0)))
        word, rest = np.uint64(extend_one(mixed, np.uint64(rest & _ALL_BITS))), rest >> 64
    return word


@compiled
def extend_one(key: np.uint64, part: np.uint64 | int) -> np.uint64:
    """`extend` for one key inside a compiled loop; the same bits."""
    word = (key ^ np.uint64(part)) + _GOLDEN
    word = (word ^ (word >> _SHIFT_30)) * _MIX_1
    word = (word ^ (word >> _SHIFT_27)) * _MIX_2
    return word ^ (word >> _SHIFT_31)


@compiled
def uniform_one(key: np.uint64) -> float:
    """`uniform` for one key inside a compiled loop; the same bits."""
    return float(extend_one(key, 0) >> _SHIFT_11) * _TO_UNIT


@compiled
def normal_pair_one(key: np.uint64) -> tuple[float, float]:
    """Two independent standard normal draws of a key; the first is that of `normal`."""
    # 1 - u is exact, since u has 53 bits.
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform_one(key)))
    cosine, sine = _cos_sin_of_turn(uniform_one(key ^ _MIX_1))
    return radius * cosine, radius * sine


@compiled
def _cos_sin_of_turn(turn: float) -> tuple[float, float]:
    """Cosine and sine of 2 pi turn, for a turn in [0, 1), within 2e-16 of the truth.

    Taylor's series about the nearest quarter of a turn: no branch that a processor could guess
    wrong for a random angle, which takes longer than the arithmetic, and no mathematics library
    whose version could change the last bit.
    """
    quarter = math.floor(4.0 * turn + 0.5)
    x = (turn - 0.25 * quarter) * (2.0 * math.pi)
    y = x * x
    tail = 1.0 - y * (1.0 / 210.0)
    tail = 1.0 - y * (1.0 / 156.0) * tail
    tail = 1.0 - y * (1.0 / 110.0) * tail
    tail = 1.0 - y * (1.0 / 72.0) * tail
    tail = 1.0 - y * (1.0 / 42.0) * tail
    tail = 1.0 - y * (1.0 / 20.0) * tail
    sine = x * (1.0 - y * (1.0 / 6.0) * tail)
    tail = 1.0 - y * (1.0 / 240.0)
    tail = 1.0 - y * (1.0 / 182.0) * tail
    tail = 1.0 - y * (1.0 / 132.0) * tail
    tail = 1.0 - y * (1.0 / 90.0) * tail
    tail = 1.0 - y * (1.0 / 56.0) * tail
    tail = 1.0 - y * (1.0 / 30.0) * tail
    tail = 1.0 - y * (1.0 / 12.0) * tail
    cosine = 1.0 - y * (1.0 / 2.0) * tail
    k = int(quarter) & 3
    swapped = (k & 1) == 1
    first, second = (sine, cosine) if swapped else (cosine, sine)
    return (-first if k in (1, 2) else first), (-second if k in (2, 3) else second)


@inlined
def fill_normals(count: int, keys: Words, part: int, turns: Floats, draws: Floats) -> None:
    """`normal(extend(key, part))` of many keys inside a compiled loop; the same bits.

    Step by step for all of them, so that the processor's vector instructions do several at once:
    that takes a third of the time. The first `count` of `draws` are filled; `turns` is room to work
    in, as long.
    """
    for k in range(count):
        key = extend_one(keys[k], part)
        draws[k] = 1.0 - uniform_one(key)  # exact, since a draw has 53 bits
        turns[k] = uniform_one(key ^ _MIX_1)
    for k in range(count):
        turns[k] = _cos_sin_of_turn(turns[k])[0]
    for k in range(count):
        draws[k] = math.sqrt(-2.0 * math.log(draws[k])) * turns[k]


@elementwise("uint64(uint64, uint64)")
def _extend(key: np.uint64, part: np.uint64) -> np.uint64:
    return extend_one(key, part)


@elementwise("float64(uint64)")
def _uniform(key: np.uint64) -> float:
    return uniform_one(key)


@elementwise("float64(uint64)")
def _normal(key: np.uint64) -> float:
    return normal_pair_one(key)[0]


def fold(key: ArrayLike, *parts: ArrayLike) -> Words:
    """Derive a key from a key and further parts, broadcast against each other.

    Args:
        key: A seed or an earlier key, integers of any shape.
        parts: Integers, arrays of integers or `Stream` members.

    Returns:
        uint64 keys of the broadcast shape, at least one-dimensional.
    """
    state = _extend(_words(key), _NO_PART)
    for part in parts:
        state = _extend(state, _words(part))
    return state


def extend(key: Words, part: ArrayLike) -> Words:
    """Add one part to a key made by `fold`: `extend(fold(k, a), b)` is `fold(k, a, b)`.

    For hot paths, where the constant part is folded once per episode.
    """
    return _extend(key, _words(part))


def uniform(key: Words) -> Floats:
    """Uniform draws in [0, 1) with 53 bits, one per key."""
    return _uniform(key)


def normal(key: Words) -> Floats:
    """Standard normal draws, one per key (Box and Muller, 1958)."""
    return _normal(key)


def text_key(text: str) -> int:
    """Return a stable 63-bit integer for a name, for use as a key part."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
