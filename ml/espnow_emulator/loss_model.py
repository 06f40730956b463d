"""What all models of loss have in common: what moves their links, and what they fill."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words, allocate
from ml.compiled import inlined
from ml.keyed_random import Stream, extend, fold, uniform

_US_PER_S: Final = 1e6
_AT_ONCE: Final = 8


def padded(num_nodes: int) -> int:
    """Room for a row of draws, one per node: as many as vector instructions make at once, or twice.

    So no loop over a row has a rest, which is done one by one and would be all of a short row.
    """
    return -(-num_nodes // _AT_ONCE) * _AT_ONCE


class LinkArrays(NamedTuple):
    """What the event loop asks of the links; of a link, the receiver stands before the sender."""

    chance: Annotated[Floats, "E N N"]  # of a frame to get through outside blackouts
    keys: Annotated[Words, "E N P"]  # of the draws per frame, the sender first: read in a row
    blackout_loss: Annotated[Floats, "E N"]  # share lost within a blackout; 0: has none
    blackout_start_us: Annotated[Ints, "E N"]  # when the first one begins
    blackout_length_us: Annotated[Ints, "E"]
    blackout_period_us: Annotated[Ints, "E"]


class Movement(NamedTuple):
    """What moves the links at one call of `transmit`."""

    now_us: Annotated[Ints, "E"]
    sending: Annotated[Bools, "E N"]  # who hands over a frame
    sequence: Annotated[Ints, "E N"]  # that frame's number
    present: Annotated[Bools, "E N"]
    listening: Annotated[Bools, "N"]  # who matters to anybody; links to others are not moved
    node_xy_m: Annotated[Floats, "E N 2"]  # true positions as of now


class Episodes(NamedTuple):
    """Episodes that begin, or in which another node begins to take part."""

    env_indices: Annotated[Ints, "K"]  # which convoys
    keys: Annotated[Words, "K"]
    node_keys: Annotated[Ints, "K N"]  # which name the nodes
    values: Mapping[str, Floats]  # numbers drawn per episode, (K,) by dotted name below `radio.`


@inlined
def metres_apart(e: int, xy_m: Floats, i: int, other_xy_m: Floats, j: int) -> float:
    """Distance in convoy e from node i of one array (E, N, 2) to node j of another."""
    east_m = xy_m[e, i, 0] - other_xy_m[e, j, 0]
    north_m = xy_m[e, i, 1] - other_xy_m[e, j, 1]
    return math.sqrt(east_m * east_m + north_m * north_m)


class LossModel(ABC):
    """All directed links of a channel: how the chances of their frames are found.

    Keys and blackouts are the same for all models; a model says in `move` what the chances are.

    Args:
        num_envs: E.
        num_nodes: N.

    Attributes:
        arrays: What the event loop reads.
    """

    def __init__(self, num_envs: int, num_nodes: int) -> None:
        sizes = {"E": num_envs, "N": num_nodes, "P": padded(num_nodes)}
        self.arrays = allocate(LinkArrays, sizes)

    def reset(self, episodes: Episodes) -> None:
        """Begin episodes; EmulatorError if the model cannot have their values."""
        self._draw(episodes)

    def admit(self, episodes: Episodes, node: int) -> None:
        """Let another node take part; what was drawn by the others' keys comes out as it was."""
        del node
        self._draw(episodes)

    def clear(self, env_indices: Ints) -> None:  # noqa: B027 (nothing to forget, by default)
        """Forget when the links of some convoys last moved; their states stay."""

    @abstractmethod
    def move(self, movement: Movement) -> None:
        """Move all links to the present and fill `arrays.chance`."""

    def _draw(self, episodes: Episodes) -> None:
        """Fold the keys of the draws per frame, and draw who has blackouts when."""
        arrays, here = self.arrays, episodes.env_indices
        nodes, values = episodes.node_keys, episodes.values
        arrays.keys[here, :, : nodes.shape[1]] = fold(
            episodes.keys[:, None, None], Stream.RADIO_LOSS, nodes[:, None, :], nodes[:, :, None]
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
