"""Margins that move: path loss, mounting, shadowing, slow bias and the cars in between."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ml.compiled import inlined
from ml.espnow_emulator.fading import gets_through, gets_through_unfaded, reception_table
from ml.espnow_emulator.message_store import LONG_AGO_US
from ml.keyed_random import Stream, extend_one, fold, normal, normal_pair_one, uniform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ml.espnow_emulator.links import LinkArrays, Movement
    from ml.espnow_emulator.parameters.loss import MarginLoss

_NEAREST_M = 3.0
_REFERENCE_M = 20.0
_BREAK_M = 60.0
_RAYLEIGH_FROM_M = 80.0


class _Term(IntEnum):
    """Index of each number of the model in an array of terms, one row per convoy."""

    MARGIN_20M_DB = 0
    EXPONENT_NEAR = 1
    EXPONENT_FAR = 2
    SHADOWING_SD_DB = 3
    SHADOWING_DISTANCE_M = 4
    STANDSTILL_MPS = 5
    BIAS_SD_DB = 6
    BIAS_TIME_S = 7
    BIAS_COMMON_SHARE = 8
    FADING_M = 9
    CAR_FIRST_DB = 10
    CAR_NEXT_DB = 11
    CARS_CAP_DB = 12
    TRANSITION_DB = 13
    FLOOR_LOSS = 14


(
    _MARGIN,
    _NEAR,
    _FAR,
    _SHADOWING_SD,
    _SHADOWING_M,
    _STANDSTILL,
    _BIAS_SD,
    _BIAS_S,
    _COMMON_SHARE,
    _FADING,
    _FIRST,
    _NEXT,
    _CAP,
    _TRANSITION,
    _FLOOR,
) = (int(term) for term in _Term)


class _State(NamedTuple):
    """Where the links of all convoys stand; variances are 1.

    Attributes:
        moved_us: (E,) int64, when they last moved.
        fresh: (E, N) bool, nodes that have not moved yet.
        xy_m: (E, N, 2), where the nodes were then.
        gain_db: (E, N), antenna and mounting.
        shadowing: (E, N, N), of the pair i < j at [i, j].
        bias: (E, N, N), receiver then transmitter.
        common: (E, N), of the receiver.
        shadowing_key: (E, N, N) uint64, symmetric.
        bias_key: (E, N, N) uint64, receiver then transmitter.
        common_key: (E, N) uint64.
    """

    moved_us: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    xy_m: NDArray[np.float64]
    gain_db: NDArray[np.float64]
    shadowing: NDArray[np.float64]
    bias: NDArray[np.float64]
    common: NDArray[np.float64]
    shadowing_key: NDArray[np.uint64]
    bias_key: NDArray[np.uint64]
    common_key: NDArray[np.uint64]


class MarginLinks:
    """The margin model (see `MarginLoss`), moved to the present once per `transmit`.

    Args:
        parameters: Of the model.
        num_envs: E.
        num_nodes: N.
        listening: (N,) bool, receivers that matter; links to others are not moved.
    """

    def __init__(
        self,
        parameters: MarginLoss,
        num_envs: int,
        num_nodes: int,
        listening: NDArray[np.bool_],
    ) -> None:
        nodes = (num_envs, num_nodes)
        self._parameters = parameters
        self._listening = listening
        self._faded = parameters.fading_m is not None
        self._table = reception_table(parameters.transition_db)
        self._terms = np.zeros((num_envs, len(_Term)))
        self._state = _State(
            moved_us=np.full(num_envs, LONG_AGO_US),
            fresh=np.ones(nodes, dtype=bool),
            xy_m=np.zeros((*nodes, 2)),
            gain_db=np.zeros(nodes),
            shadowing=np.zeros((*nodes, num_nodes)),
            bias=np.zeros((*nodes, num_nodes)),
            common=np.zeros(nodes),
            shadowing_key=np.zeros((*nodes, num_nodes), np.uint64),
            bias_key=np.zeros((*nodes, num_nodes), np.uint64),
            common_key=np.zeros(nodes, np.uint64),
        )
        self._antenna: dict[str, NDArray[np.float64]] = {
            "antenna_sd_db": np.zeros(num_envs),
            "door_share": np.zeros(num_envs),
        }
        self._node_keys = np.zeros(nodes, np.int64)

    def reset(
        self,
        env_indices: NDArray[np.int64],
        episode_keys: NDArray[np.uint64],
        node_keys: NDArray[np.int64],
        values: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """Begin an episode; see `links.LossModel`."""
        for term in _Term:
            name = term.name.lower()
            fixed = getattr(self._parameters, name)
            drawn = values.get(name, 0.0 if fixed is None else fixed)
            self._terms[env_indices, term] = drawn
        for name, kept in self._antenna.items():
            kept[env_indices] = values[name]
        self._node_keys[env_indices] = node_keys
        self._derive(env_indices, episode_keys)
        self._state.fresh[env_indices] = True
        self.clear(env_indices)

    def admit(self, env: int, node: int, episode_key: NDArray[np.uint64], node_key: int) -> None:
        """Let another node take part in a running episode."""
        self._node_keys[env, node] = node_key
        self._derive(np.array([env]), episode_key)
        self._state.fresh[env, node] = True

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Forget when the links last moved; their states stay."""
        self._state.moved_us[env_indices] = LONG_AGO_US

    def move(self, movement: Movement, links: LinkArrays) -> None:
        """Move all links to the present and fill `links.chance`."""
        _move(
            movement.now_us,
            movement.present,
            movement.node_xy_m,
            self._listening,
            self._terms,
            self._state,
            self._table,
            self._faded,
            links.chance,
        )

    def _derive(self, env_indices: NDArray[np.int64], episode_keys: NDArray[np.uint64]) -> None:
        """Fold the keys and draw what each node keeps for the episode."""
        state, keys = self._state, self._node_keys[env_indices]
        episode = episode_keys[:, None, None]
        one, other = keys[:, :, None], keys[:, None, :]
        state.shadowing_key[env_indices] = fold(
            episode, Stream.SHADOWING, np.minimum(one, other), np.maximum(one, other)
        )
        state.bias_key[env_indices] = fold(episode, Stream.SLOW_BIAS, one, other)
        state.common_key[env_indices] = fold(episode[:, 0], Stream.SLOW_BIAS_COMMON, keys)
        antenna = fold(episode[:, 0], Stream.ANTENNA, keys)
        spread_db = self._antenna["antenna_sd_db"][env_indices, None]
        in_door = (
            uniform(fold(episode[:, 0], Stream.ANTENNA, keys, 1))
            < self._antenna["door_share"][env_indices, None]
        )
        state.gain_db[env_indices] = normal(antenna) * spread_db - np.where(
            in_door, self._parameters.door_loss_db, 0.0
        )


