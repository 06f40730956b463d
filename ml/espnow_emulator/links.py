"""All directed links of all convoys: keys of the draws, blackouts, and the loss model in use."""

from typing import Final

import numpy as np

from ml.espnow_emulator.distance_links import DistanceLinks
from ml.espnow_emulator.loss_model import Episodes, LinkArrays, LossModel, Movement
from ml.espnow_emulator.margin_links import MarginLinks
from ml.espnow_emulator.parameters.loss import LossParameters, MarginLoss
from ml.keyed_random import Stream, extend, fold, uniform
from ml.records import Ints, allocate

_US_PER_S: Final = 1e6


class Links:
    """The links of a channel by the loss model that the parameters name; `arrays` for the loops."""

    def __init__(self, loss: LossParameters, num_envs: int, num_nodes: int) -> None:
        self.arrays = allocate(LinkArrays, {"E": num_envs, "N": num_nodes})
        self._model: LossModel
        if isinstance(loss, MarginLoss):
            self._model = MarginLinks(loss, num_envs, num_nodes)
        else:
            self._model = DistanceLinks(loss, num_envs, num_nodes)

    def reset(self, episodes: Episodes) -> None:
        """Begin episodes."""
        self._draw(episodes)
        self._model.reset(episodes)

    def admit(self, episodes: Episodes, node: int) -> None:
        """Let another node take part; what was drawn by the others' keys comes out as it was."""
        self._draw(episodes)
        self._model.admit(episodes, node)

    def clear(self, env_indices: Ints) -> None:
        """Forget when the links of the given convoys last moved; their states stay."""
        self._model.clear(env_indices)

    def move(self, movement: Movement) -> None:
        """Move all links to the present."""
        self._model.move(movement, self.arrays)

    def _draw(self, episodes: Episodes) -> None:
        """Fold the keys of the draws per frame, and draw who has blackouts when."""
        arrays, here = self.arrays, episodes.env_indices
        nodes, values = episodes.node_keys, episodes.values
        arrays.keys[here] = fold(
            episodes.keys[:, None, None], Stream.RADIO_LOSS, nodes[:, :, None], nodes[:, None, :]
        )
        if "loss.blackout.loss" not in values:
            return
        share, loss, length_s, period_s = (
            values[f"loss.blackout.{name}"] for name in ("share", "loss", "length_s", "period_s")
        )
        key = fold(episodes.keys[:, None], Stream.BLACKOUT, nodes)
        has_it = uniform(extend(key, 1)) < share[:, None]
        period_us = np.rint(period_s * _US_PER_S)
        arrays.blackout_loss[here] = np.where(has_it, loss[:, None], 0.0)
        arrays.blackout_start_us[here] = np.floor(uniform(key) * period_us[:, None])
        arrays.blackout_length_us[here] = np.rint(length_s * _US_PER_S)
        arrays.blackout_period_us[here] = period_us
