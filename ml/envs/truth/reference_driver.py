"""The reference ego, independent of the driver under test: what was avoidable, and what is heard.

Two controllers that drive differently are at different distances from their peers, so the same
radio would bring them different messages, and a comparison would compare luck. So each case has a
reference ego: what it receives, and whether it crashes, is the same whoever is being judged. An
episode is avoidable if it does not crash.

It follows the car in front on ground truth, calmly, until the planned braking begins. From then on
it holds its speed until a message has arrived that shows the danger, and brakes fully from 0.2 s
after that arrival. A car that cuts in is shown by any of its messages after it has left the lane
that it came from (`lanes.WANDERING_M`). It follows again, and closes up, once it has braked to a
stop, or once the planned braking is over and it is no faster than the car in front.
In episodes without a hazard it follows throughout.
"""

from typing import Literal, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints
from ml.compiled import compiled, inlined
from ml.envs.episodes.drawn import HAZARD, EpisodePlan
from ml.envs.truth.ground_truth import GroundTruth
from ml.envs.truth.lanes import car_in_front
from ml.errors import ScenarioError
from ml.espnow_emulator import PeerTable
from ml.espnow_emulator.messages import PayloadField
from ml.vehicle import (
    CALM_STANDSTILL_M,
    CAR_LENGTH_M,
    DT_S,
    MAX_ACCEL_MPS2,
    MAX_BRAKING_MPS2,
    TICK_US,
)

REACTION_US = 200_000
"""From a message's arrival to the first braking."""
BRAKING_JERK_MPS3 = 12.65
"""How fast the braking builds up, m/s³: the careful driver's of UN Regulation No. 157, Annex 3."""
SHOWN_MPS2 = -2.0
"""A message shows the danger if it reports at most this acceleration …"""
SHOWN_SPEED_SHARE = 0.7
"""… or at most this share of the driver's own speed: the car stands, or has braked unheard."""

_DEFAULT_HEADWAY_S = 1.5
_GAP_GAIN, _SPEED_GAIN = 0.2, 0.9
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


class ReferenceArrays(NamedTuple):
    """The reference egos of a batch, one behind each convoy's car in front; arrays (E,).

    Attributes:
        route_pos_m: float64, front bumper.
        speed_mps: float64.
        accel_mps2: float64, over the last tick.
        gap_m: float64, to the car in front of it; never below 0.
        standstill_m: float64, the gap that it wishes at standstill.
        headway_s: float64, what it adds to that per m/s.
        collided: bool, whether it has touched that car in this episode; it then stays at its
            bumper.
        informed: bool, whether it has received a message that shows the danger.
        over: bool, whether it follows again after a hazard.
        informed_tick: int64, the first tick at which that message was there; 0 where not informed.
        informed_us: int64, when it arrived, true time since reset; 0 where not informed.
    """

    route_pos_m: Floats
    speed_mps: Floats
    accel_mps2: Floats
    gap_m: Floats
    standstill_m: Floats
    headway_s: Floats
    collided: Bools
    informed: Bools
    over: Bools
    informed_tick: Ints
    informed_us: Ints


class ReferenceDriver:
    """Drives the reference egos of a batch.

    Args:
        num_envs: E.
        gap: Initial time headway (gap over speed) in s, or "own" for the ego's initial gap.

    Attributes:
        arrays: All of them; those that others read are attributes of this, too.
    """

    def __init__(self, num_envs: int, gap: float | Literal["own"] = _DEFAULT_HEADWAY_S) -> None:
        self._gap = gap
        self.arrays = arrays = ReferenceArrays(
            *np.zeros((6, num_envs)),
            *np.zeros((3, num_envs), dtype=bool),
            *np.zeros((2, num_envs), dtype=np.int64),
        )
        self.route_pos_m, self.speed_mps = arrays.route_pos_m, arrays.speed_mps
        self.accel_mps2, self.gap_m = arrays.accel_mps2, arrays.gap_m
        self.collided, self.informed = arrays.collided, arrays.informed
        self.informed_tick, self.informed_us = arrays.informed_tick, arrays.informed_us

    def reset(self, rows: Ints, start: GroundTruth) -> None:
        """Begin episodes in some convoys.

        Args:
            rows: (n,) convoys.
            start: Rows (n, …) of where the cars were placed.
        """
        mine, speed = self.arrays, start.speed_mps[:, 0]
        gap_m = start.gap_m if self._gap == "own" else self._gap * speed
        front_m = start.route_pos_m[np.arange(rows.size), start.lead_slot]
        for values in mine:
            values[rows] = 0
        mine.gap_m[rows] = gap_m
        mine.route_pos_m[rows] = front_m - CAR_LENGTH_M - gap_m
        mine.speed_mps[rows] = speed
        # The wished gap is the initial one at the initial speed, and 5 m at standstill.
        mine.standstill_m[rows] = standstill_m = np.minimum(gap_m, CALM_STANDSTILL_M)
        headway_s = np.full(rows.size, _DEFAULT_HEADWAY_S)
        np.divide(gap_m - standstill_m, speed, out=headway_s, where=speed > 0.0)
        mine.headway_s[rows] = headway_s

    def require_road(self, rows: Ints) -> None:
        """Refuse to hear the radio where there is no road.

        Raises:
            ScenarioError: The driver would start before the road does.
        """
        start_m = float(self.route_pos_m[rows].min())
        if start_m < 0.0:
            raise ScenarioError(
                f"the reference ego would start {-start_m:.1f} m before the road does. Use "
                'reference_gap = "own", a lower initial_speed_mps, or start the convoy further on.'
            )

    def advance(self, plan: EpisodePlan, tick: Ints, before: GroundTruth, now: GroundTruth) -> None:
        """Drive through the tick that has just been simulated.

        Args:
            plan: The batch's plans.
            tick: (E,) int64, the tick's number since reset, from 1.
            before: Ground truth of the tick before.
            now: Ground truth of this tick.
        """
        # Only what the loop reads: to hand over an array takes longer than to go through it.
        _advance(
            (plan.kind, plan.onset_tick, plan.release_tick),
            tick,
            (before.route_pos_m, before.lateral_m, before.speed_mps),
            (now.route_pos_m, now.lateral_m, now.speed_mps),
            now.present,
            self.arrays,
        )

    def listen(self, plan: EpisodePlan, tick: Ints, table: PeerTable) -> None:
        """Take note of what has been delivered by now.

        Args:
            plan: The batch's plans.
            tick: (E,) int64, ticks since reset.
            table: The ego's peer table, (E, 1, S).
        """
        heard = table.heard[:, 0], table.t_generated_us[:, 0], table.received_us[:, 0]
        planned = (plan.kind, plan.onset_tick, plan.cut_in_slot)
        _listen(planned, tick, *heard, table.payload[:, 0], self.arrays)


