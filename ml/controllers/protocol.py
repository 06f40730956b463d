"""What a controller is, and what can be put around one."""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ml.onboard.views import EgoView, PeerView

Knows = Literal["radio", "truth", "nothing"]
"""Where the peers that a controller is shown come from: the ego's board, ground truth
(`views.of_truth`), which comes with the ego's true state, or a board whose radio is off."""


class Controller(Protocol):
    """A law that turns what is known of the peers and of the ego into an acceleration.

    Attributes:
        name: Unique, carries the parameters: "CTH 1.1 s". It names the row of a table.
        standstill_m: Gap that it wishes to keep at standstill, m; None where there is none.
        time_gap_s: What it adds to that per m/s of speed, s; None where there is none.
        knows: What it is shown.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 (documented on the class)
    @property
    def standstill_m(self) -> float | None: ...  # noqa: D102
    @property
    def time_gap_s(self) -> float | None: ...  # noqa: D102
    @property
    def knows(self) -> Knows: ...  # noqa: D102

    def reset(self, rows: NDArray[np.int64], num_envs: int) -> None:
        """Forget the past of some convoys, in which episodes begin.

        Args:
            rows: (n,) convoys.
            num_envs: Convoys in the batch, E; a batch of another size forgets everything.
        """

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Decide the acceleration for the next tick.

        It is called once per tick for the whole batch, after `reset` for those that begin.

        Returns:
            (E,) float64, m/s². What is beyond the vehicle's limits is cut by the actuation.
        """


class Wrapped:
    """The same law with other knowledge: what the radio costs or is worth is the difference.

    Args:
        knows: "truth" for perfect, instant knowledge, "nothing" for a radio that is off.
    """

    def __init__(self, inner: Controller, knows: Literal["truth", "nothing"]) -> None:
        self.inner = inner
        self.name = f"{inner.name}, {'truth' if knows == 'truth' else 'radio off'}"
        self.standstill_m = inner.standstill_m
        self.time_gap_s = inner.time_gap_s
        self.knows: Knows = knows

    def reset(self, rows: NDArray[np.int64], num_envs: int) -> None:
        """Forget the past of the law inside."""
        self.inner.reset(rows, num_envs)

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Ask the law inside."""
        return self.inner.act(peers, ego)
