"""Margins that move: path loss, mounting, shadowing, slow bias and the cars in between."""

import math
from typing import Annotated, Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words, allocate
from ml.compiled import inlined
from ml.espnow_emulator.fading import gets_through, reception_table
from ml.espnow_emulator.loss_model import Episodes, LossModel, Movement, metres_apart
from ml.espnow_emulator.message_store import LONG_AGO_US
from ml.espnow_emulator.parameters.loss import MarginLoss
from ml.keyed_random import Stream, fill_normals, fold, normal, uniform

_NEAREST_M: Final = 3.0
_REFERENCE_M: Final = 20.0
_BREAK_M: Final = 60.0
_RAYLEIGH_FROM_M: Final = 80.0


class _Terms(NamedTuple):
    """The numbers of `MarginLoss` by their names, (E,) float64 each."""

    margin_20m_db: Floats
    exponent_near: Floats
    exponent_far: Floats
    shadowing_sd_db: Floats
    shadowing_distance_m: Floats
    standstill_mps: Floats
    bias_sd_db: Floats
    bias_time_s: Floats
    bias_common_share: Floats
    antenna_sd_db: Floats
    door_share: Floats
    door_loss_db: Floats
    fading_m: Floats
    car_first_db: Floats
    car_next_db: Floats
    cars_cap_db: Floats
    transition_db: Floats
    floor_loss: Floats


class _State(NamedTuple):
    """Where the links of all convoys stand; variances are 1. Of a link, the receiver is first."""

    moved_us: Annotated[Ints, "E"]  # when they last moved
    fresh: Annotated[Bools, "E N"]  # nodes that have not moved yet
    xy_m: Annotated[Floats, "E N 2"]  # where the nodes were then
    gain_db: Annotated[Floats, "E N"]  # antenna and mounting
    shadowing: Annotated[Floats, "E N N"]  # of the pair i < j at [i, j]
    bias: Annotated[Floats, "E N N"]
    common: Annotated[Floats, "E N"]  # of the receiver
    shadowing_key: Annotated[Words, "E N N"]  # symmetric
    bias_key: Annotated[Words, "E N N"]
    common_key: Annotated[Words, "E N"]


class _Draws(NamedTuple):
    """The draws of one convoy in one `transmit`: of N receivers, then three of each pair in turn.

    Those of a pair are of its shadowing and of the biases of its two links. All are made at once,
    which is quicker; where one is not wanted, it is not looked at.
    """

    keys: Annotated[Words, "D"]
    turns: Annotated[Floats, "D"]
    normal: Annotated[Floats, "D"]


class _Model(NamedTuple):
    """What moves, by which numbers; `table` is that of `reception_table`, used where `faded`."""

    terms: _Terms
    state: _State
    draws: _Draws
    table: Floats
    faded: bool


