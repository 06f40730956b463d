"""What a controller is, and what can be put around one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
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


USUAL_STANDSTILL_M = 9.0
"""Twice the error of a distance between two GPS receivers, on either side: at less, a controller
that knows its distance by GPS alone creeps into the car in front."""


def name_of(kind: str, time_gap_s: float, standstill_m: float) -> str:
    """Name a controller by its parameters; the usual standstill distance goes without saying."""
    usual = standstill_m == USUAL_STANDSTILL_M
    return f"{kind} {time_gap_s:g} s" + ("" if usual else f" {standstill_m:g} m")


class Stateless:
    """Base of the followers without a memory.

    Attributes:
        knows: The radio, unless a subclass says otherwise.
        name: See `Controller`.
        time_gap_s: s.
        standstill_m: m.
    """

    knows: Knows = "radio"

    def __init__(self, kind: str, time_gap_s: float, standstill_m: float) -> None:
        self.name = name_of(kind, time_gap_s, standstill_m)
        self.time_gap_s = time_gap_s
        self.standstill_m = standstill_m

    def reset(self, rows: NDArray[np.int64], num_envs: int) -> None:
        """Do nothing: there is no past."""


class _Wrapper:
    """A controller around another one."""

    def __init__(self, inner: Controller, suffix: str, knows: Knows) -> None:
        self.inner = inner
        self.name = f"{inner.name}, {suffix}"
        self.standstill_m = inner.standstill_m
        self.time_gap_s = inner.time_gap_s
        self.knows: Knows = knows

    def reset(self, rows: NDArray[np.int64], num_envs: int) -> None:
        """Forget the past of the controller inside."""
        self.inner.reset(rows, num_envs)

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Ask the controller inside."""
        return self.inner.act(peers, ego)


class OnTruth(_Wrapper):
    """The same law with perfect, instant knowledge: what the radio costs is the difference."""

    def __init__(self, inner: Controller) -> None:
        super().__init__(inner, "truth", "truth")


class WithoutRadio(_Wrapper):
    """The same law with its radio off: what the radio is worth is the difference."""

    def __init__(self, inner: Controller) -> None:
        super().__init__(inner, "radio off", "nothing")


class Delayed(_Wrapper):
    """The same law whose commands take effect later.

    Args:
        inner: The law.
        ticks: How much later, in ticks of 0.1 s; until then an episode's speed is held.
    """

    def __init__(self, inner: Controller, ticks: int) -> None:
        super().__init__(inner, f"{ticks} ticks late", inner.knows)
        self._pending = np.zeros((ticks, 0))

    def reset(self, rows: NDArray[np.int64], num_envs: int) -> None:
        """Forget the commands of these convoys that are still to come."""
        super().reset(rows, num_envs)
        if self._pending.shape[1] != num_envs:
            self._pending = np.zeros((self._pending.shape[0], num_envs))
        self._pending[:, rows] = 0.0

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Return what the law inside decided some ticks ago."""
        queue = np.concatenate([self._pending, super().act(peers, ego)[None]])
        self._pending = queue[1:]
        late: NDArray[np.float64] = queue[0]
        return late
