"""The chance of every directed link to carry a frame, whatever model it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from ml.espnow_emulator.distance_links import BurstLinks, IndependentLinks
from ml.espnow_emulator.margin_links import MarginLinks
from ml.espnow_emulator.parameters.loss import GilbertElliottLoss, IndependentLoss, MarginLoss
from ml.keyed_random import Stream, extend, fold, uniform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ml.espnow_emulator.parameters.radio import RadioParameters

_US_PER_S = 1e6


class LinkArrays(NamedTuple):
    """What the event loop asks of the links.

    Attributes:
        chance: (E, N, N) float64, receiver then transmitter: a frame's chance outside blackouts.
        keys: (E, N, N) uint64, receiver then transmitter, of the draws per frame.
        blackout_loss: (E, N) float64, share lost within a receiver's blackouts; 0 where it has
            none.
        blackout_start_us: (E, N) int64, when its first one begins.
        blackout_length_us: (E,) int64.
        blackout_period_us: (E,) int64.
    """

    chance: NDArray[np.float64]
    keys: NDArray[np.uint64]
    blackout_loss: NDArray[np.float64]
    blackout_start_us: NDArray[np.int64]
    blackout_length_us: NDArray[np.int64]
    blackout_period_us: NDArray[np.int64]


class Movement(NamedTuple):
    """What moves the links at one call of `transmit`.

    Attributes:
        now_us: (E,) int64.
        sending: (E, N) bool, who hands over a frame.
        sequence: (E, N) int64, that frame's number.
        present: (E, N) bool.
        node_xy_m: (E, N, 2) float64, true positions as of now.
    """

    now_us: NDArray[np.int64]
    sending: NDArray[np.bool_]
    sequence: NDArray[np.int64]
    present: NDArray[np.bool_]
    node_xy_m: NDArray[np.float64]


class LossModel(Protocol):
    """How the chances of all links are found."""

    def reset(
        self,
        env_indices: NDArray[np.int64],
        episode_keys: NDArray[np.uint64],
        node_keys: NDArray[np.int64],
        values: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """Begin an episode; `values` holds (K,) numbers by their name within the section."""

    def admit(self, env: int, node: int, episode_key: NDArray[np.uint64], node_key: int) -> None:
        """Let another node take part in a running episode."""

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Forget when the links last moved; their states stay."""

    def move(self, movement: Movement, links: LinkArrays) -> None:
        """Move all links to the present and fill `links.chance`."""


class Links:
    """All directed links of all convoys: keys, blackouts and the loss model in use.

    Args:
        parameters: Of the radio.
        num_envs: E.
        num_nodes: N.
        listening: (N,) bool, nodes whose receptions matter to anybody.

    Attributes:
        arrays: The memory itself, for compiled loops.
    """

    def __init__(
        self,
        parameters: RadioParameters,
        num_envs: int,
        num_nodes: int,
        listening: NDArray[np.bool_],
    ) -> None:
        nodes = (num_envs, num_nodes)
        self.arrays = LinkArrays(
            chance=np.zeros((*nodes, num_nodes)),
            keys=np.zeros((*nodes, num_nodes), np.uint64),
            blackout_loss=np.zeros(nodes),
            blackout_start_us=np.zeros(nodes, np.int64),
            blackout_length_us=np.zeros(num_envs, np.int64),
            blackout_period_us=np.ones(num_envs, np.int64),
        )
        self._model = _build(parameters, num_envs, num_nodes, listening)

    def reset(
        self,
        env_indices: NDArray[np.int64],
        episode_keys: NDArray[np.uint64],
        node_keys: NDArray[np.int64],
        values: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """Begin an episode in the given convoys.

        Args:
            env_indices: (K,).
            episode_keys: (K,) uint64.
            node_keys: (K, N) int64.
            values: Dotted name below `radio.` to (K,) float64.
        """
        loss = {
            name.removeprefix("loss."): drawn
            for name, drawn in values.items()
            if name.startswith("loss.")
        }
        self.arrays.keys[env_indices] = fold(
            episode_keys[:, None, None],
            Stream.RADIO_LOSS,
            node_keys[:, :, None],
            node_keys[:, None, :],
        )
        if "blackout.loss" in loss:
            self._draw_blackouts(env_indices, episode_keys, node_keys, loss)
        self._model.reset(env_indices, episode_keys, node_keys, loss)

    def admit(
        self,
        env: int,
        node: int,
        episode_key: NDArray[np.uint64],
        node_keys: NDArray[np.int64],
        values: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """Let another node take part, under its key in `node_keys` (N,), in a running episode."""
        arrays, here = self.arrays, np.array([env])
        new = node_keys[node]
        arrays.keys[env, node] = fold(episode_key, Stream.RADIO_LOSS, new, node_keys)
        arrays.keys[env, :, node] = fold(episode_key, Stream.RADIO_LOSS, node_keys, new)
        if "loss.blackout.loss" in values:
            loss = {name.removeprefix("loss."): drawn for name, drawn in values.items()}
            self._draw_blackouts(here, episode_key, node_keys[None], loss)
        self._model.admit(env, node, episode_key, int(new))

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Forget when the links of the given convoys last moved; their states stay."""
        self._model.clear(env_indices)

    def move(self, movement: Movement) -> None:
        """Move all links to the present."""
        self._model.move(movement, self.arrays)

    def _draw_blackouts(
        self,
        env_indices: NDArray[np.int64],
        episode_keys: NDArray[np.uint64],
        node_keys: NDArray[np.int64],
        loss: Mapping[str, NDArray[np.float64]],
    ) -> None:
        arrays = self.arrays
        key = fold(episode_keys[:, None], Stream.BLACKOUT, node_keys)
        has_it = uniform(extend(key, 1)) < loss["blackout.share"][:, None]
        period_us = np.rint(loss["blackout.period_s"] * _US_PER_S)
        arrays.blackout_loss[env_indices] = np.where(has_it, loss["blackout.loss"][:, None], 0.0)
        arrays.blackout_start_us[env_indices] = np.floor(uniform(key) * period_us[:, None])
        arrays.blackout_length_us[env_indices] = np.rint(loss["blackout.length_s"] * _US_PER_S)
        arrays.blackout_period_us[env_indices] = period_us


def _build(
    parameters: RadioParameters, num_envs: int, num_nodes: int, listening: NDArray[np.bool_]
) -> LossModel:
    loss = parameters.loss
    if isinstance(loss, MarginLoss):
        return MarginLinks(loss, num_envs, num_nodes, listening)
    if isinstance(loss, GilbertElliottLoss):
        return BurstLinks(loss, num_envs, num_nodes, listening)
    assert isinstance(loss, IndependentLoss)  # noqa: S101 - the union has no fourth member
    return IndependentLinks(loss, num_envs, num_nodes, listening)
