"""The contract between the channel and a model of loss: what moves its links, what it fills."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


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
        listening: (N,) bool, receivers that matter to anybody; links to others are not moved.
        node_xy_m: (E, N, 2) float64, true positions as of now.
    """

    now_us: NDArray[np.int64]
    sending: NDArray[np.bool_]
    sequence: NDArray[np.int64]
    present: NDArray[np.bool_]
    listening: NDArray[np.bool_]
    node_xy_m: NDArray[np.float64]


class Episodes(NamedTuple):
    """Episodes that begin, or in which another node begins to take part.

    Attributes:
        env_indices: (K,) int64, which convoys.
        keys: (K,) uint64, of the episodes.
        node_keys: (K, N) int64, which name the nodes.
        values: Dotted name below `radio.` to (K,) float64, numbers that are drawn per episode.
    """

    env_indices: NDArray[np.int64]
    keys: NDArray[np.uint64]
    node_keys: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]


class LossModel(Protocol):
    """How the chances of all links are found."""

    def reset(self, episodes: Episodes) -> None:
        """Begin episodes.

        Raises:
            EmulatorError: Their values are such that the model cannot have them.
        """

    def admit(self, episodes: Episodes, node: int) -> None:
        """Let another node take part in running episodes."""

    def clear(self, env_indices: NDArray[np.int64]) -> None:
        """Forget when the links of some convoys last moved; their states stay."""

    def move(self, movement: Movement, links: LinkArrays) -> None:
        """Move all links to the present and fill `links.chance`."""