@inlined
def _step(value: float, memory: float, key: np.uint64, now_us: int) -> float:
    """One step of a process of variance 1 that keeps the share `memory` of its value."""
    return (
        memory * value
        + math.sqrt(1.0 - memory * memory) * normal_pair_one(extend_one(key, now_us))[0]
    )


@inlined
def _path_loss_db(distance_m: float, terms: NDArray[np.float64], env: int) -> float:
    """What the distance costs against 20 m."""
    loss_db = 10.0 * terms[env, _NEAR] * math.log10(min(distance_m, _BREAK_M) / _REFERENCE_M)
    if distance_m > _BREAK_M:
        loss_db += 10.0 * terms[env, _FAR] * math.log10(distance_m / _BREAK_M)
    return float(loss_db)


@inlined
def _move(
    now_us: NDArray[np.int64],
    present: NDArray[np.bool_],
    node_xy_m: NDArray[np.float64],
    listening: NDArray[np.bool_],
    terms: NDArray[np.float64],
    state: _State,
    table: NDArray[np.float64],
    faded: bool,  # noqa: FBT001 - a kernel's arguments are by position
    chance: NDArray[np.float64],
) -> None:
    """Move the links between all present nodes and fill `chance`; see `MarginLinks.move`."""
    num_nodes = present.shape[1]
    for e in range(present.shape[0]):
        elapsed_us = 0
        if state.moved_us[e] != LONG_AGO_US:
            elapsed_us = now_us[e] - state.moved_us[e]
        state.moved_us[e] = now_us[e]
        elapsed_s = elapsed_us / 1e6
        bias_memory = math.exp(-elapsed_s / terms[e, _BIAS_S])
        _move_common(now_us[e], bias_memory, present, listening, terms, state, e)
        for i in range(num_nodes):
            if not present[e, i]:
                continue
            between = 0
            for j in range(i + 1, num_nodes):
                if not present[e, j]:
                    continue
                if listening[i] or listening[j]:
                    _move_pair(
                        (e, i, j),
                        now_us[e],
                        bias_memory,
                        elapsed_s,
                        between,
                        node_xy_m,
                        listening,
                        terms,
                        state,
                        table,
                        faded,
                        chance,
                    )
                between += 1
        for i in range(num_nodes):
            if present[e, i]:
                state.fresh[e, i] = False
                state.xy_m[e, i, 0] = node_xy_m[e, i, 0]
                state.xy_m[e, i, 1] = node_xy_m[e, i, 1]