class MarginLinks(LossModel):
    """The margin model (see `MarginLoss`), moved to the present once per `transmit`."""

    def __init__(self, parameters: MarginLoss, num_envs: int, num_nodes: int) -> None:
        super().__init__(num_envs, num_nodes)
        self._parameters = parameters
        self._model = _Model(
            terms=_Terms(*np.zeros((len(_Terms._fields), num_envs))),
            state=allocate(_State, {"E": num_envs, "N": num_nodes}),
            draws=allocate(_Draws, {"D": num_nodes + 3 * num_nodes * (num_nodes - 1) // 2}),
            table=reception_table(parameters.transition_db),
            faded=parameters.fading_m is not None,
        )

    def reset(self, episodes: Episodes) -> None:
        """Begin episodes."""
        super().reset(episodes)
        here = episodes.env_indices
        for name, term in self._model.terms._asdict().items():
            fixed = getattr(self._parameters, name)
            term[here] = episodes.values.get(f"loss.{name}", 0.0 if fixed is None else fixed)
        self._derive(episodes)
        self._model.state.fresh[here] = True

    def admit(self, episodes: Episodes, node: int) -> None:
        """Let another node take part in running episodes."""
        super().admit(episodes, node)
        self._derive(episodes)
        self._model.state.fresh[episodes.env_indices, node] = True

    def clear(self, env_indices: Ints) -> None:
        """Forget when the links last moved; their states stay."""
        self._model.state.moved_us[env_indices] = LONG_AGO_US

    def move(self, movement: Movement) -> None:
        """Move all links to the present and fill `arrays.chance`."""
        _move(movement, self._model, self.arrays.chance)

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
def _path_loss_db(distance_m: float, terms: _Terms, e: int) -> float:
    """What the distance costs against 20 m: 10 n log10(d / d0), with another n beyond 60 m."""
    near, far = terms.exponent_near[e], terms.exponent_far[e]
    loss_db = 10.0 * near * math.log10(min(distance_m, _BREAK_M) / _REFERENCE_M)
    if distance_m > _BREAK_M:
        loss_db += 10.0 * far * math.log10(distance_m / _BREAK_M)
    return float(loss_db)


@inlined
def _move(movement: Movement, model: _Model, chance: Floats) -> None:
    """Move the links between all present nodes and fill `chance`; see `MarginLinks.move`."""
    state = model.state
    for e in range(movement.present.shape[0]):
        elapsed_us = 0
        if state.moved_us[e] != LONG_AGO_US:
            elapsed_us = movement.now_us[e] - state.moved_us[e]
        state.moved_us[e] = movement.now_us[e]
        elapsed_s = elapsed_us / 1e6
        memory = math.exp(-elapsed_s / model.terms.bias_time_s[e])
        bias_step = (memory, math.sqrt(1.0 - memory * memory))
        _draw(e, movement, state, model.draws)
        _move_common(e, bias_step, movement, model)
        _move_links(e, elapsed_s, bias_step, movement, model, chance)
        for i in range(movement.present.shape[1]):
            if movement.present[e, i]:
                state.fresh[e, i] = False
                state.xy_m[e, i, 0] = movement.node_xy_m[e, i, 0]
                state.xy_m[e, i, 1] = movement.node_xy_m[e, i, 1]


@inlined
def _move_links(
    e: int,
    elapsed_s: float,
    bias_step: tuple[float, float],
    movement: Movement,
    model: _Model,
    chance: Floats,
) -> None:
    """Move the links of a convoy whose draws are made; see `_move_link` for the step."""
    present, listening, node_xy_m = movement.present, movement.listening, movement.node_xy_m
    num_nodes = present.shape[1]
    share = model.terms.bias_common_share[e]
    shares = (math.sqrt(1.0 - share), math.sqrt(share))
    place = num_nodes
    for i in range(num_nodes):
        if not present[e, i]:
            continue
        between = 0
        for j in range(i + 1, num_nodes):
            if not present[e, j]:
                continue
            between += 1
            if not (listening[i] or listening[j]):
                continue
            apart_m = max(metres_apart(e, node_xy_m, i, node_xy_m, j), _NEAREST_M)
            pair = (e, i, j)
            margin_db = _move_pair(pair, apart_m, between - 1, elapsed_s, place, movement, model)
            for way in range(2):
                receiver, transmitter = (i, j) if way == 0 else (j, i)
                if listening[receiver]:
                    link, at = (e, receiver, transmitter), place + 1 + way
                    total_db = _move_link(link, margin_db, bias_step, shares, at, model)
                    chance[link] = _chance(e, total_db, apart_m, model)
            place += 3


@inlined
def _draw(e: int, movement: Movement, state: _State, draws: _Draws) -> None:
    """Make the draws of a convoy; see `_Draws`."""
    present, listening = movement.present, movement.listening
    num_nodes = present.shape[1]
    count = num_nodes
    for i in range(num_nodes):
        draws.keys[i] = state.common_key[e, i]
        if not present[e, i]:
            continue
        for j in range(i + 1, num_nodes):
            if present[e, j] and (listening[i] or listening[j]):
                draws.keys[count] = state.shadowing_key[e, i, j]
                draws.keys[count + 1] = state.bias_key[e, i, j]
                draws.keys[count + 2] = state.bias_key[e, j, i]
                count += 3
    fill_normals(count, draws.keys, movement.now_us[e], draws.turns, draws.normal)


@inlined
def _move_common(e: int, step: tuple[float, float], movement: Movement, model: _Model) -> None:
    """Move the part of the bias that all links of a receiver share."""
    state = model.state
    if model.terms.bias_sd_db[e] == 0.0:
        return
    for i in range(movement.present.shape[1]):
        if movement.present[e, i] and movement.listening[i]:
            kept, renewed = (0.0, 1.0) if state.fresh[e, i] else step
            if kept < 1.0:
                drawn = model.draws.normal[i]
                state.common[e, i] = kept * state.common[e, i] + renewed * drawn


@inlined
def _move_pair(
    pair: tuple[int, int, int],
    apart_m: float,
    between: int,
    elapsed_s: float,
    place: int,
    movement: Movement,
    model: _Model,
) -> float:
    """Move what both links of a pair (convoy, i, j), i < j, share; return that part of the margin.

    They are `apart_m` apart with so many cars between them; the pair's draws stand at `place`.
    """
    e, i, j = pair
    terms, state, node_xy_m = model.terms, model.state, movement.node_xy_m
    fresh = state.fresh[e, i] or state.fresh[e, j]
    margin_db = terms.margin_20m_db[e] + state.gain_db[e, i] + state.gain_db[e, j]
    margin_db -= _path_loss_db(apart_m, terms, e)
    if between > 0:
        blocked_db = terms.car_first_db[e] + terms.car_next_db[e] * (between - 1)
        margin_db -= min(terms.cars_cap_db[e], blocked_db)
    if terms.shadowing_sd_db[e] > 0.0:
        # The draw is of the moment: a second step in it would take the same one again.
        memory = 0.0 if fresh else 1.0
        if not fresh and elapsed_s > 0.0:
            moved_m = metres_apart(e, node_xy_m, i, state.xy_m, i)
            moved_m = 0.5 * (moved_m + metres_apart(e, node_xy_m, j, state.xy_m, j))
            moved_m = max(moved_m, terms.standstill_mps[e] * elapsed_s)
            memory = math.exp(-moved_m / terms.shadowing_distance_m[e])
        if memory < 1.0:
            renewed = math.sqrt(1.0 - memory * memory) * model.draws.normal[place]
            state.shadowing[e, i, j] = memory * state.shadowing[e, i, j] + renewed
        margin_db += terms.shadowing_sd_db[e] * state.shadowing[e, i, j]
    return float(margin_db)


@inlined
def _move_link(
    link: tuple[int, int, int],
    margin_db: float,
    step: tuple[float, float],
    shares: tuple[float, float],
    place: int,
    model: _Model,
) -> float:
    """Move the bias of a link (convoy, receiver, transmitter) and return its margin.

    `step` is what a bias keeps of itself and what is new, `shares` what of it is the link's own and
    what is common, as amplitudes; the link's draw stands at `place`.
    """
    e, receiver, transmitter = link
    terms, state = model.terms, model.state
    total_db = margin_db
    if terms.bias_sd_db[e] > 0.0:
        fresh = state.fresh[e, receiver] or state.fresh[e, transmitter]
        kept, renewed = (0.0, 1.0) if fresh else step
        if kept < 1.0:
            state.bias[link] = kept * state.bias[link] + renewed * model.draws.normal[place]
        own, common = shares
        total_db += terms.bias_sd_db[e] * (
            own * state.bias[link] + common * state.common[e, receiver]
        )
    return float(total_db)


@inlined
def _chance(e: int, margin_db: float, apart_m: float, model: _Model) -> float:
    """Chance of a frame to get through at a margin, over so many metres."""
    terms = model.terms
    if model.faded:
        m = terms.fading_m[e] if apart_m < _RAYLEIGH_FROM_M else 1.0
        through = gets_through(model.table, m, margin_db)
    else:
        through = 1.0 / (1.0 + math.exp(-margin_db / terms.transition_db[e]))
    return float((1.0 - terms.floor_loss[e]) * through)
