"""Margins that move: path loss, mounting, shadowing, slow bias and the cars in between."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.compiled import inlined
from ml.espnow_emulator.fading import gets_through, gets_through_unfaded, reception_table
from ml.espnow_emulator.message_store import LONG_AGO_US
from ml.keyed_random import Stream, extend_one, fold, normal, normal_pair_one, uniform

if TYPE_CHECKING:
    from ml.espnow_emulator.loss_model import Episodes, LinkArrays, Movement
    from ml.espnow_emulator.parameters.loss import MarginLoss

_NEAREST_M: Final = 3.0
_REFERENCE_M: Final = 20.0
_BREAK_M: Final = 60.0
_RAYLEIGH_FROM_M: Final = 80.0


class _Terms(NamedTuple):
    """The numbers of `MarginLoss` by their names, (E,) float64 each."""

    margin_20m_db: NDArray[np.float64]
    exponent_near: NDArray[np.float64]
    exponent_far: NDArray[np.float64]
    shadowing_sd_db: NDArray[np.float64]
    shadowing_distance_m: NDArray[np.float64]
    standstill_mps: NDArray[np.float64]
    bias_sd_db: NDArray[np.float64]
    bias_time_s: NDArray[np.float64]
    bias_common_share: NDArray[np.float64]
    antenna_sd_db: NDArray[np.float64]
    door_share: NDArray[np.float64]
    door_loss_db: NDArray[np.float64]
    fading_m: NDArray[np.float64]
    car_first_db: NDArray[np.float64]
    car_next_db: NDArray[np.float64]
    cars_cap_db: NDArray[np.float64]
    transition_db: NDArray[np.float64]
    floor_loss: NDArray[np.float64]


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


class _Model(NamedTuple):
    """What moves, by which numbers; `table` is that of `reception_table`, used where `faded`."""

    terms: _Terms
    state: _State
    table: NDArray[np.float64]
    faded: bool


class MarginLinks:
    """The margin model (see `MarginLoss`), moved to the present once per `transmit`.

    Args:
        parameters: Of the model.
        num_envs: E.
        num_nodes: N.
    """

    def __init__(self, parameters: MarginLoss, num_envs: int, num_nodes: int) -> None:
        nodes = (num_envs, num_nodes)
        links = (*nodes, num_nodes)
        self._parameters = parameters
        self._model = _Model(
            terms=_Terms(*np.zeros((len(_Terms._fields), num_envs))),
            state=_State(
                moved_us=np.full(num_envs, LONG_AGO_US),
                fresh=np.ones(nodes, dtype=bool),
                xy_m=np.zeros((*nodes, 2)),
                gain_db=np.zeros(nodes),
                shadowing=np.zeros(links),
                bias=np.zeros(links),
                common=np.zeros(nodes),
                shadowing_key=np.zeros(links, np.uint64),
                bias_key=np.zeros(links, np.uint64),
                common_key=np.zeros(nodes, np.uint64),
            ),
            table=reception_table(parameters.transition_db),
            faded=parameters.fading_m is not None,
        )

    def reset(self, episodes: Episodes) -> None:
        """Begin episodes."""
        here = episodes.env_indices
        for name, term in self._model.terms._asdict().items():
            fixed = getattr(self._parameters, name)
            term[here] = episodes.values.get(f"loss.{name}", 0.0 if fixed is None else fixed)
        self._derive(episodes)
        self._model.state.fresh[here] = True
        self.clear(here)

    def admit(self, episodes: Episodes, node: int) -> None:
        """Let another node take part in running episodes."""
        self._derive(episodes)
        self._model.state.fresh[episodes.env_indices, node] = True

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Forget when the links last moved; their states stay."""
        self._model.state.moved_us[env_indices] = LONG_AGO_US

    def move(self, movement: Movement, links: LinkArrays) -> None:
        """Move all links to the present and fill `links.chance`."""
        _move(movement, self._model, links.chance)

    def _derive(self, episodes: Episodes) -> None:
        """Fold the keys and draw what each node keeps for the episode."""
        here, keys, (terms, state, *_) = episodes.env_indices, episodes.node_keys, self._model
        episode = episodes.keys[:, None]
        one, other = keys[:, :, None], keys[:, None, :]
        state.shadowing_key[here] = fold(
            episode[:, None], Stream.SHADOWING, np.minimum(one, other), np.maximum(one, other)
        )
        state.bias_key[here] = fold(episode[:, None], Stream.SLOW_BIAS, one, other)
        state.common_key[here] = fold(episode, Stream.SLOW_BIAS_COMMON, keys)
        antenna_db = normal(fold(episode, Stream.ANTENNA, keys)) * terms.antenna_sd_db[here, None]
        in_door = uniform(fold(episode, Stream.ANTENNA, keys, 1)) < terms.door_share[here, None]
        door_db = np.where(in_door, terms.door_loss_db[here, None], 0.0)
        state.gain_db[here] = antenna_db - door_db


@inlined
def _step(value: float, memory: float, key: np.uint64, now_us: int) -> float:
    """One step of a process of variance 1 that keeps the share `memory` of its value."""
    return (
        memory * value
        + math.sqrt(1.0 - memory * memory) * normal_pair_one(extend_one(key, now_us))[0]
    )