@inlined
def _move_common(
    now_us: int,
    memory: float,
    present: NDArray[np.bool_],
    listening: NDArray[np.bool_],
    terms: NDArray[np.float64],
    state: _State,
    e: int,
) -> None:
    """Move the part of the bias that all links of a receiver share."""
    if terms[e, _BIAS_SD] == 0.0:
        return
    for i in range(present.shape[1]):
        if present[e, i] and listening[i]:
            kept = 0.0 if state.fresh[e, i] else memory
            if kept < 1.0:
                state.common[e, i] = _step(state.common[e, i], kept, state.common_key[e, i], now_us)


@inlined
def _move_pair(
    pair: tuple[int, int, int],
    now_us: int,
    bias_memory: float,
    elapsed_s: float,
    between: int,
    node_xy_m: NDArray[np.float64],
    listening: NDArray[np.bool_],
    terms: NDArray[np.float64],
    state: _State,
    table: NDArray[np.float64],
    faded: bool,  # noqa: FBT001 - a kernel's arguments are by position
    chance: NDArray[np.float64],
) -> None:
    """Move both links of a pair (convoy, i, j), i < j, with so many cars between them."""
    e, i, j = pair
    east_m = node_xy_m[e, i, 0] - node_xy_m[e, j, 0]
    north_m = node_xy_m[e, i, 1] - node_xy_m[e, j, 1]
    distance_m = max(math.sqrt(east_m * east_m + north_m * north_m), _NEAREST_M)
    fresh = state.fresh[e, i] or state.fresh[e, j]
    margin_db = terms[e, _MARGIN] + state.gain_db[e, i] + state.gain_db[e, j]
    margin_db -= _path_loss_db(distance_m, terms, e)
    if between > 0:
        margin_db -= min(terms[e, _CAP], terms[e, _FIRST] + terms[e, _NEXT] * (between - 1))
    if terms[e, _SHADOWING_SD] > 0.0:
        # The draw is of the moment: a second step in it would take the same one again.
        memory = 0.0 if fresh else 1.0
        if not fresh and elapsed_s > 0.0:
            moved_m = 0.5 * (
                _travelled_m(node_xy_m, state, e, i) + _travelled_m(node_xy_m, state, e, j)
            )
            moved_m = max(moved_m, terms[e, _STANDSTILL] * elapsed_s)
            memory = math.exp(-moved_m / terms[e, _SHADOWING_M])
        if memory < 1.0:
            state.shadowing[e, i, j] = _step(
                state.shadowing[e, i, j], memory, state.shadowing_key[e, i, j], now_us
            )
        margin_db += terms[e, _SHADOWING_SD] * state.shadowing[e, i, j]
    kept = 0.0 if fresh else bias_memory
    for way in range(2):
        receiver, transmitter = (i, j) if way == 0 else (j, i)
        if not listening[receiver]:
            continue
        link = (e, receiver, transmitter)
        total_db = margin_db
        if terms[e, _BIAS_SD] > 0.0:
            if kept < 1.0:
                state.bias[link] = _step(state.bias[link], kept, state.bias_key[link], now_us)
            share = terms[e, _COMMON_SHARE]
            total_db += terms[e, _BIAS_SD] * (
                math.sqrt(1.0 - share) * state.bias[link]
                + math.sqrt(share) * state.common[e, receiver]
            )
        if faded:
            m = terms[e, _FADING] if distance_m < _RAYLEIGH_FROM_M else 1.0
            through = gets_through(table, m, total_db)
        else:
            through = gets_through_unfaded(total_db, terms[e, _TRANSITION])
        chance[link] = (1.0 - terms[e, _FLOOR]) * through


@inlined
def _travelled_m(node_xy_m: NDArray[np.float64], state: _State, e: int, n: int) -> float:
    """How far a node has come since the links last moved."""
    east_m = node_xy_m[e, n, 0] - state.xy_m[e, n, 0]
    north_m = node_xy_m[e, n, 1] - state.xy_m[e, n, 1]
    return math.sqrt(east_m * east_m + north_m * north_m)