@inlined
def _listen(
    plan: tuple[Ints, Ints, Ints],
    tick: Ints,
    heard: Bools,
    t_generated_us: Ints,
    received_us: Ints,
    payload: Floats,
    ref: ReferenceArrays,
) -> None:
    """Latch who is informed, when and since when; see `listen`. The table is (E, S)."""
    kind, onset_tick, cut_in_slot = plan
    for e in range(tick.size):
        if ref.informed[e] or kind[e] != _HAZARD:
            continue
        for s in range(heard.shape[1]):
            after = t_generated_us[e, s] > onset_tick[e] * TICK_US
            if not heard[e, s] or not after:
                continue
            braking = payload[e, s, _ACCEL] <= SHOWN_MPS2
            slow = payload[e, s, _SPEED] <= SHOWN_SPEED_SHARE * ref.speed_mps[e]
            cutting_in = cut_in_slot[e] == s + 1
            if not (braking or slow or cutting_in):
                continue
            if not ref.informed[e] or received_us[e, s] < ref.informed_us[e]:
                ref.informed_us[e] = received_us[e, s]
            ref.informed[e] = True
            ref.informed_tick[e] = tick[e]


@inlined
def _advance(
    plan: tuple[Ints, Ints, Ints],
    tick: Ints,
    before: tuple[Floats, Floats, Floats],
    now: tuple[Floats, Floats, Floats],
    present: Bools,
    ref: ReferenceArrays,
) -> None:
    """Move the reference egos on; see `advance`."""
    kind, onset_tick, release_tick = plan
    was_at_m, was_aside_m, was_mps = before
    at_m, aside_m, is_mps = now
    for e in range(tick.size):
        if not present[e, 1]:
            continue  # the episode is invalid
        began, speed, hazard = tick[e] - 1, ref.speed_mps[e], kind[e] == _HAZARD
        lead = car_in_front(was_at_m, was_aside_m, e, ref.route_pos_m[e])
        lead_mps = was_mps[e, lead]
        reacting = ref.informed[e] and began * TICK_US >= ref.informed_us[e] + REACTION_US
        if reacting and speed == 0.0:
            # Where it stopped it may be about 60 m behind, and would hear less than any driver.
            ref.over[e] = True
        if hazard and began >= release_tick[e]:
            ref.over[e] |= speed <= lead_mps
        if not hazard or began < onset_tick[e] or ref.over[e]:
            gap = was_at_m[e, lead] - CAR_LENGTH_M - ref.route_pos_m[e]
            error = gap - ref.standstill_m[e] - ref.headway_s[e] * speed
            wish = _GAP_GAIN * error + _SPEED_GAIN * (lead_mps - speed)
            wish = min(max(wish, -MAX_BRAKING_MPS2), MAX_ACCEL_MPS2)
        elif reacting:
            wish = -MAX_BRAKING_MPS2
        else:
            wish = 0.0
        accel = build_up(ref.accel_mps2[e], wish, DT_S)
        rolled, reached = roll(speed, accel, DT_S)
        ref.route_pos_m[e] += rolled
        ref.accel_mps2[e] = (reached - speed) / DT_S
        ref.speed_mps[e] = reached
        lead = car_in_front(at_m, aside_m, e, ref.route_pos_m[e])
        ref.gap_m[e] = at_m[e, lead] - CAR_LENGTH_M - ref.route_pos_m[e]
        if ref.gap_m[e] <= 0.0:
            ref.collided[e] = True
            ref.gap_m[e] = 0.0
            ref.route_pos_m[e] = at_m[e, lead] - CAR_LENGTH_M
            ref.speed_mps[e] = min(reached, is_mps[e, lead])
