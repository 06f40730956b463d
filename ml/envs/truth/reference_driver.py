"""A driver that nobody is: it decides what was avoidable, and where the radio is heard.

Two controllers that drive differently are at different distances from their peers, so the same
radio would bring them different messages, and a comparison would compare luck. So there is a
driver that belongs to the case: what it receives, and whether it crashes, is the same whoever is
being judged. An episode is avoidable if it does not crash.

It follows the car in front on ground truth, calmly, until the planned braking begins. From then on
it holds its speed until a message has arrived that shows the danger, and brakes from 0.2 s after
that arrival. A car that cuts in is shown by any of its messages after it has left the lane that it
came from (`lanes.WANDERING_M`). Once the braking is over and it is no faster than the car in front,
it follows again.
In episodes without a hazard it follows throughout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ml.compiled import compiled
from ml.envs.episodes.drawn import HAZARD
from ml.envs.truth.lanes import car_in_front
from ml.errors import ScenarioError
from ml.espnow_emulator import PayloadField
from ml.vehicle import CAR_LENGTH_M, DT_S, MAX_ACCEL_MPS2, MAX_BRAKING_MPS2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.envs.episodes.drawn import EpisodePlan
    from ml.envs.truth.ground_truth import GroundTruth
    from ml.espnow_emulator import PeerTable

REACTION_US = 200_000
"""From a message's arrival to the first braking."""
BRAKING_JERK_MPS3 = 12.65
"""How fast the braking builds up, m/s³: the careful driver's of UN Regulation No. 157, Annex 3."""
SHOWN_MPS2 = -2.0
"""A message shows the danger if it reports at most this acceleration …"""
SHOWN_SPEED_SHARE = 0.7
"""… or at most this share of the driver's own speed: the car stands, or has braked unheard."""

_STANDSTILL_M = 5.0
_DEFAULT_HEADWAY_S = 1.5
_GAP_GAIN, _SPEED_GAIN = 0.2, 0.9
_TICK_US = 100_000
_SPEED, _ACCEL = int(PayloadField.SPEED_MPS), int(PayloadField.ACCEL_MPS2)
# What a compiled loop reads must be a plain number.
_HAZARD = int(HAZARD)


@compiled
def build_up(accel_mps2: float, wish_mps2: float, dt_s: float) -> float:
    """Acceleration of the next `dt_s`, for a wish and the jerk limit."""
    step = BRAKING_JERK_MPS3 * dt_s
    return min(max(wish_mps2, accel_mps2 - step), accel_mps2 + step)


@compiled
def roll(speed_mps: float, accel_mps2: float, dt_s: float) -> tuple[float, float]:
    """Distance rolled and speed reached, ballistic as SUMO integrates, never backwards."""
    reached = speed_mps + accel_mps2 * dt_s
    if reached < 0.0:
        return speed_mps * speed_mps / (-2.0 * accel_mps2), 0.0
    return (speed_mps + 0.5 * accel_mps2 * dt_s) * dt_s, reached


class ReferenceDriver:
    """The reference drivers of a batch, one behind each convoy's car in front; arrays (E,).

    Args:
        num_envs: E.
        gap: Initial time headway (gap over speed) in s, or "own" for the ego's initial gap.

    Attributes:
        route_pos_m: float64, front bumper.
        speed_mps: float64.
        accel_mps2: float64, over the last tick.
        gap_m: float64, to the car in front of it; never below 0.
        collided: bool, whether it has touched that car in this episode; it then stays at its
            bumper.
        informed: bool, whether it has received a message that shows the danger.
        informed_tick: int64, the first tick at which that message was there; 0 where not informed.
        informed_us: int64, when it arrived, true time since reset; 0 where not informed.
    """

    def __init__(self, num_envs: int, gap: float | Literal["own"] = _DEFAULT_HEADWAY_S) -> None:
        self._gap = gap
        self.route_pos_m, self.speed_mps, self.accel_mps2, self.gap_m = np.zeros((4, num_envs))
        self._standstill_m, self._headway_s = np.zeros((2, num_envs))
        self.collided, self.informed, self._over = np.zeros((3, num_envs), dtype=bool)
        self.informed_tick, self.informed_us = np.zeros((2, num_envs), dtype=np.int64)

    def reset(self, rows: NDArray[np.int64], start: GroundTruth) -> None:
        """Begin episodes in some convoys.

        Args:
            rows: (n,) convoys.
            start: Rows (n, …) of where the cars were placed.
        """
        speed = start.speed_mps[:, 0]
        gap_m = start.gap_m if self._gap == "own" else self._gap * speed
        self.gap_m[rows] = gap_m
        front_m = start.route_pos_m[np.arange(rows.size), start.lead_slot]
        self.route_pos_m[rows] = front_m - CAR_LENGTH_M - gap_m
        self.speed_mps[rows] = speed
        self.accel_mps2[rows] = 0.0
        # The wished gap is the initial one at the initial speed, and 5 m at standstill.
        standstill_m = np.minimum(gap_m, _STANDSTILL_M)
        self._standstill_m[rows] = standstill_m
        headway_s = np.full(rows.size, _DEFAULT_HEADWAY_S)
        np.divide(gap_m - standstill_m, speed, out=headway_s, where=speed > 0.0)
        self._headway_s[rows] = headway_s
        self.collided[rows] = self.informed[rows] = self._over[rows] = False
        self.informed_tick[rows] = self.informed_us[rows] = 0

    def require_road(self, rows: NDArray[np.int64]) -> None:
        """Refuse to hear the radio where there is no road.

        Raises:
            ScenarioError: The driver would start before the road does.
        """
        start_m = float(self.route_pos_m[rows].min())
        if start_m < 0.0:
            raise ScenarioError(
                f"the reference driver would start {-start_m:.1f} m before the road does. Use "
                'reference_gap = "own", a lower initial_speed_mps, or start the convoy further on.'
            )

    def advance(
        self, plan: EpisodePlan, tick: NDArray[np.int64], before: GroundTruth, now: GroundTruth
    ) -> None:
        """Drive through the tick that has just been simulated.

        Args:
            plan: The batch's plans.
            tick: (E,) int64, the tick's number since reset, from 1.
            before: Ground truth of the tick before.
            now: Ground truth of this tick.
        """
        _advance(
            tick,
            plan.kind,
            plan.onset_tick,
            plan.release_tick,
            before.route_pos_m,
            before.speed_mps,
            before.lateral_m,
            now.present,
            now.route_pos_m,
            now.speed_mps,
            now.lateral_m,
            self._standstill_m,
            self._headway_s,
            self.informed,
            self.informed_us,
            self.route_pos_m,
            self.speed_mps,
            self.accel_mps2,
            self.gap_m,
            self.collided,
            self._over,
        )

    def listen(self, plan: EpisodePlan, tick: NDArray[np.int64], table: PeerTable) -> None:
        """Take note of what has been delivered by now.

        Args:
            plan: The batch's plans.
            tick: (E,) int64, ticks since reset.
            table: The ego's peer table, (E, 1, S).
        """
        _listen(
            tick,
            plan.kind,
            plan.onset_tick,
            plan.cut_in_slot,
            table.heard,
            table.t_generated_us,
            table.received_us,
            table.payload,
            self.speed_mps,
            self.informed,
            self.informed_tick,
            self.informed_us,
        )


