"""The contract between the channel and a model of loss: what moves its links, what it fills."""

import math
from collections.abc import Mapping
from typing import Annotated, NamedTuple, Protocol

from ml.compiled import inlined
from ml.records import Bools, Floats, Ints, Words


class LinkArrays(NamedTuple):
    """What the event loop asks of the links; of a link, the receiver stands before the sender."""

    chance: Annotated[Floats, "E N N"]  # of a frame to get through outside blackouts
    keys: Annotated[Words, "E N N"]  # of the draws per frame
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


class LossModel(Protocol):
    """How the chances of all links are found."""

    def reset(self, episodes: Episodes) -> None:
        """Begin episodes; EmulatorError if the model cannot have their values."""

    def admit(self, episodes: Episodes, node: int) -> None:
        """Let another node take part in running episodes."""

    def clear(self, env_indices: Ints) -> None:
        """Forget when the links of some convoys last moved; their states stay."""

    def move(self, movement: Movement, links: LinkArrays) -> None:
        """Move all links to the present and fill `links.chance`."""
