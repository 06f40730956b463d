"""What a controller is, and what laws that keep a gap have in common."""

from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ml.onboard.estimator import Estimate, Lead, estimate
from ml.onboard.views import EgoView, PeerView
from ml.vehicle import MAX_ACCEL_MPS2, MAX_BRAKING_MPS2

Knows = Literal["radio", "truth", "nothing"]
"""Where the peers that a controller is shown come from: the ego's board, ground truth,
which comes with the ego's true state, or a board whose radio is off."""
USUAL_STANDSTILL_M = 9.0
"""Twice the error of a distance between two GPS receivers, on either side: at less, a controller
that knows its distance by GPS alone creeps into the car in front."""
_TOUCHING_M = 0.1


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


class Follower:
    """Base of all laws that keep a gap.

    Args:
        time_gap_s: Time gap, s; None for the law's usual one.
        standstill_m: Gap at standstill, m.

    Attributes:
        kind: First part of its name.
        usual_gap_s: Its usual time gap, s.
        fresh: Value of `memory` as an episode begins.
        knows: The radio, unless a subclass says otherwise.
        name: Carries the parameters; the usual standstill distance goes without saying.
        time_gap_s: s.
        standstill_m: m.
        memory: (E,) float64: what a law remembers of each convoy; most remember nothing.
    """

    kind: ClassVar[str]
    usual_gap_s: ClassVar[float]
    fresh: ClassVar[float] = 0.0
    knows: Knows = "radio"

    def __init__(
        self, time_gap_s: float | None = None, standstill_m: float = USUAL_STANDSTILL_M
    ) -> None:
        self.time_gap_s = self.usual_gap_s if time_gap_s is None else time_gap_s
        self.standstill_m = standstill_m
        usual = standstill_m == USUAL_STANDSTILL_M
        self.name = f"{self.kind} {self.time_gap_s:g} s" + ("" if usual else f" {standstill_m:g} m")
        self.memory = np.zeros(0)

    def reset(self, rows: NDArray[np.int64], num_envs: int) -> None:
        """Forget the past of the convoys in which episodes begin."""
        if self.memory.size != num_envs:
            self.memory = np.full(num_envs, self.fresh)
        self.memory[rows] = self.fresh

    def act(self, peers: PeerView, ego: EgoView) -> NDArray[np.float64]:
        """Follow; hold the speed while nobody is heard."""
        lead = in_front(estimate(peers, ego))
        return follow(lead, self.law(lead, ego))

    def law(self, lead: Lead, ego: EgoView) -> NDArray[np.float64]:
        """Return the wished acceleration where somebody is heard, (E,) m/s², of any size.

        Raises:
            TypeError: The class writes neither this nor `act`.
        """
        del lead, ego
        raise TypeError(f"{type(self).__name__} has no law: write its method `law`, or `act`.")


def in_front(known: Estimate) -> Lead:
    """Return the car in front, at a gap of 0 instead of infinity where nobody is heard."""
    lead = known.lead()
    return lead._replace(gap_m=np.where(lead.heard, lead.gap_m, 0.0))


def follow(lead: Lead, wish: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep a wish within the vehicle's limits; 0 where nobody is heard."""
    return np.where(lead.heard, np.clip(wish, -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2), 0.0)


def braking_within(
    speed_mps: NDArray[np.float64], room_m: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Deceleration v² / (2 s) that takes a speed away within a room, at least 0.1 m, m/s²."""
    braking: NDArray[np.float64] = speed_mps**2 / (2.0 * np.maximum(room_m, _TOUCHING_M))
    return braking


def missing_to_rss_m(
    lead: Lead, own_mps: NDArray[np.float64], response_s: float, margin_m: float
) -> NDArray[np.float64]:
    """What is missing to the safe distance of Responsibility-Sensitive Safety, (E,) m.

    v ρ + v² / (2 b) + margin − (gap + v_lead² / (2 b)) (Shalev-Shwartz, Shammah and Shashua,
    arXiv:1708.06374, definition 1; the ego does not accelerate while it responds), with both
    braking at b = 8 m/s². The lead may have braked ever since its newest message, so its speed and
    place are those of the message: the message's age is part of the response time.
    """
    own_stop_m = own_mps * response_s + own_mps**2 / (2.0 * MAX_BRAKING_MPS2)
    lead_stops_m = lead.gap_sent_m + lead.speed_sent_mps**2 / (2.0 * MAX_BRAKING_MPS2)
    missing: NDArray[np.float64] = own_stop_m + margin_m - lead_stops_m
    return missing