@compiled
def _listen(
    tick: NDArray[np.int64],
    kind: NDArray[np.int64],
    onset_tick: NDArray[np.int64],
    cut_in_slot: NDArray[np.int64],
    heard: NDArray[np.bool_],
    t_generated_us: NDArray[np.int64],
    received_us: NDArray[np.int64],
    payload: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    informed: NDArray[np.bool_],
    informed_tick: NDArray[np.int64],
    informed_us: NDArray[np.int64],
) -> None:
    """Latch the last three at the first message that shows the danger; see `listen`."""
    for e in range(tick.size):
        if informed[e] or kind[e] != _HAZARD:
            continue
        for s in range(heard.shape[2]):
            after = t_generated_us[e, 0, s] > onset_tick[e] * _TICK_US
            if not heard[e, 0, s] or not after:
                continue
            braking = payload[e, 0, s, _ACCEL] <= SHOWN_MPS2
            slow = payload[e, 0, s, _SPEED] <= SHOWN_SPEED_SHARE * speed_mps[e]
            cutting_in = cut_in_slot[e] == s + 1
            if not (braking or slow or cutting_in):
                continue
            if not informed[e] or received_us[e, 0, s] < informed_us[e]:
                informed_us[e] = received_us[e, 0, s]
            informed[e] = True
            informed_tick[e] = tick[e]


@compiled
def _advance(
    tick: NDArray[np.int64],
    kind: NDArray[np.int64],
    onset_tick: NDArray[np.int64],
    release_tick: NDArray[np.int64],
    lead_before_m: NDArray[np.float64],
    lead_before_mps: NDArray[np.float64],
    aside_before_m: NDArray[np.float64],
    lead_present: NDArray[np.bool_],
    lead_now_m: NDArray[np.float64],
    lead_now_mps: NDArray[np.float64],
    aside_now_m: NDArray[np.float64],
    standstill_m: NDArray[np.float64],
    headway_s: NDArray[np.float64],
    informed: NDArray[np.bool_],
    informed_us: NDArray[np.int64],
    route_pos_m: NDArray[np.float64],
    speed_mps: NDArray[np.float64],
    accel_mps2: NDArray[np.float64],
    gap_m: NDArray[np.float64],
    collided: NDArray[np.bool_],
    over: NDArray[np.bool_],
) -> None:
    """Move the drivers on; the last six are written. Traffic is (E, V)."""
    for e in range(tick.size):
        if not lead_present[e, 1]:
            continue  # the episode is invalid
        began = tick[e] - 1
        speed = speed_mps[e]
        lead = car_in_front(lead_before_m, aside_before_m, e, route_pos_m[e])
        if kind[e] == _HAZARD and began >= release_tick[e]:
            over[e] |= speed <= lead_before_mps[e, lead]
        if kind[e] != _HAZARD or began < onset_tick[e] or over[e]:
            gap = lead_before_m[e, lead] - CAR_LENGTH_M - route_pos_m[e]
            error = gap - standstill_m[e] - headway_s[e] * speed
            wish = _GAP_GAIN * error + _SPEED_GAIN * (lead_before_mps[e, lead] - speed)
            wish = min(max(wish, -MAX_BRAKING_MPS2), MAX_ACCEL_MPS2)
        elif informed[e] and began * _TICK_US >= informed_us[e] + REACTION_US:
            wish = -MAX_BRAKING_MPS2
        else:
            wish = 0.0
        accel = build_up(accel_mps2[e], wish, DT_S)
        rolled, reached = roll(speed, accel, DT_S)
        route_pos_m[e] += rolled
        accel_mps2[e] = (reached - speed) / DT_S
        speed_mps[e] = reached
        lead = car_in_front(lead_now_m, aside_now_m, e, route_pos_m[e])
        gap_m[e] = lead_now_m[e, lead] - CAR_LENGTH_M - route_pos_m[e]
        collided[e] |= gap_m[e] <= 0.0
        if collided[e] and gap_m[e] <= 0.0:
            gap_m[e] = 0.0
            route_pos_m[e] = lead_now_m[e, lead] - CAR_LENGTH_M
            speed_mps[e] = min(reached, lead_now_mps[e, lead])
