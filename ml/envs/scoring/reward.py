"""Reward: named terms, each bounded, times weights. Reads ground truth, never the radio.

| term | range | meaning |
|---|---|---|
| `headway` | [0, 1] | the gap is the one that the driver has set; falls off on either side |
| `safety` | [−1, 0] | needed deceleration (DRAC) beyond 2 m/s², or a time headway below 0.5 s |
| `collision` | {−1, 0} | bumper touched bumper, once |
| `comfort` | [−1, 0] | squares of the jerk beyond 0.8 m/s³ and of the braking beyond 1.5 m/s² |
| `false_braking` | [−1, 0] | braking harder than 1.5 m/s² without a cause in the traffic |
| `restraint` | [−1, 0] | wishing more, by over 0.5 m/s², than the safety layer lets pass |

The last one is silent without a safety layer. Behind one, without it, a wish for too much costs
nothing, and a policy learns to ride on the bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.compiled import compiled
from ml.envs.config import RewardWeights
from ml.onboard.spacing import wanted_gap_m

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ml.envs.truth.ground_truth import GroundTruth

TERMS = tuple(RewardWeights.model_fields)
_HEADWAY, _SAFETY, _COLLISION, _COMFORT, _FALSE_BRAKING, _RESTRAINT = range(len(TERMS))
PENALTIES = ("safety", "comfort", "false_braking", "restraint")
"""Terms that must be silent in ordinary driving (audited)."""

STANDSTILL_M = 5.0
_WIDTH_M, _WIDTH_S = 5.0, 0.5
"""Error of the gap at which half of the headway term is lost, at standstill and per speed."""
_DRAC_FREE_MPS2, _DRAC_FULL_MPS2 = 2.0, 8.0
_SHORT_HEADWAY_S = 0.5
_MOVING_MPS = 1.0
_JERK_FREE_MPS3, _JERK_FULL_MPS3 = 0.8, 5.8
_HARSH_FREE_MPS2, _HARSH_FULL_MPS2 = 1.5, 5.5
FALSE_BRAKE_MPS2 = 2.0
_FALSE_FREE_MPS2, _FALSE_FULL_MPS2 = 1.5, 3.0
_WITHHELD_FREE_MPS2, _WITHHELD_FULL_MPS2 = 0.5, 4.0
_CAUSE_TTC_S, _CAUSE_DRAC_MPS2, _CAUSE_PEER_BRAKES_MPS2 = 6.0, 0.5, 1.0


@compiled
def _ramp(value: float, start: float, full: float) -> float:
    """0 up to `start`, 1 from `full`, linear between."""
    return min(max((value - start) / (full - start), 0.0), 1.0)


@compiled
def _has_cause_to_brake(
    accel_mps2: NDArray[np.float64], speed_mps: float, gap_m: float, ttc_s: float, drac_mps2: float
) -> bool:
    """Whether the traffic justifies braking harder than 2 m/s².

    The time to collision is below 6 s, the needed deceleration above 0.5 m/s², a peer ahead
    brakes harder than 1 m/s², or the gap is below the standstill distance and half a second.
    """
    if ttc_s < _CAUSE_TTC_S or drac_mps2 > _CAUSE_DRAC_MPS2:
        return True
    if gap_m < STANDSTILL_M + _SHORT_HEADWAY_S * speed_mps:
        return True
    for v in range(1, accel_mps2.size):  # noqa: SIM110 (numba compiles no generators)
        if accel_mps2[v] < -_CAUSE_PEER_BRAKES_MPS2:
            return True
    return False


@compiled
def fill_terms(
    speed_mps: NDArray[np.float64],
    accel_mps2: NDArray[np.float64],
    gap_m: NDArray[np.float64],
    ttc_s: NDArray[np.float64],
    drac_mps2: NDArray[np.float64],
    jerk_mps3: NDArray[np.float64],
    time_gap_s: NDArray[np.float64],
    withheld_mps2: NDArray[np.float64],
    braking_now: NDArray[np.bool_],
    collided: NDArray[np.bool_],
    terms: NDArray[np.float64],
    needless: NDArray[np.bool_],
) -> None:
    """Fill `terms` (num_envs, 6) and `needless` (num_envs,); see `reward_terms`."""
    for e in range(gap_m.size):
        speed, accel, gap = speed_mps[e, 0], accel_mps2[e, 0], gap_m[e]
        error = (gap - wanted_gap_m(speed, time_gap_s[e])) / (_WIDTH_M + _WIDTH_S * speed)
        terms[e, _HEADWAY] = 1.0 / (1.0 + error * error)

        danger = _ramp(drac_mps2[e], _DRAC_FREE_MPS2, _DRAC_FULL_MPS2)
        if speed > _MOVING_MPS:
            danger = max(danger, min(max(1.0 - gap / (_SHORT_HEADWAY_S * speed), 0.0), 1.0))
        terms[e, _SAFETY] = -danger
        terms[e, _COLLISION] = -1.0 if collided[e] else 0.0
        rough = _ramp(abs(jerk_mps3[e]), _JERK_FREE_MPS3, _JERK_FULL_MPS3)
        harsh = _ramp(-accel, _HARSH_FREE_MPS2, _HARSH_FULL_MPS2)
        terms[e, _COMFORT] = -min(rough * rough + harsh * harsh, 1.0)

        idle = accel < -_FALSE_FREE_MPS2 and not (
            braking_now[e] or _has_cause_to_brake(accel_mps2[e], speed, gap, ttc_s[e], drac_mps2[e])
        )
        needless[e] = idle and accel < -FALSE_BRAKE_MPS2
        false = _ramp(-accel, _FALSE_FREE_MPS2, _FALSE_FULL_MPS2) if idle else 0.0
        terms[e, _FALSE_BRAKING] = -false
        terms[e, _RESTRAINT] = -_ramp(withheld_mps2[e], _WITHHELD_FREE_MPS2, _WITHHELD_FULL_MPS2)


def reward_terms(
    truth: GroundTruth,
    time_gap_s: NDArray[np.float64],
    withheld_mps2: NDArray[np.float64],
    braking_now: NDArray[np.bool_],
    collided: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Compute every term, unweighted.

    Args:
        truth: Ground truth of the batch.
        time_gap_s: (num_envs,) float64, the time gap that each driver has set.
        withheld_mps2: (num_envs,) float64, what the safety layer took off each wish.
        braking_now: (num_envs,) bool, a planned braking is in progress, which is cause enough.
        collided: (num_envs,) bool.

    Returns:
        The terms, (num_envs, 6) float64, a column for each of `TERMS` within the range of the
        table above; and where the ego brakes harder than 2 m/s² without cause, (num_envs,) bool.
    """
    terms = np.empty((collided.size, len(TERMS)))
    needless = np.empty(collided.size, dtype=bool)
    fill_terms(
        truth.speed_mps,
        truth.accel_mps2,
        truth.gap_m,
        truth.ttc_s,
        truth.drac_mps2,
        truth.jerk_mps3,
        time_gap_s,
        withheld_mps2,
        braking_now,
        collided,
        terms,
        needless,
    )
    return terms, needless


def weights_of(weights: RewardWeights) -> NDArray[np.float64]:
    """The weights in the order of `TERMS`, (6,)."""
    return np.array([getattr(weights, name) for name in TERMS])