@inlined
def _path_loss_db(distance_m: float, terms: _Terms, e: int) -> float:
    """What the distance costs against 20 m: 10 n log10(d / d0), with another n beyond 60 m."""
    near, far = terms.exponent_near[e], terms.exponent_far[e]
    loss_db = 10.0 * near * math.log10(min(distance_m, _BREAK_M) / _REFERENCE_M)
    if distance_m > _BREAK_M:
        loss_db += 10.0 * far * math.log10(distance_m / _BREAK_M)
    return float(loss_db)


@inlined
def _move(movement: Movement, model: _Model, chance: NDArray[np.float64]) -> None:
    """Move the links between all present nodes and fill `chance`; see `MarginLinks.move`."""
    state, present, listening = model.state, movement.present, movement.listening
    num_nodes = present.shape[1]
    for e in range(present.shape[0]):
        elapsed_us = 0
        if state.moved_us[e] != LONG_AGO_US:
            elapsed_us = movement.now_us[e] - state.moved_us[e]
        state.moved_us[e] = movement.now_us[e]
        elapsed_s = elapsed_us / 1e6
        bias_memory = math.exp(-elapsed_s / model.terms.bias_time_s[e])
        _move_common(e, bias_memory, movement, model)
        for i in range(num_nodes):
            if not present[e, i]:
                continue
            between = 0
            for j in range(i + 1, num_nodes):
                if not present[e, j]:
                    continue
                if listening[i] or listening[j]:
                    _move_pair((e, i, j), between, elapsed_s, bias_memory, movement, model, chance)
                between += 1
        for i in range(num_nodes):
            if present[e, i]:
                state.fresh[e, i] = False
                state.xy_m[e, i, 0] = movement.node_xy_m[e, i, 0]
                state.xy_m[e, i, 1] = movement.node_xy_m[e, i, 1]


@inlined
def _move_common(e: int, memory: float, movement: Movement, model: _Model) -> None:
    """Move the part of the bias that all links of a receiver share."""
    state, now_us = model.state, movement.now_us[e]
    if model.terms.bias_sd_db[e] == 0.0:
        return
    for i in range(movement.present.shape[1]):
        if movement.present[e, i] and movement.listening[i]:
            kept = 0.0 if state.fresh[e, i] else memory
            if kept < 1.0:
                state.common[e, i] = _step(state.common[e, i], kept, state.common_key[e, i], now_us)


@inlined
def _move_pair(
    pair: tuple[int, int, int],
    between: int,
    elapsed_s: float,
    bias_memory: float,
    movement: Movement,
    model: _Model,
    chance: NDArray[np.float64],
) -> None:
    """Move both links of a pair (convoy, i, j), i < j, with so many cars between them."""
    e, i, j = pair
    terms, state = model.terms, model.state
    node_xy_m, now_us = movement.node_xy_m, movement.now_us[e]
    east_m = node_xy_m[e, i, 0] - node_xy_m[e, j, 0]
    north_m = node_xy_m[e, i, 1] - node_xy_m[e, j, 1]
    distance_m = max(math.sqrt(east_m * east_m + north_m * north_m), _NEAREST_M)
    fresh = state.fresh[e, i] or state.fresh[e, j]
    margin_db = terms.margin_20m_db[e] + state.gain_db[e, i] + state.gain_db[e, j]
    margin_db -= _path_loss_db(distance_m, terms, e)
    if between > 0:
        blocked_db = terms.car_first_db[e] + terms.car_next_db[e] * (between - 1)
        margin_db -= min(terms.cars_cap_db[e], blocked_db)
    if terms.shadowing_sd_db[e] > 0.0:
        # The draw is of the moment: a second step in it would take the same one again.
        memory = 0.0 if fresh else 1.0
        if not fresh and elapsed_s > 0.0:
            moved_m = 0.5 * (
                _travelled_m(node_xy_m, state, e, i) + _travelled_m(node_xy_m, state, e, j)
            )
            moved_m = max(moved_m, terms.standstill_mps[e] * elapsed_s)
            memory = math.exp(-moved_m / terms.shadowing_distance_m[e])
        if memory < 1.0:
            state.shadowing[e, i, j] = _step(
                state.shadowing[e, i, j], memory, state.shadowing_key[e, i, j], now_us
            )
        margin_db += terms.shadowing_sd_db[e] * state.shadowing[e, i, j]
    kept = 0.0 if fresh else bias_memory
    for way in range(2):
        receiver, transmitter = (i, j) if way == 0 else (j, i)
        if not movement.listening[receiver]:
            continue
        link = (e, receiver, transmitter)
        total_db = margin_db
        if terms.bias_sd_db[e] > 0.0:
            if kept < 1.0:
                state.bias[link] = _step(state.bias[link], kept, state.bias_key[link], now_us)
            share = terms.bias_common_share[e]
            total_db += terms.bias_sd_db[e] * (
                math.sqrt(1.0 - share) * state.bias[link]
                + math.sqrt(share) * state.common[e, receiver]
            )
        if model.faded:
            m = terms.fading_m[e] if distance_m < _RAYLEIGH_FROM_M else 1.0
            through = gets_through(model.table, m, total_db)
        else:
            through = gets_through_unfaded(total_db, terms.transition_db[e])
        chance[link] = (1.0 - terms.floor_loss[e]) * through


@inlined
def _travelled_m(node_xy_m: NDArray[np.float64], state: _State, e: int, n: int) -> float:
    """How far a node has come since the links last moved."""
    east_m = node_xy_m[e, n, 0] - state.xy_m[e, n, 0]
    north_m = node_xy_m[e, n, 1] - state.xy_m[e, n, 1]
    return math.sqrt(east_m * east_m + north_m * north_m)
